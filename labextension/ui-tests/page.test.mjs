/** The standalone page in a browser: every view draws, both schemes, pointer and keyboard, hidden costs nothing. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { drawn, launch, results, startDemo, until } from './harness.mjs';

let browser;
let demo;

before(async () => {
  demo = await startDemo({ workers: 4, threads: 7, rate: 300 });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

async function open(colorScheme) {
  const context = await browser.newContext({ colorScheme, viewport: { width: 1400, height: 850 } });
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', error => faults.push(String(error)));
  page.on('console', message => message.type() === 'error' && faults.push(message.text()));
  await page.goto(`${demo.url}/?token=${demo.token}`);
  return { page, faults, close: () => context.close() };
}

for (const scheme of ['light', 'dark']) {
  test(`every view draws in the ${scheme} scheme`, async () => {
    const { page, faults, close } = await open(scheme);
    assert.equal(new URL(page.url()).search, '', 'the token is gone from the address');
    await until('task rectangles', () => drawn(page), seen => seen.pixels > 5000 && seen.colours >= 3);
    await page.getByRole('progressbar').first().waitFor();
    await until('workers', () => page.locator('.nuna-workers tbody tr').count(), count => count === 4);
    await until('numbers', () => page.locator('#numbers').textContent(), text => /4 workers · 28 threads/.test(text));
    await until('memory', () => page.locator('.nuna-memory .nuna-axes').getAttribute('aria-label'), label =>
      /managed/.test(label)
    );
    // Long enough for a few computations to be in the picture.
    await until('a filled picture', () => drawn(page), seen => seen.colours >= 5 && seen.share > 0.08, 40_000);
    await page.screenshot({ path: join(results, `page-${scheme}.png`) });
    assert.deepEqual(faults, []);
    await close();
  });
}

test('a pointer over a task says which block it is; the keyboard reaches the same', async () => {
  const { page, close } = await open('light');
  await until('task rectangles', () => drawn(page), seen => seen.pixels > 5000);
  await page.getByRole('button', { name: 'Pause' }).click();
  const box = await page.locator('.nuna-plot').boundingBox();
  const tooltip = page.locator('.nuna-tooltip');
  await until(
    'a tooltip with a block',
    async () => {
      for (let x = box.width - 4; x > box.width / 2; x -= 9) {
        await page.mouse.move(box.x + x, box.y + 10);
        if (await tooltip.isVisible()) {
          break;
        }
      }
      await page.waitForTimeout(400);
      return tooltip.textContent();
    },
    text => /In \[\d+\] · block [\d\u202f]+/.test(text)
  );
  await page.screenshot({ path: join(results, 'page-hover.png') });
  await page.mouse.move(0, 0);
  await page.locator('.nuna-taskstream .nuna-axes').focus();
  await page.keyboard.press('ArrowLeft');
  await until('a tooltip from the keyboard', () => tooltip.textContent(), text => /thread \d/.test(text));
  await close();
});

test('pausing holds the picture, zooming changes it, live follows again', async () => {
  const { page, close } = await open('light');
  await until('task rectangles', () => drawn(page), seen => seen.pixels > 5000);
  const picture = () => page.locator('.nuna-plot').evaluate(canvas => canvas.toDataURL().length + canvas.toDataURL());
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('button', { name: 'Show less time' }).click();
  const zoomed = await picture();
  await page.getByRole('button', { name: 'Show more time' }).click();
  await until('another picture', picture, now => now !== zoomed);
  await page.getByRole('button', { name: 'Live' }).click();
  const held = await picture();
  await until('a moving picture', picture, now => now !== held);
  await close();
});

test('the table holds what the picture shows', async () => {
  const { page, close } = await open('light');
  await page.locator('.nuna-taskstream').getByRole('button', { name: 'Table' }).click();
  await page.getByRole('cell', { name: 'compute' }).first().waitFor();
  assert.ok((await page.locator('.nuna-taskstream tbody tr').count()) > 10);
  await close();
});

test('a view that cannot be seen is not subscribed and draws nothing', async () => {
  const { page, close } = await open('light');
  await until('task rectangles', () => drawn(page), seen => seen.pixels > 5000);
  const requests = [];
  page.on('websocket', socket => socket.on('framesent', frame => requests.push(String(frame.payload))));
  await page.reload();
  await until('task rectangles', () => drawn(page), seen => seen.pixels > 5000);
  await page.evaluate(() => (document.querySelector('.tile-taskstream').style.display = 'none'));
  await until('a subscription without tasks', async () => requests[requests.length - 1], last => !last.includes('tasks'));
  await page.evaluate(() => (document.querySelector('.tile-taskstream').style.display = ''));
  await until('tasks again', async () => requests[requests.length - 1], last => last.includes('tasks'));
  await until('task rectangles again', () => drawn(page), seen => seen.pixels > 5000);
  await close();
});

test('the end of the cluster is shown', async () => {
  const own = await startDemo({ workers: 1, threads: 2, rate: 50 });
  const page = await browser.newPage();
  await page.goto(`${own.url}/?token=${own.token}`);
  await page.getByRole('progressbar').first().waitFor();
  await own.stop();
  await page.getByText('No connection to the cluster').first().waitFor({ timeout: 5000 });
  await page.close();
});
