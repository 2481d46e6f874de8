/**
 * With which keys a user can be authenticated, in the order in which they are offered:
 *
 *   1. the files of -i, as they were given
 *   2. keys of ssh-agent that a file of ssh_config names (its public half is enough), in the files'
 *      order
 *   3. the agent's other keys, unless IdentitiesOnly is set
 *   4. the other files of ssh_config
 *
 * Where no file is named at all, the default identities stand for those of ssh_config. Here it is
 * only found out what there is; passphrases are asked for and signatures made when a server has
 * accepted a key (ssh/embedded/auth/publickey.ts).
 *
 * A key that the agent also holds is signed by the agent, so that an unlocked key is never asked
 * for again; a public key as -i names a key of the agent's. Like ssh, a file of the user's own that
 * others may read is refused.
 */
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { shellPath } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';
import { homeDirectory } from '../../system/home.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import { inspectKeyFile, type KeyFile } from '../keys/keyfile.ts';
import { describeKey, type PublicKey } from '../keys/publickey.ts';
import type { AuthenticationSettings } from '../settings.ts';
import { SshAgent } from './agent.ts';

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
  readonly settings: Pick<
    AuthenticationSettings,
    | 'identityFiles'
    | 'noIdentityFiles'
    | 'certificateFiles'
    | 'identitiesOnly'
    | 'agentSocket'
    | 'methods'
  >;
  readonly observer: Observer;
  /** Where the default identities are; by default the user's. */
  readonly home?: string;
}

const DEFAULT_IDENTITIES = ['id_ed25519', 'id_ecdsa', 'id_rsa'];
const MAX_KEY_FILE_BYTES = 64 * 1024;
const OTHERS_MAY_ACCESS = 0o077;

/**
 * What the embedded SSH client can sign with. Certificates and security keys need the system's ssh.
 */
const USABLE_TYPES = new Set([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
]);

interface Found {
  readonly path: string;
  readonly file: KeyFile;
  readonly explicit: boolean;
}

/**
 * Throws TunnelError `auth-identity-unreadable` or `auth-identity-permissions` for a file that was
 * named explicitly (-i). Any other with the same faults is left out with a warning, and silently
 * when it isn't there.
 */
export async function loadIdentities(options: IdentityOptions): Promise<Identity[]> {
  const { settings, observer } = options;
  const candidates = await findCandidates(options);
  if (settings.methods.includes('publickey'))
    for (const path of settings.certificateFiles)
      observer.log('info', `${path}: certificates need the system's ssh (--transport openssh)`);
  return selectUsable(candidates, observer);
}

/**
 * Types of all keys that a server would be offered, also of those that the embedded SSH client
 * can't use; undefined for one whose passphrase hides it. Throws as loadIdentities does.
 */
export async function offeredKeyTypes(options: IdentityOptions): Promise<(string | undefined)[]> {
  return (await findCandidates(options)).map(({ publicKey }) => publicKey?.type);
}

/**
 * The identities that stand for those of ssh_config where it names none, as far as they are there.
 */
export function defaultIdentityFiles(home: string): string[] {
  return DEFAULT_IDENTITIES.map((name) => join(home, '.ssh', name)).filter((path) =>
    existsSync(path),
  );
}

/**
 * Rejects as a login with them would: with TunnelError auth-identity-unreadable or
 * auth-identity-permissions.
 */
export async function checkIdentityFiles(
  named: AuthenticationSettings['identityFiles'],
): Promise<void> {
  for (const { path, explicit } of named) if (explicit) await loadKeyFile(path);
}

/** In the order in which they are offered; some may be there twice. */
async function findCandidates({ settings, observer, home }: IdentityOptions): Promise<Identity[]> {
  if (!settings.methods.includes('publickey')) return [];
  const files = settings.noIdentityFiles
    ? []
    : await loadFiles(settings.identityFiles, home ?? homeDirectory(), observer);
  const held = await listAgent(settings.agentSocket, observer);

  const named = (identity: Identity): boolean =>
    files.some(({ file }) => sameBlob(file.publicKey, identity.publicKey));
  const identityOf = ({ path, file }: Found): Identity => ({
    source: path,
    publicKey: file.publicKey,
    agent: held.find((identity) => sameBlob(identity.publicKey, file.publicKey))?.agent,
    file,
  });
  const explicit = files.filter((found) => found.explicit).map(identityOf);
  // Of a file that nobody named, a public half without its private one says nothing.
  const others = files
    .filter((found) => !found.explicit)
    .map(identityOf)
    .filter(({ agent, file }) => agent !== undefined || file?.format !== 'public');
  return [
    ...explicit,
    ...others.filter(({ agent }) => agent !== undefined),
    ...(settings.identitiesOnly ? held.filter(named) : held),
    ...others,
  ];
}

