/** What the supervisor tells of its link, and the errors and words that it has for it. */
import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../errors/codes.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { systemRefusal } from '../errors/system.ts';
import type { Established } from '../ssh/established.ts';
import type { Load } from '../ssh/transport.ts';

/** See the drawing in supervisor.ts. */
export type LinkStateName =
  | 'connecting'
  | 'up'
  | 'probing'
  | 'idle'
  | 'waiting'
  | 'closed'
  | 'failed';

export interface LinkView {
  readonly state: LinkStateName;
  /** Since when it is in this state, in milliseconds since 1970. */
  readonly since: number;
  /** Since when the link stands; undefined: it does not. */
  readonly upSince: number | undefined;
  /** The number of the dial that is under way, or the last one of this outage; 0: none. */
  readonly attempt: number;
  /** Why there is no link. */
  readonly error: TunnelError | undefined;
  /** For how long connects wait that are asked for now, in seconds. */
  readonly hold: number;
  /** Connects that wait for a link. */
  readonly held: number;
  /** When the wait of the first one of them is over, in milliseconds since 1970. */
  readonly holdEndsAt: number | undefined;
  /** When it is dialled again, in milliseconds since 1970; undefined: nobody waits for that. */
  readonly redialAt: number | undefined;
  readonly established: Established | undefined;
  /** Of the last answer that was timed, in milliseconds. */
  readonly roundTripMs: number | undefined;
  readonly opens: OpensView;
  /** undefined: there is no link, or it doesn't tell. */
  readonly load: Load | undefined;
}

/** What is being opened over the link. */
export interface OpensView {
  /** Connections that wait for a place. */
  readonly waiting: number;
  /** Places that are taken: the jump host has been asked, and has not answered. */
  readonly unanswered: number;
}

export const NO_OPENS: OpensView = { waiting: 0, unanswered: 0 };

/** Calls all listeners, whatever they do to the list meanwhile. */
export class Listeners {
  readonly #all = new Set<() => void>();

  /** Returns what ends it. */
  add(listener: () => void): () => void {
    this.#all.add(listener);
    return () => this.#all.delete(listener);
  }

  call(): void {
    for (const listener of [...this.#all]) listener();
  }
}

/** What a client sees that has been shut out. */
const NOT_SERVED: readonly ErrorCode[] = [
  'jumphost-timeout',
  'jumphost-unreachable',
  'jumphost-refused',
  'jumphost-no-identification',
];

/**
 * What is said of a failed dial that is repeated after `wait` ms. `loginRefused`: a login has been
 * refused since the last link, so a firewall or fail2ban may have shut us out, with or without a
 * word.
 */
export function describeFailure(
  { code, message }: TunnelError,
  wait: number,
  loginRefused: boolean,
): string {
  const aboutLogin = code.startsWith('auth-') || code === 'no-terminal';
  const blocked = loginRefused && NOT_SERVED.includes(code);
  const parts = [
    message,
    ...(blocked ? ['it may block this address since it refused the login'] : []),
    `${aboutLogin ? 'the login is tried again only in' : 'trying again in'} ${inSeconds(wait)}`,
  ];
  return parts.join('; ');
}

/**
 * The code that tells what a failed dial means to the server. A login in which a question was not
 * answered has been refused all the same if an answer before it was (auth/questions.ts).
 */
export function meaningOf({ code, cause }: TunnelError): ErrorCode {
  const refused = cause instanceof TunnelError && cause.code === 'auth-failed';
  return code === 'auth-cancelled' && refused ? cause.code : code;
}

export function closedError(): TunnelError {
  return new TunnelError('link-closed', 'the connection to the jump host was closed');
}

export function unexpected(cause: unknown): TunnelError {
  const refusal = systemRefusal(cause);
  if (refusal !== undefined) return refusal;
  const text = reasonOf(cause);
  return new TunnelError('unexpected', `dialling the jump host failed unexpectedly: ${text}`, {
    cause,
  });
}

/** A time of a clock in milliseconds since 1970. */
export function dateOf(time: number | undefined, clock: Clock): number | undefined {
  return time === undefined ? undefined : Math.round(Date.now() + time - clock.now());
}

/** `ms` in words, for messages: `12.5 s`, `3 min`. */
export function inSeconds(ms: number): string {
  return ms < 100_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}
