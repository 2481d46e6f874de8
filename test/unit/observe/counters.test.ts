import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCounters, namedCounters } from '../../../src/capture/tun/counters.ts';
import { FAMILIES, OPEN_DURATION } from '../../../src/metrics/families.ts';
import {
  COUNTERS,
  type CounterName,
  Counters,
  countedLines,
  uncountedLines,
} from '../../../src/observe/counters.ts';
import { silentObserver } from '../../../src/observe/observer.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const NAMES = Object.keys(COUNTERS);

function texts(folder: string, ending: string): (readonly [path: string, text: string])[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => [`${folder}/${path}`, readFileSync(join(ROOT, folder, path), 'utf8')] as const);
}

describe('COUNTERS', () => {
  it('has a help text for each, and names as Prometheus has them', () => {
    for (const [name, help] of Object.entries(COUNTERS)) {
      assert.match(name, /^tunnel_[a-z]+(_[a-z0-9]+)*$/);
      assert.match(help, /^[^.]{10,80}$/, name);
      // A unit comes last, before `_total`.
      assert.doesNotMatch(name, /_bytes_(?!total$)/, name);
    }
  });

  it('has none that nothing counts', () => {
    const source = texts('src', '.ts')
      .filter(([path]) => path !== 'src/observe/counters.ts')
      .map(([, text]) => text)
      .join('\n');
    for (const name of NAMES) assert.ok(source.includes(`'${name}'`), name);
  });

  it('has every name that the documents and the source tell', () => {
    const files = [
      ...texts('docs', '.md'),
      ...texts('src', '.ts'),
      ...['README.md', 'CHANGELOG.md'].map(
        (path) => [path, readFileSync(join(ROOT, path), 'utf8')] as const,
      ),
    ];
    const known = new Set([...NAMES, ...FAMILIES.map(({ name }) => name), OPEN_DURATION.name]);
    for (const [path, text] of files) {
      for (const [name] of text.matchAll(/\btunnel_[a-z0-9]+(_[a-z0-9]+)+\b/g))
        assert.ok(known.has(name.replace(/_(bucket|sum|count)$/, '')), `${path}: ${name}`);
    }
  });

  it('refuses a name that is not declared', () => {
    // @ts-expect-error: a misspelt name doesn't compile.
    silentObserver.count('tunnel_flows_open_total');
  });

  it('has a name for each of the endpoint, and tells gauges from counters', () => {
    const named = namedCounters(createCounters());
    assert.equal(new Set(named.map(([name]) => name)).size, named.length);
    const gauges = NAMES.filter((name) => !name.endsWith('_total'));
    assert.deepEqual(gauges, [
      'tunnel_tcp_flows_waiting',
      'tunnel_tcp_flows_live',
      'tunnel_dns_queries_waiting',
      'tunnel_flow_log_records_waiting',
    ]);
  });
});

describe('Counters', () => {
  it('has all in its snapshot, in the order of their declaration', () => {
    const counters = new Counters();
    counters.count('tunnel_sent_bytes_total', 1000);
    counters.count('tunnel_sent_bytes_total', 24);
    counters.count('tunnel_redials_total');
    const snapshot = counters.snapshot();
    assert.deepEqual(
      snapshot.map(({ name }) => name),
      NAMES,
    );
    assert.deepEqual(
      snapshot.filter(({ value }) => value !== 0),
      [
        {
          name: 'tunnel_sent_bytes_total',
          help: COUNTERS.tunnel_sent_bytes_total,
          unit: 'bytes',
          value: 1024,
        },
        { name: 'tunnel_redials_total', help: COUNTERS.tunnel_redials_total, unit: '', value: 1 },
      ],
    );
  });

  it('reads its sources when it is asked, and adds up what has one name', () => {
    const counters = new Counters();
    const endpoint = createCounters();
    let read = 0;
    counters.addSource(() => {
      read += 1;
      return namedCounters(endpoint);
    });
    counters.addSource(() => [['tunnel_tcp_flows_live', 2]]);
    const counted = (wanted: CounterName) =>
      counters.snapshot().find(({ name }) => name === wanted)?.value;
    assert.equal(read, 0);
    endpoint.flowsLive = 3;
    assert.equal(counted('tunnel_tcp_flows_live'), 5);
    endpoint.flowsLive = 1;
    assert.equal(counted('tunnel_tcp_flows_live'), 3);
    assert.equal(read, 2);
  });

  it('is shown one to a line with its help, and several to a line that are zero', () => {
    const counters = new Counters();
    counters.count('tunnel_redials_total', 4);
    const snapshot = counters.snapshot();
    assert.deepEqual(countedLines(snapshot), [
      'tunnel_redials_total 4: attempts to connect to the jump host again, or on demand',
    ]);
    const zeros = uncountedLines(snapshot);
    for (const line of zeros) assert.match(line, /^zero:( tunnel_\w+){1,3}$/);
    assert.equal(zeros.join(' ').split('tunnel_').length - 1, NAMES.length - 1);
  });
});
