/** Progress of each computation, stage by stage: a bar, blocks done, pace, time left, failures. */
import { timeLeft } from '../../model';
import type { IStage } from '../../model';
import type { ComputationState } from '../../protocol';
import { stageColour } from '../colour';
import { count, duration } from '../format';
import { View, element, setText } from '../view';
import type { IViewOptions } from '../view';
import { listed, share } from './layout';
import type { IListed } from './layout';

const FAILURES_SHOWN = 20;

interface IStageRow {
  node: HTMLElement;
  bar: HTMLElement;
  fill: HTMLElement;
  name: HTMLElement;
  numbers: HTMLElement;
  failed: HTMLElement;
}

interface IBlock {
  node: HTMLElement;
  label: HTMLElement;
  state: HTMLElement;
  numbers: HTMLElement;
  rows: Map<number, IStageRow>;
}

export class ProgressView extends View {
  constructor(options: IViewOptions) {
    super(options, 'progress', ['progress', 'failures']);
    this.body.classList.add('nuna-scroll');
    this._empty.textContent = this.translate('Nothing has been computed yet. Progress appears here with the first compute().');
    this._failures.hidden = true;
    this.body.append(this._failures, this._list, this._empty);
  }

  protected get pulse(): number {
    return this._running ? 1000 : Infinity;
  }

  protected draw(): void {
    if (this._generation !== this.model.generation) {
      this._generation = this.model.generation;
      this._blocks.forEach(block => block.node.remove());
      this._blocks.clear();
    }
    const list = listed(this.model);
    this._running = list.some(item => item.computation.state === 'running');
    this._empty.hidden = list.length > 0 || this.model.generation === 0;
    const seen = new Set<number>();
    list.forEach((item, index) => {
      seen.add(item.computation.id);
      const block = this._block(item);
      if (this._list.children[index] !== block.node) {
        this._list.insertBefore(block.node, this._list.children[index] ?? null);
      }
      this._update(block, item);
    });
    for (const [id, block] of this._blocks) {
      if (!seen.has(id)) {
        block.node.remove();
        this._blocks.delete(id);
      }
    }
    this._showFailures();
  }

  private _block({ computation }: IListed): IBlock {
    let block = this._blocks.get(computation.id);
    if (!block) {
      const head = element('div', 'nuna-computation-head');
      block = {
        node: element('section', 'nuna-computation'),
        label: element('span', 'nuna-computation-label'),
        state: element('span', 'nuna-badge'),
        numbers: element('span', 'nuna-numbers'),
        rows: new Map()
      };
      head.append(block.label, block.state, block.numbers);
      block.node.append(head);
      this._blocks.set(computation.id, block);
    }
    return block;
  }

  private _update(block: IBlock, { computation, stages, done, blocks }: IListed): void {
    const t = this.translate;
    const running = computation.state === 'running';
    const end = running ? this.model.present() : computation.finished;
    setText(block.label, computation.label || t('computation %1', String(computation.id)));
    setText(block.state, t(STATE_WORDS[computation.state]));
    block.state.dataset.state = computation.state;
    setText(
      block.numbers,
      `${count(Math.min(done, blocks))} / ${count(blocks)} · ${duration(Math.max(0, end - computation.started))}`
    );
    block.node.setAttribute('aria-label', block.label.textContent ?? '');
    for (const stage of stages) {
      this._updateStage(block, stage, running);
    }
  }

  private _updateStage(block: IBlock, stage: IStage, running: boolean): void {
    const t = this.translate;
    let row = block.rows.get(stage.id);
    if (!row) {
      row = {
        node: element('div', 'nuna-stage'),
        bar: element('div', 'nuna-bar'),
        fill: element('div', 'nuna-fill'),
        name: element('span', 'nuna-stage-name', stage.name),
        numbers: element('span'),
        failed: element('span', 'nuna-failed-count')
      };
      const numbers = element('span', 'nuna-numbers');
      numbers.append(row.numbers, row.failed);
      row.bar.setAttribute('role', 'progressbar');
      row.bar.setAttribute('aria-label', stage.name);
      row.bar.setAttribute('aria-valuemin', '0');
      row.bar.setAttribute('aria-valuemax', String(stage.blocks));
      row.fill.style.background = stageColour(this.model.colourIndex(stage.name));
      row.name.title = stage.name;
      row.bar.append(row.fill);
      row.node.append(row.name, numbers, row.bar);
      block.rows.set(stage.id, row);
      block.node.append(row.node);
    }
    const done = Math.min(stage.done, stage.blocks);
    row.fill.style.transform = `scaleX(${share(stage.done, stage.blocks)})`;
    row.bar.setAttribute('aria-valuenow', String(done));
    const parts = [`${count(done)} / ${count(stage.blocks)}`];
    if (stage.done > 0) {
      parts.push(t('%1 per block', duration(stage.busy / stage.done)));
    }
    const left = running ? timeLeft(stage, this.model.present()) : undefined;
    if (left !== undefined) {
      parts.push(t('%1 left', duration(Math.max(1000, Math.round(left / 1000) * 1000))));
    }
    setText(row.numbers, parts.join(' · '));
    setText(row.failed, stage.failed > 0 ? t('%1 failed', count(stage.failed)) : '');
  }

  private _showFailures(): void {
    const latest = this.model.failures.slice(-FAILURES_SHOWN).reverse();
    const key = latest.map(failure => `${failure.stage}/${failure.block}/${failure.at}`).join();
    if (key === this._failureKey) {
      return;
    }
    this._failureKey = key;
    this._failures.hidden = latest.length === 0;
    const t = this.translate;
    const head = element('summary', '', t('Failed attempts: %1', count(this.model.failures.length)));
    this._failures.replaceChildren(
      head,
      ...latest.map(failure => {
        const stage = this.model.stages.get(failure.stage)?.name ?? t('stage %1', String(failure.stage));
        const worker = this.model.workers.get(failure.worker)?.name ?? String(failure.worker);
        const node = element('div', 'nuna-failure');
        const where = t('%1, block %2, on %3', stage, count(failure.block), worker);
        node.append(element('strong', '', where), element('pre', '', failure.message));
        return node;
      })
    );
  }

  private _failures = element('details', 'nuna-failures');
  private _list = element('div');
  private _empty = element('p', 'nuna-empty');
  private _blocks = new Map<number, IBlock>();
  private _generation = -1;
  private _running = false;
  private _failureKey = '';
}

const STATE_WORDS: Record<ComputationState, string> = {
  running: 'running',
  succeeded: 'done',
  failed: 'failed',
  cancelled: 'cancelled'
};
