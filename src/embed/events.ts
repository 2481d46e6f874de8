/**
 * What happens to the link, as events.
 *
 *   up ──► lost ──► reconnecting ──► reconnected ──► lost ──► ... ──► closed
 *                     ▲      │ failed
 *                     └──────┘
 *
 * Events come after the call that has caused them, so a listener may do anything. With `onDemand`,
 * and where the server closes a connection that nobody uses, `reconnecting` comes without `lost`.
 */
import { EventEmitter } from 'node:events';
import type { TunnelError } from '../errors/errors.ts';

export interface TunnelEventMap {
  /** The link stands, for the first time. */
  up: [];
  /** The link is gone, and its connections are reset. New ones wait for the next link. */
  lost: [error: TunnelError | undefined];
  /** The jump host is dialled again. */
  reconnecting: [];
  /** The link stands again. */
  reconnected: [];
  /** The last event: by close(), or with the error with which the link has ended for good. */
  closed: [error: TunnelError | undefined];
}

interface ObservedLink {
  view(): { readonly state: string; readonly error: TunnelError | undefined };
  onChange(listener: () => void): () => void;
  readonly ended: Promise<TunnelError | undefined>;
}

export class TunnelEvents extends EventEmitter<TunnelEventMap> {}

/** Emits what happens to `link` from now on, until it has ended. */
export function follow(events: TunnelEvents, link: ObservedLink): void {
  let before = 'none';
  let everUp = false;
  const emit = (tell: () => void): void => process.nextTick(tell);
  const look = (): void => {
    const { state, error } = link.view();
    const was = before;
    // A probe doesn't change whether there is a link.
    before = state === 'probing' ? 'up' : state;
    if (before === was) return;
    if (before === 'up') {
      const first = !everUp;
      everUp = true;
      emit(() => events.emit(first ? 'up' : 'reconnected'));
      return;
    }
    const isLost = was === 'up' && (before === 'waiting' || before === 'connecting');
    if (isLost) emit(() => events.emit('lost', error));
    if (before === 'connecting' && everUp) emit(() => events.emit('reconnecting'));
  };
  const end = link.onChange(look);
  look();
  void link.ended.then((error) => {
    end();
    emit(() => events.emit('closed', error));
  });
}
