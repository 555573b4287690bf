// Built from labextension/src/page.ts by `npm run build:page`; change that, not this.

// src/protocol.ts
var VERSION = 1;
var SpanKind = { compute: 0, transfer: 1, spill: 2, failed: 3 };
var WORKER_STATES = ["here", "left", "lost"];
var COMPUTATION_STATES = ["running", "succeeded", "failed", "cancelled"];
var HEADER_BYTES = 8;
var UNIT_MS = 1 << 29;
var DURATION_MASK = UNIT_MS - 1;
var text = new TextDecoder();
var ProtocolError = class extends Error {
};
function decode(message, sink) {
  const view = new DataView(message);
  let at = 0;
  while (at < message.byteLength) {
    if (at + HEADER_BYTES > message.byteLength) {
      throw new ProtocolError(`a record header needs ${HEADER_BYTES} bytes, ${message.byteLength - at} are left`);
    }
    const kind = view.getUint8(at);
    const length = view.getUint32(at + 4, true);
    const start = at + HEADER_BYTES;
    const end = start + length;
    if (end > message.byteLength) {
      throw new ProtocolError(`record of kind ${kind} says ${length} bytes, ${message.byteLength - start} are left`);
    }
    record(view, kind, start, end, sink);
    at = end;
  }
}
function record(v, kind, p, end, sink) {
  switch (kind) {
    case 1:
      sink.hello(v.getUint16(p, true), u64(v, p + 8), u64(v, p + 16) / 1e3, string(v, p + 24));
      return;
    case 2:
      sink.reset(u64(v, p));
      return;
    case 3:
      sink.clock(u64(v, p) / 1e3, u64(v, p + 8));
      return;
    case 4:
      sink.worker({
        id: v.getUint32(p, true),
        firstLane: v.getUint32(p + 4, true),
        threads: v.getUint16(p + 8, true),
        state: WORKER_STATES[v.getUint8(p + 10)] ?? "lost",
        memoryLimit: u64(v, p + 16),
        name: string(v, p + 24)
      });
      return;
    case 5:
      sink.computation({
        id: v.getUint32(p, true),
        state: COMPUTATION_STATES[v.getUint8(p + 4)] ?? "failed",
        started: u64(v, p + 8) / 1e3,
        finished: u64(v, p + 16) / 1e3,
        label: string(v, p + 24)
      });
      return;
    case 6:
      sink.stage({
        id: v.getUint32(p, true),
        computation: v.getUint32(p + 4, true),
        blocks: u64(v, p + 8),
        started: u64(v, p + 16) / 1e3,
        name: string(v, p + 24)
      });
      return;
    case 7:
      for (; p + 40 <= end; p += 40) {
        sink.progress(
          v.getUint32(p, true),
          u64(v, p + 8),
          u64(v, p + 16),
          u64(v, p + 24) / 1e3,
          u64(v, p + 32) / 1e3
        );
      }
      return;
    case 8:
      for (; p + 40 <= end; p += 40) {
        sink.sample(
          v.getUint32(p, true),
          v.getUint32(p + 4, true) / 1e3,
          v.getUint16(p + 8, true),
          u64(v, p + 16),
          u64(v, p + 24),
          u64(v, p + 32)
        );
      }
      return;
    case 9:
      for (; p + 56 <= end; p += 56) {
        sink.totals({
          at: u64(v, p) / 1e3,
          managed: u64(v, p + 8),
          spilled: u64(v, p + 16),
          rss: u64(v, p + 24),
          limit: u64(v, p + 32),
          tasks: u64(v, p + 40),
          cpu: v.getUint32(p + 48, true) / 1e3,
          threadsBusy: v.getUint32(p + 52, true)
        });
      }
      return;
    case 10: {
      const stage = v.getUint32(p, true);
      const base = u64(v, p + 8) / 1e3;
      for (p += 16; p + 12 <= end; p += 12) {
        const packed = v.getUint32(p + 4, true);
        const duration2 = packed & DURATION_MASK;
        sink.task(
          stage,
          v.getUint32(p + 8, true),
          base + v.getUint32(p, true) / 1e3,
          packed & UNIT_MS ? duration2 : duration2 / 1e3,
          packed >>> 30
        );
      }
      return;
    }
    case 11:
      sink.failure({
        at: u64(v, p) / 1e3,
        block: u64(v, p + 8),
        stage: v.getUint32(p + 16, true),
        worker: v.getUint32(p + 20, true),
        message: string(v, p + 24)
      });
      return;
    default:
      return;
  }
}
function u64(view, at) {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
}
function string(view, at) {
  const length = view.getUint16(at, true);
  return text.decode(new Uint8Array(view.buffer, view.byteOffset + at + 2, length));
}

// src/signal.ts
var Emitter = class {
  /** Returns what undoes it. */
  connect(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }
  emit(value) {
    for (const listener of [...this._listeners]) {
      listener(value);
    }
  }
  clear() {
    this._listeners.clear();
  }
  _listeners = /* @__PURE__ */ new Set();
};

// src/model.ts
var SPANS_MAX = 1 << 17;
var TOTALS_MAX = 3600;
var FAILURES_MAX = 200;
var FINISHED_COMPUTATIONS_MAX = 200;
var RATE_WINDOW = 5e3;
var SpanRing = class {
  start = new Float64Array(SPANS_MAX);
  duration = new Float32Array(SPANS_MAX);
  lane = new Uint32Array(SPANS_MAX);
  stage = new Uint32Array(SPANS_MAX);
  kind = new Uint8Array(SPANS_MAX);
  total = 0;
  push(stage, lane, start, duration2, kind) {
    const slot = this.total++ & SPANS_MAX - 1;
    this.start[slot] = start;
    this.duration[slot] = duration2;
    this.lane[slot] = lane;
    this.stage[slot] = stage;
    this.kind[slot] = kind;
  }
  /** Number of the oldest span that is still here. */
  get first() {
    return Math.max(0, this.total - SPANS_MAX);
  }
  slot(index) {
    return index & SPANS_MAX - 1;
  }
  clear() {
    this.total = 0;
  }
};
var ClusterModel = class {
  /** Emitted after each message, not after each record. */
  changed = new Emitter();
  spans = new SpanRing();
  workers = /* @__PURE__ */ new Map();
  computations = /* @__PURE__ */ new Map();
  stages = /* @__PURE__ */ new Map();
  failures = [];
  series = [];
  name = "";
  startedUnixMs = 0;
  now = 0;
  /** Spans the dashboard or this view could not keep up with. */
  spansDropped = 0;
  spansSkipped = 0;
  /** Goes up when everything was forgotten: what was drawn must be drawn again. */
  generation = 0;
  /** Goes up when workers come or go. */
  layoutVersion = 0;
  connection = "idle";
  /** Why the connection is lost, for people. */
  problem = "";
  receive(message) {
    decode(message, this);
    this.changed.emit(this);
  }
  setConnection(state, problem = "") {
    if (state !== this.connection || problem !== this.problem) {
      this.connection = state;
      this.problem = problem;
      this.changed.emit(this);
    }
  }
  /** The cluster's present, also between two messages, so that a time axis moves evenly. */
  present(clock2 = performance.now()) {
    const ahead = this.connection === "live" ? Math.min(clock2 - this._clockAt, 2e3) : 0;
    return this.now + Math.max(0, ahead);
  }
  /** Position of a name among all seen, for colours: the same for as long as the view is open. */
  colourIndex(name2) {
    let index = this._colours.get(name2);
    if (index === void 0) {
      index = this._colours.size;
      this._colours.set(name2, index);
    }
    return index;
  }
  workerOfLane(lane) {
    for (const worker of this.workers.values()) {
      if (lane >= worker.firstLane && lane < worker.firstLane + worker.threads) {
        return worker;
      }
    }
    return void 0;
  }
  get workersHere() {
    return [...this.workers.values()].filter((worker) => worker.state === "here");
  }
  get latest() {
    return this.series[this.series.length - 1];
  }
  /** Blocks per second over the last seconds. */
  get tasksPerSecond() {
    const latest = this.latest;
    if (!latest) {
      return 0;
    }
    let i = this.series.length - 1;
    while (i > 0 && latest.at - this.series[i - 1].at <= RATE_WINDOW) {
      i--;
    }
    const first = this.series[i];
    return latest.at > first.at ? (latest.tasks - first.tasks) / (latest.at - first.at) * 1e3 : 0;
  }
  /** Drops what a topic has brought; its past is about to come again. */
  forget(topic) {
    if (topic === "tasks") {
      this.spans.clear();
      this.generation++;
    } else if (topic === "failures") {
      this.failures = [];
    }
  }
  // What follows is called by the decoder.
  hello(version, startedUnixMs, now, name2) {
    if (version !== VERSION) {
      throw new Error(
        `the cluster's dashboard speaks version ${version}, this page version ${VERSION}: reload it, or update the older one`
      );
    }
    this.startedUnixMs = startedUnixMs;
    this.name = name2;
    this.clock(now, 0);
  }
  reset(spansSkipped) {
    this.spansSkipped += spansSkipped;
    this.spans.clear();
    this.workers.clear();
    this.computations.clear();
    this.stages.clear();
    this.failures = [];
    this.series = [];
    this.generation++;
    this.layoutVersion++;
  }
  clock(now, spansDropped) {
    this.now = now;
    this.spansDropped = spansDropped;
    this._clockAt = performance.now();
  }
  worker(w) {
    const known = this.workers.get(w.id);
    this.workers.set(w.id, { cpu: 0, threadsBusy: 0, managed: 0, spilled: 0, rss: 0, ...known, ...w });
    this.layoutVersion++;
  }
  computation(c) {
    const stages = this.computations.get(c.id)?.stages ?? [];
    this.computations.set(c.id, { ...c, stages });
    if (c.state !== "running") {
      this._forgetFinished();
    }
  }
  stage(s) {
    this.colourIndex(s.name);
    this.stages.set(s.id, { done: 0, failed: 0, busy: 0, last: 0, ...this.stages.get(s.id), ...s });
    const stages = this.computations.get(s.computation)?.stages;
    if (stages && !stages.includes(s.id)) {
      stages.push(s.id);
    }
  }
  progress(id, done, failed, busy, last) {
    const stage = this.stages.get(id);
    if (stage) {
      Object.assign(stage, { done, failed, busy, last });
    }
  }
  sample(id, cpu, threadsBusy, managed, spilled, rss) {
    const worker = this.workers.get(id);
    if (worker) {
      Object.assign(worker, { cpu, threadsBusy, managed, spilled, rss });
    }
  }
  totals(t) {
    if (this.latest && t.at <= this.latest.at) {
      return;
    }
    this.series.push(t);
    if (this.series.length > TOTALS_MAX) {
      this.series.splice(0, this.series.length - TOTALS_MAX);
    }
  }
  task(stage, lane, start, duration2, kind) {
    this.spans.push(stage, lane, start, duration2, kind);
  }
  failure(f) {
    this.failures.push(f);
    if (this.failures.length > FAILURES_MAX) {
      this.failures.shift();
    }
  }
  _forgetFinished() {
    const finished = [...this.computations.values()].filter((c) => c.state !== "running");
    for (const old of finished.slice(0, Math.max(0, finished.length - FINISHED_COMPUTATIONS_MAX))) {
      this.computations.delete(old.id);
      old.stages.forEach((stage) => this.stages.delete(stage));
    }
  }
  _clockAt = 0;
  _colours = /* @__PURE__ */ new Map();
};
function timeLeft(stage, now) {
  const elapsed = now - stage.started;
  if (stage.done < 2 || stage.done >= stage.blocks || elapsed < 500) {
    return void 0;
  }
  return elapsed / stage.done * (stage.blocks - stage.done);
}
var spanKindNames = ["compute", "transfer", "spill", "failed"];

