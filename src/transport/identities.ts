/**
 * With which keys a user can be authenticated, in the order in which they are offered: the files of -i, then the keys of
 * ssh-agent, then the default identities (only without -i). Here it is only found out what there is; passphrases are
 * asked for and signatures made when a server has accepted a key (ssh2/authentication.ts).
 *
 * A key that the agent also holds is signed by the agent, so that an unlocked key is never asked for again; a
 * public key as -i names a key of the agent's. Like ssh, a file of the user's own that others may read is refused.
 */
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { TunnelError } from '../errors.ts';
import type { Observer } from '../observe/observer.ts';
import { inspectKeyFile, type KeyFile } from './keyfile.ts';
import { describeKey, type PublicKey } from './publickey.ts';
import { SshAgent } from './sshagent.ts';

export interface Identity {
  /** For messages: the file's path, or `ssh-agent (comment)`. */
  readonly source: string;
  /** undefined: only the passphrase reveals it. */
  readonly publicKey: PublicKey | undefined;
  /** Who signs: the agent if it is given, else the file. At least one is. */
  readonly agent: SshAgent | undefined;
  readonly file: KeyFile | undefined;
}

export interface IdentityOptions {
  /** -i, in order. Non-empty: the default identities are not used. */
  readonly files: readonly string[];
  /** SSH_AUTH_SOCK */
  readonly agentSocket: string | undefined;
  readonly home?: string;
  readonly observer: Observer;
}

const DEFAULT_IDENTITIES = ['id_ed25519', 'id_ecdsa', 'id_rsa'];
const MAX_KEY_FILE_BYTES = 64 * 1024;
const OTHERS_MAY_ACCESS = 0o077;

/** What the embedded SSH client can sign with. Certificates and security keys need the system's ssh. */
const USABLE_TYPES = new Set([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
]);

/**
 * Throws TunnelError `auth-identity-unreadable` or `auth-identity-permissions` for a file of -i; a default identity
 * with the same faults is left out with a warning.
 */
export async function loadIdentities(options: IdentityOptions): Promise<Identity[]> {
  const { observer } = options;
  const explicit: { path: string; file: KeyFile }[] = [];
  for (const path of options.files) explicit.push({ path, file: await loadKeyFile(path) });

  const agentIdentities = await listAgent(options.agentSocket, observer);

  const defaults: { path: string; file: KeyFile }[] = [];
  if (options.files.length === 0) {
    for (const name of DEFAULT_IDENTITIES) {
      const path = join(options.home ?? homedir(), '.ssh', name);
      try {
        defaults.push({ path, file: await loadKeyFile(path) });
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        const missing = (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
        if (!missing) observer.log('warning', error.message, { hint: error.hint });
      }
    }
  }

  const fromFile = ({ path, file }: { path: string; file: KeyFile }): Identity => ({
    source: path,
    publicKey: file.publicKey,
    agent: agentIdentities.find((identity) => sameBlob(identity.publicKey, file.publicKey))?.agent,
    file,
  });
  const candidates = [...explicit.map(fromFile), ...agentIdentities, ...defaults.map(fromFile)];
  return selectUsable(candidates, observer);
}

function selectUsable(candidates: readonly Identity[], observer: Observer): Identity[] {
  const chosen: Identity[] = [];
  for (const identity of candidates) {
    const { publicKey, source } = identity;
    if (publicKey !== undefined && chosen.some((other) => sameBlob(other.publicKey, publicKey))) continue;
    if (publicKey !== undefined && !USABLE_TYPES.has(publicKey.type)) {
      observer.log(
        'warning',
        `${source}: keys of type ${publicKey.type} can't be used by the embedded SSH client`,
      );
      continue;
    }
    if (identity.file?.format === 'public' && identity.agent === undefined) {
      observer.log('warning', `${source} is a public key, and ssh-agent doesn't hold the private one`);
      continue;
    }
    chosen.push(identity);
  }
  return chosen;
}

async function listAgent(path: string | undefined, observer: Observer): Promise<Identity[]> {
  if (path === undefined || path === '') return [];
  const agent = new SshAgent(path);
  try {
    return (await agent.list()).map((key) => ({
      source: `ssh-agent (${key.comment === '' ? describeKey(key) : key.comment})`,
      publicKey: { type: key.type, blob: key.blob },
      agent,
      file: undefined,
    }));
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    observer.log('info', `${error.message}; its keys are not used`, { socket: path });
    return [];
  }
}

async function loadKeyFile(path: string): Promise<KeyFile> {
  let text: string;
  try {
    const { size, mode, uid } = await stat(path);
    if (size > MAX_KEY_FILE_BYTES) throw notAKey(path);
    text = await readFile(path, 'utf8');
    const isPrivate = text.includes('PRIVATE KEY-----');
    if (isPrivate && uid === process.getuid?.() && (mode & OTHERS_MAY_ACCESS) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, '0');
      throw new TunnelError(
        'auth-identity-permissions',
        `the private key ${path} may be read by others (mode ${octal})`,
        {
          hint: `run: chmod 600 ${path}`,
        },
      );
    }
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause;
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new TunnelError('auth-identity-unreadable', `the key file ${path} can't be read (${code})`, {
      hint: 'check the path given with -i, and that you may read the file',
      cause,
    });
  }
  const file = inspectKeyFile(text, await readOptional(`${path}.pub`));
  if (file === undefined) throw notAKey(path);
  return file;
}

function notAKey(path: string): TunnelError {
  return new TunnelError('auth-identity-unreadable', `${path} is not a key file that can be used`, {
    hint: 'give a private key as ssh-keygen makes them: OpenSSH or PEM format, ed25519, ecdsa or rsa',
  });
}

/** The public half beside a private key helps, but need not be there. */
async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

function sameBlob(a: PublicKey | undefined, b: PublicKey | undefined): boolean {
  return a !== undefined && b !== undefined && a.blob.equals(b.blob);
}
