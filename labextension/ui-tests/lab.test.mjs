/** The extension in a plain JupyterLab at a base URL of its own: it finds the cluster, its panels draw, in both themes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { drawn, launch, results, scratch, startDemo, startLab, until } from './harness.mjs';

let browser;
let demo;
let folder;
let lab;

before(async () => {
  folder = await scratch();
  const state = join(folder.path, 'state');
  demo = await startDemo({ name: 'local-1', origin: 'kernel-of-a-notebook', workers: 4, threads: 7, rate: 300, state });
  lab = await startLab(folder.path, state);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await lab?.stop();
  await demo?.stop();
  await folder?.remove();
});

async function open(theme = 'JupyterLab Light', query = '?reset') {
  const context = await browser.newContext({ viewport: { width: 1600, height: 950 } });
  const page = await context.newPage();
  // A machine that builds something else meanwhile takes its time for a first JupyterLab.
  page.setDefaultTimeout(60_000);
  const faults = [];
  page.on('pageerror', error => faults.push(error.stack ?? String(error)));
  page.on('request', request => {
    if (request.url().includes(demo.token)) {
      faults.push(`the cluster's token is in ${request.url()}`);
    }
  });
  await page.goto(`${lab.url}lab?token=${lab.token}`);
  await page.goto(`${lab.url}lab${query}`);
  await page.waitForFunction(() => window.jupyterapp?.restored !== undefined);
  await page.evaluate(() => window.jupyterapp.restored);
  // A theme that changes while JupyterLab's splash fades removes it twice, which is an error of its own.
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await page.evaluate(name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name }), theme);
  return { page, faults, close: () => context.close() };
}

for (const theme of ['JupyterLab Light', 'JupyterLab Dark', 'JupyterLab Dark High Contrast']) {
  test(`the cluster is found and all its views draw in ${theme}`, async () => {
    const { page, faults, close } = await open(theme);
    await page.evaluate(() => window.jupyterapp.commands.execute('nuna:show-clusters'));
    const card = page.getByRole('region', { name: 'local-1' }).or(page.locator('.nuna-card'));
    await card.first().waitFor();
    await until('numbers of the cluster', () => page.locator('.nuna-card-numbers').textContent(), text =>
      /4 workers · 28 threads/.test(text)
    );
    await page.getByRole('button', { name: 'Open all' }).click();
    await until('task rectangles', () => drawn(page), seen => seen.pixels > 3000 && seen.colours >= 3, 60_000);
    await page.getByRole('progressbar').first().waitFor();
    await until('the status bar', () => page.locator('.nuna-StatusItem').textContent(), text => /local-1: .*\/s/.test(text));
    await until('time to fill', () => drawn(page), seen => seen.share > 0.05 && seen.colours >= 4, 60_000);
    await page.screenshot({ path: join(results, `lab-${theme.replaceAll(' ', '-').toLowerCase()}.png`) });
    assert.deepEqual(faults, []);
    await close();
  });
}

test('a hidden panel closes its stream, a shown one opens it again', async () => {
  const { page, close } = await open();
  await page.evaluate(() => window.jupyterapp.commands.execute('nuna:open-view', { view: 'taskstream' }));
  await until('task rectangles', () => drawn(page), seen => seen.pixels > 1000);
  const view = page.locator('.nuna-taskstream');
  const asked = [];
  await page.evaluate(() => {
    const send = WebSocket.prototype.send;
    window.nunaAsked = [];
    WebSocket.prototype.send = function (data) {
      if (String(data).includes('subscribe')) {
        window.nunaAsked.push(String(data));
      }
      return send.call(this, data);
    };
  });
  const last = async () => {
    asked.splice(0, asked.length, ...(await page.evaluate(() => window.nunaAsked)));
    return asked[asked.length - 1] ?? '';
  };
  // A launcher opens as a tab in the same place.
  await page.evaluate(() => window.jupyterapp.commands.execute('launcher:create'));
  await view.waitFor({ state: 'hidden' });
  await until('a subscription without tasks', last, text => text !== '' && !text.includes('tasks'));
  await page.evaluate(() => {
    const { shell } = window.jupyterapp;
    shell.activateById([...shell.widgets('main')].find(widget => widget.id.startsWith('nuna-taskstream')).id);
  });
  await until('tasks again', last, text => text.includes('tasks'));
  await until('task rectangles again', () => drawn(page), seen => seen.pixels > 1000);
  await close();
});

test('the layout survives a reload', async () => {
  const { page, close } = await open();
  await page.evaluate(() => window.jupyterapp.commands.execute('nuna:open-view', { view: 'progress' }));
  await page.getByRole('progressbar').first().waitFor();
  await until(
    'the workspace to be saved',
    () =>
      page.evaluate(async () => {
        const { workspaces } = window.jupyterapp.serviceManager;
        const { values } = await workspaces.list();
        return JSON.stringify(values);
      }),
    text => text.includes('nuna-views:progress-local-1')
  );
  await page.goto(`${lab.url}lab`);
  await page.getByRole('progressbar').first().waitFor({ timeout: 30_000 });
  await close();
});

test('the notebook\u2019s own cluster is marked', async () => {
  const { page, close } = await open();
  await page.evaluate(() => window.jupyterapp.commands.execute('nuna:show-clusters'));
  await page.locator('.nuna-card').waitFor();
  assert.equal(await page.locator('.nuna-card.nuna-own').count(), 0);
  // A notebook with any kernel, then a cluster that says it was started by that kernel.
  await page.evaluate(() =>
    window.jupyterapp.commands.execute('notebook:create-new', { kernelName: 'python3', activate: true })
  );
  const kernel = await until(
    'a kernel',
    () =>
      page.evaluate(
        () => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.id ?? ''
      ),
    id => id !== '',
    40_000
  );
  const own = await startDemo({ name: 'own', origin: kernel, workers: 1, threads: 2, rate: 20, state: join(folder.path, 'state') });
  await page.locator('.nuna-card.nuna-own').waitFor({ timeout: 10_000 });
  assert.match(await page.locator('.nuna-card.nuna-own').textContent(), /own.*this notebook/s);
  await page.screenshot({ path: join(results, 'lab-own-cluster.png') });
  await own.stop();
  await until('the ended cluster to leave the list', () => page.locator('.nuna-card').count(), count => count === 1);
  await close();
});