// src/connection.ts
var RETRY_FIRST = 400;
var RETRY_LAST = 5e3;
var CLOSE_AFTER = 1500;
var ClusterConnection = class {
  constructor(endpoint2, model2 = new ClusterModel()) {
    this.endpoint = endpoint2;
    this.model = model2;
  }
  /** Keeps `topics` coming until the returned function is called. */
  retain(topics) {
    for (const topic of topics) {
      this._wanted.set(topic, (this._wanted.get(topic) ?? 0) + 1);
    }
    this._holders++;
    this._update();
    let held = true;
    return () => {
      if (!held) {
        return;
      }
      held = false;
      for (const topic of topics) {
        const count2 = (this._wanted.get(topic) ?? 1) - 1;
        if (count2 > 0) {
          this._wanted.set(topic, count2);
        } else {
          this._wanted.delete(topic);
        }
      }
      this._holders--;
      this._update();
    };
  }
  /** Which task was at `at` milliseconds in `lane`; the stream leaves out what only a pointer asks for. */
  async taskAt(lane, at, slack) {
    const us = (ms) => Math.max(0, Math.round(ms * 1e3));
    const path = `api/tasks?lane=${lane}&at_us=${us(at)}&slack_us=${us(slack)}`;
    return await this.endpoint.getJson(path);
  }
  dispose() {
    this._disposed = true;
    clearTimeout(this._retryTimer);
    clearTimeout(this._closeTimer);
    this._socket?.close();
    this._socket = null;
    this.model.changed.clear();
  }
  _update() {
    if (this._disposed) {
      return;
    }
    clearTimeout(this._closeTimer);
    if (this._holders > 0) {
      this._open();
      this._subscribe();
    } else {
      this._closeTimer = setTimeout(() => {
        clearTimeout(this._retryTimer);
        this._socket?.close();
        this._socket = null;
        this.model.setConnection("idle");
      }, CLOSE_AFTER);
    }
  }
  _open() {
    if (this._socket) {
      return;
    }
    clearTimeout(this._retryTimer);
    if (this.model.connection !== "lost") {
      this.model.setConnection("connecting");
    }
    let socket;
    try {
      socket = new WebSocket(this.endpoint.webSocketUrl());
    } catch (error) {
      this._lost(error instanceof Error ? error.message : String(error));
      return;
    }
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    this._sent = "";
    this._topics = [];
    socket.onopen = () => this._subscribe();
    socket.onmessage = (event) => {
      if (socket !== this._socket || !(event.data instanceof ArrayBuffer)) {
        return;
      }
      this._retryIn = RETRY_FIRST;
      try {
        this.model.setConnection("live");
        this.model.receive(event.data);
      } catch (error) {
        this._retryIn = RETRY_LAST;
        socket.close();
        this._lost(error instanceof Error ? error.message : String(error));
      }
    };
    socket.onclose = (event) => {
      if (socket === this._socket) {
        this._lost(event.reason || "the cluster does not answer");
      }
    };
  }
  _lost(problem) {
    this._socket = null;
    if (this._disposed) {
      return;
    }
    this.model.setConnection("lost", problem);
    clearTimeout(this._retryTimer);
    this._retryTimer = setTimeout(() => {
      if (this._holders > 0) {
        this._open();
      }
    }, this._retryIn);
    this._retryIn = Math.min(this._retryIn * 2, RETRY_LAST);
  }
  _subscribe() {
    if (this._socket?.readyState !== WebSocket.OPEN) {
      return;
    }
    const topics = [...this._wanted.keys()].sort();
    const request = JSON.stringify({ subscribe: topics });
    if (request !== this._sent) {
      topics.filter((topic) => !this._topics.includes(topic)).forEach((topic) => this.model.forget(topic));
      this._socket.send(request);
      this._sent = request;
      this._topics = topics;
    }
  }
  _socket = null;
  _wanted = /* @__PURE__ */ new Map();
  _holders = 0;
  _sent = "";
  _topics = [];
  _retryIn = RETRY_FIRST;
  _retryTimer;
  _closeTimer;
  _disposed = false;
};

// src/views/colour.ts
var PALETTE = [
  "#4477aa",
  "#44bb99",
  "#ddaa33",
  "#aa4499",
  "#88ccee",
  "#228833",
  "#bbcc33",
  "#6650a4",
  "#009988",
  "#cc99bb"
];
function stageColour(index) {
  return PALETTE[index % PALETTE.length];
}
function readTheme(node) {
  const style = getComputedStyle(node);
  const get = (name2) => style.getPropertyValue(`--nuna-${name2}`).trim() || "#888";
  return {
    text: get("text"),
    faint: get("faint"),
    grid: get("grid"),
    row: get("row"),
    transfer: get("transfer"),
    spill: get("spill"),
    failed: get("failed"),
    managed: get("managed"),
    unmanaged: get("unmanaged"),
    limit: get("limit"),
    cpu: get("cpu"),
    font: `11px ${style.fontFamily || "sans-serif"}`
  };
}

// src/views/format.ts
var BYTE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
function bytes(value) {
  let unit = 0;
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1e3;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : significant(value)} ${BYTE_UNITS[unit]}`;
}
function count(value) {
  return Math.round(value).toLocaleString("en-US").replace(/,/g, " ");
}
function rate(perSecond) {
  return `${perSecond >= 10 ? count(perSecond) : significant(perSecond)}/s`;
}
function duration(ms) {
  if (ms < 0.9995) {
    return `${Math.round(ms * 1e3)} µs`;
  }
  if (ms < 999.5) {
    return `${significant(ms)} ms`;
  }
  const seconds = ms / 1e3;
  if (seconds < 59.95) {
    return `${significant(seconds)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}
function clock(unixMs, step) {
  const date = new Date(unixMs);
  const two = (n) => String(n).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (step >= 1e3) {
    return time;
  }
  return `${time}.${String(date.getMilliseconds()).padStart(3, "0").slice(0, step >= 100 ? 1 : 3)}`;
}
function significant(value) {
  return value >= 99.5 ? String(Math.round(value)) : String(Number(value.toPrecision(value >= 9.95 ? 3 : 2)));
}
var STEPS = [
  1,
  2,
  5,
  10,
  20,
  50,
  100,
  200,
  500,
  1e3,
  2e3,
  5e3,
  1e4,
  15e3,
  3e4,
  6e4,
  12e4,
  3e5,
  6e5,
  9e5,
  18e5,
  36e5,
  72e5,
  216e5
];
function timeStep(msPerPixel, gap) {
  return STEPS.find((step) => step / msPerPixel >= gap) ?? STEPS[STEPS.length - 1];
}
function niceCeil(value) {
  if (!(value > 0)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  const lead = value / power;
  return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 2.5 ? 2.5 : lead <= 5 ? 5 : 10) * power;
}

