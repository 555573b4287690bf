/** Colours of the views: a palette that colour-blind people can tell apart, and the theme's variables. */

/**
 * After Paul Tol's qualitative schemes, ordered so that neighbours differ in hue and in lightness; without
 * reds and greys, which mean transfers, failures and spills.
 */
export const PALETTE = [
  '#4477aa',
  '#44bb99',
  '#ddaa33',
  '#aa4499',
  '#88ccee',
  '#228833',
  '#bbcc33',
  '#6650a4',
  '#009988',
  '#cc99bb'
];

export function stageColour(index: number): string {
  return PALETTE[index % PALETTE.length];
}

export interface ITheme {
  text: string;
  faint: string;
  grid: string;
  row: string;
  transfer: string;
  spill: string;
  failed: string;
  managed: string;
  unmanaged: string;
  limit: string;
  cpu: string;
  font: string;
}

/** Reads the theme where `node` stands; `style/views.css` defines these from JupyterLab's variables. */
export function readTheme(node: HTMLElement): ITheme {
  const style = getComputedStyle(node);
  const get = (name: string) => style.getPropertyValue(`--nuna-${name}`).trim() || '#888';
  return {
    text: get('text'),
    faint: get('faint'),
    grid: get('grid'),
    row: get('row'),
    transfer: get('transfer'),
    spill: get('spill'),
    failed: get('failed'),
    managed: get('managed'),
    unmanaged: get('unmanaged'),
    limit: get('limit'),
    cpu: get('cpu'),
    font: `11px ${style.fontFamily || 'sans-serif'}`
  };
}
