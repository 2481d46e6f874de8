/**
 * Adds a line to a known_hosts file (docs/decisions/0012). One write(2) with O_APPEND adds the
 * whole line, so several tunnels and ssh itself can add lines at the same time and none is lost.
 * Owner, mode and symbolic links stay. A program that replaces the file at the same moment
 * (ssh-keygen -R) may drop the new line. The user is then asked again.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import type { PublicKey } from '../keys/publickey.ts';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
/**
 * Names with other characters would be read as patterns, lists or markers, or would end the field.
 * They are hashed, which is safe for any name.
 */
const PLAIN_NAME = /^[\w[\].:%-]+$/;
const HASH_BYTES = 20;

/** Throws TunnelError `known-hosts-unwritable`. */
export async function appendKnownHost(
  file: string,
  name: string,
  key: PublicKey,
  hashName: boolean,
): Promise<void> {
  const names = hashName || !PLAIN_NAME.test(name) ? hashedName(name) : name;
  const line = Buffer.from(`${names} ${key.type} ${key.blob.toString('base64')}\n`);
  try {
    await mkdir(dirname(file), { recursive: true, mode: DIRECTORY_MODE });
    await append(file, line);
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new TunnelError('known-hosts-unwritable', `${file} can't be written (${code})`, {
      cause,
    });
  }
}

/** `|1|salt|hash`, as with HashKnownHosts: HMAC-SHA1 of the name, with the salt as the key. */
function hashedName(name: string, salt: Buffer = randomBytes(HASH_BYTES)): string {
  const hash = createHmac('sha1', salt).update(name).digest();
  return `|1|${salt.toString('base64')}|${hash.toString('base64')}`;
}

async function append(file: string, line: Buffer): Promise<void> {
  const { O_RDWR, O_APPEND, O_CREAT } = constants;
  const handle = await open(file, O_RDWR | O_APPEND | O_CREAT, FILE_MODE);
  try {
    const data = (await endsInNewline(handle)) ? line : Buffer.concat([Buffer.from('\n'), line]);
    const { bytesWritten } = await handle.write(data);
    if (bytesWritten < data.length)
      throw Object.assign(new Error('the line was cut short'), { code: 'ENOSPC' });
  } finally {
    await handle.close();
  }
}

async function endsInNewline(handle: FileHandle): Promise<boolean> {
  const { size } = await handle.stat();
  if (size === 0) return true;
  const last = Buffer.alloc(1);
  await handle.read(last, 0, 1, size - 1);
  return last.toString() === '\n';
}
