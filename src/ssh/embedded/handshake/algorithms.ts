/**
 * The algorithms that are offered in key exchange (RFC 4253 §7.1): those that the user's settings
 * name, or else our own choice. We don't leave it to ssh2: its defaults depend on whether two
 * optional native modules were built, and still contain SHA-1.
 *
 * A setting is used as it is, including its order, as in ssh: a user who names an old algorithm has
 * an old server. (Of host keys, the known ones come first, unless the setting gives their order.)
 * Names that ssh2 doesn't know are skipped, because such lists are usually written for OpenSSH. If
 * no name is left, that is an error.
 *
 * Group exchange (RFC 4419) is never offered: the server chooses the group, and to verify that its
 * modulus is a safe prime takes seconds (docs/decisions/0039).
 */
import { readFileSync } from 'node:fs';
import type { Algorithms } from 'ssh2';
import { TunnelError } from '../../../errors/errors.ts';
import type { Observer } from '../../../observe/observer.ts';
import type { SshSettings } from '../../settings.ts';
import { MLKEM768_X25519 } from '../ssh2/exchange.ts';

const KEX = [
  MLKEM768_X25519,
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'diffie-hellman-group16-sha512',
  'diffie-hellman-group18-sha512',
  'diffie-hellman-group14-sha256',
] as const;

const MACS = [
  'hmac-sha2-256-etm@openssh.com',
  'hmac-sha2-512-etm@openssh.com',
  'hmac-sha2-256',
  'hmac-sha2-512',
] as const;

const GCM = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'] as const;
const CHACHA = ['chacha20-poly1305@openssh.com'] as const;
const CTR = ['aes128-ctr', 'aes192-ctr', 'aes256-ctr'] as const;

const HOST_KEYS = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
] as const;

/**
 * What else ssh2 1.17 can do with every OpenSSL that Node is built with. Offered only when a
 * setting names it.
 */
const ONLY_WHEN_NAMED = {
  kex: [
    'diffie-hellman-group15-sha512',
    'diffie-hellman-group17-sha512',
    'diffie-hellman-group14-sha1',
    'diffie-hellman-group1-sha1',
  ],
  ciphers: ['aes128-cbc', 'aes192-cbc', 'aes256-cbc', '3des-cbc'],
  macs: ['hmac-sha1-etm@openssh.com', 'hmac-sha1', 'hmac-sha1-96', 'hmac-md5', 'hmac-md5-96'],
  hostKeys: ['ssh-rsa'],
} as const;

/** With the ending @openssh.com from OpenSSH 8.5 on, without it since 9.9. */
const SNTRUP761_X25519 = 'sntrup761x25519-sha512';

export type Kind = keyof SshSettings['algorithms'];

/** Everything that a setting may name. */
export const KNOWN_ALGORITHMS: Readonly<Record<Kind, readonly string[]>> = {
  kex: [...KEX, ...ONLY_WHEN_NAMED.kex],
  ciphers: [...GCM, ...CHACHA, ...CTR, ...ONLY_WHEN_NAMED.ciphers],
  macs: [...MACS, ...ONLY_WHEN_NAMED.macs],
  hostKeys: [...HOST_KEYS, ...ONLY_WHEN_NAMED.hostKeys],
};

/** Of ssh_config. */
export const KEYWORDS: Readonly<Record<Kind, string>> = {
  kex: 'KexAlgorithms',
  ciphers: 'Ciphers',
  macs: 'MACs',
  hostKeys: 'HostKeyAlgorithms',
};

export interface OfferOptions {
  /**
   * The types of the known keys of the host. Their algorithms come first, in the usual order among
   * themselves, so that a server with several host keys shows one that we know. Empty when a
   * setting gives the order.
   */
  readonly preferredTypes: readonly string[];
  readonly wanted: SshSettings['algorithms'];
  readonly observer: Observer;
}

/** Throws TunnelError `algorithms-unknown` when a setting names nothing that is known here. */
export function offeredAlgorithms({ preferredTypes, wanted, observer }: OfferOptions): Algorithms {
  const isKnown = (algorithm: string): boolean => preferredTypes.includes(keyTypeOf(algorithm));
  const offer = (kind: Kind, fallback: readonly string[]): string[] =>
    choose(kind, wanted[kind], fallback, observer);
  const hostKeys = offer('hostKeys', HOST_KEYS);
  // In ssh2's types the names are literals.
  return {
    kex: offer('kex', KEX),
    serverHostKey: [...hostKeys.filter(isKnown), ...hostKeys.filter((name) => !isKnown(name))],
    cipher: offer(
      'ciphers',
      hasAesInstructions() ? [...GCM, ...CHACHA, ...CTR] : [...CHACHA, ...GCM, ...CTR],
    ),
    hmac: offer('macs', MACS),
    compress: ['none'],
  } as Algorithms;
}

function choose(
  kind: Kind,
  wanted: readonly string[] | undefined,
  fallback: readonly string[],
  observer: Observer,
): string[] {
  if (wanted === undefined) return [...fallback];
  const names = [...new Set(wanted)];
  const known = names.filter((name) => KNOWN_ALGORITHMS[kind].includes(name));
  const chosen = kind === 'kex' && known.length > 0 ? withHybrid(names, known) : known;
  const unknown = names.filter((name) => !KNOWN_ALGORITHMS[kind].includes(name));
  if (chosen.length === 0)
    throw new TunnelError(
      'algorithms-unknown',
      `the embedded SSH client knows none of ${KEYWORDS[kind]} ${unknown.join(',')}; it knows ${KNOWN_ALGORITHMS[kind].join(', ')}`,
      { hint: `name one that it knows, or use the system's ssh with --transport openssh` },
    );
  if (unknown.length > 0)
    observer.log(
      'debug',
      `${KEYWORDS[kind]}: the embedded SSH client ignores ${unknown.join(', ')}`,
    );
  return chosen;
}

/**
 * A list that was made from the defaults of an OpenSSH before 9.9 has that version's post-quantum
 * exchange, which the embedded client doesn't know. It has the one of later versions, and puts it
 * first, where the defaults have theirs.
 */
function withHybrid(names: readonly string[], known: readonly string[]): string[] {
  const wanted = names.some((name) => name.startsWith(SNTRUP761_X25519));
  return wanted ? [...new Set([MLKEM768_X25519, ...known])] : [...known];
}

/** RSA keys are all of type ssh-rsa; only the signatures differ (RFC 8332 §3). */
function keyTypeOf(algorithm: string): string {
  return algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm;
}

let aes: boolean | undefined;

/** Without them AES-GCM is slow, and chacha20-poly1305 is the better cipher. */
function hasAesInstructions(): boolean {
  if (aes === undefined) {
    try {
      aes = /^(flags|Features)\s*:.*\baes\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'));
    } catch {
      // Without /proc, assume them: nearly all machines of today have them.
      aes = true;
    }
  }
  return aes;
}
