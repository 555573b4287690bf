/** The workers as a table: threads, CPU, memory by use, spilled; sortable, and itself the table alternative. */
import type { IWorker } from '../../model';
import { bytes, count } from '../format';
import { View, element, setText } from '../view';
import type { IViewOptions } from '../view';
import { ROWS_MAX, memoryShares, sorted } from './layout';
import type { SortKey } from './layout';

/** Numbers that change faster cannot be read. */
const REFRESH = 500;

interface IRow {
  node: HTMLTableRowElement;
  name: HTMLElement;
  state: HTMLElement;
  threads: HTMLElement;
  threadsFill: HTMLElement;
  cpu: HTMLElement;
  memory: HTMLElement;
  memoryBar: HTMLElement;
  managed: HTMLElement;
  unmanaged: HTMLElement;
  spilled: HTMLElement;
}

export class WorkersView extends View {
  constructor(options: IViewOptions) {
    super(options, 'workers', ['workers']);
    const t = this.translate;
    this.body.classList.add('nuna-scroll');
    const table = element('table', 'nuna-table');
    const head = element('tr');
    const columns: [SortKey, string][] = [
      ['name', t('Worker')],
      ['threads', t('Threads')],
      ['cpu', t('CPU')],
      ['memory', t('Memory')],
      ['spilled', t('Spilled')]
    ];
    for (const [key, label] of columns) {
      const cell = element('th');
      cell.scope = 'col';
      const button = element('button', 'nuna-sort', label);
      button.type = 'button';
      button.addEventListener('click', () => this._sortBy(key));
      cell.append(button);
      head.append(cell);
      this._heads.set(key, cell);
    }
    const thead = element('thead');
    thead.append(head);
    table.append(element('caption', 'nuna-hidden-label', t('Workers')), thead, this._rows);
    this.body.append(this._summary, table, this._more);
    this._showSort();
  }

  protected get pulse(): number {
    return REFRESH;
  }

  protected draw(now: number): void {
    const changed = this._layoutVersion !== this.model.layoutVersion;
    if (!changed && now - this._drawnAt < REFRESH) {
      return;
    }
    this._drawnAt = now;
    this._layoutVersion = this.model.layoutVersion;
    const t = this.translate;
    const here = this.model.workersHere;
    const sum = (value: (worker: IWorker) => number) => here.reduce((total, worker) => total + value(worker), 0);
    setText(
      this._summary,
      t(
        here.length === 1
          ? '%1 worker · %2 of %3 threads busy · %4 of %5 memory'
          : '%1 workers · %2 of %3 threads busy · %4 of %5 memory',
        count(here.length),
        count(sum(w => w.threadsBusy)),
        count(sum(w => w.threads)),
        bytes(sum(w => Math.max(w.managed, w.rss))),
        bytes(sum(w => w.memoryLimit))
      )
    );
    const all = sorted(this.model.workers.values(), this._key, this._descending);
    const shown = all.slice(0, ROWS_MAX);
    const seen = new Set<number>();
    shown.forEach((worker, index) => {
      seen.add(worker.id);
      const row = this._row(worker.id);
      if (this._rows.children[index] !== row.node) {
        this._rows.insertBefore(row.node, this._rows.children[index] ?? null);
      }
      this._update(row, worker);
    });
    for (const [id, row] of this._rowOf) {
      if (!seen.has(id)) {
        row.node.remove();
        this._rowOf.delete(id);
      }
    }
    const left = all.length - shown.length;
    setText(this._more, left > 0 ? t('and %1 more; sort by a column to see others', count(left)) : '');
  }

  private _row(id: number): IRow {
    let row = this._rowOf.get(id);
    if (!row) {
      row = {
        node: element('tr'),
        name: element('span'),
        state: element('span', 'nuna-badge'),
        threads: element('span', 'nuna-bar-text'),
        threadsFill: element('div', 'nuna-fill nuna-fill-threads'),
        cpu: element('td', 'nuna-number'),
        memory: element('span', 'nuna-bar-text'),
        memoryBar: element('div', 'nuna-bar nuna-bar-cell'),
        managed: element('div', 'nuna-fill nuna-fill-managed'),
        unmanaged: element('div', 'nuna-fill nuna-fill-unmanaged'),
        spilled: element('td', 'nuna-number')
      };
      const name = element('th', 'nuna-worker-name');
      name.scope = 'row';
      name.append(row.name, row.state);
      const threads = element('td');
      const threadsBar = element('div', 'nuna-bar nuna-bar-cell');
      threadsBar.append(row.threadsFill, row.threads);
      threads.append(threadsBar);
      const memory = element('td', 'nuna-memory-cell');
      row.memoryBar.append(row.managed, row.unmanaged, row.memory);
      memory.append(row.memoryBar);
      row.node.append(name, threads, row.cpu, memory, row.spilled);
      this._rowOf.set(id, row);
    }
    return row;
  }

  private _update(row: IRow, worker: IWorker): void {
    const t = this.translate;
    const here = worker.state === 'here';
    row.node.classList.toggle('nuna-gone', !here);
    setText(row.name, worker.name);
    row.name.title = worker.name;
    setText(row.state, here ? '' : t(worker.state));
    row.state.dataset.state = worker.state;
    setText(row.threads, here ? `${worker.threadsBusy} / ${worker.threads}` : '–');
    row.threadsFill.style.transform = `scaleX(${worker.threads ? Math.min(1, worker.threadsBusy / worker.threads) : 0})`;
    setText(row.cpu, here ? `${Math.round(worker.cpu * 100)} %` : '–');
    const { managed, unmanaged, over } = memoryShares(worker);
    row.managed.style.transform = `scaleX(${managed})`;
    row.unmanaged.style.left = `${managed * 100}%`;
    row.unmanaged.style.transform = `scaleX(${unmanaged})`;
    row.memoryBar.classList.toggle('nuna-over', over);
    row.memoryBar.title = t(
      'managed %1, other %2, limit %3',
      bytes(worker.managed),
      bytes(Math.max(0, worker.rss - worker.managed)),
      bytes(worker.memoryLimit)
    );
    setText(row.memory, here ? `${bytes(Math.max(worker.managed, worker.rss))} / ${bytes(worker.memoryLimit)}` : '–');
    setText(row.spilled, here ? (worker.spilled > 0 ? bytes(worker.spilled) : '0') : '–');
  }

  private _sortBy(key: SortKey): void {
    this._descending = key === this._key ? !this._descending : key !== 'name';
    this._key = key;
    this._showSort();
    this._drawnAt = -Infinity;
    this.schedule();
  }

  private _showSort(): void {
    for (const [key, cell] of this._heads) {
      const order = key !== this._key ? 'none' : this._descending ? 'descending' : 'ascending';
      cell.setAttribute('aria-sort', order);
    }
  }

  private _summary = element('p', 'nuna-summary');
  private _rows = element('tbody');
  private _more = element('p', 'nuna-empty');
  private _heads = new Map<SortKey, HTMLElement>();
  private _rowOf = new Map<number, IRow>();
  private _key: SortKey = 'name';
  private _descending = false;
  private _drawnAt = -Infinity;
  private _layoutVersion = -1;
}
