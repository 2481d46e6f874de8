/**
 * RevokedHostKeys of ssh_config(5): files that revoke host keys for every host. Each is a text with
 * one public key a line, or a KRL (krl.ts). They are read again for each connection.
 *
 * As in ssh, a file that is missing, can't be read or isn't understood refuses every key: it may
 * revoke this one. Limit: MAX_REVOKED_FILE_BYTES.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { TunnelError } from '../../errors/errors.ts';
import { parseCertificate } from '../keys/certificate.ts';
import {
  describeKey,
  isPlainKey,
  type PublicKey,
  parsePublicKey,
  rsaBits,
} from '../keys/publickey.ts';
import { LEAST_RSA_BITS } from '../settings.ts';
import { uncheckedKey } from './errors.ts';
import { checkKrl, isKrl } from './krl.ts';

/** For one file of RevokedHostKeys. A KRL with 100,000 keys has about 6 MiB. */
export const MAX_REVOKED_FILE_BYTES = 64 * 1024 * 1024;

/**
 * Returns if none of the files revokes the key. Throws TunnelError `host-key-revoked` or
 * `host-key-unchecked`.
 */
export async function checkRevokedFiles(
  files: readonly string[],
  name: string,
  offered: PublicKey,
): Promise<void> {
  for (const file of files) {
    const data = await readRevoked(file, name);
    const verdict = isKrl(data) ? checkKrl(data, offered.blob) : checkText(data, offered);
    if (verdict === 'not revoked') continue;
    if (verdict === 'revoked')
      throw new TunnelError(
        'host-key-revoked',
        `${name} shows the host key ${describeKey(offered)}, which ${file} revokes (RevokedHostKeys)`,
        { hint: 'do not connect: ask whoever runs the jump host for its new key' },
      );
    const where = typeof verdict === 'number' ? `${file}:${verdict}` : file;
    throw uncheckedKey(name, `RevokedHostKeys: ${where} is not understood`, REPAIR);
  }
}

const REPAIR =
  'repair the file: it has one public key a line, or is what "ssh-keygen -k" makes; or correct RevokedHostKeys in ssh_config';

async function readRevoked(path: string, name: string): Promise<Buffer> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      if (!(await file.stat()).isFile()) throw new Error('it is not a regular file');
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of file.createReadStream({ autoClose: false })) {
        if (!Buffer.isBuffer(chunk)) continue;
        chunks.push(chunk);
        size += chunk.length;
        if (size > MAX_REVOKED_FILE_BYTES)
          throw new Error(`it has more than ${MAX_REVOKED_FILE_BYTES} bytes`);
      }
      return Buffer.concat(chunks);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw uncheckedKey(
      name,
      `RevokedHostKeys: ${path} can't be read (${code ?? message})`,
      'make the file readable, or correct RevokedHostKeys in ssh_config',
      cause,
    );
  }
}

/**
 * One public key or certificate a line; a certificate stands for its key. A number: the line, from
 * 1, that is no key. As in ssh, RSA keys that are too short to be accepted anyway are skipped.
 */
function checkText(data: Buffer, offered: PublicKey): 'revoked' | 'not revoked' | number {
  const lines = data.toString('utf8').split('\n');
  for (const [index, raw] of lines.entries()) {
    const line = raw.replace(/^[ \t]+/, '').replace(/\r$/, '');
    if (line === '' || line.startsWith('#')) continue;
    const key = parseCertificate(line)?.key ?? parsePublicKey(line);
    if (key === undefined || !isPlainKey(key)) return index + 1;
    if (key.type === 'ssh-rsa') {
      const bits = rsaBits(key);
      if (bits === undefined) return index + 1;
      if (bits < LEAST_RSA_BITS) continue;
    }
    if (key.blob.equals(offered.blob)) return 'revoked';
  }
  return 'not revoked';
}
