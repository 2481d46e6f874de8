/**
 * From sshd's reason for a channel that it doesn't open (RFC 4254 §5.1) to a refusal. All SSH
 * transports speak alike.
 */

import { ConnectError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import type { Refusal } from '../net/refusal.ts';

/** The reason codes of SSH_MSG_CHANNEL_OPEN_FAILURE. */
export const OPEN_FAILURE = {
  prohibited: 1,
  connectFailed: 2,
  unknownChannelType: 3,
  resourceShortage: 4,
} as const;

/**
 * strerror(3) and getaddrinfo(3) as sshd passes them on; anything else that it says is
 * `unreachable`.
 */
const FAILURE_TEXTS: readonly (readonly [RegExp, Refusal])[] = [
  [/connection refused/i, 'refused'],
  [/network is (unreachable|down)/i, 'no-network'],
  [/(connection|operation) timed out/i, 'timeout'],
  [/permission denied|operation not permitted/i, 'prohibited'],
];

/**
 * `reason` as OPEN_FAILURE has it, or anything else that a server may send; `text`: its words,
 * printable.
 */
export function openFailure(
  destination: Destination,
  reason: number | undefined,
  text: string,
  cause?: unknown,
): ConnectError {
  const to = formatDestination(destination);
  switch (reason) {
    case OPEN_FAILURE.prohibited:
    case OPEN_FAILURE.unknownChannelType:
      return new ConnectError('prohibited', `the jump host does not permit ${to} (${text})`, {
        hint: 'see AllowTcpForwarding and PermitOpen in its sshd_config, and permitopen in authorized_keys',
        cause,
      });
    case OPEN_FAILURE.resourceShortage:
      return new ConnectError('refused', `the jump host has no resources for ${to} (${text})`, {
        cause,
      });
    case OPEN_FAILURE.connectFailed:
      break;
    default:
      return new ConnectError('refused', `the jump host can't forward to ${to} (${text})`, {
        cause,
      });
  }
  // "open failed" is what sshd says when connect() failed at once, or it is out of descriptors.
  if (text === 'open failed' || text === '')
    return new ConnectError(
      'unreachable',
      `${to}: no route at the jump host, or no descriptors left`,
      {
        cause,
      },
    );
  const refusal = FAILURE_TEXTS.find(([pattern]) => pattern.test(text))?.[1] ?? 'unreachable';
  return new ConnectError(refusal, `${to}: ${text}`, { cause });
}
