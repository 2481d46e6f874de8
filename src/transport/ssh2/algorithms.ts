/**
 * What is offered in key exchange (RFC 4253 §7.1). Chosen here and not left to ssh2, whose defaults depend on whether two
 * optional native modules were built, and still hold SHA-1.
 */
import { readFileSync } from 'node:fs';
import type { Algorithms } from 'ssh2';

const KEX = [
  'curve25519-sha256',
  'curve25519-sha256@libssh.org',
  'ecdh-sha2-nistp256',
  'ecdh-sha2-nistp384',
  'ecdh-sha2-nistp521',
  'diffie-hellman-group-exchange-sha256',
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
 * `knownTypes`: the types of the keys that are known for the host. Their algorithms come first, in the usual order
 * among themselves, so that a server with several host keys shows one that can be compared.
 */
export function offeredAlgorithms(knownTypes: readonly string[]): Algorithms {
  const known = HOST_KEYS.filter((algorithm) => knownTypes.includes(keyTypeOf(algorithm)));
  return {
    kex: [...KEX],
    serverHostKey: [...new Set([...known, ...HOST_KEYS])],
    cipher: hasAesInstructions() ? [...GCM, ...CHACHA, ...CTR] : [...CHACHA, ...GCM, ...CTR],
    hmac: [...MACS],
    compress: ['none'],
  };
}

/** RSA keys are all of type ssh-rsa; what differs is how they sign (RFC 8332 §3). */
function keyTypeOf(algorithm: string): string {
  return algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm;
}

let aes: boolean | undefined;

/** Without them AES-GCM is slow, and chacha20-poly1305 the better cipher. */
export function hasAesInstructions(): boolean {
  if (aes === undefined) {
    try {
      aes = /^(flags|Features)\s*:.*\baes\b/m.test(readFileSync('/proc/cpuinfo', 'latin1'));
    } catch {
      // No /proc: nearly all machines of today have them.
      aes = true;
    }
  }
  return aes;
}
