/**
 * What `tunnel doctor` would say about this machine, said by a tunnel itself: when it is not ready
 * after a while, and when it is ready but something here keeps what it promises from being true.
 * Each sentence is said once in a run.
 */
import type { NetworkTargets } from '../doctor/network.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';
import type { Machine } from './machine.ts';
import type { Session } from './session.ts';

/** How long the start may take until the machine is looked at, in milliseconds. */
export const START_PATIENCE_MS = 10_000;

/** Findings that `connect` says itself, at its start (incoming.ts). */
const SAID_BY_CONNECT: ReadonlySet<string> = new Set(['ipv6']);

export class Advice {
  readonly #machine: Pick<Machine, 'lookAtNetwork' | 'clock'>;
  readonly #observer: Observer;
  readonly #said = new Set<string>();
  /** What is not as it should be, when it was last looked at. */
  findings: readonly Finding[] = [];

  constructor(machine: Pick<Machine, 'lookAtNetwork' | 'clock'>, observer: Observer) {
    this.#machine = machine;
    this.#observer = observer;
  }

  /** Looks at the machine if `work` takes long. `targets`: empty unless they become routes. */
  async during<T>(session: Session, targets: NetworkTargets, work: Promise<T>): Promise<T> {
    const timer = this.#machine.clock.after(
      START_PATIENCE_MS,
      () => void this.give(session, targets),
    );
    try {
      return await work;
    } finally {
      timer.cancel();
    }
  }

  /** `device`: that of the tunnel, if it runs. Never rejects. */
  async give(session: Session, targets: NetworkTargets, device?: string): Promise<void> {
    // Whether queries are carried is said by `connect` itself (warnOfCapturedResolvers).
    const context = { device, answersQueries: true };
    const findings = await this.#machine.lookAtNetwork(targets, context).catch((error: unknown) => {
      this.#observer.log('debug', `this machine could not be looked at: ${reasonOf(error)}`);
      return [];
    });
    if (session.signal.aborted) return;
    this.findings = findings.filter(({ state }) => state === 'warning' || state === 'failed');
    for (const { name, state, detail, hint } of findings) {
      if (SAID_BY_CONNECT.has(name)) continue;
      if ((state !== 'warning' && state !== 'failed') || this.#said.has(detail)) continue;
      this.#said.add(detail);
      this.#observer.count('tunnel_promises_doubtful_total');
      this.#observer.log('warning', detail, hint === undefined ? {} : { hint });
    }
  }
}
