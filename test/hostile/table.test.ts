/** docs/hostile.md says what the rows say, and each row has a name of its own. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { COUNTERS } from '../../src/observe/counters.ts';
import { GROUPS, tableOf } from '../support/hostile/table.ts';

const DOCUMENT = new URL('../../../docs/hostile.md', import.meta.url);

it('the tables of docs/hostile.md are those of the rows', () => {
  const text = readFileSync(DOCUMENT, 'utf8');
  for (const [title, rows] of GROUPS) {
    const wanted = `## ${title}\n\n${tableOf(rows)}\n`;
    assert.ok(text.includes(wanted), `it should have:\n${wanted}`);
  }
});

it('names are unique, and counters exist', () => {
  const rows = GROUPS.flatMap(([, group]) => group);
  const names = rows.map(({ name }) => name);
  assert.deepEqual(names.length, new Set(names).size);
  for (const { counter } of rows)
    if (counter !== undefined) assert.ok(counter in COUNTERS, counter);
});
