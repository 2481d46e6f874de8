/**
 * Runs the tests of test/fault, one file at a time, and prints the table of their faults with what
 * was measured (test/support/faults.ts).
 */
import { readdirSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { FAULTS, faultTable, MEASURED } from '../test/support/faults.ts';

const TESTS = fileURLToPath(new URL('../test/fault/', import.meta.url));
const files = readdirSync(TESTS)
  .filter((name) => name.endsWith('.test.js'))
  .toSorted()
  .map((name) => `${TESTS}${name}`);

const measurements = new Map<string, string[]>();
let failed = 0;
const tests = run({ files, concurrency: 1 });
tests.on('test:diagnostic', ({ message }) => {
  const [, fault = '', text = ''] = MEASURED.exec(message) ?? [];
  if (fault !== '') measurements.set(fault, [...(measurements.get(fault) ?? []), text]);
});
tests.on('test:fail', () => {
  failed++;
});
await new Promise<void>((resolve) => {
  tests.compose(new spec()).on('end', resolve).pipe(process.stderr);
});
process.stdout.write(`${faultTable(measurements)}\n`);
const missing = Object.keys(FAULTS).filter((fault) => !measurements.has(fault));
if (missing.length > 0) process.stderr.write(`not made: ${missing.join(', ')}\n`);
process.exitCode = failed > 0 || missing.length > 0 ? 1 : 0;
