/**
 * Error messages for a host key that is not accepted: the key that the server presented, the keys
 * that are known and where, and what to do.
 */
import { TunnelError } from '../../errors/errors.ts';
import { shellPath, shellWord } from '../../net/notation.ts';
import type { HostKeyPin } from '../keys/pin.ts';
import { describeKey, fingerprint, fingerprintCommand, type PublicKey } from '../keys/publickey.ts';
import { FROM_COMMAND, type KnownKey } from './knownhosts.ts';

/** `FILE:LINE`, as editors and compilers write it. */
export function place(key: KnownKey): string {
  return `${key.file}:${key.line}`;
}

export function unreadableKey(name: string): TunnelError {
  return new TunnelError('host-key-unknown', `${name} shows a host key that can't be read`, {
    hint: 'check that this is the jump host',
  });
}

export function revokedKey(name: string, offered: PublicKey, line: KnownKey): TunnelError {
  return new TunnelError(
    'host-key-revoked',
    `${name} shows the host key ${describeKey(offered)}, which ${place(line)} marks as revoked`,
    { hint: 'do not connect: ask whoever runs the jump host for its new key' },
  );
}

/** A RSA key that RequiredRSASize, or ssh's own minimum, refuses. */
export function shortKey(
  name: string,
  offered: PublicKey,
  bits: number,
  least: number,
): TunnelError {
  return new TunnelError(
    'host-key-weak',
    `${name} shows the host key ${describeKey(offered)} with ${bits} bits; RSA keys must have ${least} (RequiredRSASize)`,
    {
      hint: 'have the jump host make a longer key, or one of another type (ssh-keygen -A)',
    },
  );
}

/** `revocations`: the file, or the line, that revokes something. */
export function certifiedHost(name: string, revocations: string): TunnelError {
  return new TunnelError(
    'host-key-certified',
    `${name} has a host certificate, and ${revocations} may revoke that, or who has signed it; the embedded SSH client asks for no certificates`,
    {
      hint: "use --transport openssh; or leave certificates out, as in: -o 'HostKeyAlgorithms=-*-cert-*'",
    },
  );
}

/** What may be said against the key can't be found out, so that no key is accepted. */
export function uncheckedKey(
  name: string,
  why: string,
  hint: string,
  cause?: unknown,
): TunnelError {
  return new TunnelError(
    'host-key-unchecked',
    `the host key of ${name} can't be checked, so it is not accepted: ${why}`,
    { hint, cause },
  );
}

export function notPinned(
  name: string,
  offered: PublicKey,
  pins: readonly HostKeyPin[],
): TunnelError {
  const pinned = pins.map((pin) => pin.fingerprint).join(', ');
  return new TunnelError(
    'host-key-changed',
    `${name} shows the host key ${describeKey(offered)}, but --host-key pins ${pinned}`,
    {
      hint: 'do not connect unless you can explain it: either the pin is out of date or this is another machine',
    },
  );
}

export function changedKey(name: string, offered: PublicKey, known: KnownKey): TunnelError {
  return new TunnelError(
    'host-key-changed',
    `the host key of ${name} has changed: it shows ${describeKey(offered)}, ` +
      `but ${place(known)} has ${describeKey(known)}`,
    {
      hint:
        'somebody may be listening in; if the jump host was reinstalled, verify the new fingerprint there, then ' +
        (known.file === FROM_COMMAND
          ? 'correct what KnownHostsCommand prints'
          : `remove the old key with: ssh-keygen -f ${shellPath(known.file)} -R ${shellWord(name)}`),
    },
  );
}

/** `accepted`: the key that was accepted earlier in this run and is not in any file. */
export function changedSinceAccepted(
  name: string,
  offered: PublicKey,
  accepted: PublicKey,
): TunnelError {
  return new TunnelError(
    'host-key-changed',
    `the host key of ${name} has changed since it was accepted: it shows ${describeKey(offered)} instead of ${describeKey(accepted)}`,
    {
      hint: 'somebody may be listening in; verify the new fingerprint on the jump host, then start again',
    },
  );
}

export interface UnknownKey {
  /** The host's name in known_hosts. */
  readonly name: string;
  readonly offered: PublicKey;
  /** The lines of known_hosts for this name. */
  readonly lines: readonly KnownKey[];
  /** The file in which the key would be saved. */
  readonly file: string | undefined;
  /** Why nobody was asked, or what the answer was. */
  readonly why?: string;
}

export function unknownKey({ name, offered, lines, file, why }: UnknownKey): TunnelError {
  const authority = lines.find((line) => line.marker === 'authority');
  const message = `the host key of ${name} is not known: ${describeKey(offered)}${describeOthers(lines)}`;
  // The hint contains this key, and doesn't fetch it again, because the user compares this one.
  const line = `${name} ${offered.type} ${offered.blob.toString('base64')}`;
  const target = file === undefined ? '~/.ssh/known_hosts' : shellPath(file);
  const compare =
    `compare it with "${fingerprintCommand(offered.type)}" run on the jump host; if it is the same, ` +
    `pass --host-key ${fingerprint(offered.blob)}, or run: echo ${shellWord(line)} >> ${target}`;
  return new TunnelError('host-key-unknown', why === undefined ? message : `${message}; ${why}`, {
    hint:
      authority === undefined
        ? compare
        : `use --transport openssh, which checks host certificates; or ${compare}`,
  });
}

/** ` (...)` if other lines are known for the name, otherwise empty. */
function describeOthers(lines: readonly KnownKey[]): string {
  const others = lines.filter((line) => line.marker === 'key');
  if (others.length > 0)
    return ` (only keys of other types are known: ${others.map(place).join(', ')})`;
  const authority = lines.find((line) => line.marker === 'authority');
  return authority === undefined
    ? ''
    : ` (${place(authority)} trusts a certificate authority; certificates can't be checked here)`;
}
