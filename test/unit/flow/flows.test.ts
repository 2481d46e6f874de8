/** Flows whose destination is a name: what is resolved where, and which way it goes. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { parseTarget } from '../../../src/config/target.ts';
import {
  BusyError,
  ConnectError,
  type ConnectOptions,
  type Connector,
} from '../../../src/flow/connector.ts';
import { Flows } from '../../../src/flow/flows.ts';
import { type FlowRequest, nextFlowId } from '../../../src/flow/request.ts';
import { StreamConduit } from '../../../src/flow/streamconduit.ts';
import { type Destination, formatDestination } from '../../../src/net/destination.ts';
import { parseNamePattern } from '../../../src/net/name.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { createPolicy } from '../../../src/policy/policy.ts';
import { TwinTransport } from '../../support/twin.ts';

/** Dials nothing, and remembers what it was asked for. */
class Recorder implements Connector {
  readonly asked: string[] = [];

  async connect(destination: Destination, { addresses }: ConnectOptions = {}) {
    this.asked.push([formatDestination(destination), ...(addresses ?? [])].join(' '));
    return new StreamConduit(new PassThrough().end());
  }
}

describe('Flows', () => {
  const policy = createPolicy(
    {
      targets: ['10.0.0.0/8', '10.9.0.0/16', '192.168.0.0/16:443'].map(
        (text) => parseTarget(text, { kind: 'argument', name: 'target' }).target,
      ),
      exclusions: [parseTarget('10.1.0.0/16', { kind: 'argument', name: 'target' }).target],
      nameTargets: [{ pattern: parseNamePattern('*.cloud.example'), ports: [] }],
    },
    { proxied: true },
  );

  async function carry(host: string, addresses: readonly string[] | Error) {
    const tunnel = new TwinTransport();
    const direct = new Recorder();
    tunnel.serve('*', (far) => far.end());
    tunnel.refuse('10.0.0.66:80', 'no-network', 'the first one fails');
    tunnel.refuse('10.0.0.67:80', 'refused', 'so does the second');
    const flows = new Flows({
      policy: createPolicy({ targets: [], exclusions: [] }),
      tunnel,
      direct,
      resolve: async () => {
        if (addresses instanceof Error) throw addresses;
        return addresses;
      },
      observer: silentObserver,
    });
    const outcome = await new Promise<string>((resolve) => {
      flows.accept(
        {
          id: 1,
          source: { host: '127.0.0.1', port: 1 },
          destination: { host, port: 80 },
          signal: new AbortController().signal,
          open: () => {
            resolve('open');
            return new StreamConduit(new PassThrough().end());
          },
          refuse: (refusal, why) => resolve(`${refusal}: ${why}`),
        },
        policy,
      );
    });
    return {
      outcome,
      tunnelled: tunnel.requested.map(({ destination }) => formatDestination(destination)),
      direct: direct.asked,
    };
  }

  it('hand a name target on by name', async () => {
    const { outcome, tunnelled, direct } = await carry(
      'api.cloud.example',
      new Error('nobody should ask'),
    );
    assert.deepEqual([outcome, tunnelled, direct], ['open', ['api.cloud.example:80'], []]);
  });

  it('send a name through the tunnel when one of its addresses is a target, and try all that are', async () => {
    const { outcome, tunnelled, direct } = await carry('x.example', [
      '8.8.8.8',
      '10.0.0.66',
      '10.1.1.1',
      '10.0.0.2',
    ]);
    assert.deepEqual([outcome, tunnelled, direct], ['open', ['10.0.0.66:80', '10.0.0.2:80'], []]);
    const failed = await carry('x.example', ['10.0.0.66', '10.0.0.67', '8.8.8.8']);
    assert.deepEqual([failed.outcome, failed.direct], ['no-network: the first one fails', []]);
  });

  it('dial the very addresses that the policy has seen when none is a target', async () => {
    const { outcome, tunnelled, direct } = await carry('x.example', ['2600::1', '10.1.1.1']);
    assert.deepEqual([outcome, tunnelled, direct], ['open', [], ['x.example:80 2600::1 10.1.1.1']]);
  });

  it('refuse a name whose address has other ports only', async () => {
    const { outcome, tunnelled, direct } = await carry('x.example', ['8.8.8.8', '192.168.0.1']);
    assert.match(outcome, /^prohibited: x\.example:80 is 192\.168\.0\.1: port 80 is not among/);
    assert.deepEqual([tunnelled, direct], [[], []]);
  });

  it('refuse a name that can not be resolved', async () => {
    const { outcome } = await carry('x.example', new ConnectError('unreachable', 'no such name'));
    assert.equal(outcome, 'unreachable: no such name');
  });
});

describe('the log of flows', () => {
  const TARGETS = createPolicy({
    targets: [parseTarget('10.0.0.0/8:80', { kind: 'argument', name: 'target' }).target],
    exclusions: [],
  });

  /** What is logged of one request with this id, and what the connector was told. */
  async function logged(host: string, port: number, change: Partial<FlowRequest> = {}) {
    const lines: string[] = [];
    const told: (number | undefined)[] = [];
    const twin = new TwinTransport();
    twin.serve('*', (far) => far.end());
    twin.refuse('10.0.0.66:80', 'refused', 'nobody listens');
    const connector: Connector = {
      connect(destination, options) {
        told.push(options?.flow);
        return destination.host === '10.0.0.67'
          ? Promise.reject(new BusyError('no room'))
          : twin.connect(destination, options);
      },
    };
    const flows = new Flows({
      policy: TARGETS,
      tunnel: connector,
      direct: connector,
      resolve: async () => ['10.0.0.1'],
      observer: {
        count() {},
        log: (level, message, fields) =>
          void lines.push(`${level} ${fields?.['flow']} ${message.replace(/^.* -> /, '')}`),
      },
    });
    flows.accept({
      id: 17,
      source: { host: '127.0.0.1', port: 1 },
      destination: { host, port },
      signal: new AbortController().signal,
      open: () => new StreamConduit(new PassThrough().end()),
      refuse: () => {},
      ...change,
    });
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    return { lines, told };
  }

  it('has the id in each line, and hands it to the connector', async () => {
    const opened = await logged('10.0.0.1', 80);
    assert.deepEqual(opened, {
      lines: ['debug 17 10.0.0.1:80: open', 'debug 17 10.0.0.1:80: ended'],
      told: [17],
    });
    const refused = await logged('10.0.0.66', 80);
    assert.deepEqual(refused, { lines: ['info 17 nobody listens'], told: [17] });
    const denied = await logged('10.0.0.1', 81);
    assert.match(denied.lines.join(), /^info 17 10\.0\.0\.1:81: /);
    for (const defer of [{}, { defer() {} }]) {
      const { lines } = await logged('10.0.0.67', 80, defer);
      assert.match(lines.join(), /^warning 17 10\.0\.0\.67:80: (refused|put off), no room$/);
    }
    const gone = await logged('10.0.0.1', 80, { signal: AbortSignal.abort(new Error('gone')) });
    assert.deepEqual(gone.lines, ['debug 17 10.0.0.1:80: gone']);
  });
});

describe('nextFlowId', () => {
  it('never gives a number twice', () => {
    const first = nextFlowId();
    assert.equal(nextFlowId(), first + 1);
  });
});
