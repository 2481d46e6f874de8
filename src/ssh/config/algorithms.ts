/**
 * The algorithm lists of ssh_config(5): `a,b` replaces the defaults, `+a,b` adds to their end,
 * `-a,b` removes from them, `^a,b` puts in front. After "-", and in lists of key types, names may
 * be patterns of what ssh knows. The defaults are those of OpenSSH 9.2 to 9.8. Newer versions put
 * mlkem768x25519-sha256 in front, and so does the embedded client where a list has the post-quantum
 * key exchange of the older ones (ssh/embedded/handshake/algorithms.ts).
 */

import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { matchPatterns } from '../patterns.ts';
import type { KeywordValues } from './syntax.ts';

const CERTIFICATES = `
  ssh-ed25519-cert-v01@openssh.com ecdsa-sha2-nistp256-cert-v01@openssh.com ecdsa-sha2-nistp384-cert-v01@openssh.com
  ecdsa-sha2-nistp521-cert-v01@openssh.com sk-ssh-ed25519-cert-v01@openssh.com
  sk-ecdsa-sha2-nistp256-cert-v01@openssh.com rsa-sha2-512-cert-v01@openssh.com rsa-sha2-256-cert-v01@openssh.com`;

const KEY_ALGORITHMS = words(`${CERTIFICATES} ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384
  ecdsa-sha2-nistp521 sk-ssh-ed25519@openssh.com sk-ecdsa-sha2-nistp256@openssh.com rsa-sha2-512 rsa-sha2-256`);

const DEFAULTS: Readonly<Record<string, readonly string[]>> = {
  kexalgorithms: words(`sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com curve25519-sha256
    curve25519-sha256@libssh.org ecdh-sha2-nistp256 ecdh-sha2-nistp384 ecdh-sha2-nistp521
    diffie-hellman-group-exchange-sha256 diffie-hellman-group16-sha512 diffie-hellman-group18-sha512
    diffie-hellman-group14-sha256`),
  ciphers:
    words(`chacha20-poly1305@openssh.com aes128-ctr aes192-ctr aes256-ctr aes128-gcm@openssh.com
    aes256-gcm@openssh.com`),
  macs: words(`umac-64-etm@openssh.com umac-128-etm@openssh.com hmac-sha2-256-etm@openssh.com
    hmac-sha2-512-etm@openssh.com hmac-sha1-etm@openssh.com umac-64@openssh.com umac-128@openssh.com hmac-sha2-256
    hmac-sha2-512 hmac-sha1`),
  hostkeyalgorithms: KEY_ALGORITHMS,
  pubkeyacceptedalgorithms: KEY_ALGORITHMS,
  hostbasedacceptedalgorithms: KEY_ALGORITHMS,
  casignaturealgorithms: KEY_ALGORITHMS.filter((name) => !name.includes('-cert-')),
};

/** What patterns of key types are compared with, in ssh's order. */
const ALL_KEY_ALGORITHMS =
  words(`ssh-ed25519 ssh-ed25519-cert-v01@openssh.com sk-ssh-ed25519@openssh.com
  sk-ssh-ed25519-cert-v01@openssh.com ecdsa-sha2-nistp256 ecdsa-sha2-nistp256-cert-v01@openssh.com
  ecdsa-sha2-nistp384 ecdsa-sha2-nistp384-cert-v01@openssh.com ecdsa-sha2-nistp521
  ecdsa-sha2-nistp521-cert-v01@openssh.com sk-ecdsa-sha2-nistp256@openssh.com
  sk-ecdsa-sha2-nistp256-cert-v01@openssh.com webauthn-sk-ecdsa-sha2-nistp256@openssh.com ssh-dss
  ssh-dss-cert-v01@openssh.com ssh-rsa ssh-rsa-cert-v01@openssh.com rsa-sha2-256
  rsa-sha2-256-cert-v01@openssh.com rsa-sha2-512 rsa-sha2-512-cert-v01@openssh.com`);

/** What only the newest versions know. */
const NEW_KEY_ALGORITHMS = words(`webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com
  ssh-mldsa44-ed25519@openssh.com ssh-mldsa44-ed25519-cert-v01@openssh.com`);