// src/views/text.ts
var plain = (text2, ...values) => text2.replace(/%(\d)/g, (_, i) => values[Number(i) - 1] ?? "");

// src/views/view.ts
var View = class {
  constructor(options, kind, topics) {
    this.connection = options.connection;
    this.model = options.connection.model;
    this.translate = options.translate ?? plain;
    this._topics = topics;
    this.node = element("div", `nuna-view nuna-${kind}`);
    this.body = element("div", "nuna-body");
    this._notice = element("div", "nuna-notice");
    this._notice.setAttribute("role", "status");
    this._notice.hidden = true;
    this.node.append(this._notice, this.body);
    this._undo.push(this.model.changed.connect(() => this.schedule()));
    this._resizes = new ResizeObserver(() => {
      this.resized();
      this.schedule();
    });
    this._resizes.observe(this.body);
    this._sight = new IntersectionObserver((entries) => {
      this._inSight = entries[entries.length - 1].isIntersecting;
      this._reconsider();
    });
    this._sight.observe(this.node);
    const page = () => this._reconsider();
    document.addEventListener("visibilitychange", page);
    this._undo.push(() => document.removeEventListener("visibilitychange", page));
  }
  node;
  model;
  connection;
  translate;
  body;
  /** A shell's word that the view is hidden; without one it counts as shown. */
  setVisible(visible2) {
    this._shown = visible2;
    this._reconsider();
  }
  get isVisible() {
    return this._release !== null;
  }
  /** Colours changed: everything is drawn again. */
  themeChanged() {
    this.resized();
    this.schedule();
  }
  dispose() {
    this._shown = false;
    this._reconsider();
    cancelAnimationFrame(this._request);
    clearTimeout(this._pulseTimer);
    this._resizes.disconnect();
    this._sight.disconnect();
    this._undo.forEach((undo) => undo());
    this.node.remove();
  }
  /** Draws again when `node` gets another size, as a canvas's frame does when a legend grows. */
  watch(node) {
    this._resizes.observe(node);
  }
  /** The size or the theme changed: forget what was drawn. */
  resized() {
  }
  /** Milliseconds until the next frame is worth drawing though nothing arrives; infinite for most. */
  get pulse() {
    return Infinity;
  }
  schedule() {
    if (this._release && this._request === 0) {
      this._request = requestAnimationFrame((now) => {
        this._request = 0;
        if (!this._release) {
          return;
        }
        this._showNotice();
        this.draw(now);
        clearTimeout(this._pulseTimer);
        if (Number.isFinite(this.pulse)) {
          this._pulseTimer = setTimeout(() => this.schedule(), this.pulse);
        }
      });
    }
  }
  _reconsider() {
    const visible2 = this._shown && this._inSight && !document.hidden;
    if (visible2 && !this._release) {
      this._release = this.connection.retain(this._topics);
      this.schedule();
    } else if (!visible2 && this._release) {
      this._release();
      this._release = null;
      clearTimeout(this._pulseTimer);
    }
  }
  _showNotice() {
    const { connection: connection2, problem } = this.model;
    const text2 = connection2 === "lost" ? this.translate("No connection to the cluster: %1. Trying again…", problem) : connection2 === "connecting" && this.model.generation === 0 ? this.translate("Connecting…") : "";
    if (this._notice.textContent !== text2) {
      this._notice.textContent = text2;
      this._notice.hidden = text2 === "";
    }
    this.node.classList.toggle("nuna-stale", connection2 === "lost");
  }
  _topics;
  _notice;
  _resizes;
  _sight;
  _shown = true;
  _inSight = false;
  _release = null;
  _request = 0;
  _pulseTimer;
  _undo = [];
};
function element(tag, className = "", text2 = "") {
  const node = document.createElement(tag);
  node.className = className;
  if (text2) {
    node.textContent = text2;
  }
  return node;
}
function setText(node, text2) {
  if (node.textContent !== text2) {
    node.textContent = text2;
  }
}
function reducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// src/views/memory/layout.ts
function visible(series, from, to, width) {
  const kept = [];
  const perPixel = Math.max(1e-9, (to - from) / Math.max(1, width));
  let pixel = -Infinity;
  for (const point of series) {
    if (point.at < from - 2e3 || point.at > to) {
      continue;
    }
    const here = Math.floor(point.at / perPixel);
    if (here !== pixel) {
      kept.push(point);
      pixel = here;
    } else if (used(point) > used(kept[kept.length - 1])) {
      kept[kept.length - 1] = point;
    }
  }
  return kept;
}
function used(point) {
  return Math.max(point.managed, point.rss);
}
function bytesTop(points) {
  const most = points.reduce((top, point) => Math.max(top, used(point), point.spilled), 0);
  const limit = points.length > 0 ? points[points.length - 1].limit : 0;
  return limit > 0 && most > limit / 4 ? Math.max(limit * 1.05, most * 1.05) : niceCeil(Math.max(most * 1.2, 1e6));
}
function levels(top, parts) {
  const step = niceCeil(top / Math.max(1, parts));
  const marks = [0];
  while (marks[marks.length - 1] + step <= top * 1.0001) {
    marks.push(marks.length * step);
  }
  return marks;
}
function x(scale, at) {
  return (at - scale.from) / (scale.to - scale.from) * scale.width;
}
function y(scale, value) {
  return scale.height * (1 - value / scale.top);
}

