/**
 * Reports lost time: the machine was suspended, the process or its virtual machine was stopped, or
 * the wall clock was set. While suspended, Linux stops the monotonic clock (which timers use), but
 * the wall clock goes on. So each tick compares the two clocks with each other, and the monotonic
 * clock with the time that a tick should take.
 */

/** Short, so that a link that died in the meantime is noticed soon after the machine wakes up. */
const TICK_MS = 2_000;
/** Smaller jumps come from a busy machine or a clock that is being adjusted. */
const JUMP_MS = 4_000;

export interface ClockwatchOptions {
  readonly jumped: () => void;
  /** A clock in milliseconds that stops while the machine sleeps. Default: performance.now(). */
  readonly monotonic?: () => number;
  /** A clock in milliseconds that doesn't. Default: Date.now(). */
  readonly wall?: () => number;
}

/** Returns the function that ends the watch. */
export function watchClock(options: ClockwatchOptions): () => void {
  const { jumped, monotonic = () => performance.now(), wall = () => Date.now() } = options;
  let before = { monotonic: monotonic(), wall: wall() };
  const timer = setInterval(() => {
    const now = { monotonic: monotonic(), wall: wall() };
    const elapsed = now.monotonic - before.monotonic;
    const drift = Math.abs(now.wall - before.wall - elapsed);
    before = now;
    if (drift > JUMP_MS || elapsed - TICK_MS > JUMP_MS) jumped();
  }, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