/** The lists of key types, in which names may be patterns. */
const KEY_LISTS = [
  'hostkeyalgorithms',
  'pubkeyacceptedalgorithms',
  'hostbasedacceptedalgorithms',
  'casignaturealgorithms',
];

/** What ssh knows besides its defaults. */
const MORE: Readonly<Record<string, readonly string[]>> = {
  kexalgorithms:
    words(`mlkem768x25519-sha256 mlkem768nistp256-sha256 diffie-hellman-group14-sha1 diffie-hellman-group1-sha1
    diffie-hellman-group-exchange-sha1`),
  ciphers: words('aes128-cbc aes192-cbc aes256-cbc 3des-cbc'),
  macs: words(`hmac-sha1-96 hmac-md5 hmac-md5-96 hmac-sha1-96-etm@openssh.com
    hmac-md5-etm@openssh.com hmac-md5-96-etm@openssh.com`),
};

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

/**
 * The complete list for `text`, as `ssh -G` prints it. undefined: the keyword takes no such list.
 * Throws UsageError.
 */
export function assembleAlgorithms(keyword: string, text: string): string | undefined {
  const defaults = DEFAULTS[keyword];
  if (defaults === undefined) return undefined;
  const list = text.replace(/^[+^-]/, '').split(',');
  const negated = list.find((name) => name.startsWith('!'));
  if (negated !== undefined)
    throw new UsageError(`ssh_config: ${keyword} has ${quoted(negated)}: such a list has no "!"`, {
      hint: 'remove algorithms from the defaults with "-", as in: -ssh-rsa*,*sha1',
    });
  const known = knownNames(keyword);
  const named = list.flatMap((name) =>
    /[*?]/.test(name) ? ALL_KEY_ALGORITHMS.filter((it) => matchPatterns([name], it)) : [name],
  );
  // Behind an empty name there may be others that ssh doesn't know.
  const joined = (...names: readonly string[]): string =>
    [...new Set(names)].filter((name) => known.includes(name)).join(',');
  switch (text.charAt(0)) {
    case '+':
      return joined(...defaults, ...named);
    case '-':
      return defaults.filter((name) => !matchPatterns(list, name)).join(',');
    case '^':
      return joined(...named, ...defaults);
    default:
      return joined(...named);
  }
}

/** All that some version of ssh knows. */
function knownNames(keyword: string): readonly string[] {
  if (KEY_LISTS.includes(keyword)) return [...ALL_KEY_ALGORITHMS, ...NEW_KEY_ALGORITHMS];
  return [...(DEFAULTS[keyword] ?? []), ...(MORE[keyword] ?? [])];
}

/**
 * Whether ssh takes a list, as it was written. After "-" it takes everything; otherwise it looks at
 * the names up to the first empty one (kex_names_valid, ciphers_valid, sshkey_names_valid2).
 */
export function isAlgorithmList(keyword: string, text: string): boolean {
  if (text.startsWith('-')) return true;
  const list = text.replace(/^[+^]/, '');
  if (list === '') return false;
  const names = list.split(',');
  const end = names.indexOf('');
  const known = knownNames(keyword);
  return names.slice(0, end === -1 ? names.length : end).every((name) => {
    if (!KEY_LISTS.includes(keyword)) return known.includes(name);
    const pattern = name.replace(/^!/, '');
    return known.some((it) => matchPatterns([pattern], it));
  });
}

/**
 * Whether `text`, as it was written, excludes an algorithm, even if this ssh has none of those that
 * it excludes: the embedded client may.
 */
export function limitsAlgorithms(keyword: string, text: string): boolean {
  if (!text.startsWith('-')) return !/^[+^]/.test(text);
  const excluded = text.slice(1).split(',');
  return knownNames(keyword).some((name) => matchPatterns(excluded, name));
}

/** The defaults in the form in which `ssh -G` prints them. */
export function defaultAlgorithms(): KeywordValues {
  return new Map(Object.entries(DEFAULTS).map(([keyword, list]) => [keyword, [list.join(',')]]));
}
