/**
 * The flows of a running tunnel: each captured connection goes capture -> policy -> connector.
 *
 * States of a flow:
 *
 *   deciding   accept() was called: the policy decides (synchronous, pure)
 *   dialling   the connector (SSH channel, or a direct socket) is being opened; the application
 *              waits in its connect(). If the policy depends on a name's addresses, the name is
 *              resolved first
 *   open       the application's connect completed; the two ends are joined (join.ts)
 *   ended      closed in order, reset, refused, or given up by the application
 *
 * The far side is connected before the application's connect succeeds. If the application has gone
 * meanwhile, the far side is closed. Each failure becomes one `Refusal`, which the capture turns
 * into RST, ICMP or silence.
 *
 * A flow ends when one of its ends does: a capture that closes resets the application's end, a
 * transport that goes down aborts the far end, and either one ends the other.
 *
 * Limits: MAX_FLOWS, dialling and open together. Beyond it a connection is deferred, or refused if
 * the application asks only once. Both are counted.
 */
import type { GiveUpSignal } from '../base/giveup.ts';
import { reasonOf } from '../errors/reason.ts';
import { formatDestination, formatEnds } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Observer } from '../observe/observer.ts';
import type { Policy, Verdict } from '../policy/policy.ts';
import type { Conduit } from './conduit.ts';
import {
  BusyError,
  ConnectError,
  type ConnectOptions,
  type Connector,
  DeniedError,
} from './connector.ts';
import { Flow, type FlowWatcher, type Way } from './flowwatch.ts';
import { join } from './join.ts';
import type { FlowRequest } from './request.ts';

/** Below the number of channels at which sshd closes the connection (about 16,000). */
export const MAX_FLOWS = 8192;
/** The least time between two warnings that a limit is reached. */
const WARN_INTERVAL_MS = 1000;

export interface FlowsOptions {
  readonly policy: Policy;
  /**
   * `tunnel` opens the connections that the policy sends through the tunnel, `direct` those that go
   * past it.
   */
  readonly tunnel: Connector;
  readonly direct: Connector;
  /**
   * This machine's resolver. Resolves with at least one canonical address. Rejects with
   * ConnectError, or with the signal's reason.
   */
  readonly resolve: (name: string, signal: GiveUpSignal) => Promise<readonly string[]>;
  readonly observer: Observer;
  /** Is told of each flow. Default: nobody. */
  readonly watch?: FlowWatcher;
}

export class Flows {
  readonly #options: FlowsOptions;
  #live = 0;
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(options: FlowsOptions) {
    this.#options = options;
  }

