/**
 * Imported by the profiled program before its own modules (node --import): profiles its main thread
 * and, when the program ends, writes the profile to the file that this module's URL names.
 *
 * The profiler starts late, because it only knows C++ functions that exist when it starts. The cost
 * of later ones, such as an addon's ciphers, would count for the functions that call them.
 */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { isMainThread } from 'node:worker_threads';

/** By then all modules are loaded and no measurement has begun. */
const START_AFTER_MS = 1_000;
const INTERVAL_MICROSECONDS = 200;

const file = new URL(import.meta.url).searchParams.get('file');

function profile(into: string): void {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.setSamplingInterval', { interval: INTERVAL_MICROSECONDS });
  session.post('Profiler.start');
  process.once('exit', () => {
    // A session of the same thread answers before `post` returns.
    session.post('Profiler.stop', (error, answer) => {
      if (error === null) writeFileSync(into, JSON.stringify(answer.profile));
    });
  });
}

if (file !== null && isMainThread) setTimeout(profile, START_AFTER_MS, file).unref();
