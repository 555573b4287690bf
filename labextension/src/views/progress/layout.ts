/** Which computations and stages the progress view lists, and in what state. No DOM. */
import type { ClusterModel, IComputation, IStage } from '../../model';

export const COMPUTATIONS_MAX = 30;
export const STAGES_MAX = 60;

export interface IListed {
  computation: IComputation;
  stages: IStage[];
  done: number;
  blocks: number;
}

/** Running ones first, then the latest finished, newest first. */
export function listed(model: ClusterModel): IListed[] {
  const all = [...model.computations.values()].sort((a, b) => b.id - a.id);
  const running = all.filter(c => c.state === 'running');
  const finished = all.filter(c => c.state !== 'running');
  return [...running, ...finished].slice(0, COMPUTATIONS_MAX).map(computation => {
    const stages = computation.stages
      .map(id => model.stages.get(id))
      .filter((stage): stage is IStage => stage !== undefined);
    return {
      computation,
      stages: stages.slice(0, STAGES_MAX),
      done: stages.reduce((sum, stage) => sum + stage.done, 0),
      blocks: stages.reduce((sum, stage) => sum + stage.blocks, 0)
    };
  });
}

/** Share of blocks done, from 0 to 1; a stage run again after a loss may count some twice. */
export function share(done: number, blocks: number): number {
  return blocks > 0 ? Math.min(1, done / blocks) : 0;
}
