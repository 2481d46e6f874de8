/** What --host-key takes: the host key that a jump host must have. */
import { UsageError } from '../errors.ts';
import { fingerprint, type PublicKey, parsePublicKey } from './publickey.ts';

/** A whole key, or only its fingerprint. */
export interface HostKeyPin {
  readonly fingerprint: string;
  readonly key: PublicKey | undefined;
}

/** `SHA256:...` (padding allowed) or `ssh-ed25519 AAAA... [comment]`. Throws UsageError. */
export function parseHostKeyPin(text: string): HostKeyPin {
  const pin = text.trim();
  if (/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(pin)) return { fingerprint: pin.replace(/=$/, ''), key: undefined };
  const key = parsePublicKey(pin);
  if (key === undefined) {
    throw new UsageError(`--host-key: "${text}" is neither a SHA256 fingerprint nor a public key`, {
      hint: 'give SHA256: and 43 characters as "ssh-keygen -lf KEY.pub" prints them, or the line of the .pub file in quotes',
    });
  }
  return { fingerprint: fingerprint(key.blob), key };
}
