/** Certificate authorities, certificates, and a security key that isn't plugged in anywhere. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { wireString } from '../../src/ssh/keys/wire.ts';
import { makeKey } from './loopback-sshd.ts';

const SECURITY_KEY = 'sk-ssh-ed25519@openssh.com';

/** Returns the path of its private key; the public key is beside it, with `.pub`. */
export async function authority(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await makeKey(path, 'ed25519');
  return path;
}

/**
 * Makes `KEY-cert.pub` for `KEY.pub`; `options` are ssh-keygen's: -n principals, -V validity, -h
 * for a host.
 */
export async function sign(ca: string, key: string, options: readonly string[]): Promise<void> {
  await promisify(execFile)('ssh-keygen', ['-q', '-s', ca, '-I', 'test', ...options, `${key}.pub`]);
}

/** The public half of a FIDO key (PROTOCOL.u2f), as a line; the private half doesn't exist. */
export function fakeSecurityKey(): string {
  const blob = Buffer.concat([SECURITY_KEY, randomBytes(32), 'ssh:'].map(wireString));
  return `${SECURITY_KEY} ${blob.toString('base64')} test`;
}
