/**
 * What a view costs a browser: `node ui-tests/bench.mjs` prints frames per second, the renderer's share of a
 * core and bytes per task, for 20,000 tasks/s of 1000 workers in headless Chromium without a GPU.
 */
import { launch, startDemo, until } from './harness.mjs';

const SECONDS = 10;
const rate = Number(process.argv[2] ?? 20_000);
const workers = Number(process.argv[3] ?? 1000);
const demo = await startDemo({ workers, threads: 8, rate });
const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 850 } });
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const clicked = Date.now();
  await page.goto(`${demo.url}/?token=${demo.token}`);
  await page.locator('.nuna-plot').waitFor();
  await until('tasks', () => page.locator('#numbers').textContent(), text => / tasks/.test(text));
  const painted = Date.now() - clicked;
  const busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const of = name => metrics.find(metric => metric.name === name).value;
    return { task: of('TaskDuration'), heap: of('JSHeapUsedSize') };
  };
  const api = path => fetch(`${demo.url}/${path}`, { headers: { Authorization: `Bearer ${demo.token}` } });
  const sent = async () => Number(/nuna_dashboard_sent_bytes_total\{.*\} (\d+)/.exec(await (await api('metrics')).text())[1]);
  const done = async () => (await (await api('api/cluster')).json()).tasks_done;
  const before = { ...(await busy()), sent: await sent(), done: await done() };
  const frames = await page.evaluate(
    seconds =>
      new Promise(finish => {
        let frames = 0;
        const end = performance.now() + seconds * 1000;
        const frame = now => (now < end ? (frames++, requestAnimationFrame(frame)) : finish(frames / seconds));
        requestAnimationFrame(frame);
      }),
    SECONDS
  );
  const later = { ...(await busy()), sent: await sent(), done: await done() };
  const tasks = later.done - before.done;
  console.log(
    JSON.stringify({
      workers,
      tasks_per_second: Math.round(tasks / SECONDS),
      frames_per_second: Math.round(frames),
      renderer_core_share: Number(((later.task - before.task) / SECONDS).toFixed(2)),
      bytes_per_task_all_topics: Number(((later.sent - before.sent) / tasks).toFixed(1)),
      heap_megabytes: Math.round(later.heap / 1e6),
      first_numbers_ms: painted
    })
  );
} finally {
  await browser.close();
  await demo.stop();
}
