/**
 * The connections to servers for one client's plain HTTP connection. Each is a separate flow,
 * requested like any other, and lives no longer than the client's connection. Between requests up
 * to MAX_IDLE_UPSTREAMS stay open, one for each server. Clients never share one, because some
 * servers tie a login to the connection.
 */
import { Agent, type ClientRequest, type ClientRequestArgs } from 'node:http';
import type { Duplex } from 'node:stream';
import { type FlowRequest, nextFlowId } from '../../flow/request.ts';
import { StreamConduit } from '../../flow/streamconduit.ts';
import type { Refusal } from '../../net/refusal.ts';
import { createPair } from './pair.ts';
import { gaveUp } from './request.ts';

/**
 * The most idle connections that one client's connection keeps. The one that has been idle longest
 * is closed first.
 */
export const MAX_IDLE_UPSTREAMS = 4;

/** Why there is no connection to the server. */
export class RefusedError extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, why: string) {
    super(why);
    this.name = 'RefusedError';
    this.refusal = refusal;
  }
}

/**
 * An agent for http.request. If the flow is refused, the request emits 'error' with a RefusedError.
 */
export class UpstreamAgent extends Agent {
  readonly #client: Pick<FlowRequest, 'source' | 'peer'>;
  readonly #accept: (request: FlowRequest) => void;
  readonly #abort = new AbortController();
  /** In the order in which they became idle. */
  readonly #idle = new Set<Duplex>();

  constructor(
    client: Pick<FlowRequest, 'source' | 'peer'>,
    accept: (request: FlowRequest) => void,
  ) {
    super({ keepAlive: true, maxFreeSockets: 1 });
    this.#client = client;
    this.#accept = accept;
  }

  /** Call when the client is gone. */
  override destroy(): void {
    this.#abort.abort(gaveUp());
    super.destroy();
  }

  override createConnection(
    { host, port }: ClientRequestArgs,
    connected: (error: Error | null, stream?: Duplex) => void,
  ): undefined {
    this.#accept({
      id: nextFlowId(),
      ...this.#client,
      destination: { host: host ?? '', port: Number(port) },
      signal: this.#abort.signal,
      open: () => {
        if (this.#abort.signal.aborted) return undefined;
        const [ours, relayed] = createPair();
        ours.once('close', () => this.#idle.delete(ours));
        connected(null, ours);
        return new StreamConduit(relayed);
      },
      refuse: (refusal, why = refusal) => connected(new RefusedError(refusal, why)),
    });
  }

  override keepSocketAlive(stream: Duplex): boolean {
    for (const oldest of this.#idle) {
      if (this.#idle.size < MAX_IDLE_UPSTREAMS) break;
      oldest.destroy();
      this.#idle.delete(oldest);
    }
    this.#idle.add(stream);
    return true;
  }

  override reuseSocket(stream: Duplex, request: ClientRequest): void {
    this.#idle.delete(stream);
    super.reuseSocket(stream, request);
  }
}
