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
import { BusyError, ConnectError, type ConnectOptions, type Connector } from './connector.ts';
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
    const { observer } = this.#options;
    const verdict = policy.decide(request.destination);
    if (verdict.kind === 'refuse') {
      observer.count('tunnel_flows_denied_total');
      observer.log('info', `${formatEnds(request)}: ${verdict.why}`, {
        flow: request.id,
        refusal: verdict.refusal,
      });
      request.refuse(verdict.refusal, `${formatDestination(request.destination)}: ${verdict.why}`);
    } else if (this.#live >= MAX_FLOWS) {
      observer.count('tunnel_flows_over_limit_total');
      this.#deferOrRefuse(request, `${MAX_FLOWS} connections are open already`);
    } else {
      this.#live++;
      // No promise lives as long as a flow, because thousands of flows are idle at the same time.
      this.#dial(request, verdict, policy).then(
        (far) => this.#open(request, far),
        (error: unknown) => this.#refuse(request, error),
      );
    }
  }

  #open(request: FlowRequest, far: Conduit): void {
    const { observer } = this.#options;
    const near = request.open();
    if (near === undefined) {
      // The application gave up after the far side answered. No data have been carried.
      this.#live--;
      observer.count('tunnel_flows_given_up_total');
      far.abort(undefined);
      return;
    }
    observer.count('tunnel_flows_opened_total');
    const shown = observer.shows?.('debug') ?? true;
    if (shown) observer.log('debug', `${formatEnds(request)}: open`, { flow: request.id });
    join(near, far, ({ sent, received, error }) => {
      this.#live--;
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
  #deferOrRefuse(request: FlowRequest, why: string): void {
    const { observer } = this.#options;
    const now = performance.now();
    if (now - this.#warnedAt >= WARN_INTERVAL_MS) {
      this.#warnedAt = now;
      const what = request.defer === undefined ? 'refused' : 'put off';
      observer.log('warning', `${formatEnds(request)}: ${what}, ${why}`, { flow: request.id });
    }
    if (request.defer === undefined) request.refuse('refused', why);
    else request.defer();
  }

  #dial(request: FlowRequest, verdict: Verdict, policy: Policy): Promise<Conduit> {
    const { tunnel, direct } = this.#options;
    const options = {
      flow: request.id,
      signal: request.signal,
      originator: request.source,
      peer: request.peer,
    };
    if (verdict.kind === 'resolve') return this.#dialResolved(request, policy);
    return (verdict.kind === 'tunnel' ? tunnel : direct).connect(request.destination, options);
  }

  /** Dials a name whose addresses decide. If one of them is a target, none is dialled directly. */
  async #dialResolved(request: FlowRequest, policy: Policy): Promise<Conduit> {
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
    if (tunnelled.length > 0)
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

  #refuse(request: FlowRequest, error: unknown): void {
    this.#live--;
    const { observer } = this.#options;
    const message = reasonOf(error);
    if (request.signal.aborted) {
      observer.count('tunnel_flows_given_up_total');
      observer.log('debug', `${formatEnds(request)}: ${message}`, { flow: request.id });
      return;
    }
    if (error instanceof BusyError) {
      this.#deferOrRefuse(request, message);
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
    request.refuse(refusal, message);
  }
}

/** The policy refuses one of the addresses of a name. */
class DeniedError extends ConnectError {}

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
