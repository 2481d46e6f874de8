/**
 * Finds the keys with which a user can authenticate, in the order in which they are offered:
 *
 *   1. the files of -i, as they were given
 *   2. keys of ssh-agent that a file of ssh_config names (its public half is enough), in the order
 *      of the files
 *   3. the agent's other keys, unless IdentitiesOnly is set
 *   4. the other files of ssh_config
 *
 * If no file is named at all, the default identities take the place of those of ssh_config. This
 * file only finds the keys. After a server has accepted a key, ssh/embedded/auth/publickey.ts asks
 * for its passphrase and signs.
 *
 * If the agent also has the key, the agent signs, so the user is never asked to unlock a key again.
 * A public key given as -i selects a key of the agent. As in ssh, a private key file that belongs
 * to the user is refused if others may read it.
 */
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { fileReasonOf } from '../../errors/reason.ts';
import type { Observer } from '../../observe/observer.ts';
import { homeDirectory } from '../../system/home.ts';
import { closeToOthersHint } from '../../system/ownfile.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import { inspectKeyFile, type KeyFile } from '../keys/keyfile.ts';
import { describeKey, type PublicKey } from '../keys/publickey.ts';
import type { AuthenticationSettings } from '../settings.ts';
import { SshAgent } from './agent.ts';
import { whyForbidden } from './permitted.ts';

export interface Identity {
  /** For messages: the file's path, or `ssh-agent (comment)`. */
  readonly source: string;
  /** undefined: not readable without the passphrase. */
  readonly publicKey: PublicKey | undefined;
  /** The agent signs if it is set, otherwise the file. At least one of them is set. */
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
    | 'acceptedAlgorithms'
    | 'leastRsaBits'
  >;
  readonly observer: Observer;
  /** The home directory with the default identities. Default: the user's. */
  readonly home?: string;
  /** Is told of each key that was named or found, and can't be used: `FILE (why)`. */
  readonly onUnusable?: (what: string) => void;
}

const DEFAULT_IDENTITIES = ['id_ed25519', 'id_ecdsa', 'id_rsa'];
const MAX_KEY_FILE_BYTES = 64 * 1024;
const OTHERS_MAY_ACCESS = 0o077;

/**
 * Key types that the embedded SSH client can use to sign. Certificates and security keys need the
 * system's ssh.
 */
const USABLE_TYPES = new Set([
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
]);

interface LoadedKeyFile {
  readonly path: string;
  readonly file: KeyFile;
  readonly explicit: boolean;
}

/**
 * Throws TunnelError `auth-identity-unreadable` or `auth-identity-permissions` for a file that was
 * named explicitly (-i). Any other file with the same problems is skipped with a warning. A missing
 * one is skipped silently.
 */
export async function loadIdentities(options: IdentityOptions): Promise<Identity[]> {
  const { settings, observer } = options;
  const candidates = await findCandidates(options);
  if (settings.methods.includes('publickey'))
    for (const path of settings.certificateFiles)
      observer.log('info', `${path}: certificates need the system's ssh (--transport openssh)`);
  return selectUsable(candidates, options);
}

/**
 * Types of all keys that ssh would offer a server, including those that the embedded SSH client
 * can't use. undefined for a key whose type can't be read without the passphrase. Throws what
 * loadIdentities throws.
 */
export async function offeredKeyTypes(options: IdentityOptions): Promise<(string | undefined)[]> {
  return (await findCandidates(options))
    .filter(({ publicKey }) => !publicKey || !whyForbidden(publicKey, options.settings))
    .map(({ publicKey }) => publicKey?.type);
}

/**
 * The default identities that exist. They are used if ssh_config names none.
 */
export function defaultIdentityFiles(home: string): string[] {
  return DEFAULT_IDENTITIES.map((name) => join(home, '.ssh', name)).filter((path) =>
    existsSync(path),
  );
}

/**
 * Rejects with the error that a login with these files would give: TunnelError
 * auth-identity-unreadable or auth-identity-permissions.
 */
export async function checkIdentityFiles(
  named: AuthenticationSettings['identityFiles'],
): Promise<void> {
  for (const { path, explicit } of named) if (explicit) await loadKeyFile(path);
}

