/**
 * Chooses the SSH client that carries a connection when the user leaves that to the program
 * (--transport auto): the embedded one, unless something is wanted that only the system's ssh has.
 * A pure function: the facts come in as arguments, and the reason goes out as one line for the log.
 */

import { TunnelError } from '../errors/errors.ts';
import { hopsOf } from '../ssh/hops.ts';
import type { WantedTransport } from '../ssh/options.ts';
import type { SshSettings, UnobeyedSetting } from '../ssh/settings.ts';

export type TransportKind = 'ssh2' | 'openssh';

export interface TransportFacts {
  /** There is an `ssh` in PATH, or -e names a command. */
  readonly opensshInstalled: boolean;
  /** -e, --ssh-cmd */
  readonly customCommand: boolean;
  /**
   * Types of the keys that files and the agent offer (`ssh-ed25519`, `sk-ssh-ed25519@openssh.com`,
   * ...), undefined where a passphrase hides it; empty: there are none.
   */
  readonly identityTypes: readonly (string | undefined)[];
  /**
   * known_hosts has no key for the jump host or for some hop, only a @cert-authority that covers
   * it.
   */
  readonly hostOnlyByAuthority: boolean;
  /**
   * Code of the TunnelError with which the embedded transport failed in this run; undefined: it
   * wasn't tried.
   */
  readonly embeddedFailure: string | undefined;
}

export interface TransportChoice {
  readonly kind: TransportKind;
  /** One line for the log, without a full stop. */
  readonly why: string;
}

/**
 * Key types that the ssh2 library doesn't know: security keys (PROTOCOL.u2f) and certificates
 * (PROTOCOL.certkeys).
 */
const ONLY_OPENSSH_KEY = /^sk-|-cert-v\d+@openssh\.com$/;

/**
 * Throws TunnelError `openssh-not-found` when the system's ssh is needed and isn't there, and
 * `transport-unfit` when the embedded transport was asked for by name together with -e, or with a
 * setting that it can't obey.
 */
export function chooseTransport(
  wanted: WantedTransport,
  settings: SshSettings,
  facts: TransportFacts,
): TransportChoice {
  if (wanted === 'ssh2') {
    const [forbidden] = unobeyedIn(settings);
    if (forbidden !== undefined) throw refusal(forbidden);
    if (!facts.customCommand) return { kind: 'ssh2', why: 'the embedded SSH client, as asked for' };
    throw new TunnelError(
      'transport-unfit',
      '--transport ssh2 starts no command, but -e gives one',
      {
        hint: 'leave one of them out',
      },
    );
  }
  const need = wanted === 'openssh' ? 'as asked for' : needOfOpenssh(settings, facts);
  if (need === undefined)
    return { kind: 'ssh2', why: 'the embedded SSH client: nothing needs another' };
  if (facts.opensshInstalled) return { kind: 'openssh', why: `the system's ssh: ${need}` };
  const [forbidden] = unobeyedIn(settings);
  const other =
    wanted === 'openssh'
      ? ', or leave --transport out'
      : forbidden === undefined
        ? ''
        : `, or set ${forbidden.without}`;
  throw new TunnelError(
    'openssh-not-found',
    `the system's ssh is needed (${need}), but it is not installed`,
    { hint: `install OpenSSH (Debian: apt-get install openssh-client)${other}` },
  );
}

/** Of the jump host and all hosts on the way. */
function unobeyedIn(settings: SshSettings): UnobeyedSetting[] {
  return hopsOf(settings).flatMap(({ unobeyed }) => unobeyed);
}

function described({ setting, place }: UnobeyedSetting): string {
  return place === undefined ? setting : `${setting} (${place})`;
}

function refusal(forbidden: UnobeyedSetting): TunnelError {
  return new TunnelError(
    'transport-unfit',
    `${described(forbidden)}: the embedded SSH client ${forbidden.why}`,
    { hint: `leave --transport ssh2 out, or set ${forbidden.without}` },
  );
}

/** undefined: the embedded transport will do. */
function needOfOpenssh(settings: SshSettings, facts: TransportFacts): string | undefined {
  if (facts.customCommand) return '-e gives its command';
  const [forbidden] = unobeyedIn(settings);
  if (forbidden !== undefined) return `only it obeys ${described(forbidden)}`;
  const only = hopsOf(settings).flatMap(({ onlyOpenssh }) => onlyOpenssh);
  if (only.length > 0) return `only it has ${[...new Set(only)].join(', ')}`;
  if (facts.embeddedFailure === 'jumphost-no-common-algorithm')
    return 'the embedded client has no algorithm in common with the jump host';
  if (facts.embeddedFailure === 'algorithms-unknown')
    return 'the embedded client knows none of the algorithms that ssh_config or -o names';
  if (facts.embeddedFailure === 'host-key-certified')
    return 'only it sees whether the certificate of the host is revoked';
  if (facts.opensshInstalled && hopsOf(settings).some(({ hostKeys }) => hostKeys.command))
    return 'KnownHostsCommand may name certificate authorities, which only it can check';
  if (facts.hostOnlyByAuthority)
    return 'a host is known by a certificate authority only (@cert-authority)';
  const { identityTypes } = facts;
  const unusable = identityTypes.filter(
    (type) => type !== undefined && ONLY_OPENSSH_KEY.test(type),
  );
  if (unusable.length > 0 && unusable.length === identityTypes.length)
    return `all keys are of types that only it can use (${[...new Set(unusable)].join(', ')})`;
  return undefined;
}
