/**
 * Tells when time was lost: the machine was suspended, the process or its virtual machine stopped,
 * or the wall clock set. Linux stops the monotonic clock, on which timers run, while it is
 * suspended; the wall clock goes on. So after each tick the two are compared with each other, and
 * the monotonic one with what the tick should have taken.
 */

/** Short, so that a link that died in the meantime is noticed soon after the machine wakes up. */
const TICK_MS = 2_000;
/** Less than this is a busy machine or a clock that is being adjusted. */
const JUMP_MS = 4_000;

export interface ClockwatchOptions {
  readonly jumped: () => void;
  /** Milliseconds that don't advance while the machine sleeps; default: performance.now(). */
  readonly monotonic?: () => number;
  /** Milliseconds that do; default: Date.now(). */
  readonly wall?: () => number;
}

/** Returns what ends the watch. */
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
