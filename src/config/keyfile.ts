/** Files of public keys. */
import { closeSync, openSync } from 'node:fs';
import { readAtMost } from '../base/boundedread.ts';
import { UsageError } from '../errors/errors.ts';
import { fileHintOf, fileReasonOf } from '../errors/reason.ts';
import { keyTypeOf } from '../jumphost/keytypes.ts';
import { quoted } from '../net/notation.ts';
import { fileName, formatPlace, type Place } from '../net/place.ts';
import { parsePublicKey } from '../ssh/keys/publickey.ts';
import type { Given } from './option.ts';
import { isUrl } from './target.ts';

/** More is no list of the users of one jump host. */
export const MAX_KEY_FILE_BYTES = 1024 * 1024;

/** --key: the keys of ssh-agent. A file of that name is `./agent`. */
export const AGENT = 'agent';

/** The keys of all files, without those of the agent. To be called once. Throws UsageError. */
export function readKeys(given: readonly Given<string>[]): string[] {
  return given.flatMap(({ value, place }) => (value === AGENT ? [] : readKeyFile(value, place)));
}

/**
 * `TYPE BASE64 COMMENT` for an authorized_keys file; undefined for a key that sshd wouldn't take
 * there. A comment may come from anywhere: what isn't visible in it becomes `?`.
 */
export function keyLine(type: string, blob: Buffer, comment: string): string | undefined {
  const base64 = blob.toString('base64');
  if (keyTypeOf(type, base64) === undefined) return undefined;
  const visible = comment.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
  return [type, base64, visible].join(' ').trimEnd();
}

/**
 * Reads public keys, one a line, with `#` for comments; `-` is standard input. Gives each as
 * `TYPE BASE64 COMMENT`. Throws UsageError, for a private key as well.
 */
export function readKeyFile(file: string, place: Place): string[] {
  const at = formatPlace(place);
  refuseNoFile(file, at);
  const text = readKeyText(file, at);
  if (isPrivateKey(text)) {
    throw new UsageError(`${at}: ${fileName(file)} is a private key`, {
      hint: `give the public one, ${publicKeyOf(file)}`,
    });
  }
  const keys = text.split('\n').flatMap((line, index) => {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    const key = parsePublicKey(trimmed);
    const formatted = key && keyLine(key.type, key.blob, key.comment);
    if (key !== undefined && formatted === undefined) {
      throw new UsageError(
        `${fileName(file)}:${index + 1}: sshd takes no key of type ${quoted(key.type)} and this length`,
        { hint: 'give a key as ssh-keygen -t ed25519 makes it; certificates need their authority' },
      );
    }
    if (formatted === undefined) {
      throw new UsageError(`${fileName(file)}:${index + 1}: this is no public key`, {
        hint: 'write lines as in a .pub file: ssh-ed25519 AAAA... comment; options are added here',
      });
    }
    return [formatted];
  });
  if (keys.length > 0) return keys;
  throw new UsageError(`${at}: ${fileName(file)} holds no key`, {
    hint: 'give a .pub file, as in: --key ~/.ssh/id_ed25519.pub',
  });
}

/** An address or a key itself, where the name of a file is meant. */
function refuseNoFile(file: string, at: string): void {
  if (isUrl(file)) {
    throw new UsageError(`${at}: ${file} is an address, not a file`, {
      hint: 'save it first, as in: curl -fsS ADDRESS >team.pub; with --keys-from the host asks it itself',
    });
  }
  if (parsePublicKey(file) !== undefined) {
    throw new UsageError(`${at}: this is a key itself, not the name of a file`, {
      hint: 'write it into a file, one a line, as in: --key team.pub',
    });
  }
}

/** Of OpenSSH, OpenSSL, SSH2 or PuTTY. */
export function isPrivateKey(text: string): boolean {
  return /^\s*(-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-\d)/m.test(text);
}

function publicKeyOf(file: string): string {
  if (file.endsWith('.ppk')) return 'which puttygen -L prints';
  return file === '-' ? 'which ssh-keygen -y prints' : `${file}.pub`;
}

/** `-` is standard input; `at` is where the file was named. Throws UsageError. */
export function readKeyText(file: string, at: string): string {
  let fd: number | undefined;
  try {
    fd = file === '-' ? 0 : openSync(file, 'r');
    const bytes = readAtMost(fd, MAX_KEY_FILE_BYTES);
    if (bytes !== undefined) return bytes.toString('utf8');
    throw new UsageError(`${at}: ${fileName(file)} is larger than ${MAX_KEY_FILE_BYTES} bytes`, {
      hint: 'check that it is the right file',
    });
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${at}: ${fileName(file)} can't be read: ${fileReasonOf(cause)}`, {
      hint: fileHintOf(file),
      cause,
    });
  } finally {
    if (fd !== undefined && fd !== 0) closeSync(fd);
  }
}
