/**
 * Finds and reads the files with profiles.
 *
 *   --config FILE                                     that one alone
 *   ${XDG_CONFIG_HOME:-~/.config}/tunnel/config.yaml  the user's
 *   /etc/tunnel/config.yaml                           the machine's, below the user's
 *
 * Settings are commands, too (`ssh-cmd`, ProxyCommand), so a file that other users may write is
 * refused, as ssh refuses an ssh_config.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { readAtMost } from '../../base/boundedread.ts';
import { UsageError } from '../../errors/errors.ts';
import { fileReasonOf, systemCodeOf } from '../../errors/reason.ts';
import { filePrefix } from '../../net/place.ts';
import { Accounts } from '../../system/accounts.ts';
import { homeDirectory } from '../../system/home.ts';
import { refuseWritable } from '../../system/ownfile.ts';
import type { Given } from '../option.ts';
import type { ConfigFile } from './document.ts';

/** Hundreds of profiles with hundreds of targets each. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
const SYSTEM_DIRECTORY = '/etc/tunnel';
const NAME = 'config.yaml';

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default: /etc/tunnel. */
  readonly system?: string;
}

/** The user's file, which --save writes. */
export function userConfigPath({ env }: Surroundings): string {
  const configured = env['XDG_CONFIG_HOME'] ?? '';
  // The specification has relative paths ignored.
  const base = isAbsolute(configured) ? configured : join(homeDirectory(), '.config');
  return join(base, 'tunnel', NAME);
}

/** Those that are there, the nearest one first. Throws UsageError. */
export async function readConfigFiles(
  named: Given<string> | undefined,
  surroundings: Surroundings,
): Promise<readonly ConfigFile[]> {
  const accounts = await Accounts.read();
  if (named !== undefined) {
    const path = resolve(named.value);
    const text = readConfigText(path, accounts, true);
    if (text !== undefined) return parsed([{ path, text }]);
    throw new UsageError(`${filePrefix(named.place)}--config: there is no file ${path}`, {
      hint: 'check the path, or leave --config out',
    });
  }
  return parsed(
    configPaths(surroundings).flatMap((path) => {
      const text = readConfigText(path, accounts, false);
      return text === undefined ? [] : [{ path, text }];
    }),
  );
}

/** The parser of YAML is loaded only if there is something to parse. Throws UsageError. */
async function parsed(
  texts: readonly { readonly path: string; readonly text: string }[],
): Promise<readonly ConfigFile[]> {
  if (texts.length === 0) return [];
  const { parseConfig } = await import('./document.ts');
  return texts.map(({ path, text }) => parseConfig(path, text));
}

/** Where profiles are looked for without --config. */
export function configPaths(surroundings: Surroundings): readonly string[] {
  const { system = SYSTEM_DIRECTORY } = surroundings;
  return [userConfigPath(surroundings), join(system, NAME)];
}

/** `named`: by --config. undefined: there is no such file. Throws UsageError. */
export function readConfigText(
  path: string,
  accounts: Accounts,
  named: boolean,
): string | undefined {
  let fd: number | undefined;
  try {
    // Reading a FIFO would wait until somebody writes to it. --config may name one: `<(...)`.
    fd = openSync(path, named ? constants.O_RDONLY : constants.O_RDONLY | constants.O_NONBLOCK);
    const found = fstatSync(fd);
    refuseWritable(path, found, accounts);
    if (!named && !found.isFile())
      throw new UsageError(`${path} is not a regular file`, {
        hint: 'move it away, or name the file that is meant with --config',
      });
    const bytes = readAtMost(fd, MAX_CONFIG_BYTES);
    if (bytes !== undefined) return decoded(path, bytes);
    throw new UsageError(`${path} is larger than ${MAX_CONFIG_BYTES >> 20} MiB`, {
      hint: 'keep long lists in files of their own: targets-from, excludes-from, allow',
    });
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const code = systemCodeOf(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new UsageError(`${path} can't be read: ${fileReasonOf(cause)}`, {
      hint: 'check its permissions, or name another file with --config',
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function decoded(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UsageError(`${path} is not text in UTF-8`, {
      hint: 'check that it is the right file, or convert it with iconv(1)',
      cause,
    });
  }
}
