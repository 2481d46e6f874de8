import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DestinationTable, MAX_DESTINATIONS } from '../../../src/flow/destinationtable.ts';
import { Flow } from '../../../src/flow/flowwatch.ts';
import { nextFlowId } from '../../../src/flow/request.ts';
import type { CounterName } from '../../../src/observe/counters.ts';
import { TestConduit } from '../../support/testconduit.ts';

function flowTo(host: string, port = 443): Flow {
  const near = new TestConduit();
  const flow = new Flow({
    id: nextFlowId(),
    source: { host: '192.0.2.1', port: 50_000 },
    destination: { host, port },
    signal: new AbortController().signal,
    open: () => near,
    refuse() {},
  });
  flow.open(near, new TestConduit());
  return flow;
}

describe('the table of destinations', () => {
  it('sums flows up by destination, the one used last first', () => {
    const table = new DestinationTable({ log() {}, count() {} });
    const [one, two, other] = [flowTo('10.0.0.1'), flowTo('10.0.0.1'), flowTo('10.0.0.1', 22)];
    for (const flow of [one, two, other]) table.opened(flow);
    table.ended(one, { sent: 10, received: 20, error: undefined });
    table.ended(one, { sent: 10, received: 20, error: undefined });
    assert.deepEqual(
      table.totals().map(({ destination, ...of }) => [destination.port, of]),
      [
        [22, { live: 1, opened: 1, sent: 0, received: 0 }],
        [443, { live: 1, opened: 2, sent: 10, received: 20 }],
      ],
    );
  });

  it('forgets what was used longest ago, but nothing that has flows', () => {
    const counted: CounterName[] = [];
    const table = new DestinationTable({ log() {}, count: (name) => void counted.push(name) });
    const flows = Array.from({ length: MAX_DESTINATIONS }, (_, i) => flowTo(`host${i}`));
    for (const flow of flows) table.opened(flow);
    table.opened(flowTo('one more'));
    const hosts = () => table.totals().map(({ destination }) => destination.host);
    assert.ok(!hosts().includes('one more'));
    for (const flow of flows.slice(3, 5))
      table.ended(flow, { sent: 0, received: 0, error: undefined });
    table.opened(flowTo('another'));
    assert.equal(hosts().length, MAX_DESTINATIONS);
    assert.deepEqual([hosts()[0], hosts().includes('host3')], ['another', false]);
    assert.ok(hosts().includes('host4'));
    assert.deepEqual(new Set(counted), new Set(['tunnel_report_destinations_forgotten_total']));
    assert.equal(counted.length, 2);
  });
});