// src/views/memory/view.ts
var WINDOWS = [
  [6e4, "1 min"],
  [3e5, "5 min"],
  [36e5, "1 h"]
];
var LEFT = 62;
var AXIS_HEIGHT = 20;
var GAP = 14;
var CPU_SHARE = 0.26;
var TABLE_ROWS_MAX = 120;
var MemoryView = class extends View {
  constructor(options) {
    super(options, "memory", ["totals"]);
    const t = this.translate;
    for (const [ms, label] of WINDOWS) {
      const button = element("button", "nuna-tool", label);
      button.type = "button";
      button.addEventListener("click", () => this._choose(ms));
      this._tools.append(button);
      this._buttons.set(ms, button);
    }
    this._tableButton.type = "button";
    this._tableButton.textContent = t("Table");
    this._tableButton.addEventListener("click", () => this._toggleTable());
    this._tools.append(this._tableButton, this._legend);
    this._canvas.setAttribute("role", "img");
    this._frame.append(this._canvas);
    this._table.hidden = true;
    this.body.append(this._tools, this._frame, this._table);
    this.watch(this._frame);
    this._choose(WINDOWS[0][0]);
    this._tableButton.setAttribute("aria-pressed", "false");
  }
  get pulse() {
    return this.model.connection === "live" ? 1e3 : Infinity;
  }
  resized() {
    this._drawnAt = -1;
    this._theme = null;
  }
  draw() {
    const present = this.model.present();
    const due = present - this._drawnAt >= 500 || present < this._drawnAt;
    if (this._drawnAt >= 0 && !due && this._generation === this.model.generation) {
      return;
    }
    this._drawnAt = present;
    this._generation = this.model.generation;
    if (!this._table.hidden) {
      this._drawTable();
      return;
    }
    const width = this._frame.clientWidth;
    const height = this._frame.clientHeight;
    const plotWidth = width - LEFT - 8;
    const cpuHeight = Math.round((height - AXIS_HEIGHT - GAP) * CPU_SHARE);
    const memoryHeight = height - AXIS_HEIGHT - GAP - cpuHeight - 6;
    if (plotWidth < 20 || memoryHeight < 20) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    this._theme ??= readTheme(this.node);
    this._canvas.width = Math.round(width * ratio);
    this._canvas.height = Math.round(height * ratio);
    this._canvas.style.width = `${width}px`;
    this._canvas.style.height = `${height}px`;
    const context = this._canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = this._theme.font;
    const from = Math.max(0, present - this._span);
    const to = Math.max(present, from + Math.min(this._span, 2e4));
    const points = visible(this.model.series, from, to, plotWidth * ratio);
    const memory = { from, to, top: bytesTop(points), width: plotWidth, height: memoryHeight };
    const threads = this.model.workersHere.reduce((sum, worker) => sum + worker.threads, 0);
    const cpuTop = Math.max(1, threads, ...points.map((point) => point.cpu));
    const cpu = { from, to, top: cpuTop, width: plotWidth, height: cpuHeight };
    context.translate(LEFT, 6);
    this._drawTime(context, memory, memoryHeight + GAP + cpuHeight);
    this._drawMemory(context, memory, points);
    context.translate(0, memoryHeight + GAP);
    this._drawCpu(context, cpu, points);
    this._drawLegend();
    const last = points[points.length - 1];
    this._canvas.setAttribute(
      "aria-label",
      last ? this.translate(
        "Memory over time: now %1 managed, %2 in all, %3 spilled, limit %4; %5 cores busy",
        bytes(last.managed),
        bytes(used(last)),
        bytes(last.spilled),
        bytes(last.limit),
        last.cpu.toFixed(1)
      ) : this.translate("Memory over time: nothing measured yet")
    );
  }
  _drawTime(context, scale, height) {
    const theme = this._theme;
    const zero = this.model.startedUnixMs;
    const step = timeStep((scale.to - scale.from) / scale.width, 90);
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let at = Math.ceil((zero + scale.from) / step) * step; at <= zero + scale.to; at += step) {
      const at_x = Math.round(x(scale, at - zero));
      context.fillStyle = theme.grid;
      context.fillRect(at_x, 0, 1, height);
      if (at_x > 24 && at_x < scale.width - 20) {
        context.fillStyle = theme.faint;
        context.fillText(clock(at, step), at_x, height + AXIS_HEIGHT / 2 + 2);
      }
    }
  }
  _drawMemory(context, scale, points) {
    const theme = this._theme;
    this._drawLevels(context, scale, 4, bytes);
    area(context, scale, points, (point) => point.managed, used, theme.unmanaged);
    area(context, scale, points, () => 0, (point) => point.managed, theme.managed);
    line(context, scale, points, (point) => point.spilled, theme.spill, []);
    const limited = points.filter((point) => point.limit > 0);
    if (limited.some((point) => point.limit <= scale.top)) {
      line(context, scale, limited, (point) => Math.min(point.limit, scale.top), theme.limit, [5, 4]);
    }
  }
  _drawCpu(context, scale, points) {
    const theme = this._theme;
    this._drawLevels(context, scale, 2, (value) => this.translate("%1 cores", String(value)));
    area(context, scale, points, () => 0, (point) => point.cpu, theme.cpu);
  }
  _drawLevels(context, scale, parts, label) {
    const theme = this._theme;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const fitting = Math.max(1, Math.min(parts, Math.floor(scale.height / 22)));
    for (const value of levels(scale.top, fitting)) {
      const at = Math.round(y(scale, value));
      context.fillStyle = theme.grid;
      context.fillRect(0, at, scale.width, 1);
      context.fillStyle = theme.faint;
      context.fillText(value === 0 ? "0" : label(value), -6, at);
    }
  }
  _drawLegend() {
    const theme = this._theme;
    const last = this.model.latest;
    const t = this.translate;
    const entries = [
      [theme.managed, t("managed %1", bytes(last?.managed ?? 0))],
      [theme.unmanaged, t("other %1", bytes(last ? used(last) - last.managed : 0))],
      [theme.spill, t("spilled %1", bytes(last?.spilled ?? 0))],
      [theme.limit, t("limit %1", bytes(last?.limit ?? 0))],
      [theme.cpu, t("%1 cores", (last?.cpu ?? 0).toFixed(1))]
    ];
    entries.forEach(([colour, text2], i) => {
      let item = this._legend.children[i];
      if (!item) {
        item = element("span", "nuna-legend-entry");
        item.append(element("i", "nuna-swatch"), element("span"));
        this._legend.append(item);
      }
      item.firstChild.style.background = colour;
      setText(item.lastChild, text2);
    });
  }
  _drawTable() {
    const t = this.translate;
    const table = element("table", "nuna-table");
    const row = (cells, tag) => {
      const node = element("tr");
      cells.forEach((cell) => node.append(element(tag, "", cell)));
      return node;
    };
    const thead = element("thead");
    thead.append(row([t("Time"), t("Managed"), t("Other"), t("Spilled"), t("Limit"), t("Cores")], "th"));
    const tbody = element("tbody");
    for (const point of this.model.series.slice(-TABLE_ROWS_MAX).reverse()) {
      const cells = [point.managed, used(point) - point.managed, point.spilled, point.limit].map(bytes);
      tbody.append(row([clock(this.model.startedUnixMs + point.at, 1e3), ...cells, point.cpu.toFixed(1)], "td"));
    }
    table.append(element("caption", "", t("Memory of all workers, newest first")), thead, tbody);
    const top = this._table.scrollTop;
    this._table.replaceChildren(table);
    this._table.scrollTop = top;
  }
  _choose(ms) {
    this._span = ms;
    this._buttons.forEach((button, value) => button.setAttribute("aria-pressed", String(value === ms)));
    this._drawnAt = -1;
    this.schedule();
  }
  _toggleTable() {
    this._table.hidden = !this._table.hidden;
    this._frame.hidden = !this._table.hidden;
    this._tableButton.setAttribute("aria-pressed", String(!this._table.hidden));
    this._drawnAt = -1;
    this.schedule();
  }
  _tools = element("div", "nuna-tools");
  _legend = element("div", "nuna-legend");
  _frame = element("div", "nuna-frame");
  _canvas = element("canvas", "nuna-axes");
  _table = element("div", "nuna-scroll");
  _tableButton = element("button", "nuna-tool");
  _buttons = /* @__PURE__ */ new Map();
  _span = WINDOWS[0][0];
  _theme = null;
  _drawnAt = -1;
  _generation = -1;
};
function area(context, scale, points, low, high, colour) {
  if (points.length < 2) {
    return;
  }
  context.fillStyle = colour;
  context.beginPath();
  points.forEach((point) => context.lineTo(x(scale, point.at), y(scale, high(point))));
  for (let i = points.length - 1; i >= 0; i--) {
    context.lineTo(x(scale, points[i].at), y(scale, low(points[i])));
  }
  context.closePath();
  context.save();
  const clip = new Path2D();
  clip.rect(0, 0, scale.width, scale.height);
  context.clip(clip);
  context.fill();
  context.restore();
}
function line(context, scale, points, value, colour, dash) {
  context.save();
  const clip = new Path2D();
  clip.rect(0, 0, scale.width, scale.height);
  context.clip(clip);
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach((point) => context.lineTo(x(scale, point.at), y(scale, value(point))));
  context.stroke();
  context.restore();
}

// src/views/progress/layout.ts
var COMPUTATIONS_MAX = 30;
var STAGES_MAX = 60;
function listed(model2) {
  const all = [...model2.computations.values()].sort((a, b) => b.id - a.id);
  const running = all.filter((c) => c.state === "running");
  const finished = all.filter((c) => c.state !== "running");
  return [...running, ...finished].slice(0, COMPUTATIONS_MAX).map((computation) => {
    const stages = computation.stages.map((id) => model2.stages.get(id)).filter((stage) => stage !== void 0);
    return {
      computation,
      stages: stages.slice(0, STAGES_MAX),
      done: stages.reduce((sum, stage) => sum + stage.done, 0),
      blocks: stages.reduce((sum, stage) => sum + stage.blocks, 0)
    };
  });
}
function share(done, blocks) {
  return blocks > 0 ? Math.min(1, done / blocks) : 0;
}

