import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Flow } from '../../../src/flow/flowwatch.ts';
import type { Destination } from '../../../src/net/destination.ts';
import { FlowLog, type OwnerFinder } from '../../../src/record/flowlog.ts';
import { type FlowRecord, writeJson } from '../../../src/record/records.ts';

/** Takes records, or fails with `error`. */
class MemorySink {
  readonly name = '--flow-log test';
  readonly taken: FlowRecord[] = [];
  error: Error | undefined;
  most = Number.POSITIVE_INFINITY;
  closed = false;
  /** Of beginsWith(). */
  beginning: () => FlowRecord = () => assert.fail('it has none');

  readonly format = writeJson;

  beginsWith(record: () => FlowRecord): void {
    this.beginning = record;
  }

  async write(bytes: Buffer, ends: readonly number[]): Promise<number> {
    if (this.error !== undefined) throw this.error;
    const some = ends.slice(0, this.most);
    for (const [i, end] of some.entries())
      this.taken.push(JSON.parse(bytes.toString('utf8', ends[i - 1] ?? 0, end)) as FlowRecord);
    return some.length;
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

const NOBODY: OwnerFinder = { find: () => {} };

function setUp(t: TestContext, finder: OwnerFinder = NOBODY) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  const sink = new MemorySink();
  const logged: string[] = [];
  const counted = new Map<string, number>();
  const log = new FlowLog({
    sink,
    run: 'run',
    finder,
    userName: (uid) => (uid === 1000 ? 'alice' : undefined),
    namesOf: (address) => (address === '10.0.0.1' ? ['api.example.com'] : []),
    observer: {
      log: (level, message) => logged.push(`${level}: ${message}`),
      count: (name, n = 1) => counted.set(name, (counted.get(name) ?? 0) + n),
    },
  });
  const pass = async (milliseconds: number) => {
    t.mock.timers.tick(milliseconds);
    for (let i = 0; i < 1000; i++) await Promise.resolve();
  };
  return { sink, log, logged, counted, pass };
}

function flow(id: number, destination: Destination = { host: '10.0.0.1', port: 443 }): Flow {
  return new Flow({
    id,
    source: { host: '10.9.9.9', port: 40_000 },
    destination,
    signal: { aborted: false } as never,
    open: () => undefined,
    refuse: () => {},
  });
}

const IN_ORDER = { sent: 10, received: 20, error: undefined };

test('a flow is opened and closed, with its ends, bytes and times', async (t) => {
  const { sink, log, pass } = setUp(t);
  const one = flow(7);
  log.asked(one);
  await pass(40);
  one.way = 'tunnel';
  one.openedAt = Date.now();
  log.opened(one);
  await pass(5000);
  log.ended(one, IN_ORDER);
  await pass(250);
  const [opened, closed] = sink.taken;
  assert.deepEqual(JSON.parse(JSON.stringify(opened)), {
    time: '1970-01-01T00:16:40.040Z',
    event: 'opened',
    id: 'run-7',
    source_address: '10.9.9.9',
    source_port: 40_000,
    destination_name: 'api.example.com',
    destination_address: '10.0.0.1',
    destination_port: 443,
    way: 'tunnel',
    wait_ms: 40,
  });
  assert.equal(closed?.event, 'closed');
  assert.equal(closed?.['duration_ms'], 5000);
  assert.equal(closed?.['sent_bytes'], 10);
  assert.equal(closed?.['received_bytes'], 20);
});

test('the user is known at once; a process that is found late is in a later record', async (t) => {
  const asked: Flow[] = [];
  const { sink, log, pass } = setUp(t, {
    find(flows) {
      asked.push(...flows);
      for (const one of flows) one.user = 1000;
    },
  });
  const one = flow(1);
  log.asked(one);
  log.opened(one);
  await pass(250);
  one.process = '12 (cu\u001b[31mrl)';
  log.ended(one, IN_ORDER);
  await pass(250);
  assert.equal(sink.taken[0]?.['uid'], 1000);
  assert.equal(sink.taken[0]?.['user'], 'alice');
  assert.equal(sink.taken[0]?.['process'], undefined);
  assert.equal(sink.taken[1]?.['process'], '12 (curl)');
  assert.deepEqual(asked, [one]);
});

test('flows that are asked for in one turn are one question, many of them a few', async (t) => {
  const asked: number[] = [];
  const { log } = setUp(t, { find: (flows) => asked.push(flows.length) });
  for (let id = 0; id < 5; id++) log.asked(flow(id));
  assert.deepEqual(asked, []);
  await new Promise(setImmediate);
  assert.deepEqual(asked, [5]);
  for (let id = 0; id < 40; id++) log.asked(flow(id));
  await new Promise(setImmediate);
  assert.deepEqual(asked, [5, 32, 8]);
  await new Promise(setImmediate);
  assert.equal(asked.length, 3);
});

test('whose a flow is that is refused at once is asked before it is answered', (t) => {
  const asked: Flow[] = [];
  const { log } = setUp(t, { find: (flows) => asked.push(...flows) });
  const one = flow(1);
  log.asked(one);
  log.refused(one, { refusal: 'prohibited', why: 'no rule permits it', by: 'rules' });
  assert.deepEqual(asked, [one]);
});

test('whose a flow is can be known without a look, and a look that finds another is right', async (t) => {
  const { sink, log, pass } = setUp(t, { expected: 1000, find: () => {} });
  for (const [id, owner] of [undefined, 0].entries()) {
    const one = flow(id);
    log.asked(one);
    log.opened(one);
    await pass(250);
    if (owner !== undefined) one.user = owner;
    log.ended(one, IN_ORDER);
  }
  await pass(250);
  assert.deepEqual(
    sink.taken.map(({ event, uid }) => [event, uid]),
    [
      ['opened', 1000],
      ['closed', 1000],
      ['opened', 1000],
      ['closed', 0],
    ],
  );
});

test('a refusal says by whom and why, without control characters', async (t) => {
  const { sink, log, pass } = setUp(t);
  const one = flow(1, { host: 'db.example.com', port: 5432 });
  log.asked(one);
  log.refused(one, { refusal: 'prohibited', why: 'no rule\u001b[2J\npermits it', by: 'rules' });
  await pass(250);
  assert.equal(sink.taken[0]?.['refusal'], 'prohibited');
  assert.equal(sink.taken[0]?.['refused_by'], 'rules');
  assert.equal(sink.taken[0]?.['reason'], 'no rule permits it');
  assert.equal(sink.taken[0]?.['destination_name'], 'db.example.com');
});

test('a flow that is given up has a record, one that is put off has none', async (t) => {
  const { sink, log, pass } = setUp(t, {
    find(flows) {
      for (const one of flows) one.user = 1000;
    },
  });
  const [early, late, deferred] = [1, 2, 3].map((id) => flow(id));
  for (const [one, by, connected] of [
    [early, 'application', false],
    [late, 'application', true],
    [deferred, 'limit', false],
  ] as const) {
    assert.ok(one !== undefined);
    log.asked(one);
    one.way = 'tunnel';
    log.left(one, { by, connected });
  }
  await pass(250);
  assert.deepEqual(
    sink.taken.map(({ event, id, connected }) => [event, id, connected]),
    [
      ['given-up', 'run-1', false],
      ['given-up', 'run-2', true],
    ],
  );
  assert.deepEqual(JSON.parse(JSON.stringify(sink.taken[1])), {
    time: '1970-01-01T00:16:40.000Z',
    event: 'given-up',
    id: 'run-2',
    source_address: '10.9.9.9',
    source_port: 40_000,
    destination_name: 'api.example.com',
    destination_address: '10.0.0.1',
    destination_port: 443,
    way: 'tunnel',
    uid: 1000,
    user: 'alice',
    wait_ms: 0,
    connected: true,
  });
  await log.close();
  assert.equal(sink.taken.at(-1)?.['given_up'], 2);
});

test('a sink that fails is said once; what is left out is counted and recorded', async (t) => {
  const { sink, log, logged, counted, pass } = setUp(t);
  sink.error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  let count = 0;
  while (!counted.has('tunnel_flow_log_missing_total')) log.opened(flow(count++));
  assert.ok(count > 8000 && count < 50_000, String(count));
  for (let i = 0; i < 9; i++) log.opened(flow(count++));
  for (let i = 0; i < 5; i++) await pass(1000);
  assert.equal(logged.length, 1);
  assert.match(logged[0] ?? '', /^warning: .*no space left on/);
  // Of those that were formatted together, some had room.
  const missing = counted.get('tunnel_flow_log_missing_total') ?? 0;
  assert.ok(missing >= 10 && missing < 100, String(missing));
  sink.error = undefined;
  sink.most = 100;
  await pass(1000);
  assert.equal(sink.taken.length, count - missing + 1);
  assert.deepEqual(
    sink.taken.slice(0, -1).map(({ id }) => id),
    Array.from({ length: count - missing }, (_, i) => `run-${i}`),
  );
  assert.equal(sink.taken.at(-1)?.event, 'missing');
  assert.equal(sink.taken.at(-1)?.['count'], missing);
  assert.ok(logged.some((line) => line.includes(`${missing} records are missing`)));
  assert.ok(logged.some((line) => /is written again/.test(line)));
  log.opened(flow(99_999));
  await pass(250);
  assert.equal(sink.taken.at(-1)?.['id'], 'run-99999');
});

test('close writes what waits and says what there was', async (t) => {
  const { sink, log } = setUp(t);
  log.note('started', { remote: 'jump' });
  log.opened(flow(1));
  log.refused(flow(2), { refusal: 'refused', why: 'closed', by: 'far side' });
  await log.close('the link was lost');
  assert.deepEqual(
    sink.taken.map(({ event }) => event),
    ['started', 'opened', 'refused', 'ended'],
  );
  assert.equal(sink.taken.at(-1)?.['opened'], 1);
  assert.equal(sink.taken.at(-1)?.['refused'], 1);
  assert.equal(sink.taken.at(-1)?.['reason'], 'the link was lost');
  assert.ok(sink.closed);
  log.opened(flow(3));
});

test('the last record is behind that of missing ones, once the sink takes records again', async (t) => {
  const { sink, log, counted } = setUp(t);
  sink.error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  let count = 0;
  while (!counted.has('tunnel_flow_log_missing_total')) log.opened(flow(count++));
  sink.error = undefined;
  await log.close();
  assert.deepEqual(
    sink.taken.slice(-2).map(({ event }) => event),
    ['missing', 'ended'],
  );
  assert.equal(sink.taken.at(-1)?.['missing'], counted.get('tunnel_flow_log_missing_total'));
  assert.equal(sink.taken.length, count - Number(sink.taken.at(-1)?.['missing']) + 2);
});

test('close does not wait for a sink that fails', async (t) => {
  const { sink, log, logged } = setUp(t);
  log.opened(flow(1));
  sink.error = new Error('--flow-log test: gone');
  await log.close();
  assert.match(logged.join('\n'), /the last 2 records could not be written: gone/);
});

test('a new file begins with the run, and with the link as far as it is written', async (t) => {
  const { sink, log, pass } = setUp(t);
  log.note('started', { remote: 'jump', user: 'alice' });
  log.note('link-up', { jump_host: 'one' });
  log.opened(flow(1));
  log.note('link-down', { jump_host: 'one', reason: 'lost' });
  log.note('link-up', { jump_host: 'two' });
  const of = () => {
    const { time, ...fields } = sink.beginning();
    assert.match(time, /^1970/);
    return fields;
  };
  const run = { event: 'continued', run: 'run' };
  const hosts: unknown[] = [];
  const write = sink.write.bind(sink);
  sink.most = 1;
  sink.write = (bytes, ends) => {
    hosts.push(of()['jump_host']);
    return write(bytes, ends);
  };
  assert.deepEqual(of(), run);
  await pass(250);
  assert.deepEqual(
    sink.taken.map(({ event }) => event),
    ['started', 'link-up', 'opened', 'link-down', 'link-up'],
  );
  assert.deepEqual(hosts, [undefined, undefined, 'one', 'one', undefined]);
  assert.deepEqual(of(), { ...run, remote: 'jump', user: 'alice', jump_host: 'two' });
  // What the sink is never told counts as well.
  sink.error = new Error('gone');
  for (let count = 1; count < 50_000; count++) log.opened(flow(count));
  log.note('link-down', { jump_host: 'two' });
  assert.deepEqual(of(), { ...run, remote: 'jump', user: 'alice' });
});
