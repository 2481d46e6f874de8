/** What watchers are told of flows, and what the table makes of it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BusyError, ConnectError, type Connector } from '../../../src/flow/connector.ts';
import { Flows } from '../../../src/flow/flows.ts';
import { FlowTable, MAX_REFUSALS } from '../../../src/flow/flowtable.ts';
import { type FlowWatcher, watchers } from '../../../src/flow/flowwatch.ts';
import { type FlowRequest, nextFlowId } from '../../../src/flow/request.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import type { Verdict } from '../../../src/policy/policy.ts';
import { TestConduit } from '../../support/testconduit.ts';

/** Notes each call, by the number of the flow. */
class Recorder implements FlowWatcher {
  readonly calls: string[] = [];
  asked = ({ id }: { id: number }) => this.calls.push(`asked ${id}`);
  opened = ({ id, way }: { id: number; way: string }) => this.calls.push(`opened ${id} ${way}`);
  ended = ({ id, sent, received }: { id: number; sent: number; received: number }) =>
    this.calls.push(`ended ${id} ${sent} ${received}`);
  refused: NonNullable<FlowWatcher['refused']> = ({ id }, { by, refusal }) =>
    this.calls.push(`refused ${id} ${refusal} ${by}`);
  left: NonNullable<FlowWatcher['left']> = ({ id }, { by, connected }) =>
    this.calls.push(`left ${id} ${by} ${connected ? 'connected' : 'not connected'}`);
}

interface Asked {
  readonly id: number;
  readonly near: TestConduit;
  readonly far: TestConduit;
}

function setUp(verdict: Verdict = { kind: 'tunnel' }, failure?: Error) {
  const recorder = new Recorder();
  const table = new FlowTable(silentObserver);
  const fars: TestConduit[] = [];
  const connector: Connector = {
    async connect() {
      if (failure !== undefined) throw failure;
      const far = new TestConduit();
      fars.push(far);
      return far;
    },
  };
  const flows = new Flows({
    policy: { decide: () => verdict },
    tunnel: connector,
    direct: connector,
    resolve: () => Promise.reject(new Error('not asked')),
    observer: silentObserver,
    watch: watchers([table, recorder]),
  });
  const ask = async (more: Partial<FlowRequest> = {}): Promise<Asked> => {
    const near = new TestConduit();
    const request: FlowRequest = {
      id: nextFlowId(),
      source: { host: '192.0.2.1', port: 50_000 },
      destination: { host: '10.0.0.1', port: 443 },
      signal: new AbortController().signal,
      open: () => near,
      refuse() {},
      ...more,
    };
    flows.accept(request);
    await new Promise(setImmediate);
    return { id: request.id, near, far: fars.at(-1) ?? new TestConduit() };
  };
  return { recorder, table, ask };
}

describe('FlowWatcher and FlowTable', () => {
  it('know a flow from its beginning to its end, with its bytes at each time', async () => {
    const { recorder, table, ask } = setUp();
    const { id, near, far } = await ask();
    near.received = 7;
    far.received = 11;
    const [flow] = table.live;
    assert.deepEqual([flow?.sent, flow?.received, flow?.way], [7, 11, 'tunnel']);
    assert.deepEqual(table.totals(), { opened: 1, refused: 0, sent: 7, received: 11 });
    near.end();
    assert.equal(table.size, 1, 'the other end lives');
    far.received = 12;
    far.end();
    assert.equal(table.size, 0);
    assert.deepEqual(table.totals(), { opened: 1, refused: 0, sent: 7, received: 12 });
    assert.deepEqual(recorder.calls, [`asked ${id}`, `opened ${id} tunnel`, `ended ${id} 7 12`]);
  });

  it('know who has refused a flow', async () => {
    const rules = setUp({ kind: 'refuse', refusal: 'prohibited', why: 'it is excluded' });
    const one = await rules.ask();
    assert.deepEqual(rules.recorder.calls, [
      `asked ${one.id}`,
      `refused ${one.id} prohibited rules`,
    ]);
    const far = setUp(undefined, new ConnectError('refused', 'nobody listens'));
    const other = await far.ask();
    assert.equal(far.recorder.calls.at(-1), `refused ${other.id} refused far side`);
    assert.deepEqual(
      far.table.refusals.map(({ flow, why, by }) => [flow.id, why, by]),
      [[other.id, 'nobody listens', 'far side']],
    );
    assert.equal(far.table.totals().refused, 1);
  });

  it('forget flows whose application has gone, without a word of a refusal', async () => {
    const { recorder, table, ask } = setUp();
    const { id } = await ask({ open: () => undefined });
    const signal = AbortSignal.abort(new Error('gone'));
    const failing = setUp(undefined, new ConnectError('refused', 'the channel was given up'));
    const early = await failing.ask({ signal });
    const full = setUp(undefined, new BusyError('no room'));
    const late = await full.ask({ defer() {} });
    assert.deepEqual(
      [recorder, failing.recorder, full.recorder].map(({ calls }) => calls),
      [
        [`asked ${id}`, `left ${id} application connected`],
        [`asked ${early.id}`, `left ${early.id} application not connected`],
        [`asked ${late.id}`, `left ${late.id} limit not connected`],
      ],
    );
    for (const { totals, size } of [table, failing.table, full.table].map((it) => ({
      totals: it.totals(),
      size: it.size,
    }))) {
      assert.deepEqual(totals, { opened: 0, refused: 0, sent: 0, received: 0 });
      assert.equal(size, 0);
    }
  });

  it('keep the last refusals only', async () => {
    const { table, ask } = setUp({ kind: 'refuse', refusal: 'refused', why: 'no' });
    let last = 0;
    for (let i = 0; i < MAX_REFUSALS + 5; i++) last = (await ask()).id;
    assert.equal(table.refusals.length, MAX_REFUSALS);
    assert.equal(table.refusals[0]?.flow.id, last);
    assert.equal(table.totals().refused, MAX_REFUSALS + 5);
  });
});
