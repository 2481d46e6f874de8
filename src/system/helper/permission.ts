/** What the helper says about who may capture what (native/helper/permit.h), as errors. */
import { constants, userInfo } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { TunnelError } from '../../errors/errors.ts';
import type { FailedMessage } from './protocol.ts';

/** native/helper/rules.h */
export const RULES_FILE = '/etc/tunnel/helper.conf';

/** native/helper/client.c */
export const ADMINISTRATORS = ['sudo', 'wheel', 'admin'] as const;
/** native/helper/permit.h */
export const SHORTEST = { 4: 8, 6: 16 } as const;

const { errno: ERRNO } = constants;

interface Refusal {
  /** Completes "this user may not capture 10.0.0.0/8: ...". */
  readonly why: string;
  /** What `-x` would have to leave out. */
  readonly exclude?: string;
  /** What a line of the rules would have to permit. */
  readonly permit: string;
  /** Who else may. */
  readonly others?: string;
}

/**
 * A FAILED message at step PERMIT: the detail is a prefix and the reason. `user` is how the rules
 * name this user.
 */
export function notPermitted(
  { detail, errno }: Pick<FailedMessage, 'detail' | 'errno'>,
  user = ownName(),
): TunnelError {
  const [prefix = '', kind = '', ...rest] = detail.split(' ');
  const isRefusal = errno === ERRNO.EPERM || (errno === ERRNO.ESTALE && kind !== 'unknown');
  if (!isRefusal) {
    const cause = errno === ERRNO.ESTALE ? Number(rest[0]) : errno;
    const reason = cause === ERRNO.EOVERFLOW ? 'there are too many' : nameOf(cause);
    return new TunnelError(
      'capture-not-permitted',
      `the networks that this machine is connected to can't be told (${reason})`,
      { hint: `run tunnel as root, or permit this user to capture them in ${RULES_FILE}: "local"` },
    );
  }
  const { why, exclude, permit, others = '' } = refusal(prefix, kind, rest);
  const leaveOut = exclude === undefined ? '' : `leave it out with "-x ${exclude}"; or `;
  return new TunnelError(
    'capture-not-permitted',
    errno === ERRNO.ESTALE
      ? `${prefix} may be captured no longer: ${why}`
      : `this user may not capture ${prefix}${kind === 'wide' ? ' of the targets' : ''}: ${why}`,
    {
      hint: `${leaveOut}as root, add this line to ${RULES_FILE}: "permit ${user} default ${permit}"${others}`,
    },
  );
}

function refusal(prefix: string, kind: string, rest: readonly string[]): Refusal {
  const [whole = '', ...names] = rest.filter((word) => word !== '');
  const everything = prefix.includes(':') ? '::/0' : '0.0.0.0/0';
  const shortest = `/${SHORTEST[prefix.includes(':') ? 6 : 4]}`;
  switch (kind) {
    case 'special':
      return {
        why: `${whole} is a special range (${names.join(' ')})`,
        exclude: whole,
        permit: whole,
      };
    case 'connected':
      return {
        why: `it is in the network ${whole}, to which ${names.join(' ')} is connected`,
        exclude: whole,
        permit: `${whole} local`,
      };
    case 'gateway':
      return {
        why: `${whole} is the gateway of a default route`,
        exclude: whole,
        permit: `${prefix} local`,
      };
    case 'wide':
      return {
        why: `a prefix shorter than ${shortest} is a decision for everybody on this machine`,
        permit: everything,
        others: `; without that file, root and the groups ${ADMINISTRATORS.join(', ')} may`,
      };
    case 'much':
      return {
        why: `with it, more than four ${shortest} of the Internet would be captured for everybody on this machine`,
        permit: everything,
      };
    default:
      return { why: `${RULES_FILE} does not permit it`, permit: prefix };
  }
}

/** A FAILED message at step RULES: the detail says why, with the line. */
export function rulesError({ detail }: Pick<FailedMessage, 'detail'>): TunnelError {
  return new TunnelError('helper-rules', `${RULES_FILE} is not used: ${detail}`, {
    hint: 'nobody but root may capture until it is mended: docs/security.md has its format',
  });
}

/** The name, or the number of a user without one. */
function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? '');
  }
}

function nameOf(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`; // no number that the system has
  }
}
