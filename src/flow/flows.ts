/**
 * The flows of a running tunnel: each captured connection goes capture -> policy -> connector -> relay.
 *
 * States of a flow:
 *
 *   deciding   accept() was called: the policy is asked (synchronous, pure)
 *   dialling   the connector (SSH channel, or a direct socket) is being opened; the application waits in its connect()
 *   open       the application's connect completed; the relay copies
 *   ended      closed in order, reset, refused, or given up by the application
 *
 * The far side is connected before the application is told so; when the application has gone meanwhile, the far
 * side is closed. Each failure becomes one `Refusal`, which the capture turns into RST, ICMP or silence.
 *
 * Flows end with their streams: a capture that closes resets the applications' side, a transport that ends destroys the
 * far side, and the relay carries either over.
 *
 * Limits: MAX_FLOWS, or fewer where descriptors are scarce, dialling and open together; beyond, a connection is refused at once and counted.
 */
import type { Duplex } from 'node:stream';
import type { FlowRequest } from '../capture/capture.ts';
import { formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Observer } from '../observe/observer.ts';
import type { Policy } from '../policy/policy.ts';
import { ConnectError, type Connector, type FlowStream } from '../transport/transport.ts';
import { relay } from './relay.ts';

/** Below the number of channels at which sshd ends a connection (about 16,000). */
export const MAX_FLOWS = 8192;
/** Each flow has a socket; so many descriptors are left for everything else. */
const RESERVED_DESCRIPTORS = 64;

export interface FlowsOptions {
  readonly policy: Policy;
  /** Carries what the policy sends through the tunnel, and what it sends past it. */
  readonly tunnel: Connector;
  readonly direct: Connector;
  readonly observer: Observer;
  /** How many descriptors this process may have (RLIMIT_NOFILE). */
  readonly descriptors: number;
}

export class Flows {
  readonly #options: FlowsOptions;
  /** MAX_FLOWS, or what the descriptors allow: without one, the kernel would complete connections that nobody can carry. */
  readonly #limit: number;
  #live = 0;

  constructor(options: FlowsOptions) {
    this.#options = options;
    this.#limit = Math.max(1, Math.min(MAX_FLOWS, options.descriptors - RESERVED_DESCRIPTORS));
    if (this.#limit < MAX_FLOWS) {
      options.observer.log(
        'info',
        `at most ${this.#limit} connections at a time, for want of descriptors (ulimit -Hn)`,
      );
    }
  }

  /** Flows that are dialling or open. */
  get live(): number {
    return this.#live;
  }

  /** For Capture.start: takes the request over and answers it. */
  accept(request: FlowRequest): void {
    const { policy, tunnel, direct, observer } = this.#options;
    const verdict = policy.decide(request.destination);
    if (verdict.kind === 'refuse') {
      observer.count('tunnel_flows_denied_total');
      observer.log('info', `${describe(request)}: ${verdict.why}`, { refusal: verdict.refusal });
      request.refuse(verdict.refusal);
    } else if (this.#live >= this.#limit) {
      observer.count('tunnel_flows_over_limit_total');
      observer.log('warning', `${describe(request)}: refused, ${this.#limit} connections are open already`);
      request.refuse('refused');
    } else {
      this.#live++;
      this.#carry(request, verdict.kind === 'tunnel' ? tunnel : direct).finally(() => {
        this.#live--;
      });
    }
  }

  /** Never rejects. */
  async #carry(request: FlowRequest, connector: Connector): Promise<void> {
    const { observer } = this.#options;
    let far: FlowStream;
    try {
      far = await connector.connect(request.destination, {
        signal: request.signal,
        originator: request.source,
      });
    } catch (error) {
      this.#refuse(request, error);
      return;
    }
    let near: Duplex;
    try {
      near = await request.open();
    } catch {
      // The application has given up between the far side's answer and its own connect: nothing has been carried.
      observer.count('tunnel_flows_given_up_total');
      far.destroy();
      return;
    }
    observer.count('tunnel_flows_opened_total');
    observer.log('debug', `${describe(request)}: open`);
    const result = await relay(near, far);
    observer.count('tunnel_sent_bytes_total', result.sent);
    observer.count('tunnel_received_bytes_total', result.received);
    observer.log('debug', `${describe(request)}: ended`, {
      sent: result.sent,
      received: result.received,
      error: result.error?.message,
    });
  }

  #refuse(request: FlowRequest, error: unknown): void {
    const { observer } = this.#options;
    const message = error instanceof Error ? error.message : String(error);
    if (request.signal.aborted) {
      observer.count('tunnel_flows_given_up_total');
      observer.log('debug', `${describe(request)}: ${message}`);
      return;
    }
    const refusal: Refusal = error instanceof ConnectError ? error.refusal : 'refused';
    observer.count('tunnel_flows_refused_total');
    observer.log('info', `${formatDestination(request.source)} -> ${message}`, { refusal });
    request.refuse(refusal);
  }
}

function describe(request: FlowRequest): string {
  return `${formatDestination(request.source)} -> ${formatDestination(request.destination)}`;
}
