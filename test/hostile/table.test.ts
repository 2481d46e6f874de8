/** docs/hostile.md says what the rows say, and each row has a name of its own. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { COUNTERS } from '../../src/observe/counters.ts';
import type { LocalRow } from '../support/hostile/local.ts';
import type { Row } from '../support/hostile/row.ts';
import { GROUPS, LOCAL_GROUPS, localTableOf, tableOf } from '../support/hostile/table.ts';

const DOCUMENT = new URL('../../../docs/hostile.md', import.meta.url);

it('the tables of docs/hostile.md are those of the rows', () => {
  const text = readFileSync(DOCUMENT, 'utf8');
  const tables = [
    ...GROUPS.map(([title, rows]) => [title, tableOf(rows)]),
    ...LOCAL_GROUPS.map(([title, rows]) => [title, localTableOf(rows)]),
  ];
  for (const [title, table] of tables) {
    assert.ok(text.includes(`## ${title}\n\n`), `it should have: ${title}`);
    assert.ok(text.includes(`\n\n${table}\n`), `it should have:\n${table}`);
  }
});

it('names are unique, and counters exist', () => {
  const rows = [...GROUPS, ...LOCAL_GROUPS].flatMap(
    ([, group]): readonly (Row | LocalRow)[] => group,
  );
  const names = rows.map(({ name }) => name);
  assert.deepEqual(names.length, new Set(names).size);
  for (const { counter } of rows)
    if (counter !== undefined) assert.ok(counter in COUNTERS, counter);
});
