/**
 * Translates sshd's reason for not opening a channel (RFC 4254 §5.1) into a refusal. All SSH
 * transports share it, so their messages are the same.
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

/** Texts of strerror(3) that sshd passes on. Any other text means `unreachable`. */
const FAILURE_TEXTS: readonly (readonly [RegExp, Refusal])[] = [
  [/connection refused/i, 'refused'],
  [/network is (unreachable|down)/i, 'no-network'],
  [/(connection|operation) timed out/i, 'timeout'],
  [/permission denied|operation not permitted/i, 'prohibited'],
];

/**
 * `reason`: one of OPEN_FAILURE, or anything else that a server may send. `text`: the server's
 * text, printable.
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
  // sshd says "open failed" when connect() failed at once, or when it has no descriptors left.
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
