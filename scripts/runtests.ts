/**
 * Run by ./scripts/test: `node dist/scripts/runtests.js COUNT FILE...` runs compiled test files,
 * COUNT at a time, and reports as `node --test` does. That would run them in the order of their
 * names, so that a run would begin with the files that mostly wait, for sshd, for the kernel, for a
 * limit, and end with those of test/unit/, which keep all processors busy. Here both are spread
 * over the whole run.
 */
import { realpathSync } from 'node:fs';
import { run } from 'node:test';
import { spec as Spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

/** A file that doesn't end fails, instead of the run never ending. */
const FILE_TIMEOUT_MS = 1_500_000;

/** Those outside test/unit/ in their order, and those in it at equal distances between them. */
export function spread(files: readonly string[]): string[] {
  const isUnit = (file: string): boolean => /(^|\/)test\/unit\//.test(file);
  const units = files.filter(isUnit);
  const others = files.filter((file) => !isUnit(file));
  return [
    ...others.map((file, at) => ({ file, place: at / others.length })),
    ...units.map((file, at) => ({ file, place: (at + 0.5) / units.length })),
  ]
    .sort((one, other) => one.place - other.place)
    .map(({ file }) => file);
}

function runTests([count, ...files]: readonly string[]): void {
  const concurrency = Number(count);
  if (!(concurrency >= 1) || files.length === 0) {
    process.stderr.write('usage: node dist/scripts/runtests.js COUNT FILE...\n');
    process.exitCode = 2;
    return;
  }
  const events = run({ files: spread(files), concurrency, timeout: FILE_TIMEOUT_MS });
  events.on('test:fail', () => {
    process.exitCode = 1;
  });
  events.compose(new Spec()).pipe(process.stdout);
}

const [, program = ''] = process.argv;
if (program !== '' && realpathSync(program) === fileURLToPath(import.meta.url))
  runTests(process.argv.slice(2));
