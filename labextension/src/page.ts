/** The standalone page that a scheduler serves: all views of its own cluster, side by side. */
import { ClusterConnection } from './connection';
import type { IEndpoint } from './connection';
import { VIEW_KINDS, VIEW_TITLES, createView } from './views';
import { bytes, count, duration, rate } from './views/format';
import { setText } from './views/view';

/** Relative to the page, since a proxy may serve it anywhere. */
const endpoint: IEndpoint = {
  webSocketUrl() {
    const url = new URL('ws', document.baseURI);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url.href;
  },
  async getJson(path) {
    const response = await fetch(new URL(path, document.baseURI), { credentials: 'same-origin' });
    if (!response.ok) {
      throw new Error(`${path}: ${response.status} ${response.statusText}`);
    }
    return response.json();
  }
};

const connection = new ClusterConnection(endpoint);
const model = connection.model;
// The header's numbers come from totals, whichever views are in sight.
connection.retain(['totals']);

const main = document.querySelector('main')!;
for (const kind of VIEW_KINDS) {
  const section = document.createElement('section');
  section.className = `tile tile-${kind}`;
  const title = document.createElement('h2');
  title.textContent = VIEW_TITLES[kind];
  section.append(title, createView(kind, { connection }).node);
  main.append(section);
}

const name = document.querySelector<HTMLElement>('#name')!;
const numbers = document.querySelector<HTMLElement>('#numbers')!;
function showNumbers(): void {
  if (model.name) {
    setText(name, model.name);
    document.title = `${model.name} – Nuna`;
  }
  const latest = model.latest;
  const here = model.workersHere;
  const threads = here.reduce((sum, worker) => sum + worker.threads, 0);
  setText(
    numbers,
    latest
      ? [
          `${count(here.length)} ${here.length === 1 ? 'worker' : 'workers'}`,
          `${count(threads)} threads`,
          `${count(latest.tasks)} tasks`,
          rate(model.tasksPerSecond),
          `${bytes(Math.max(latest.rss, latest.managed))} of ${bytes(latest.limit)}`,
          `up ${duration(model.now)}`
        ].join(' · ')
      : ''
  );
}
let shownAt = 0;
model.changed.connect(() => {
  const now = performance.now();
  if (now - shownAt > 500) {
    shownAt = now;
    showNumbers();
  }
});
