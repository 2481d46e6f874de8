/**
 * What `Flows` tells of its flows: to the table of `tunnel status`, to the flow log, to metrics.
 *
 *   asked() ──► opened() ──► ended()
 *          ├──► refused()
 *          └──► left()       given up by the application, or put off: nobody was answered
 *
 * All calls are synchronous, are made once a flow, and never throw. A flow that the policy refuses
 * at once is asked for and refused in the same turn.
 */
import { ListEntry } from '../base/linkedlist.ts';
import type { Destination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';
import type { Conduit } from './conduit.ts';
import type { FlowResult } from './join.ts';
import type { FlowRequest } from './request.ts';

/** `tunnel`: through the jump host. `direct`: past it. `nowhere`: not decided, or refused. */
export type Way = 'tunnel' | 'direct' | 'nowhere';

export interface Refused {
  readonly refusal: Refusal;
  /** A sentence for people. It may hold text of the server, which is not printable yet. */
  readonly why: string;
  /** By whom: by the rules of this run, by a limit, or by the far side or the jump host. */
  readonly by: 'rules' | 'limit' | 'far side';
}

/** How a flow ended that nobody was answered for. */
export interface Left {
  /** By whom: given up by the application, or put off by a limit, so that its kernel asks again. */
  readonly by: 'application' | 'limit';
  /** The far side had connected by then. */
  readonly connected: boolean;
}

/** A flow from the moment that it is asked for. One object for its whole life. */
export class Flow {
  /** FlowRequest.id */
  readonly id: number;
  readonly source: Destination;
  /** A name where the application has asked for one, or for the address that stands for it. */
  readonly destination: Destination;
  /** What the application's socket is connected to, if that is something else. */
  readonly peer: Destination | undefined;
  /** When it was asked for, in milliseconds since 1970. */
  readonly askedAt = Date.now();
  way: Way = 'nowhere';
  /** undefined: the far side has not answered. */
  openedAt: number | undefined;
  /** For the table of the flows that live. */
  readonly entry = new ListEntry<Flow>(this);
  /** Whose socket has asked, where a watcher has found it out: a uid, and `PID (name)`. */
  user: number | undefined;
  process: string | undefined;
  /** For who looks for them: it is no longer there. */
  over = false;
  #near: Conduit | undefined;
  #far: Conduit | undefined;

  constructor({ id, source, destination, peer }: FlowRequest) {
    this.id = id;
    this.source = source;
    this.destination = destination;
    this.peer = peer;
  }

  /** What the application's socket is connected to. */
  get socketPeer(): Destination {
    return this.peer ?? this.destination;
  }

  /** Bytes from the application until now. */
  get sent(): number {
    return this.#near?.received ?? 0;
  }

  /** Bytes from the far side until now. */
  get received(): number {
    return this.#far?.received ?? 0;
  }

  /** For `Flows`: both ends are there. */
  open(near: Conduit, far: Conduit): void {
    this.openedAt = Date.now();
    this.#near = near;
    this.#far = far;
  }

  /** For `Flows`: it is over. Who still has this object then doesn't keep both ends alive. */
  end(): void {
    this.#near = undefined;
    this.#far = undefined;
  }
}

export interface FlowWatcher {
  /** A connection is being made. Its way may become known later. */
  asked?(flow: Flow): void;
  opened?(flow: Flow): void;
  /** An open flow is over. `result.error`: why it did not end in order. */
  ended?(flow: Flow, result: FlowResult): void;
  refused?(flow: Flow, how: Refused): void;
  left?(flow: Flow, how: Left): void;
}

/** Tells several, in this order. */
export function watchers(all: readonly FlowWatcher[]): FlowWatcher {
  const [only] = all;
  if (only !== undefined && all.length === 1) return only;
  return {
    asked(flow) {
      for (const one of all) one.asked?.(flow);
    },
    opened(flow) {
      for (const one of all) one.opened?.(flow);
    },
    ended(flow, result) {
      for (const one of all) one.ended?.(flow, result);
    },
    refused(flow, how) {
      for (const one of all) one.refused?.(flow, how);
    },
    left(flow, how) {
      for (const one of all) one.left?.(flow, how);
    },
  };
}
