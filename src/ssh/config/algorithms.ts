/**
 * The algorithm lists of ssh_config(5): `a,b` replaces the defaults, `+a,b` adds to their end,
 * `-a,b` removes from them, `^a,b` puts in front. The defaults are those of OpenSSH 9.2 to 9.8.
 * Newer versions put mlkem768x25519-sha256 in front, and so does the embedded client where a list
 * has the post-quantum key exchange of the older ones (ssh/embedded/handshake/algorithms.ts).
 */

import { matchPatterns } from '../patterns.ts';
import type { KeywordValues } from './syntax.ts';

const CERTIFICATES = `
  ssh-ed25519-cert-v01@openssh.com ecdsa-sha2-nistp256-cert-v01@openssh.com ecdsa-sha2-nistp384-cert-v01@openssh.com
  ecdsa-sha2-nistp521-cert-v01@openssh.com sk-ssh-ed25519-cert-v01@openssh.com
  sk-ecdsa-sha2-nistp256-cert-v01@openssh.com rsa-sha2-512-cert-v01@openssh.com rsa-sha2-256-cert-v01@openssh.com`;

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
  hostkeyalgorithms:
    words(`${CERTIFICATES} ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521
    sk-ssh-ed25519@openssh.com sk-ecdsa-sha2-nistp256@openssh.com rsa-sha2-512 rsa-sha2-256`),
};

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}

/**
 * The complete list for `text`, as `ssh -G` prints it. undefined: the keyword takes no such list.
 */
export function assembleAlgorithms(keyword: string, text: string): string | undefined {
  const defaults = DEFAULTS[keyword];
  if (defaults === undefined) return undefined;
  const list = text.replace(/^[+^-]/, '').split(',');
  switch (text.charAt(0)) {
    case '+':
      return [...new Set([...defaults, ...list])].join(',');
    case '-':
      return defaults.filter((name) => !matchPatterns(list, name)).join(',');
    case '^':
      return [...new Set([...list, ...defaults])].join(',');
    default:
      return text;
  }
}

/** The defaults in the form in which `ssh -G` prints them. */
export function defaultAlgorithms(): KeywordValues {
  return new Map(Object.entries(DEFAULTS).map(([keyword, list]) => [keyword, [list.join(',')]]));
}
