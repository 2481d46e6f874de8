/**
 * A supervisor whose dials do what the test says, over twins and with mocked timers: for tests of
 * the supervisor.
 */

import assert from 'node:assert/strict';
import { mock } from 'node:test';
import type { Clock } from '../../src/base/clock.ts';
import { TunnelError } from '../../src/errors/errors.ts';
import { ConnectError } from '../../src/flow/connector.ts';
import { Supervisor } from '../../src/link/supervisor.ts';
import type { DialRequest, SupervisorOptions } from '../../src/link/supervisoroptions.ts';
import type { Destination } from '../../src/net/destination.ts';
import type { Fields, Level, Observer } from '../../src/observe/observer.ts';
import { TwinTransport } from './twin.ts';

/** The time of node:test's mocked timers. */
const MOCKED: Clock = {
  now: () => Date.now(),
  after(milliseconds, fire) {
    const timer = setTimeout(fire, milliseconds);
    return { cancel: () => clearTimeout(timer) };
  },
};

export const HOLD = 30;
export const API: Destination = { host: '10.0.0.5', port: 80 };
export const MINUTE = 60_000;

/** A twin that answers liveness probes. */
export class ProbedTwin extends TwinTransport {
  alive = true;
  closed = false;
  probes = 0;

  override close(): Promise<void> {
    this.closed = true;
    return super.close();
  }

  probe(timeout: number): Promise<boolean> {
    this.probes++;
    return this.alive
      ? Promise.resolve(true)
      : new Promise((resolve) => setTimeout(() => resolve(false), timeout));
  }
}

export type Outcome = TwinTransport | TunnelError | 'hang';

export class Recorder implements Observer {
  readonly lines: { level: Level; message: string; fields: Fields | undefined }[] = [];
  readonly counters = new Map<string, number>();
  log(level: Level, message: string, fields?: Fields): void {
    this.lines.push({ level, message, fields });
  }
  count(name: string, n = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + n);
  }
  notices(): string[] {
    return this.lines.filter(({ level }) => level === 'notice').map(({ message }) => message);
  }
}

/**
 * A supervisor whose dials follow `outcomes` in turn; later dials each give a new twin that serves
 * everything.
 */
export function supervised(outcomes: Outcome[] = [], options: Partial<SupervisorOptions> = {}) {
  const dials: { at: number; request: DialRequest }[] = [];
  const twins: ProbedTwin[] = [];
  const observer = new Recorder();
  const supervisor = new Supervisor({
    hold: HOLD,
    observer,
    clock: MOCKED,
    random: () => 0,
    async dial(request) {
      dials.push({ at: Date.now(), request });
      const outcome = outcomes.shift() ?? serving();
      if (outcome === 'hang') {
        return new Promise((_resolve, reject) => {
          request.signal.addEventListener('abort', () => reject(request.signal.reason));
        });
      }
      if (outcome instanceof TunnelError) throw outcome;
      if (outcome instanceof ProbedTwin) twins.push(outcome);
      return outcome;
    },
    ...options,
  });
  const twin = (): ProbedTwin => {
    const last = twins.at(-1);
    assert.ok(last !== undefined, 'nothing was dialled');
    return last;
  };
  return { supervisor, dials, twin, observer };
}

/** Whether a connect gets through without waiting. */
export async function isUp(supervisor: Supervisor): Promise<boolean> {
  const asked = watch(supervisor.connect(API));
  await settle();
  asked.value?.abort(undefined);
  return asked.value !== undefined;
}

export function serving(): ProbedTwin {
  const twin = new ProbedTwin();
  twin.serve('*', (far) => far.resume());
  return twin;
}

export const refused = () =>
  new TunnelError('jumphost-refused', 'the jump host refused the connection');
export const closed = () =>
  new TunnelError('jumphost-closed', 'the jump host closed the connection');
export const unidentified = () =>
  new TunnelError('jumphost-no-identification', 'the jump host closed the connection');
export const denied = () => new TunnelError('auth-failed', 'the jump host does not let "jump" in');
export const slow = () => new TunnelError('jumphost-slow', 'no key exchange within 4 s');
export const silent = () => new TunnelError('jumphost-timeout', 'the jump host does not answer');
export const broken = () =>
  new TunnelError('link-lost', 'the link is lost: ECONNRESET', { cause: 'ECONNRESET' });
export const inOrder = () => new TunnelError('link-lost', 'the jump host closed the connection');

/** Runs everything that needs no time. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass in steps, so that a timer's work can start further timers. */
export async function pass(ms: number): Promise<void> {
  await settle();
  const step = Math.max(250, Math.ceil(ms / 200));
  for (let left = ms; left > 0; left -= step) {
    mock.timers.tick(Math.min(step, left));
    await settle();
  }
}

/** The state of a promise, readable without waiting. */
export function watch<T>(promise: Promise<T>): {
  value?: T;
  error?: unknown;
  settled: boolean;
  at: number;
} {
  const outcome: { value?: T; error?: unknown; settled: boolean; at: number } = {
    settled: false,
    at: 0,
  };
  promise.then(
    (value) => Object.assign(outcome, { value, settled: true, at: Date.now() }),
    (error: unknown) => Object.assign(outcome, { error, settled: true, at: Date.now() }),
  );
  return outcome;
}

export function assertRefused(error: unknown): asserts error is ConnectError {
  assert.ok(error instanceof ConnectError && error.refusal === 'refused', String(error));
}
