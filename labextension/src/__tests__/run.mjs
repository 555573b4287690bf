/** Bundles the tests (their imports have no endings, as Lab's bundler likes it) and runs them with node. */
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const out = join(root, 'node_modules', '.nuna-tests');
const tests = (await readdir(here)).filter(name => name.endsWith('.test.ts'));
await build({
  absWorkingDir: root,
  entryPoints: tests.map(name => join('src', '__tests__', name)),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  outdir: out,
  outExtension: { '.js': '.mjs' },
  sourcemap: 'inline'
});
const files = tests.map(name => join(out, name.replace(/\.ts$/, '.mjs')));
const run = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], { cwd: root, stdio: 'inherit' });
process.exitCode = run.status ?? 1;
