/** docs/measurements.md has the table of the faults, and a test makes each of them. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COUNTERS } from '../../../src/observe/counters.ts';
import { FAULTS, faultTable } from '../../support/faults.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

it('the table of faults is the one of docs/measurements.md', () => {
  assert.ok(readFileSync(join(ROOT, 'docs/measurements.md'), 'utf8').includes(faultTable()));
});

it('each fault is made by a test, and its counter exists', () => {
  const directory = join(ROOT, 'test/fault');
  const tests = readdirSync(directory)
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .join('\n');
  for (const [id, { counter }] of Object.entries(FAULTS)) {
    assert.ok(tests.includes(`'${id}'`), id);
    assert.ok(counter === '-' || Object.hasOwn(COUNTERS, counter), counter);
  }
});
