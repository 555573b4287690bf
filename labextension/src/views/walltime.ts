/** When a job's end is near enough to say so: arithmetic, no clock and no DOM. */

/** Milliseconds before the end at which people are warned, each once. */
export const WARNINGS = [30 * 60_000, 10 * 60_000, 2 * 60_000];
/** From here on, the time left stands out. */
export const SOON = WARNINGS[0];

/**
 * The warning to give with `left` milliseconds to go, if the last one given was `given` (0 for none): the closest
 * that has been reached. A tab that slept gets one warning, not all that it has missed.
 */
export function dueWarning(left: number, given: number): number | null {
  if (left <= 0) {
    return null;
  }
  const reached = WARNINGS.filter(before => left <= before);
  const closest = reached[reached.length - 1];
  return closest !== undefined && (given === 0 || closest < given) ? closest : null;
}

/** `1 h 10 min`, `12 min`, `40 s`. */
export function timeLeft(left: number): string {
  const seconds = Math.max(0, Math.floor(left / 1000));
  if (seconds < 120) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
