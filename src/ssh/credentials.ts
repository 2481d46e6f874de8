/**
 * Keys and passwords that systemd passes to a service (LoadCredential=, systemd.exec(5)), as files
 * of these names in $CREDENTIALS_DIRECTORY:
 *
 *   tunnel.identity      a private key: as if -i named it, after those that -i names
 *   tunnel.passphrase    of an encrypted key, of whichever that is wanted
 *   tunnel.password      of the user at the jump host, not at hosts on the way
 *   tunnel.known_hosts   host keys, beside those of GlobalKnownHostsFile; nothing is written there
 *
 * A service may have credentials of its own, such as the password of a database, when it runs
 * `tunnel exec` or uses the library. So the names say whose they are.
 *
 * systemd's files belong to root or to the service's user, and nobody else can read them: in a file
 * system of the service's own, 0400, or with an entry for the user that shows as the group's right.
 * The variable may also be set by hand. So a secret that others could read, or have written, is
 * refused. Secrets are read when they are needed, and not kept.
 */
import { statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import { fileReasonOf, systemCodeOf } from '../errors/reason.ts';
import { closeToOthersHint } from '../system/ownfile.ts';
import { readSmallFile, type SmallFile } from '../system/smallfile.ts';

const NAMES = {
  identity: 'tunnel.identity',
  passphrase: 'tunnel.passphrase',
  password: 'tunnel.password',
  knownHosts: 'tunnel.known_hosts',
} as const;

/** Paths of those that there are. */
export type Credentials = { readonly [Name in keyof typeof NAMES]?: string };

/** Octets of a password: as many as sshd reads of one. */
const MAX_SECRET_BYTES = 1024;
const OF_OTHERS = 0o007;
const OF_GROUP_AND_OTHERS = 0o077;

/** Throws TunnelError `credential-unusable` if the directory can't be looked into. */
export function credentialsIn(
  environment: Readonly<Record<string, string | undefined>>,
): Credentials {
  const directory = environment['CREDENTIALS_DIRECTORY'] ?? '';
  if (!isAbsolute(directory)) return {};
  const found = Object.entries(NAMES).flatMap(([key, name]) => {
    const path = join(directory, name);
    return isThere(path) ? [[key, path]] : [];
  });
  return Object.fromEntries(found) as Credentials;
}

/** Without the newline at its end. Rejects with TunnelError `credential-unusable`. */
export async function readSecret(path: string): Promise<string> {
  let file: SmallFile | undefined;
  try {
    file = await readSmallFile(path, MAX_SECRET_BYTES);
  } catch (cause) {
    throw unusable(path, `can't be read: ${fileReasonOf(cause)}`, cause);
  }
  if (file === undefined) throw unusable(path, `is no file of at most ${MAX_SECRET_BYTES} octets`);
  refuseOpen(path, file);
  return file.text.replace(/\r?\n$/, '');
}

function refuseOpen(path: string, { mode, uid }: SmallFile): void {
  const own = process.geteuid?.();
  if (uid !== 0 && uid !== own) throw unusable(path, `belongs to another user (${uid})`);
  // The group's right of a file of root's is that of the service's user (acl(5)).
  const closed = uid === own ? OF_GROUP_AND_OTHERS : OF_OTHERS;
  if ((mode & closed) === 0) return;
  const octal = (mode & 0o777).toString(8).padStart(4, '0');
  throw new TunnelError(
    'credential-unusable',
    `the credential ${path} may be read or written by others (mode ${octal})`,
    { hint: closeToOthersHint(path, 'CREDENTIALS_DIRECTORY: the directory of') },
  );
}

function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOTDIR') return false;
    throw unusable(path, `can't be found: ${fileReasonOf(cause)}`, cause);
  }
}

function unusable(path: string, why: string, cause?: unknown): TunnelError {
  return new TunnelError('credential-unusable', `the credential ${path} ${why}`, {
    hint: 'look at LoadCredential= of the unit, or unset CREDENTIALS_DIRECTORY',
    ...(cause === undefined ? {} : { cause }),
  });
}
