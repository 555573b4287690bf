/**
 * The extension's side of the agreement with the hub's service: it signs in by a navigation when it is refused,
 * lists what the service knows together with this machine's clusters, and does without a service that fails.
 * The service is played by the browser's own interception; the real one is in the end-to-end test.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { launch, scratch, startDemo, startLab, until } from './harness.mjs';

const CLUSTERS = [
  { user: 'ada', name: 'pbs-1', started: '2026-11-20T08:00:00Z', origin: '', url: '/services/nuna/clusters/ada/pbs-1/' },
  { user: 'bob', name: 'not-ours', started: '2026-11-20T08:00:00Z', origin: '', url: '/services/nuna/clusters/bob/not-ours/' }
];
let browser;
let demo;
let folder;
let lab;

before(async () => {
  folder = await scratch();
  const state = join(folder.path, 'state');
  demo = await startDemo({ name: 'near', workers: 1, threads: 2, rate: 20, state });
  lab = await startLab(folder.path, state, {
    NUNA_SERVICE_URL: 'http://hub.invalid:8000/services/nuna',
    JUPYTERHUB_USER: 'ada'
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await lab?.stop();
  await demo?.stop();
  await folder?.remove();
});

async function open(service) {
  const page = await browser.newPage();
  await page.route('**/services/nuna/**', service);
  await page.goto(`${lab.url}lab?token=${lab.token}`);
  await page.waitForFunction(() => window.jupyterapp?.restored !== undefined);
  await page.evaluate(() => window.jupyterapp.restored);
  await page.evaluate(() => window.jupyterapp.commands.execute('nuna:show-clusters'));
  return page;
}

const names = page => page.locator('.nuna-card-name').allTextContents();

test('a refused list leads to one sign-in, and then to all clusters of the user', async () => {
  const logins = [];
  let signedIn = false;
  const page = await open(async route => {
    const path = new URL(route.request().url()).pathname;
    if (path === '/services/nuna/login') {
      logins.push(route.request().headers()['sec-fetch-mode'] ?? (await route.request().allHeaders())['sec-fetch-mode']);
      assert.ok(route.request().isNavigationRequest(), 'the hub gives its cookies to navigations only');
      signedIn = true;
      await route.fulfill({ contentType: 'text/html', body: 'signed in' });
    } else if (path === '/services/nuna/api/clusters') {
      await (signedIn ? route.fulfill({ json: CLUSTERS }) : route.fulfill({ status: 401, json: { code: 'unauthorized' } }));
    } else {
      await route.abort();
    }
  });
  await until('both clusters', () => names(page), list => list.length === 2);
  assert.deepEqual((await names(page)).sort(), ['near', 'pbs-1']);
  assert.equal(logins.length, 1);
  await page.close();
});

test('a service that fails hides no cluster of this machine', async () => {
  let asked = 0;
  const page = await open(async route => {
    asked++;
    await route.fulfill({ status: 503, body: 'down' });
  });
  await until('the near cluster', () => names(page), list => list.length === 1 && list[0] === 'near');
  await until('its numbers', () => page.locator('.nuna-card-numbers').textContent(), text => /1 worker · 2 threads/.test(text));
  assert.equal(asked, 1, 'it is left alone for a while');
  await page.close();
});