/** In the order in which they are offered. Some may appear twice. */
async function findCandidates({ settings, observer, home }: IdentityOptions): Promise<Identity[]> {
  if (!settings.methods.includes('publickey')) return [];
  const files = settings.noIdentityFiles
    ? []
    : await loadFiles(settings.identityFiles, home ?? homeDirectory(), observer);
  const agentKeys = await listAgent(settings.agentSocket, observer);

  const named = (identity: Identity): boolean =>
    files.some(({ file }) => sameBlob(file.publicKey, identity.publicKey));
  const identityOf = ({ path, file }: LoadedKeyFile): Identity => ({
    source: path,
    publicKey: file.publicKey,
    agent: agentKeys.find((identity) => sameBlob(identity.publicKey, file.publicKey))?.agent,
    file,
  });
  const explicit = files.filter((found) => found.explicit).map(identityOf);
  // Without -i, a public key whose private key isn't in the agent is skipped silently.
  const others = files
    .filter((found) => !found.explicit)
    .map(identityOf)
    .filter(({ agent, file }) => agent !== undefined || file?.format !== 'public');
  return [
    ...explicit,
    ...others.filter(({ agent }) => agent !== undefined),
    ...(settings.identitiesOnly ? agentKeys.filter(named) : agentKeys),
    ...others,
  ];
}

async function loadFiles(
  named: AuthenticationSettings['identityFiles'],
  home: string,
  observer: Observer,
): Promise<LoadedKeyFile[]> {
  const defaults = DEFAULT_IDENTITIES.map((name) => ({
    path: join(home, '.ssh', name),
    explicit: false,
  }));
  const found: LoadedKeyFile[] = [];
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

function selectUsable(
  candidates: readonly Identity[],
  { settings, observer, onUnusable = () => {} }: IdentityOptions,
): Identity[] {
  const chosen: Identity[] = [];
  const refuse = (source: string, why: string): void => {
    observer.log('warning', `${source}: ${why}`);
    onUnusable(`${source} (${why})`);
  };
  for (const identity of candidates) {
    const { publicKey, source } = identity;
    if (publicKey !== undefined && chosen.some((other) => sameBlob(other.publicKey, publicKey)))
      continue;
    const forbidden = publicKey && whyForbidden(publicKey, settings);
    if (forbidden !== undefined) {
      observer.log('info', `${source}: ${forbidden}`);
      onUnusable(`${source} (${forbidden})`);
    } else if (publicKey !== undefined && !USABLE_TYPES.has(publicKey.type))
      refuse(source, `keys of type ${publicKey.type} can't be used by the embedded SSH client`);
    else if (identity.file?.format === 'public' && identity.agent === undefined)
      refuse(source, "it is a public key, and ssh-agent doesn't have the private one");
    else chosen.push(identity);
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
 * A private key, or the public half of a key in the agent. Reads the file itself, or the .pub file
 * if only that exists.
 */
async function loadKeyFile(path: string): Promise<KeyFile> {
  const publicText = await readSmall(`${path}.pub`);
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
      code === 'ENOENT' && publicText !== undefined
        ? inspectKeyFile(publicText, undefined)
        : undefined;
    if (publicHalf?.format === 'public') return publicHalf;
    throw new TunnelError(
      'auth-identity-unreadable',
      `the key file ${path} can't be read: ${fileReasonOf(cause)}`,
      {
        hint: 'check the path given with -i, and that you may read the file',
        cause,
      },
    );
  }
  const file = inspectKeyFile(text, publicText);
  if (file === undefined) throw notAKey(path);
  return file;
}

function tooOpen(path: string, mode: number): TunnelError {
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  return new TunnelError(
    'auth-identity-permissions',
    `the private key ${path} may be read by others (mode ${octal})`,
    { hint: closeToOthersHint(path, '-i') },
  );
}

function notAKey(path: string): TunnelError {
  return new TunnelError('auth-identity-unreadable', `${path} is not a key file that can be used`, {
    hint: 'give a private key as ssh-keygen writes it: OpenSSH or PEM format; ed25519, ecdsa or rsa',
  });
}

/**
 * The text of an optional file. undefined: it doesn't exist, can't be read, or is too large for a
 * key.
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
