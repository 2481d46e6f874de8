/** Whether the client computes a cipher slowly, and what helps. */
import type { Established } from './established.ts';

export interface SlowCipher {
  readonly cipher: string;
  /** What is slow: `chacha20-poly1305@openssh.com is computed 9 times as slowly as AES-GCM`. */
  readonly what: string;
  readonly hint: string;
}

/** undefined: it isn't slow, or the cipher isn't known. */
export function slowCipher({ algorithms }: Established): SlowCipher | undefined {
  const { cipher, slowness } = algorithms ?? {};
  if (cipher === undefined || slowness === undefined) return undefined;
  const slow = `${cipher} is computed ${slowness} times as slowly as`;
  if (/gcm/.test(cipher))
    return {
      cipher,
      what: `${slow} with the native part, which is missing or finds no OpenSSL in Node`,
      hint: 'use --transport openssh; or see "Without the native part" in docs/other-systems.md',
    };
  return {
    cipher,
    what: `${slow} AES-GCM`,
    hint: 'use --transport openssh; or let the jump host permit aes128-gcm@openssh.com, and name no other Ciphers here',
  };
}
