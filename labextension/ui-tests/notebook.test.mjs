/** A notebook with the Nuna kernel in JupyterLab: what a scientist sees of errors, plots, datasets, progress and help. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';

import { extension, launch, results, scratch, startLab, until } from './harness.mjs';

const PROGRAMS = process.env.NUNA_BIN_DIR ?? resolve(extension, '..', 'target', 'debug');

const CELLS = {
  field: `use nuna::prelude::*;
let (lat, lon): (Vec<f64>, Vec<f64>) = ((0..60).map(|i| i as f64 * 3.0 - 88.5).collect(), (0..120).map(|i| i as f64 * 3.0 - 178.5).collect());
let values: Vec<f64> = lat.iter().flat_map(|y| lon.iter().map(move |x| 28.0 * y.to_radians().cos() + 3.0 * (x / 30.0).sin())).collect();
let sst = DataArray::from_chunk(Chunk::from_slice(&[60, 120], &values), ["lat", "lon"])?
    .assign_coord("lat", lat)?
    .assign_coord("lon", lon)?
    .named("sst")
    .with_attr("units", "degC")
    .with_attr("long_name", "sea surface temperature");`,
  error: `let warm = sst.mean("lon")?;
let total: f64 = warm + "degrees";`,
  dataset: `let ds = Dataset::new().assign("sst", &sst)?.assign("anomaly", &(&sst - sst.mean(..)?))?;
ds`,
  plot: `sst.plot()?`
};
const SLOW = `let cluster = Cluster::local().workers(1).threads(2).memory("1GB").start()?;
let slow = cluster.map(0..40u64, |n: u64| { std::thread::sleep(std::time::Duration::from_millis(150)); n * 2 });
let doubled = slow.batch(1).gather()?;
println!("sum {}", doubled.iter().sum::<u64>());
cluster.shutdown();`;

let browser;
let folder;
let lab;

before(async () => {
  folder = await scratch();
  const prefix = join(folder.path, 'prefix');
  execFileSync(join(PROGRAMS, 'nuna'), ['kernel', 'install', '--prefix', prefix], { stdio: 'pipe' });
  lab = await startLab(folder.path, join(folder.path, 'state'), { JUPYTER_PATH: join(prefix, 'share', 'jupyter') });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await lab?.stop();
  await folder?.remove();
});

/** Opens a notebook of `sources` in a theme, with its kernel ready. */
async function notebook(name, sources, theme = 'JupyterLab Light') {
  const cells = sources.map((source, index) => ({
    cell_type: 'code', id: `cell-${index}`, source, metadata: {}, outputs: [], execution_count: null
  }));
  const metadata = { kernelspec: { name: 'nuna', display_name: 'Nuna (Rust)', language: 'rust' } };
  await writeFile(join(folder.path, 'root', `${name}.ipynb`), JSON.stringify({ cells, metadata, nbformat: 4, nbformat_minor: 5 }));
  const context = await browser.newContext({ viewport: { width: 1300, height: 1100 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${lab.url}lab?token=${lab.token}`);
  await page.goto(`${lab.url}lab/tree/${name}.ipynb?reset`);
  await page.waitForFunction(() => window.jupyterapp?.restored !== undefined);
  await page.evaluate(() => window.jupyterapp.restored);
  await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
  await page.evaluate(theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme }), theme);
  await until(
    'an idle kernel',
    () => page.evaluate(() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status ?? ''),
    status => status === 'idle',
    60_000
  );
  const cell = index => page.locator('.jp-Notebook .jp-CodeCell').nth(index);
  /** Runs one cell and waits for its number, which comes with its reply. */
  const run = async index => {
    await start(index);
    await until(`cell ${index} to end`, () => prompt(index), text => /\[\d+\]/.test(text), 60_000);
  };
  const start = async index => {
    await page.evaluate(async index => {
      const panel = window.jupyterapp.shell.currentWidget;
      panel.content.activeCellIndex = index;
      void window.jupyterapp.commands.execute('notebook:run-cell');
    }, index);
  };
  const prompt = index => cell(index).locator('.jp-InputArea-prompt').first().textContent();
  return { page, cell, run, start, close: () => context.close() };
}

/** Red, green and blue of a computed colour, and how light it is from 0 to 1. */
async function lightness(locator, property) {
  const text = await locator.evaluate((node, property) => getComputedStyle(node)[property], property);
  const [red, green, blue] = text.match(/[\d.]+/g).map(Number);
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}

for (const theme of ['JupyterLab Light', 'JupyterLab Dark']) {
  test(`an error, a dataset and a map read well in ${theme}`, async () => {
    const { page, cell, run, close } = await notebook(`views-${theme.split(' ')[1]}`, Object.values(CELLS), theme);
    for (const index of [0, 1, 2, 3]) {
      await run(index);
    }
    const error = await cell(1).locator('.jp-OutputArea-output').innerText();
    assert.match(error, /error\[E0277\]/);
    assert.match(error, /In \[2\]:2:\d+/);
    assert.match(error, /let total: f64 = warm \+ "degrees";/);
    const view = cell(2).locator('.nuna-view');
    await view.waitFor();
    assert.match(await view.innerText(), /nuna\.Dataset[\s\S]*lat[\s\S]*sst[\s\S]*anomaly/);
    const paper = await lightness(page.locator('.jp-Notebook').first(), 'backgroundColor');
    const ink = await lightness(view.locator('.nuna-wrap'), 'color');
    assert.ok(Math.abs(paper - ink) > 0.6, `ink of lightness ${ink} on paper of ${paper}`);
    const picture = cell(3).locator('.jp-OutputArea-output img, .jp-OutputArea-output svg').first();
    await picture.waitFor();
    const size = await picture.boundingBox();
    assert.ok(size.width > 300 && size.height > 200, JSON.stringify(size));
    await cell(1).scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(results, `notebook-error-${theme.split(' ')[1].toLowerCase()}.png`) });
    await cell(2).scrollIntoViewIfNeeded();
    await picture.scrollIntoViewIfNeeded();
    await page.screenshot({ path: join(results, `notebook-views-${theme.split(' ')[1].toLowerCase()}.png`) });
    await close();
  });
}

test('completion and a tooltip help while one types', async () => {
  const { page, cell, run, close } = await notebook('help', [CELLS.field, '']);
  await run(0);
  const editor = cell(1).locator('.cm-content');
  await editor.click();
  await page.keyboard.type('sst.isel("lat", 0)?.me');
  await page.keyboard.press('Tab');
  const completer = page.locator('.jp-Completer');
  await completer.waitFor();
  const offered = await until('methods', () => completer.innerText(), text => /mean/.test(text));
  assert.doesNotMatch(offered, /type_id|try_into/);
  await page.screenshot({ path: join(results, 'notebook-completion.png') });
  await page.keyboard.press('Escape');
  await page.keyboard.type('an(');
  await page.keyboard.press('Shift+Tab');
  const tooltip = page.locator('.jp-Tooltip');
  await tooltip.waitFor();
  const help = await until('the signature', () => tooltip.innerText(), text => /fn mean/.test(text));
  assert.match(help, /Mean|mean/);
  await page.screenshot({ path: join(results, 'notebook-tooltip.png') });
  await close();
});

test('a computation shows how far it is, in place', async () => {
  const { page, cell, start, close } = await notebook('progress', ['use nuna::prelude::*;\n' + SLOW]);
  await start(0);
  const bar = cell(0).locator('.jp-OutputArea-output progress');
  await bar.waitFor();
  const value = () => bar.first().evaluate(node => Number(node.value) / Number(node.max || 1)).catch(() => 1);
  const early = await value();
  await page.screenshot({ path: join(results, 'notebook-progress.png') });
  await until('the bar to move', value, now => now > early, 30_000);
  assert.equal(await bar.count(), 1, 'one bar, updated in place');
  await until('the result', () => cell(0).locator('.jp-OutputArea').innerText(), text => /sum 1560/.test(text), 60_000);
  await page.screenshot({ path: join(results, 'notebook-progress-done.png') });
  await close();
});