// src/views/progress/view.ts
var FAILURES_SHOWN = 20;
var ProgressView = class extends View {
  constructor(options) {
    super(options, "progress", ["progress", "failures"]);
    this.body.classList.add("nuna-scroll");
    this._empty.textContent = this.translate("Nothing has been computed yet. Progress appears here with the first compute().");
    this._failures.hidden = true;
    this.body.append(this._failures, this._list, this._empty);
  }
  get pulse() {
    return this._running ? 1e3 : Infinity;
  }
  draw() {
    if (this._generation !== this.model.generation) {
      this._generation = this.model.generation;
      this._blocks.forEach((block) => block.node.remove());
      this._blocks.clear();
    }
    const list = listed(this.model);
    this._running = list.some((item) => item.computation.state === "running");
    this._empty.hidden = list.length > 0 || this.model.generation === 0;
    const seen = /* @__PURE__ */ new Set();
    list.forEach((item, index) => {
      seen.add(item.computation.id);
      const block = this._block(item);
      if (this._list.children[index] !== block.node) {
        this._list.insertBefore(block.node, this._list.children[index] ?? null);
      }
      this._update(block, item);
    });
    for (const [id, block] of this._blocks) {
      if (!seen.has(id)) {
        block.node.remove();
        this._blocks.delete(id);
      }
    }
    this._showFailures();
  }
  _block({ computation }) {
    let block = this._blocks.get(computation.id);
    if (!block) {
      const head = element("div", "nuna-computation-head");
      block = {
        node: element("section", "nuna-computation"),
        label: element("span", "nuna-computation-label"),
        state: element("span", "nuna-badge"),
        numbers: element("span", "nuna-numbers"),
        rows: /* @__PURE__ */ new Map()
      };
      head.append(block.label, block.state, block.numbers);
      block.node.append(head);
      this._blocks.set(computation.id, block);
    }
    return block;
  }
  _update(block, { computation, stages, done, blocks }) {
    const t = this.translate;
    const running = computation.state === "running";
    const end = running ? this.model.present() : computation.finished;
    setText(block.label, computation.label || t("computation %1", String(computation.id)));
    setText(block.state, t(STATE_WORDS[computation.state]));
    block.state.dataset.state = computation.state;
    setText(
      block.numbers,
      `${count(Math.min(done, blocks))} / ${count(blocks)} · ${duration(Math.max(0, end - computation.started))}`
    );
    block.node.setAttribute("aria-label", block.label.textContent ?? "");
    for (const stage of stages) {
      this._updateStage(block, stage, running);
    }
  }
  _updateStage(block, stage, running) {
    const t = this.translate;
    let row = block.rows.get(stage.id);
    if (!row) {
      row = {
        node: element("div", "nuna-stage"),
        bar: element("div", "nuna-bar"),
        fill: element("div", "nuna-fill"),
        name: element("span", "nuna-stage-name", stage.name),
        numbers: element("span"),
        failed: element("span", "nuna-failed-count")
      };
      const numbers2 = element("span", "nuna-numbers");
      numbers2.append(row.numbers, row.failed);
      row.bar.setAttribute("role", "progressbar");
      row.bar.setAttribute("aria-label", stage.name);
      row.bar.setAttribute("aria-valuemin", "0");
      row.bar.setAttribute("aria-valuemax", String(stage.blocks));
      row.fill.style.background = stageColour(this.model.colourIndex(stage.name));
      row.name.title = stage.name;
      row.bar.append(row.fill);
      row.node.append(row.name, numbers2, row.bar);
      block.rows.set(stage.id, row);
      block.node.append(row.node);
    }
    const done = Math.min(stage.done, stage.blocks);
    row.fill.style.transform = `scaleX(${share(stage.done, stage.blocks)})`;
    row.bar.setAttribute("aria-valuenow", String(done));
    const parts = [`${count(done)} / ${count(stage.blocks)}`];
    if (stage.done > 0) {
      parts.push(t("%1 per block", duration(stage.busy / stage.done)));
    }
    const left = running ? timeLeft(stage, this.model.present()) : void 0;
    if (left !== void 0) {
      parts.push(t("%1 left", duration(Math.max(1e3, Math.round(left / 1e3) * 1e3))));
    }
    setText(row.numbers, parts.join(" · "));
    setText(row.failed, stage.failed > 0 ? t("%1 failed", count(stage.failed)) : "");
  }
  _showFailures() {
    const latest = this.model.failures.slice(-FAILURES_SHOWN).reverse();
    const key = latest.map((failure) => `${failure.stage}/${failure.block}/${failure.at}`).join();
    if (key === this._failureKey) {
      return;
    }
    this._failureKey = key;
    this._failures.hidden = latest.length === 0;
    const t = this.translate;
    const head = element("summary", "", t("Failed attempts: %1", count(this.model.failures.length)));
    this._failures.replaceChildren(
      head,
      ...latest.map((failure) => {
        const stage = this.model.stages.get(failure.stage)?.name ?? t("stage %1", String(failure.stage));
        const worker = this.model.workers.get(failure.worker)?.name ?? String(failure.worker);
        const node = element("div", "nuna-failure");
        const where = t("%1, block %2, on %3", stage, count(failure.block), worker);
        node.append(element("strong", "", where), element("pre", "", failure.message));
        return node;
      })
    );
  }
  _failures = element("details", "nuna-failures");
  _list = element("div");
  _empty = element("p", "nuna-empty");
  _blocks = /* @__PURE__ */ new Map();
  _generation = -1;
  _running = false;
  _failureKey = "";
};
var STATE_WORDS = {
  running: "running",
  succeeded: "done",
  failed: "failed",
  cancelled: "cancelled"
};

// src/views/taskstream/layout.ts
var ROW_MAX = 56;
var GROUP_GAP = 6;
var LaneLayout = class {
  constructor(workers, height) {
    const lanes = workers.reduce((sum, worker) => sum + worker.threads, 0);
    const gaps = Math.max(0, workers.length - 1);
    const gap = lanes + gaps * GROUP_GAP <= height / 3 ? GROUP_GAP : lanes + gaps <= height / 2 ? 1 : 0;
    const room = Math.max(1, height - gaps * gap);
    const pitch = lanes === 0 ? 0 : Math.min(ROW_MAX, room / lanes);
    let y2 = 0;
    for (const worker of workers) {
      const groupTop = y2;
      for (let thread = 0; thread < worker.threads; thread++) {
        const top = Math.floor(y2);
        const bottom = Math.floor(y2 + pitch);
        const spare = pitch >= 5 ? 1 : 0;
        this._rows.set(worker.firstLane + thread, { top, height: Math.max(1, bottom - top - spare) });
        y2 += pitch;
      }
      this.groups.push({ worker, top: groupTop, height: y2 - groupTop });
      y2 += gap;
    }
    this.height = workers.length > 0 ? y2 - gap : 0;
  }
  groups = [];
  height;
  row(lane) {
    return this._rows.get(lane);
  }
  /** The lane at a height, or the one nearest to it within 3 pixels. */
  laneAt(y2) {
    let best;
    let distance = 3;
    for (const [lane, row] of this._rows) {
      const away = y2 < row.top ? row.top - y2 : y2 >= row.top + row.height ? y2 - row.top - row.height + 1 : 0;
      if (away < distance) {
        best = lane;
        distance = away;
        if (away === 0) {
          break;
        }
      }
    }
    return best;
  }
  _rows = /* @__PURE__ */ new Map();
};
var TimeWindow = class {
  constructor(width, msPerPixel) {
    this.width = width;
    this.msPerPixel = msPerPixel;
  }
  /** Time at the left edge, in pixels since the start of the cluster. */
  leftPixel = 0;
  get left() {
    return this.leftPixel * this.msPerPixel;
  }
  get right() {
    return (this.leftPixel + this.width) * this.msPerPixel;
  }
  x(time) {
    return time / this.msPerPixel - this.leftPixel;
  }
  time(x2) {
    return (this.leftPixel + x2) * this.msPerPixel;
  }
  /** Puts `time` at the right edge; returns by how many pixels everything moves to the left. */
  follow(time) {
    const before = this.leftPixel;
    this.leftPixel = Math.ceil(time / this.msPerPixel) - this.width;
    return this.leftPixel - before;
  }
  pan(pixels) {
    this.leftPixel = Math.round(this.leftPixel + pixels);
  }
  /** Scales about `x`, which stays where it is. */
  zoom(factor, x2, shortest = 5e-4, longest = 6e4) {
    const time = this.time(x2);
    this.msPerPixel = Math.min(longest, Math.max(shortest, this.msPerPixel * factor));
    this.leftPixel = Math.round(time / this.msPerPixel - x2);
  }
};
function spanBox(window2, start, duration2) {
  const left = window2.x(start);
  const right = window2.x(start + duration2);
  if (right < 0 || left >= window2.width) {
    return void 0;
  }
  const x2 = Math.max(0, left);
  return { x: x2, width: Math.max(1, Math.min(window2.width, right) - x2) };
}

