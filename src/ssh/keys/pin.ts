/** The value of --host-key: the host key that a jump host must have. */
import { NotationError, quoted } from '../../net/notation.ts';
import { fingerprint, type PublicKey, parsePublicKey } from './publickey.ts';

const MD5 = /^(MD5:)?([0-9a-f]{2}:){15}[0-9a-f]{2}$/i;

/** A whole key, or only its fingerprint. */
export interface HostKeyPin {
  readonly fingerprint: string;
  readonly key: PublicKey | undefined;
}

/** `SHA256:...` (padding allowed) or `ssh-ed25519 AAAA... [comment]`. Throws NotationError. */
export function parseHostKeyPin(text: string): HostKeyPin {
  const pin = text.trim();
  if (/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(pin))
    return { fingerprint: pin.replace(/=$/, ''), key: undefined };
  const key = parsePublicKey(pin);
  if (key === undefined) {
    const problem = MD5.test(pin)
      ? 'is an MD5 fingerprint, which proves nothing'
      : 'is neither a fingerprint (SHA256:...) nor a public key (ssh-ed25519 AAAA...)';
    throw new NotationError(
      `${quoted(text)} ${problem}`,
      'give what "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub" prints on the jump host (SHA256: and 43 characters), or the line of that file in quotes',
    );
  }
  return { fingerprint: fingerprint(key.blob), key: { type: key.type, blob: key.blob } };
}
