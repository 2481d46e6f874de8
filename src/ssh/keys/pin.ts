/**
 * The value of --host-key: the host key that a jump host must have. It is read in every form in
 * which people are given one:
 *
 *   SHA256:...                                  a fingerprint, with or without padding
 *   ssh-ed25519 SHA256:...                      as this program's messages name a key
 *   256 SHA256:... comment (ED25519)            a line of "ssh-keygen -l"
 *   ED25519 key fingerprint is SHA256:....      ssh's own words
 *   ssh-ed25519 AAAA... comment                 a line of a .pub file
 *   [host]:2222 ssh-ed25519 AAAA... comment     a line of known_hosts or ssh-keyscan
 *
 * A pin belongs to the jump host of the command line, whatever names a line of known_hosts has.
 */
import { NotationError, quoted } from '../../net/notation.ts';
import { fingerprint, type PublicKey, parsePublicKey } from './publickey.ts';

const FINGERPRINT = 'SHA256:[A-Za-z0-9+/]{43}';
/** The forms that have only a fingerprint. A key's bits, type and comment prove nothing. */
const WITH_FINGERPRINT = new RegExp(
  `^(?:[0-9]{1,5} |(?:ssh|ecdsa|sk)-[\\w@.-]+ |[\\w-]+ key fingerprint is )?(${FINGERPRINT})(?:=?|\\.| .*\\([\\w-]+\\))$`,
);
const MD5 = /(^|\s|MD5:)([0-9a-f]{2}:){15}[0-9a-f]{2}(\s|$)/i;
const OTHER_DIGEST = /(^|\s)(SHA1|SHA384|SHA512):/;

/** A whole key, or only its fingerprint. */
export interface HostKeyPin {
  readonly fingerprint: string;
  readonly key: PublicKey | undefined;
}

/** Throws NotationError. */
export function parseHostKeyPin(text: string): HostKeyPin {
  // ssh-keyscan of OpenSSH 10 prints a comment before the line.
  const pin = text.replace(/^#.*$/gm, '').trim();
  if (/[\r\n]/.test(pin)) {
    throw new NotationError(
      `${quoted(text)} has more than one line`,
      'give --host-key once for each key',
    );
  }
  const found = WITH_FINGERPRINT.exec(pin)?.[1];
  if (found !== undefined) return { fingerprint: found, key: undefined };
  const key = parsePublicKey(pin) ?? keyOfKnownHostsLine(text, pin);
  if (key === undefined) {
    throw new NotationError(
      `${quoted(text)} ${problemWith(pin)}`,
      'give what "ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub" prints on the jump host (SHA256: and 43 characters), or the line of that file in quotes',
    );
  }
  return { fingerprint: fingerprint(key.blob), key: { type: key.type, blob: key.blob } };
}

/**
 * The key after the names of a line of known_hosts (sshd(8)), plain or hashed. Throws NotationError
 * for a line that names no key of one host.
 */
function keyOfKnownHostsLine(text: string, line: string): PublicKey | undefined {
  const [, marker, , rest = ''] = /^(?:(@\S+)\s+)?(\S+)\s+(.*)$/.exec(line) ?? [];
  const key = parsePublicKey(rest);
  if (key === undefined || marker === undefined) return key;
  if (marker === '@cert-authority') {
    throw new NotationError(
      `${quoted(text)} is the key of an authority, which signs host keys`,
      'put the line into ~/.ssh/known_hosts, and leave --host-key out: your ssh then checks the certificate',
    );
  }
  if (marker === '@revoked') {
    throw new NotationError(
      `${quoted(text)} is a key that nobody may trust any more`,
      'ask whoever runs the jump host for its new key; the line belongs into ~/.ssh/known_hosts',
    );
  }
  return undefined;
}

function problemWith(pin: string): string {
  if (MD5.test(pin)) return 'is an MD5 fingerprint, which proves nothing';
  if (OTHER_DIGEST.test(pin)) return 'is not the SHA-256 fingerprint (ssh-keygen -l -E sha256)';
  return 'is neither a fingerprint (SHA256:...) nor a public key (ssh-ed25519 AAAA...)';
}
