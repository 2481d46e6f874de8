/** Every limit in the code has a row in the table "Limits" of docs/architecture.md. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COUNTERS } from '../../src/observe/counters.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Names by which limits go. */
const NAME = /^(?:MAX|MOST)_|_(?:MAX|LIMIT|BACKLOG|TRIES|ATTEMPTS)(?:_|$)|^(?:BACKLOG|TRIES)$/;

/** What is called a limit and is none that anybody can reach at the program's cost. */
const OTHERS: Readonly<Record<string, string>> = {
  'a format or a protocol sets it': `
    MAX_TIMER_MS MOST_UNSCALED MAX_UNSCALED MOST_SCALE MAX_PAYLOAD ICMP_MAX ICMP6_MAX MAX_PARTS
    MAX_MESSAGE MAX_NAME_OCTETS MAX_POINTERS MAX_PORT MAX_DATAGRAM MAX_SOCKET_PATH_BYTES
    MAX_NAME_LENGTH MAX_HOST_LENGTH MAX_USER_TIMEOUT_MS MAX_SEND_WINDOW MOST_WINDOW MAX_NAME
    MOST_SPECIFIC MAX_BASE_LENGTH MTU_MAX MOST_PADDING SECCOMP_MAX_VALUES FD_MAX_RECEIVED
    DEVICE_MAX_PARTS MAX_INSTRUCTIONS MAX_SECONDS MAX_ERRNO`,
  'it says how much of something is shown': `
    MAX_PLOT MAX_WAITS MAX_RATES MAX_MEANT MAX_CAUSES MAX_FILTER_LENGTH MAX_REASON MAX_COLUMNS
    MAX_STATUS MAX_SHOWN MAX_QUOTED_ANSWER MAX_CHARACTERS MAX_LINE_CHARACTERS MAX_COMPLAINT
    MAX_COMPLAINT_BYTES MAX_STDERR MAX_PRINTABLE_LENGTH`,
  'it says what is alike': 'MAX_DISTANCE MAX_SHARE MAX_MISTAKES MAX_TYPOS',
  'it is the pace of something': `
    MOST_TIMEOUT_MS MOST_RETRY_MS MOST_EVERY_MS MOST_STEP_MS MOST_ANSWER_MS EAGER_TRIES MAX_EVENTS
    SAME_PORT_ATTEMPTS MOST_AT_ONCE MAX_RECENT MOST_EVENTS MOST_ACCEPTED`,
  'it is another limit and what belongs to it': 'MAX_HOPS',
};

function filesOf(folder: string, kinds: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => kinds.test(path) && !path.startsWith('fuzz'))
    .map((path) => join(folder, path));
}

/** With the file of each. */
function limits(): (readonly [name: string, path: string])[] {
  const declared = /\bconst ([A-Z][A-Z0-9_]*)\b[^=\n]*=|^\s*#define ([A-Z][A-Z0-9_]*) \S/gm;
  const member = /[{,\n]\s*([A-Z][A-Z0-9_]*) = [0-9(]/g;
  const all = [...filesOf('src', /\.ts$/), ...filesOf('native', /\.[ch]$/)];
  return all.flatMap((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    const patterns = path.endsWith('.ts') ? [declared] : [declared, member];
    return patterns
      .flatMap((pattern) => [...text.matchAll(pattern)])
      .map(([, constant, macro]) => constant ?? macro ?? '')
      .filter((name) => NAME.test(name))
      .map((name) => [name, path] as const);
  });
}

function table(): string {
  const [, section = ''] =
    /^## Limits\n(.*?)^## /ms.exec(readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')) ?? [];
  return section;
}

describe('the table "Limits" of docs/architecture.md', () => {
  const rows = table();
  const named = new Set([...rows.matchAll(/`([A-Z][A-Z0-9_]*)`/g)].map(([, name = '']) => name));
  const others = new Set(Object.values(OTHERS).flatMap((names) => names.trim().split(/\s+/)));
  const found = limits();

  it('has every limit of src/ and native/', () => {
    assert.ok(found.length > 200, `${found.length} are found`);
    const missing = found.filter(([name]) => !named.has(name) && !others.has(name));
    assert.deepEqual(missing, [], 'they need a row, or a reason in this test');
  });

  it('has a reason in this test for no others than those that need one', () => {
    const all = new Set(found.map(([name]) => name));
    for (const name of others) {
      assert.ok(all.has(name), `${name} is no limit any more`);
      assert.ok(!named.has(name), `${name} has a row`);
    }
  });

  it('has no counter that is not declared', () => {
    for (const [, name = ''] of rows.matchAll(/`(tunnel_\w+)`/g)) assert.ok(name in COUNTERS, name);
  });

  it('has each counter of a limit', () => {
    const counters = Object.keys(COUNTERS).filter((name) => /_limit_|_forgotten_/.test(name));
    for (const name of counters) assert.ok(rows.includes(`\`${name}\``), name);
  });
});
