/** What a scrape says of flows, links and counters; what all users of a machine may see. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { metricsPage } from '../../../scripts/metricstable.ts';
import type { Conduit } from '../../../src/flow/conduit.ts';
import { Flow, type Way } from '../../../src/flow/flowwatch.ts';
import type { FlowRequest } from '../../../src/flow/request.ts';
import type { LinkView } from '../../../src/link/linkstate.ts';
import { FAMILIES, OPEN_DURATION } from '../../../src/metrics/families.ts';
import { Metrics } from '../../../src/metrics/metrics.ts';
import { MAX_TARGETS, TargetLabels } from '../../../src/metrics/targetlabels.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { COUNTERS } from '../../../src/observe/counters.ts';
import { Log } from '../../../src/observe/log.ts';

const target = (text: string, ports: { first: number; last: number }[] = []) => ({
  prefix: parsePrefix(text).prefix,
  ports,
  text,
});
const named = (text: string) => ({ pattern: parseNamePattern(text), ports: [], text });
const TARGETS = {
  targets: [target('10.0.0.0/8'), target('10.1.0.0/16', [{ first: 443, last: 443 }])],
  nameTargets: [named('*.corp.example'), named('*.a.corp.example')],
};

const DOWN: LinkView = {
  state: 'waiting',
  since: 5_000,
  upSince: undefined,
  attempt: 3,
  error: undefined,
  hold: 10,
  held: 2,
  holdEndsAt: undefined,
  redialAt: undefined,
  established: undefined,
  roundTripMs: undefined,
  opens: { waiting: 7, unanswered: 9 },
  load: undefined,
};

function silentLog(): Log {
  return new Log({ level: 'error', sink: { broken: false, dropped: 0, write() {} } });
}

function metricsFor(audience: 'operator' | 'everybody', link: LinkView = DOWN) {
  const observer = silentLog();
  const metrics = new Metrics(
    {
      run: () => ({
        name: 'lab "1"\n',
        command: 'proxy',
        version: '1.2.3',
        remote: 'u@jump.example',
        startedAt: 1_000,
        ready: true,
        windowBudget: 4096,
      }),
      link: () => link,
      counters: () => observer.snapshot(),
      targets: () => TARGETS,
      observer,
    },
    audience,
  );
  return { metrics, observer };
}

let lastId = 0;
function flowTo(host: string, way: Way = 'tunnel'): Flow {
  lastId++;
  const request = {
    id: lastId,
    source: { host: '::1', port: 1 },
    destination: { host, port: 443 },
  };
  const flow = new Flow(request as unknown as FlowRequest);
  flow.way = way;
  return flow;
}

const moved = (received: number) => ({ received }) as unknown as Conduit;

describe('Metrics', () => {
  it('counts flows by target, those that live included', async () => {
    const { metrics, observer } = metricsFor('operator');
    const { watch } = metrics;
    const [one, other, gone, refused, opening] = [
      flowTo('10.2.0.1'),
      flowTo('10.1.0.1'),
      flowTo('x.a.corp.example'),
      flowTo('192.0.2.1'),
      flowTo('10.2.0.2'),
    ];
    for (const flow of [one, other, gone, refused, opening]) watch.asked?.(flow);
    for (const flow of [one, other]) {
      flow.open(moved(100), moved(1_000));
      watch.opened?.(flow);
    }
    watch.ended?.(other, { sent: 150, received: 1_500, error: undefined });
    watch.left?.(gone, { by: 'application', connected: false });
    watch.refused?.(refused, { refusal: 'prohibited', why: 'no', by: 'far side' });
    observer.count('tunnel_flows_opened_total', 2);
    const text = await metrics.text();
    const has = (line: string) => assert.ok(text.includes(`\n${line}\n`), `${line} in\n${text}`);
    has('tunnel_flows_live{target="10.0.0.0/8"} 1');
    has('tunnel_flows_opening{target="10.0.0.0/8"} 1');
    has('tunnel_flow_bytes_total{direction="sent",target="10.0.0.0/8"} 100');
    has('tunnel_flow_bytes_total{direction="received",target="10.1.0.0/16"} 1500');
    has('tunnel_flow_outcomes_total{outcome="opened",reason="",by="",target="10.1.0.0/16"} 1');
    has(
      'tunnel_flow_outcomes_total{outcome="given_up",reason="",by="",target="*.a.corp.example"} 1',
    );
    has(
      'tunnel_flow_outcomes_total{outcome="refused",reason="prohibited",by="far_side",target="other"} 1',
    );
    has('tunnel_flows_ended_total{end="in_order",target="10.1.0.0/16"} 1');
    has('tunnel_open_duration_seconds_count{way="tunnel"} 2');
    has('tunnel_flows_opened_total 2');
    has('tunnel_link_up 0');
    has('tunnel_link_state{state="waiting"} 1');
    has('tunnel_link_attempt 3');
    has('tunnel_connects_held 2');
    has('tunnel_window_budget_bytes 4096');
    assert.doesNotMatch(text, /^tunnel_link_round_trip_seconds \S/m);
    assert.doesNotMatch(text, /^tunnel_link_info\{/m);
    assert.equal(await metrics.text().then((again) => again.includes(' 1500\n')), true);
    metrics.close();
  });

  it('has what may come at 0 before it comes, so that the first event is an increase', async () => {
    const { metrics } = metricsFor('operator');
    const text = await metrics.text();
    const has = (line: string) => assert.ok(text.includes(`\n${line}\n`), `${line} in\n${text}`);
    for (const target of ['10.0.0.0/8', '*.corp.example', 'other']) {
      has(`tunnel_flows_live{target="${target}"} 0`);
      has(`tunnel_flow_bytes_total{direction="sent",target="${target}"} 0`);
      has(`tunnel_flows_ended_total{end="broken",target="${target}"} 0`);
      has(`tunnel_flow_outcomes_total{outcome="opened",reason="",by="",target="${target}"} 0`);
      const refused = 'outcome="refused",reason="timeout",by="far_side"';
      has(`tunnel_flow_outcomes_total{${refused},target="${target}"} 0`);
    }
    has('tunnel_open_duration_seconds_count{way="tunnel"} 0');
    has('tunnel_open_duration_seconds_bucket{le="0.1",way="direct"} 0');
    metrics.close();
    const open = metricsFor('everybody');
    assert.match(await open.metrics.text(), /\ntunnel_flow_bytes_total\{direction="sent"\} 0\n/);
    open.metrics.close();
  });

  it('shows queues, and what of the window budget is used', async () => {
    const load = { windowBytes: 5, windowBudget: 6, unsentBytes: 7, sendingChannels: 8 };
    const up: LinkView = { ...DOWN, state: 'up', upSince: 5_000, load };
    const { metrics } = metricsFor('everybody', up);
    const text = await metrics.text();
    const has = (line: string) => assert.ok(text.includes(`\n${line}\n`), `${line} in\n${text}`);
    has('tunnel_opens_waiting 7');
    has('tunnel_opens_unanswered 9');
    has('tunnel_window_budget_used_bytes 5');
    has('tunnel_ssh_unsent_bytes 7');
    has('tunnel_ssh_channels_sending 8');
    metrics.close();
    // The system's ssh doesn't tell; without a link there is nothing.
    const silent = metricsFor('everybody', { ...up, load: undefined });
    assert.doesNotMatch(await silent.metrics.text(), /^tunnel_window_budget_used_bytes \S/m);
    silent.metrics.close();
    const down = metricsFor('everybody');
    assert.match(await down.metrics.text(), /^tunnel_window_budget_used_bytes 0$/m);
    down.metrics.close();
  });

  it('says nothing of destinations, names or users where everybody can read it', async () => {
    const { metrics } = metricsFor('everybody');
    const { watch } = metrics;
    for (const host of ['10.2.0.1', '10.1.0.1']) {
      const flow = flowTo(host);
      watch.asked?.(flow);
      flow.open(moved(100), moved(1_000));
      watch.opened?.(flow);
    }
    const text = await metrics.text();
    assert.match(text, /\ntunnel_flow_bytes_total\{direction="sent"\} 200\n/);
    assert.match(text, /\ntunnel_flows_live 2\n/);
    assert.match(text, /\ntunnel_run_info\{command="proxy"\} 1\n/);
    assert.doesNotMatch(text, /10\.[0-9]+\.[0-9]|corp\.example|jump\.example|lab/);
    metrics.close();
  });

  it('watches the event loop only from the first scrape on', async () => {
    const { metrics } = metricsFor('everybody');
    assert.doesNotMatch(await metrics.text(), /^tunnel_event_loop_delay_max_seconds \S/m);
    metrics.close();
  });

  it('has no name twice, and names as Prometheus wants them', () => {
    const names = [
      ...FAMILIES.map(({ name }) => name),
      OPEN_DURATION.name,
      ...Object.keys(COUNTERS),
    ];
    assert.equal(new Set(names).size, names.length);
    for (const { name, type, help } of FAMILIES) {
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.match(help, /^.{5,80}[^.]$/);
    }
  });
});

describe('docs/metrics.md', () => {
  it('lists what there is', () => {
    const page = new URL('../../../../docs/metrics.md', import.meta.url);
    assert.equal(readFileSync(page, 'utf8'), metricsPage());
  });
});

describe('TargetLabels', () => {
  it('finds the narrowest target, and gives away no more labels than MAX_TARGETS', () => {
    const observer = silentLog();
    let targets = TARGETS.targets;
    const labels = new TargetLabels(
      () => ({ targets, nameTargets: TARGETS.nameTargets }),
      observer,
    );
    const of = (host: string, port = 443) => labels.of({ host, port });
    assert.equal(of('10.1.0.1'), '10.1.0.0/16');
    assert.equal(of('10.1.0.1', 80), '10.0.0.0/8');
    assert.equal(of('corp.example'), 'other');
    assert.equal(of('b.corp.example'), '*.corp.example');
    for (let round = 0; round < 3; round++) {
      targets = Array.from({ length: MAX_TARGETS }, (_, i) => target(`10.${round}.${i}.0/24`));
      for (let i = 0; i < MAX_TARGETS; i++) of(`10.${round}.${i}.1`);
    }
    assert.equal(of('10.2.63.1'), 'other');
    const over = observer
      .snapshot()
      .find(({ name }) => name === 'tunnel_metrics_targets_other_total');
    assert.equal(over?.value, 3 + 2 * MAX_TARGETS + 1);
  });
});
