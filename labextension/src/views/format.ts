/** Numbers and times as people read them. */

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function bytes(value: number): string {
  let unit = 0;
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : significant(value)} ${BYTE_UNITS[unit]}`;
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US').replace(/,/g, '\u202f');
}

export function rate(perSecond: number): string {
  return `${perSecond >= 10 ? count(perSecond) : significant(perSecond)}/s`;
}

/** A length of time given in milliseconds. */
export function duration(ms: number): string {
  if (ms < 0.9995) {
    return `${Math.round(ms * 1000)} µs`;
  }
  if (ms < 999.5) {
    return `${significant(ms)} ms`;
  }
  const seconds = ms / 1000;
  if (seconds < 59.95) {
    return `${significant(seconds)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Wall clock of a moment; with tenths when ticks are closer than a second. */
export function clock(unixMs: number, step: number): string {
  const date = new Date(unixMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (step >= 1000) {
    return time;
  }
  return `${time}.${String(date.getMilliseconds()).padStart(3, '0').slice(0, step >= 100 ? 1 : 3)}`;
}

function significant(value: number): string {
  return value >= 99.5 ? String(Math.round(value)) : String(Number(value.toPrecision(value >= 9.95 ? 3 : 2)));
}

const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 900000,
  1800000, 3600000, 7200000, 21600000
];

/** The shortest of our steps that leaves `gap` pixels between ticks. */
export function timeStep(msPerPixel: number, gap: number): number {
  return STEPS.find(step => step / msPerPixel >= gap) ?? STEPS[STEPS.length - 1];
}

/** A round number not below `value`: where an axis ends. */
export function niceCeil(value: number): number {
  if (!(value > 0)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  const lead = value / power;
  return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 2.5 ? 2.5 : lead <= 5 ? 5 : 10) * power;
}
