/** Translates errors of ssh2, of the socket and of the server into the program's own. */
import { TunnelError } from '../../../errors/errors.ts';
import type { ConnectError } from '../../../flow/connector.ts';
import type { Destination } from '../../../net/destination.ts';
import { closedUnidentified, notSsh, turnedAway } from '../../dial/notssh.ts';
import type { Role } from '../../hops.ts';
import { openFailure } from '../../openfailure.ts';
import { serverText } from '../../servertext.ts';
import { ExchangeFault } from '../ssh2/exchangechecks.ts';
import type { OpenFailure } from './multiplexer.ts';

/** ssh2 adds these details, its own and the protocol's, to plain Errors. */
export interface SshError extends Error {
  /**
   * `client-socket`, `client-timeout`, `client-authentication`, `agent`, `handshake`, `protocol`
   */
  readonly level?: string;
  /** The reason of SSH_MSG_DISCONNECT (a number), or the name of an errno. */
  readonly code?: number | string;
}

/**
 * `firstLine`: what the port sent instead of an SSH identification; undefined if it sent nothing.
 */
export function noIdentificationError(
  at: string,
  role: Role,
  firstLine: string | undefined,
  cause?: unknown,
): TunnelError {
  if (firstLine === undefined) return closedUnidentified(at, cause);
  return turnedAway(at, firstLine, cause) ?? notSsh(at, role, firstLine, cause);
}

export function closedError(at: string, doing: string, cause?: SshError): TunnelError {
  const said = cause === undefined ? '' : `: ${causeText(cause)}`;
  return new TunnelError('jumphost-closed', `${at} closed the connection during ${doing}${said}`, {
    hint: 'look into the log of sshd on the jump host; it may limit connections (MaxStartups, PerSourcePenalties)',
    cause,
  });
}

/**
 * Whether it is a fault in what the server has sent: not the loss of the connection, and no
 * DISCONNECT.
 */
export function breaksProtocol({ level, code }: SshError): boolean {
  return level !== 'client-socket' && level !== 'client-timeout' && typeof code !== 'number';
}

/** `doing`: `key exchange`. The server has sent what it may not send, or what can't be read. */
export function protocolError(at: string, doing: string, cause: SshError): TunnelError {
  const text = serverText(cause.message);
  return new TunnelError(
    'jumphost-protocol',
    `${at} breaks the rules of SSH in ${doing}: ${text}`,
    {
      hint: 'its SSH server is faulty or hostile, or somebody changes what it sends; see whether --transport openssh says the same',
      cause,
    },
  );
}

/**
 * The server's half of the key exchange breaks a rule, by our checks or by ssh2's. undefined: the
 * error is another one.
 */
export function exchangeFault(at: string, cause: SshError): TunnelError | undefined {
  const ours = cause instanceof ExchangeFault;
  if (!ours && cause.level !== 'handshake') return undefined;
  const what = ours ? cause.message : `breaks the rules of key exchange: ${causeText(cause)}`;
  return new TunnelError('jumphost-key-exchange', `${at} ${what}`, {
    hint:
      (ours ? cause.hint : undefined) ??
      'its SSH server is faulty, or somebody in between interferes: ask whoever runs it',
    cause,
  });
}

/** The server does nothing but exchange keys. */
export function exchangesAgain(at: string): TunnelError {
  const what = `${at} exchanges keys again and again before the login is done`;
  return new TunnelError('jumphost-key-exchange', what, {
    hint: 'its SSH server is faulty, or hostile: ask whoever runs it',
  });
}

/** The server went on before we had accepted its host key. */
export function hostKeySkipped(at: string): TunnelError {
  const what = `${at} goes on before its host key has been accepted`;
  return new TunnelError('host-key-skipped', what, {
    hint: 'no SSH server does that: someone may be in between; ask its owner for its host key',
  });
}

/** For a connection that was up. */
export function linkLostError(at: string, cause: SshError | undefined): TunnelError {
  let why = 'the jump host closed the connection';
  if (cause?.level === 'client-timeout') why = 'the jump host no longer answers keepalives';
  else if (cause instanceof ExchangeFault) why = `the jump host ${causeText(cause)}`;
  else if (cause !== undefined) why = causeText(cause);
  return new TunnelError('link-lost', `the connection to ${at} is lost: ${why}`, {
    hint: 'check the network, and the log of sshd on the jump host',
    cause,
  });
}

function causeText(cause: SshError): string {
  const text = serverText(cause.message);
  return typeof cause.code === 'number' ? `the jump host says "${text}"` : text;
}

/** For SSH_MSG_CHANNEL_OPEN_FAILURE. */
export function openError(destination: Destination, { reason, text }: OpenFailure): ConnectError {
  return openFailure(destination, reason, serverText(text));
}
