/**
 * Imported by the profiled program before anything of its own (node --import): profiles its main
 * thread, and writes the profile into the file that this module's address names when the program
 * ends.
 *
 * The profiler is started late. Of C++ functions that JavaScript calls it only knows those that
 * exist when it starts; what later ones cost would count for the functions that call them, the
 * ciphers of an addon among them.
 */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { isMainThread } from 'node:worker_threads';

/** By then all modules are loaded, and no measurement has begun. */
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
