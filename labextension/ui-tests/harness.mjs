/**
 * What the browser tests stand on: a dashboard fed by `examples/demo.rs`, a JupyterLab of its own with this
 * extension taken from the source tree, and Debian's Chromium. Everything on loopback, in a temporary folder,
 * and gone at the end.
 *
 * NUNA_DEMO: the built example; NUNA_VENV: an environment with JupyterLab; NUNA_CHROMIUM: the browser.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
export const extension = resolve(here, '..');
const repository = resolve(extension, '..');
export const results = join(here, 'test-results');
const PATIENCE = 60_000;

function must(path, remedy) {
  if (!existsSync(path)) {
    throw new Error(`${path} is not there; ${remedy}`);
  }
  return path;
}

export async function launch() {
  await mkdir(results, { recursive: true });
  return chromium.launch({
    executablePath: must(process.env.NUNA_CHROMIUM ?? '/usr/bin/chromium', 'install chromium, or set NUNA_CHROMIUM'),
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu']
  });
}

/** A temporary folder for one test. */
export async function scratch() {
  const path = await mkdtemp(join(tmpdir(), 'nuna-ui-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Starts the example; resolves to its address and token. */
export async function startDemo(options = {}) {
  const target = process.env.CARGO_TARGET_DIR ?? join(repository, 'target');
  const binary = must(
    process.env.NUNA_DEMO ?? join(target, 'debug', 'examples', 'demo'),
    'build it with `cargo build -p nuna-dashboard --example demo`'
  );
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(binary, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const line = await firstLine(child, 'the demo');
  return { ...JSON.parse(line), stop: () => stop(child) };
}

/** Starts JupyterLab with this extension and nothing installed; `state` is where cluster files are. */
export async function startLab(folder, state, environment = {}) {
  const venv = process.env.NUNA_VENV ?? join(repository, 'build', 'venv');
  const jupyter = must(join(venv, 'bin', 'jupyter-lab'), 'run `cargo xtask setup`, or set NUNA_VENV');
  const built = must(join(extension, 'nuna_labextension', 'labextension'), 'run `npm run build`');
  const labextensions = join(folder, 'labextensions');
  await mkdir(join(labextensions, '@nuna'), { recursive: true });
  await cp(built, join(labextensions, '@nuna', 'labextension'), { recursive: true });
  const config = join(folder, 'config');
  const settings = join(folder, 'settings', '@jupyterlab', 'apputils-extension');
  await mkdir(config, { recursive: true });
  await mkdir(settings, { recursive: true });
  await writeFile(join(settings, 'notification.jupyterlab-settings'), '{"fetchNews": "false"}');
  await mkdir(join(folder, 'root'), { recursive: true });
  const token = 'ui-test-only';
  await writeFile(
    join(config, 'jupyter_server_config.json'),
    JSON.stringify({
      ServerApp: {
        ip: '127.0.0.1',
        port: 0,
        open_browser: false,
        allow_root: true,
        root_dir: join(folder, 'root'),
        base_url: '/some/base/',
        jpserver_extensions: { nuna_labextension: true }
      },
      IdentityProvider: { token },
      LabApp: {
        expose_app_in_browser: true,
        extra_labextensions_path: [labextensions],
        user_settings_dir: join(folder, 'settings'),
        workspaces_dir: join(folder, 'workspaces')
      }
    })
  );
  const port = await freePort();
  const child = spawn(jupyter, [`--ServerApp.port=${port}`], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      PYTHONPATH: extension,
      JUPYTER_CONFIG_DIR: config,
      JUPYTER_DATA_DIR: join(folder, 'data'),
      JUPYTER_RUNTIME_DIR: join(folder, 'runtime'),
      NUNA_STATE_DIR: state,
      NUNA_SERVICE_URL: '',
      ...environment
    }
  });
  let log = '';
  child.stderr.on('data', data => (log = (log + data).slice(-20_000)));
  const url = `http://127.0.0.1:${port}/some/base/`;
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const up = await fetch(`${url}api`).then(response => response.ok, () => false);
    if (up) {
      break;
    }
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop(child);
      throw new Error(`JupyterLab did not start on port ${port}:\n${log}`);
    }
    await new Promise(next => setTimeout(next, 200));
  }
  return { url, token, log: () => log, stop: () => stop(child) };
}

function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

function firstLine(child, what) {
  return new Promise((done, failed) => {
    let text = '';
    const limit = setTimeout(() => failed(new Error(`${what} said nothing for ${PATIENCE} ms`)), PATIENCE);
    child.on('error', failed);
    child.on('exit', code => failed(new Error(`${what} ended with ${code}: ${text}`)));
    child.stdout.on('data', data => {
      text += data;
      if (text.includes('\n')) {
        clearTimeout(limit);
        done(text.split('\n')[0]);
      }
    });
  });
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const ended = new Promise(done => child.once('exit', done));
  child.stdin?.end();
  child.kill('SIGTERM');
  const limit = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(limit);
}

/** Pixels of the task stream's picture that are drawn on, and how many colours they have. */
export async function drawn(page, selector = '.nuna-plot') {
  return page.locator(selector).first().evaluate(canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Map();
    let pixels = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] === 255) {
        pixels++;
        const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
        colours.set(key, (colours.get(key) ?? 0) + 1);
      }
    }
    const many = [...colours.values()].filter(count => count > 20).length;
    return { pixels, colours: many, share: pixels / (data.length / 4) };
  });
}

/** Asks again until `check` accepts the answer. */
export async function until(what, ask, check, limit = 20_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    const answer = await ask();
    if (check(answer)) {
      return answer;
    }
    if (Date.now() > deadline) {
      throw new Error(`${what}: after ${limit} ms still ${JSON.stringify(answer)}`);
    }
    await new Promise(next => setTimeout(next, 100));
  }
}