async function loadFiles(
  named: AuthenticationSettings['identityFiles'],
  home: string,
  observer: Observer,
): Promise<Found[]> {
  const defaults = DEFAULT_IDENTITIES.map((name) => ({
    path: join(home, '.ssh', name),
    explicit: false,
  }));
  const found: Found[] = [];
  for (const { path, explicit } of named.length > 0 ? named : defaults) {
    try {
      found.push({ path, explicit, file: await loadKeyFile(path) });
    } catch (error) {
      if (!(error instanceof TunnelError) || explicit) throw error;
      const { code } = (error.cause ?? {}) as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR')
        observer.log('warning', `${error.message}; it is left out`, { hint: error.hint });
    }
  }
  return found;
}

function selectUsable(candidates: readonly Identity[], observer: Observer): Identity[] {
  const chosen: Identity[] = [];
  for (const identity of candidates) {
    const { publicKey, source } = identity;
    if (publicKey !== undefined && chosen.some((other) => sameBlob(other.publicKey, publicKey)))
      continue;
    if (publicKey !== undefined && !USABLE_TYPES.has(publicKey.type)) {
      observer.log(
        'warning',
        `${source}: keys of type ${publicKey.type} can't be used by the embedded SSH client`,
      );
      continue;
    }
    if (identity.file?.format === 'public' && identity.agent === undefined) {
      observer.log(
        'warning',
        `${source} is a public key, and ssh-agent doesn't hold the private one`,
      );
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

/**
 * A private key, or the public half of one that the agent holds: the file itself, or the one with
 * .pub where only that is there.
 */
async function loadKeyFile(path: string): Promise<KeyFile> {
  const beside = await readSmall(`${path}.pub`);
  let text: string;
  try {
    const { size, mode, uid } = await stat(path);
    if (size > MAX_KEY_FILE_BYTES) throw notAKey(path);
    text = await readFile(path, 'utf8');
    const isPrivate = text.includes('PRIVATE KEY-----');
    if (isPrivate && uid === process.getuid?.() && (mode & OTHERS_MAY_ACCESS) !== 0)
      throw tooOpen(path, mode);
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause;
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    const publicHalf =
      code === 'ENOENT' && beside !== undefined ? inspectKeyFile(beside, undefined) : undefined;
    if (publicHalf?.format === 'public') return publicHalf;
    throw new TunnelError(
      'auth-identity-unreadable',
      `the key file ${path} can't be read (${code})`,
      {
        hint: 'check the path given with -i, and that you may read the file',
        cause,
      },
    );
  }
  const file = inspectKeyFile(text, beside);
  if (file === undefined) throw notAKey(path);
  return file;
}

function tooOpen(path: string, mode: number): TunnelError {
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  return new TunnelError(
    'auth-identity-permissions',
    `the private key ${path} may be read by others (mode ${octal})`,
    { hint: `run: chmod 600 ${shellPath(path)}` },
  );
}

function notAKey(path: string): TunnelError {
  return new TunnelError('auth-identity-unreadable', `${path} is not a key file that can be used`, {
    hint: 'give a private key as ssh-keygen makes them: OpenSSH or PEM format, ed25519, ecdsa or rsa',
  });
}

/**
 * The text of a file that would help, but need not be there; undefined: it can't be read, or is too
 * large for a key.
 */
export async function readSmall(path: string): Promise<string | undefined> {
  try {
    return (await readSmallFile(path, MAX_KEY_FILE_BYTES))?.text;
  } catch {
    return undefined;
  }
}

function sameBlob(a: PublicKey | undefined, b: PublicKey | undefined): boolean {
  return a !== undefined && b !== undefined && a.blob.equals(b.blob);
}