  /**
   * For Capture.start: takes over the request and answers it. A capture may pass its own policy.
   */
  accept(request: FlowRequest, policy: Policy = this.#options.policy): void {
    const { observer, watch } = this.#options;
    const flow = new Flow(request);
    watch?.asked?.(flow);
    const verdict = policy.decide(request.destination);
    if (verdict.kind === 'refuse') {
      observer.count('tunnel_flows_denied_total');
      observer.log('info', `${formatEnds(request)}: ${verdict.why}`, {
        flow: request.id,
        refusal: verdict.refusal,
      });
      watch?.refused?.(flow, { refusal: verdict.refusal, why: verdict.why, by: 'rules' });
      request.refuse(verdict.refusal, `${formatDestination(request.destination)}: ${verdict.why}`);
    } else if (this.#live >= MAX_FLOWS) {
      observer.count('tunnel_flows_over_limit_total');
      this.#deferOrRefuse(request, flow, `${MAX_FLOWS} connections are open already`);
    } else {
      this.#live++;
      if (verdict.kind !== 'resolve') flow.way = verdict.kind;
      // No promise lives as long as a flow, because thousands of flows are idle at the same time.
      this.#dial(request, flow, { verdict, policy }).then(
        (far) => this.#open(request, flow, far),
        (error: unknown) => this.#refuse(request, flow, error),
      );
    }
  }

  #open(request: FlowRequest, flow: Flow, far: Conduit): void {
    const { observer, watch } = this.#options;
    const near = request.open();
    if (near === undefined) {
      // The application gave up after the far side answered. No data have been carried.
      this.#live--;
      observer.count('tunnel_flows_given_up_total');
      watch?.left?.(flow, { by: 'application', connected: true });
      far.abort(undefined);
      return;
    }
    observer.count('tunnel_flows_opened_total');
    flow.open(near, far);
    watch?.opened?.(flow);
    const shown = observer.shows?.('debug') ?? true;
    if (shown) observer.log('debug', `${formatEnds(request)}: open`, { flow: request.id });
    join(near, far, (result) => {
      const { sent, received, error } = result;
      this.#live--;
      watch?.ended?.(flow, result);
      flow.end();
      observer.count('tunnel_sent_bytes_total', sent);
      observer.count('tunnel_received_bytes_total', received);
      if (!shown) return;
      observer.log('debug', `${formatEnds(request)}: ended`, {
        flow: request.id,
        sent,
        received,
        error: error?.message,
      });
    });
  }

  /**
   * Answers a request beyond a limit. If the application's kernel asks again by itself, the request
   * is deferred: whatever fills the tunnel then keeps nobody out for good.
   */
  #deferOrRefuse(request: FlowRequest, flow: Flow, why: string): void {
    const { observer, watch } = this.#options;
    const now = performance.now();
    if (now - this.#warnedAt >= WARN_INTERVAL_MS) {
      this.#warnedAt = now;
      const what = request.defer === undefined ? 'refused' : 'put off';
      observer.log('warning', `${formatEnds(request)}: ${what}, ${why}`, { flow: request.id });
    }
    if (request.defer === undefined) {
      watch?.refused?.(flow, { refusal: 'refused', why, by: 'limit' });
      request.refuse('refused', why);
    } else {
      watch?.left?.(flow, { by: 'limit', connected: false });
      request.defer();
    }
  }

  #dial(request: FlowRequest, flow: Flow, { verdict, policy }: Decided): Promise<Conduit> {
    const { tunnel, direct } = this.#options;
    const options = {
      flow: request.id,
      signal: request.signal,
      originator: request.source,
      peer: request.peer,
    };
    if (verdict.kind === 'resolve') return this.#dialResolved(request, flow, policy);
    return (verdict.kind === 'tunnel' ? tunnel : direct).connect(request.destination, options);
  }

  /** Dials a name whose addresses decide. If one of them is a target, none is dialled directly. */
  async #dialResolved(request: FlowRequest, live: Flow, policy: Policy): Promise<Conduit> {
    const { tunnel, direct, resolve } = this.#options;
    const { id: flow, signal, source: originator, peer } = request;
    const { host, port } = request.destination;
    const verdicts = (await resolve(host, signal)).map((address) => ({
      address,
      verdict: policy.decide({ host: address, port }),
    }));
    const addressesWith = (kind: Verdict['kind']) =>
      verdicts.filter(({ verdict }) => verdict.kind === kind).map(({ address }) => address);
    const tunnelled = addressesWith('tunnel');
    live.way = wayOf(verdicts.map(({ verdict }) => verdict));
    if (live.way === 'tunnel')
      return connectInTurn(tunnel, tunnelled, port, { flow, signal, originator, peer, name: host });
    for (const { address, verdict } of verdicts) {
      if (verdict.kind !== 'refuse') continue;
      throw new DeniedError(verdict.refusal, `${host}:${port} is ${address}: ${verdict.why}`);
    }
    return direct.connect(request.destination, {
      flow,
      signal,
      originator,
      addresses: addressesWith('direct'),
    });
  }

  #refuse(request: FlowRequest, flow: Flow, error: unknown): void {
    this.#live--;
    const { observer, watch } = this.#options;
    const message = reasonOf(error);
    if (request.signal.aborted) {
      observer.count('tunnel_flows_given_up_total');
      observer.log('debug', `${formatEnds(request)}: ${message}`, { flow: request.id });
      watch?.left?.(flow, { by: 'application', connected: false });
      return;
    }
    if (error instanceof BusyError) {
      this.#deferOrRefuse(request, flow, message);
      return;
    }
    const refusal: Refusal = error instanceof ConnectError ? error.refusal : 'refused';
    const denied = error instanceof DeniedError;
    observer.count(denied ? 'tunnel_flows_denied_total' : 'tunnel_flows_refused_total');
    // The message begins with the destination.
    observer.log('info', `${formatDestination(request.source)} -> ${message}`, {
      flow: request.id,
      refusal,
    });
    watch?.refused?.(flow, { refusal, why: message, by: denied ? 'rules' : 'far side' });
    request.refuse(refusal, message);
  }
}

interface Decided {
  readonly verdict: Verdict;
  readonly policy: Policy;
}

/** Where a name with addresses of these verdicts goes: one that is a target decides for all. */
function wayOf(verdicts: readonly Verdict[]): Way {
  const has = (wanted: Verdict['kind']) => verdicts.some(({ kind }) => kind === wanted);
  if (has('tunnel')) return 'tunnel';
  return has('refuse') ? 'nowhere' : 'direct';
}

/** Connects to the first address that accepts. If none does, throws the first one's error. */
async function connectInTurn(
  connector: Connector,
  addresses: readonly string[],
  port: number,
  options: ConnectOptions,
): Promise<Conduit> {
  let failure: unknown;
  for (const host of addresses) {
    try {
      return await connector.connect({ host, port }, options);
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      failure ??= error;
    }
  }
  throw failure;
}
