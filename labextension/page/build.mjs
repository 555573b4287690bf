/**
 * Builds the standalone page into kernel/crates/dashboard/assets, where cargo embeds it without needing npm.
 * With --check it writes nothing and fails if what is there is not what these sources give.
 */
import { build } from 'esbuild';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BYTES_MAX = 100_000;
const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, '..', '..', 'kernel', 'crates', 'dashboard', 'assets');
const check = process.argv.includes('--check');

const script = await build({
  absWorkingDir: join(here, '..'),
  entryPoints: ['src/page.ts'],
  bundle: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  write: false,
  banner: { js: '// Built from labextension/src/page.ts by `npm run build:page`; change that, not this.' }
});
const style = `/* Built from labextension/page/page.css and labextension/style/views.css by \`npm run build:page\`. */
${await readFile(join(here, 'page.css'), 'utf8')}
${await readFile(join(here, '..', 'style', 'views.css'), 'utf8')}`;
const files = {
  'index.html': await readFile(join(here, 'index.html'), 'utf8'),
  'page.css': style,
  'page.js': script.outputFiles[0].text
};

let bytes = 0;
for (const [name, text] of Object.entries(files)) {
  bytes += Buffer.byteLength(text);
  const path = join(assets, name);
  if (!check) {
    await writeFile(path, text);
  } else if ((await readFile(path, 'utf8').catch(() => '')) !== text) {
    console.error(`${path} is not what the sources give; run \`npm run build:page\` in labextension/ and commit it`);
    process.exitCode = 1;
  }
}
if (bytes > BYTES_MAX) {
  console.error(`the page has ${bytes} bytes, more than ${BYTES_MAX}: it is meant to be small and readable`);
  process.exitCode = 1;
}
if (!process.exitCode) {
  console.log(`standalone page: ${bytes} bytes, ${check ? 'current' : 'written'}`);
}