// src/views/taskstream/view.ts
var AXIS_HEIGHT2 = 20;
var LABEL_WIDTH = 86;
var FIRST_WINDOW = 3e4;
var ZOOM_STEP = 1.25;
var TABLE_ROWS_MAX2 = 100;
var HOVER_DELAY = 120;
var LEGEND_MAX = 8;
var SEAM_FROM = 6;
var TaskStreamView = class extends View {
  constructor(options) {
    super(options, "taskstream", ["tasks"]);
    const t = this.translate;
    this._canvas.tabIndex = 0;
    this._canvas.setAttribute("role", "img");
    this._canvas.setAttribute(
      "aria-label",
      t("Task stream: one row per thread, one rectangle per task. Arrow keys move, plus and minus zoom, space pauses.")
    );
    this._live = this._button(t("Live"), t("Follow the present (Home)"), () => this._follow());
    this._pause = this._button(t("Pause"), t("Hold the picture (Space)"), () => this._hold());
    this._button("−", t("Show more time"), () => this._zoom(ZOOM_STEP * ZOOM_STEP, this._window.width));
    this._button("+", t("Show less time"), () => this._zoom(1 / ZOOM_STEP / ZOOM_STEP, this._window.width));
    this._tableButton = this._button(t("Table"), t("Show the latest tasks as a table"), () => this._toggleTable());
    this._tableButton.setAttribute("aria-pressed", "false");
    this._tools.append(this._legend);
    this._frame.append(this._canvas, this._plot, this._tooltip);
    this._tooltip.hidden = true;
    this._table.hidden = true;
    this.body.append(this._tools, this._frame, this._table);
    this.watch(this._frame);
    this._listen();
    this._showMode();
  }
  resized() {
    this._fresh = false;
  }
  get pulse() {
    if (!this._following || this.model.connection !== "live") {
      return Infinity;
    }
    const pixel = this._window.msPerPixel / this._ratio;
    return Math.max(reducedMotion() ? 1e3 : 33, Math.min(1e3, pixel));
  }
  draw() {
    if (!this._table.hidden) {
      this._drawTable();
      return;
    }
    const width = this._frame.clientWidth;
    const height = this._frame.clientHeight;
    const plotWidth = width - LABEL_WIDTH;
    const plotHeight = height - AXIS_HEIGHT2;
    if (plotWidth < 20 || plotHeight < 10) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    if (!this._fresh || ratio !== this._ratio) {
      this._ratio = ratio;
      this._theme = readTheme(this.node);
      size(this._canvas, width, height, ratio);
      size(this._plot, plotWidth, plotHeight, ratio);
      this._plot.style.left = `${LABEL_WIDTH}px`;
      const shownMs = this._window.width > 0 ? this._window.width * this._window.msPerPixel : FIRST_WINDOW;
      const right = this._window.right;
      this._window.width = this._plot.width;
      this._window.msPerPixel = shownMs / this._plot.width;
      if (!this._following) {
        this._window.follow(right);
      }
    }
    const stale = !this._fresh || this._generation !== this.model.generation || this._layoutVersion !== this.model.layoutVersion;
    const shift = this._following ? this._window.follow(this.model.present()) : 0;
    if (stale || Math.abs(shift) >= this._window.width) {
      this._drawAll();
    } else {
      if (shift !== 0) {
        this._shift(shift);
      }
      this._drawSpans(Math.max(this._drawn, this.model.spans.first));
    }
    this._drawn = this.model.spans.total;
    this._drawFrame(width, height);
    this._drawLegend();
  }
  _drawAll() {
    const context = this._plot.getContext("2d");
    this._workers = shownWorkers([...this.model.workers.values()]);
    this._layout = new LaneLayout(this._workers, this._plot.height);
    context.clearRect(0, 0, this._plot.width, this._plot.height);
    this._generation = this.model.generation;
    this._layoutVersion = this.model.layoutVersion;
    this._fresh = true;
    this._drawSpans(this.model.spans.first);
  }
  _shift(pixels) {
    const context = this._plot.getContext("2d");
    context.globalCompositeOperation = "copy";
    context.drawImage(this._plot, -pixels, 0);
    context.globalCompositeOperation = "source-over";
  }
  _drawSpans(from) {
    const { spans, stages } = this.model;
    const context = this._plot.getContext("2d");
    let stage = -1;
    let kind = -1;
    for (let i = from; i < spans.total; i++) {
      const slot = spans.slot(i);
      const box = spanBox(this._window, spans.start[slot], spans.duration[slot]);
      const row = box && this._layout.row(spans.lane[slot]);
      if (!box || !row) {
        continue;
      }
      if (spans.stage[slot] !== stage || spans.kind[slot] !== kind) {
        stage = spans.stage[slot];
        kind = spans.kind[slot];
        context.fillStyle = this._colour(stages.get(stage)?.name ?? "", kind);
      }
      const whole = kind === SpanKind.compute || kind === SpanKind.failed;
      if (whole || row.height < 4) {
        context.fillRect(box.x, row.top, box.width, row.height);
      } else {
        context.fillRect(box.x, row.top + row.height / 2, box.width, row.height / 2);
      }
      if (whole && box.width >= SEAM_FROM) {
        context.clearRect(box.x + box.width - 1, row.top, 1, row.height);
      }
    }
  }
  _colour(name2, kind) {
    switch (kind) {
      case SpanKind.transfer:
        return this._theme.transfer;
      case SpanKind.spill:
        return this._theme.spill;
      case SpanKind.failed:
        return this._theme.failed;
      default:
        return stageColour(this.model.colourIndex(name2));
    }
  }
  /** Everything around the picture: names of workers, rows, time axis, cursor. */
  _drawFrame(width, height) {
    const theme = this._theme;
    const ratio = this._ratio;
    const context = this._canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = theme.font;
    context.textBaseline = "middle";
    context.textAlign = "right";
    let nextLabel = 0;
    for (const group of this._layout.groups) {
      const top = group.top / ratio;
      const groupHeight = group.height / ratio;
      context.fillStyle = theme.row;
      context.fillRect(LABEL_WIDTH, top, width - LABEL_WIDTH, groupHeight);
      const middle = top + groupHeight / 2;
      if (middle >= nextLabel && middle > 5 && middle < height - AXIS_HEIGHT2) {
        context.fillStyle = group.worker.state === "here" ? theme.text : theme.faint;
        context.fillText(fit(context, group.worker.name, LABEL_WIDTH - 12), LABEL_WIDTH - 8, middle);
        nextLabel = middle + 13;
      }
    }
    const bottom = height - AXIS_HEIGHT2;
    const msPerCss = this._window.msPerPixel * ratio;
    const step = timeStep(msPerCss, 90);
    const zero = this.model.startedUnixMs;
    context.textAlign = "center";
    const first = Math.ceil((zero + this._window.left) / step) * step;
    for (let at = first; at <= zero + this._window.right; at += step) {
      const x2 = LABEL_WIDTH + this._window.x(at - zero) / ratio;
      context.fillStyle = theme.grid;
      context.fillRect(Math.round(x2), 0, 1, bottom + 4);
      if (x2 > LABEL_WIDTH + 24 && x2 < width - 26) {
        context.fillStyle = theme.faint;
        context.fillText(clock(at, step), x2, bottom + AXIS_HEIGHT2 / 2 + 2);
      }
    }
    context.fillStyle = theme.grid;
    context.fillRect(LABEL_WIDTH, bottom, width - LABEL_WIDTH, 1);
    if (this._cursor && document.activeElement === this._canvas) {
      const row = this._layout.row(this._cursor.lane);
      if (row) {
        context.strokeStyle = theme.text;
        context.lineWidth = 2;
        const x2 = LABEL_WIDTH + this._window.x(this._cursor.at) / ratio;
        context.strokeRect(x2 - 3, row.top / ratio - 1, 6, row.height / ratio + 2);
      }
    }
    if (this._workers.length === 0 && this.model.connection === "live") {
      context.fillStyle = theme.faint;
      context.fillText(this.translate("No workers yet"), LABEL_WIDTH + (width - LABEL_WIDTH) / 2, bottom / 2);
    }
  }
  _drawLegend() {
    const names = /* @__PURE__ */ new Set();
    const stages = [...this.model.stages.values()];
    for (let i = stages.length - 1; i >= 0 && names.size < LEGEND_MAX; i--) {
      names.add(stages[i].name);
    }
    const key = [...names].join("\n") + this._theme.failed;
    if (key === this._legendKey) {
      return;
    }
    this._legendKey = key;
    const entry = (colour, label) => {
      const item = element("span", "nuna-legend-entry", label);
      item.title = label;
      const swatch = element("i", "nuna-swatch");
      swatch.style.background = colour;
      item.prepend(swatch);
      return item;
    };
    const t = this.translate;
    this._legend.replaceChildren(
      ...[...names].reverse().map((name2) => entry(this._colour(name2, SpanKind.compute), name2)),
      entry(this._theme.transfer, t("transfer")),
      entry(this._theme.spill, t("spill")),
      entry(this._theme.failed, t("failed"))
    );
  }
  _drawTable() {
    const now = performance.now();
    if (now - this._tableAt < 500) {
      return;
    }
    this._tableAt = now;
    const t = this.translate;
    const { spans, stages } = this.model;
    const rows = [];
    for (let i = spans.total - 1; i >= spans.first && rows.length < TABLE_ROWS_MAX2; i--) {
      const slot = spans.slot(i);
      const worker = this.model.workerOfLane(spans.lane[slot]);
      const row = element("tr");
      for (const cell of [
        stages.get(spans.stage[slot])?.name ?? "",
        t(spanKindNames[spans.kind[slot]]),
        worker?.name ?? "",
        worker ? String(spans.lane[slot] - worker.firstLane) : "",
        clock(this.model.startedUnixMs + spans.start[slot], 1),
        duration(spans.duration[slot])
      ]) {
        row.append(element("td", "", cell));
      }
      rows.push(row);
    }
    if (!this._tableBody) {
      const table = element("table", "nuna-table");
      const head = element("tr");
      for (const name2 of [t("Stage"), t("Kind"), t("Worker"), t("Thread"), t("Started"), t("Took")]) {
        const cell = element("th", "", name2);
        cell.scope = "col";
        head.append(cell);
      }
      const thead = element("thead");
      thead.append(head);
      this._tableBody = element("tbody");
      table.append(element("caption", "", t("Latest tasks, newest first")), thead, this._tableBody);
      this._table.append(table);
    }
    this._tableBody.replaceChildren(...rows);
  }
  _listen() {
    const plot = this._plot;
    const x2 = (event) => event.offsetX * this._ratio;
    plot.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          this._pan((event.deltaX || event.deltaY) * this._ratio);
        } else {
          const anchor = this._following ? this._window.width : x2(event);
          this._zoom(event.deltaY > 0 ? ZOOM_STEP : 1 / ZOOM_STEP, anchor);
        }
      },
      { passive: false }
    );
    plot.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        plot.setPointerCapture(event.pointerId);
        this._dragX = event.clientX;
      }
    });
    plot.addEventListener("pointermove", (event) => {
      if (this._dragX !== null) {
        const moved = event.clientX - this._dragX;
        if (moved !== 0) {
          this._dragX = event.clientX;
          this._pan(-moved * this._ratio);
        }
      } else {
        this._hover(event);
      }
    });
    const drop = () => this._dragX = null;
    plot.addEventListener("pointerup", drop);
    plot.addEventListener("pointercancel", drop);
    plot.addEventListener("pointerleave", () => this._hideTooltip());
    plot.addEventListener("dblclick", () => this._follow());
    this._canvas.addEventListener("keydown", (event) => this._key(event));
    for (const name2 of ["focus", "blur"]) {
      this._canvas.addEventListener(name2, () => {
        this._hideTooltip();
        this.schedule();
      });
    }
  }
  _key(event) {
    const page = this._window.width / 4;
    switch (event.key) {
      case "ArrowLeft":
      case "ArrowRight":
        this._moveCursor(event.key === "ArrowLeft" ? -1 : 1);
        break;
      case "ArrowUp":
      case "ArrowDown":
        this._moveCursorLane(event.key === "ArrowUp" ? -1 : 1);
        break;
      case "PageUp":
        this._pan(-page);
        break;
      case "PageDown":
        this._pan(page);
        break;
      case "+":
      case "=":
        this._zoom(1 / ZOOM_STEP, this._following ? this._window.width : this._window.width / 2);
        break;
      case "-":
        this._zoom(ZOOM_STEP, this._following ? this._window.width : this._window.width / 2);
        break;
      case " ":
        this._following ? this._hold() : this._follow();
        break;
      case "Home":
        this._follow();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
  /** To the next or previous task of the cursor's lane; the first press takes the latest task. */
  _moveCursor(step) {
    const { spans } = this.model;
    const from = this._cursor;
    let best = -1;
    for (let i = spans.total - 1; i >= spans.first; i--) {
      const slot = spans.slot(i);
      if (!from) {
        best = slot;
        break;
      }
      if (spans.lane[slot] !== from.lane || (spans.start[slot] - from.start) * step <= 0) {
        continue;
      }
      if (best < 0 || (spans.start[slot] - spans.start[best]) * step < 0) {
        best = slot;
      }
    }
    if (best >= 0) {
      this._setCursor(best);
    }
  }
  _moveCursorLane(step) {
    if (!this._cursor) {
      this._moveCursor(-1);
      return;
    }
    const { spans } = this.model;
    const { at } = this._cursor;
    const here = this._layout.row(this._cursor.lane)?.top ?? 0;
    let best = -1;
    let bestScore = Infinity;
    for (let i = spans.first; i < spans.total; i++) {
      const slot = spans.slot(i);
      const row = this._layout.row(spans.lane[slot]);
      if (!row || (row.top - here) * step <= 0) {
        continue;
      }
      const score = Math.abs(row.top - here) * 1e9 + Math.abs(spans.start[slot] - at);
      if (score < bestScore) {
        best = slot;
        bestScore = score;
      }
    }
    if (best >= 0) {
      this._setCursor(best);
    }
  }
  _setCursor(slot) {
    const { spans } = this.model;
    this._hold();
    const start = spans.start[slot];
    const at = start + spans.duration[slot] / 2;
    this._cursor = { lane: spans.lane[slot], at, start };
    const x2 = this._window.x(at);
    if (x2 < 0 || x2 >= this._window.width) {
      this._window.pan(x2 - this._window.width / 2);
      this._fresh = false;
    }
    const row = this._layout.row(spans.lane[slot]);
    this._describe(slot, LABEL_WIDTH + this._window.x(at) / this._ratio, ((row?.top ?? 0) + 12) / this._ratio);
    this.schedule();
  }
  _hover(event) {
    const lane = this._layout?.laneAt(event.offsetY * this._ratio);
    const at = this._window.time(event.offsetX * this._ratio);
    const slack = 2 * this._window.msPerPixel;
    const { spans } = this.model;
    for (let i = spans.total - 1; lane !== void 0 && i >= spans.first; i--) {
      const slot = spans.slot(i);
      const start = spans.start[slot];
      if (spans.lane[slot] === lane && start - slack <= at && at <= start + spans.duration[slot] + slack) {
        this._describe(slot, LABEL_WIDTH + event.offsetX, event.offsetY);
        return;
      }
    }
    this._hideTooltip();
  }
  /** What the stream says at once; which block it was a moment later, from the cluster. */
  _describe(slot, x2, y2) {
    const { spans } = this.model;
    const lane = spans.lane[slot];
    const start = spans.start[slot];
    const length = spans.duration[slot];
    const worker = this.model.workerOfLane(lane);
    const key = `${lane}@${start}`;
    if (key !== this._hoverKey) {
      this._hoverKey = key;
      const stage = this.model.stages.get(spans.stage[slot]);
      const kind = spans.kind[slot];
      const title = element("strong", "", stage?.name ?? this.translate("stage %1", String(spans.stage[slot])));
      const block = element("div");
      const where = `${worker?.name ?? "?"} · ${this.translate("thread %1", String(lane - (worker?.firstLane ?? lane)))}`;
      const took = `${duration(length)} · ${clock(this.model.startedUnixMs + start, 1)}`;
      this._tooltip.replaceChildren(title, block, element("div", "", where), element("div", "", took));
      if (kind !== SpanKind.compute) {
        title.append(` (${this.translate(spanKindNames[kind])})`);
      }
      clearTimeout(this._hoverTimer);
      this._hoverTimer = setTimeout(() => {
        this.connection.taskAt(lane, start + length / 2, length / 2 + 1e-3).then(
          (task) => {
            if (task && this._hoverKey === key) {
              const of = task.blocks === null ? "" : ` / ${count(task.blocks)}`;
              setText(block, `${task.label ? `${task.label} · ` : ""}${this.translate("block")} ${count(task.block)}${of}`);
            }
          },
          () => setText(block, "")
        );
      }, HOVER_DELAY);
    }
    this._tooltip.hidden = false;
    const { clientWidth, clientHeight } = this._frame;
    const left = Math.min(x2 + 14, clientWidth - this._tooltip.offsetWidth - 4);
    const below = y2 + 16 + this._tooltip.offsetHeight < clientHeight;
    const top = below ? y2 + 16 : Math.max(0, y2 - this._tooltip.offsetHeight - 8);
    this._tooltip.style.left = `${Math.max(0, left)}px`;
    this._tooltip.style.top = `${top}px`;
  }
  _hideTooltip() {
    this._hoverKey = "";
    this._tooltip.hidden = true;
    clearTimeout(this._hoverTimer);
  }
  _pan(pixels) {
    this._hold();
    this._window.pan(pixels);
    this._fresh = false;
    this.schedule();
  }
  _zoom(factor, x2) {
    this._window.zoom(factor, x2);
    this._fresh = false;
    this._hideTooltip();
    this.schedule();
  }
  _follow() {
    this._following = true;
    this._cursor = null;
    this._showMode();
    this._fresh = false;
    this.schedule();
  }
  _hold() {
    this._following = false;
    this._showMode();
    this.schedule();
  }
  _showMode() {
    this._live.setAttribute("aria-pressed", String(this._following));
    this._pause.setAttribute("aria-pressed", String(!this._following));
  }
  _toggleTable() {
    this._table.hidden = !this._table.hidden;
    this._frame.hidden = !this._table.hidden;
    this._tableButton.setAttribute("aria-pressed", String(!this._table.hidden));
    this._tableAt = 0;
    this._fresh = false;
    this.schedule();
  }
  _button(label, title, action) {
    const button = element("button", "nuna-tool", label);
    button.type = "button";
    button.title = title;
    if (label.length === 1) {
      button.setAttribute("aria-label", title);
    }
    button.addEventListener("click", action);
    this._tools.append(button);
    return button;
  }
  _tools = element("div", "nuna-tools");
  _legend = element("div", "nuna-legend");
  _frame = element("div", "nuna-frame");
  _canvas = element("canvas", "nuna-axes");
  _plot = element("canvas", "nuna-plot");
  _tooltip = element("div", "nuna-tooltip");
  _table = element("div", "nuna-scroll");
  _tableBody = null;
  _live;
  _pause;
  _tableButton;
  _window = new TimeWindow(0, 1);
  _layout = new LaneLayout([], 1);
  _workers = [];
  _theme = null;
  _ratio = 1;
  _following = true;
  /** False when everything must be drawn again. */
  _fresh = false;
  _drawn = 0;
  _generation = -1;
  _layoutVersion = -1;
  _cursor = null;
  _dragX = null;
  _hoverKey = "";
  _hoverTimer;
  _legendKey = "";
  _tableAt = 0;
};
function shownWorkers(workers) {
  const gone = workers.filter((worker) => worker.state !== "here").slice(-8);
  return workers.filter((worker) => worker.state === "here" || gone.includes(worker));
}
function size(canvas, width, height, ratio) {
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}
function fit(context, text2, width) {
  if (context.measureText(text2).width <= width) {
    return text2;
  }
  let cut = text2;
  while (cut.length > 1 && context.measureText(`…${cut}`).width > width) {
    cut = cut.slice(1);
  }
  return `…${cut}`;
}

// src/views/workers/layout.ts
var ROWS_MAX = 300;
function memoryShares(worker) {
  const limit = Math.max(1, worker.memoryLimit);
  const used2 = Math.max(worker.managed, worker.rss);
  const managed = Math.min(1, worker.managed / limit);
  return { managed, unmanaged: Math.min(1, used2 / limit) - managed, over: used2 > limit };
}
function sorted(workers, key, descending) {
  const value = (worker) => {
    switch (key) {
      case "threads":
        return worker.threadsBusy;
      case "cpu":
        return worker.cpu;
      case "memory":
        return Math.max(worker.managed, worker.rss);
      case "spilled":
        return worker.spilled;
      case "name":
        return 0;
    }
  };
  const sign = descending ? -1 : 1;
  return [...workers].sort(
    (a, b) => Number(a.state !== "here") - Number(b.state !== "here") || sign * (value(a) - value(b)) || (key === "name" ? sign : 1) * a.name.localeCompare(b.name, "en", { numeric: true }) || a.id - b.id
  );
}

// src/views/workers/view.ts
var REFRESH = 500;
var WorkersView = class extends View {
  constructor(options) {
    super(options, "workers", ["workers"]);
    const t = this.translate;
    this.body.classList.add("nuna-scroll");
    const table = element("table", "nuna-table");
    const head = element("tr");
    const columns = [
      ["name", t("Worker")],
      ["threads", t("Threads")],
      ["cpu", t("CPU")],
      ["memory", t("Memory")],
      ["spilled", t("Spilled")]
    ];
    for (const [key, label] of columns) {
      const cell = element("th");
      cell.scope = "col";
      const button = element("button", "nuna-sort", label);
      button.type = "button";
      button.addEventListener("click", () => this._sortBy(key));
      cell.append(button);
      head.append(cell);
      this._heads.set(key, cell);
    }
    const thead = element("thead");
    thead.append(head);
    table.append(element("caption", "nuna-hidden-label", t("Workers")), thead, this._rows);
    this.body.append(this._summary, table, this._more);
    this._showSort();
  }
  get pulse() {
    return REFRESH;
  }
  draw(now) {
    const changed = this._layoutVersion !== this.model.layoutVersion;
    if (!changed && now - this._drawnAt < REFRESH) {
      return;
    }
    this._drawnAt = now;
    this._layoutVersion = this.model.layoutVersion;
    const t = this.translate;
    const here = this.model.workersHere;
    const sum = (value) => here.reduce((total, worker) => total + value(worker), 0);
    setText(
      this._summary,
      t(
        here.length === 1 ? "%1 worker · %2 of %3 threads busy · %4 of %5 memory" : "%1 workers · %2 of %3 threads busy · %4 of %5 memory",
        count(here.length),
        count(sum((w) => w.threadsBusy)),
        count(sum((w) => w.threads)),
        bytes(sum((w) => Math.max(w.managed, w.rss))),
        bytes(sum((w) => w.memoryLimit))
      )
    );
    const all = sorted(this.model.workers.values(), this._key, this._descending);
    const shown = all.slice(0, ROWS_MAX);
    const seen = /* @__PURE__ */ new Set();
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
    setText(this._more, left > 0 ? t("and %1 more; sort by a column to see others", count(left)) : "");
  }
  _row(id) {
    let row = this._rowOf.get(id);
    if (!row) {
      row = {
        node: element("tr"),
        name: element("span"),
        state: element("span", "nuna-badge"),
        threads: element("span", "nuna-bar-text"),
        threadsFill: element("div", "nuna-fill nuna-fill-threads"),
        cpu: element("td", "nuna-number"),
        memory: element("span", "nuna-bar-text"),
        memoryBar: element("div", "nuna-bar nuna-bar-cell"),
        managed: element("div", "nuna-fill nuna-fill-managed"),
        unmanaged: element("div", "nuna-fill nuna-fill-unmanaged"),
        spilled: element("td", "nuna-number")
      };
      const name2 = element("th", "nuna-worker-name");
      name2.scope = "row";
      name2.append(row.name, row.state);
      const threads = element("td");
      const threadsBar = element("div", "nuna-bar nuna-bar-cell");
      threadsBar.append(row.threadsFill, row.threads);
      threads.append(threadsBar);
      const memory = element("td", "nuna-memory-cell");
      row.memoryBar.append(row.managed, row.unmanaged, row.memory);
      memory.append(row.memoryBar);
      row.node.append(name2, threads, row.cpu, memory, row.spilled);
      this._rowOf.set(id, row);
    }
    return row;
  }
  _update(row, worker) {
    const t = this.translate;
    const here = worker.state === "here";
    row.node.classList.toggle("nuna-gone", !here);
    setText(row.name, worker.name);
    row.name.title = worker.name;
    setText(row.state, here ? "" : t(worker.state));
    row.state.dataset.state = worker.state;
    setText(row.threads, here ? `${worker.threadsBusy} / ${worker.threads}` : "–");
    row.threadsFill.style.transform = `scaleX(${worker.threads ? Math.min(1, worker.threadsBusy / worker.threads) : 0})`;
    setText(row.cpu, here ? `${Math.round(worker.cpu * 100)} %` : "–");
    const { managed, unmanaged, over } = memoryShares(worker);
    row.managed.style.transform = `scaleX(${managed})`;
    row.unmanaged.style.left = `${managed * 100}%`;
    row.unmanaged.style.transform = `scaleX(${unmanaged})`;
    row.memoryBar.classList.toggle("nuna-over", over);
    row.memoryBar.title = t(
      "managed %1, other %2, limit %3",
      bytes(worker.managed),
      bytes(Math.max(0, worker.rss - worker.managed)),
      bytes(worker.memoryLimit)
    );
    setText(row.memory, here ? `${bytes(Math.max(worker.managed, worker.rss))} / ${bytes(worker.memoryLimit)}` : "–");
    setText(row.spilled, here ? worker.spilled > 0 ? bytes(worker.spilled) : "0" : "–");
  }
  _sortBy(key) {
    this._descending = key === this._key ? !this._descending : key !== "name";
    this._key = key;
    this._showSort();
    this._drawnAt = -Infinity;
    this.schedule();
  }
  _showSort() {
    for (const [key, cell] of this._heads) {
      const order = key !== this._key ? "none" : this._descending ? "descending" : "ascending";
      cell.setAttribute("aria-sort", order);
    }
  }
  _summary = element("p", "nuna-summary");
  _rows = element("tbody");
  _more = element("p", "nuna-empty");
  _heads = /* @__PURE__ */ new Map();
  _rowOf = /* @__PURE__ */ new Map();
  _key = "name";
  _descending = false;
  _drawnAt = -Infinity;
  _layoutVersion = -1;
};

// src/views/index.ts
var VIEW_KINDS = ["taskstream", "progress", "workers", "memory"];
var VIEW_TITLES = {
  taskstream: "Task Stream",
  progress: "Progress",
  workers: "Workers",
  memory: "Memory"
};
function createView(kind, options) {
  switch (kind) {
    case "taskstream":
      return new TaskStreamView(options);
    case "progress":
      return new ProgressView(options);
    case "workers":
      return new WorkersView(options);
    case "memory":
      return new MemoryView(options);
  }
}

// src/page.ts
var endpoint = {
  webSocketUrl() {
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  },
  async getJson(path) {
    const response = await fetch(new URL(path, document.baseURI), { credentials: "same-origin" });
    if (!response.ok) {
      throw new Error(`${path}: ${response.status} ${response.statusText}`);
    }
    return response.json();
  }
};
var connection = new ClusterConnection(endpoint);
var model = connection.model;
connection.retain(["totals"]);
var main = document.querySelector("main");
for (const kind of VIEW_KINDS) {
  const section = document.createElement("section");
  section.className = `tile tile-${kind}`;
  const title = document.createElement("h2");
  title.textContent = VIEW_TITLES[kind];
  section.append(title, createView(kind, { connection }).node);
  main.append(section);
}
var name = document.querySelector("#name");
var numbers = document.querySelector("#numbers");
function showNumbers() {
  if (model.name) {
    setText(name, model.name);
    document.title = `${model.name} – Nuna`;
  }
  const latest = model.latest;
  const here = model.workersHere;
  const threads = here.reduce((sum, worker) => sum + worker.threads, 0);
  setText(
    numbers,
    latest ? [
      `${count(here.length)} ${here.length === 1 ? "worker" : "workers"}`,
      `${count(threads)} threads`,
      `${count(latest.tasks)} tasks`,
      rate(model.tasksPerSecond),
      `${bytes(Math.max(latest.rss, latest.managed))} of ${bytes(latest.limit)}`,
      `up ${duration(model.now)}`
    ].join(" · ") : ""
  );
}
var shownAt = 0;
model.changed.connect(() => {
  const now = performance.now();
  if (now - shownAt > 500) {
    shownAt = now;
    showNumbers();
  }
});
