/** What the privileged part does on this machine (system/privileged/part.ts). Runs as root. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, lstatSync, mkdtempSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import { silentObserver } from '../observe/observer.ts';
import { listRuleset } from '../system/doctor/firewall.ts';
import type { CommandUser } from '../system/launcher/protocol.ts';
import { HELPER_SOCKET } from '../system/privileged/client.ts';
import type { HelperStart, Root } from '../system/privileged/part.ts';
import { runPlainly } from '../system/programs/command.ts';
import { helperPath } from '../system/programs/path.ts';
import { ResolvConfFile } from '../system/resolver/file.ts';
import { Journal } from '../system/resolver/journal.ts';
import { recover } from '../system/resolver/recover.ts';

/** Only root can change what is in it, so nothing else can be put at the place of a directory. */
const RUN = '/run';
/** Of what the helper prints. */
const MAX_COMPLAINT = 4096;

/** `serversOf`: as Root has it. */
export function linuxRoot(caller: CommandUser, serversOf: Root['serversOf']): Root {
  return {
    recover: () => recover(silentObserver),
    makeDirectory: () => makeDirectory(caller),
    removeDirectory,
    startHelper: (directory) => startHelper(caller, directory),
    resolvConf: (servers) => new ResolvConfFile({ servers, journal: new Journal() }),
    async resolvectl(args) {
      const { status, complaint } = await runPlainly('resolvectl', args);
      if (status === 0) return;
      throw new TunnelError('dns-resolved', `resolvectl ${args[0]}: ${complaint}`, {
        hint: 'see "journalctl -u systemd-resolved", or use "tunnel exec", which has its own resolver',
      });
    },
    serversOf,
    listRuleset,
  };
}

function makeDirectory({ uid, gid }: CommandUser): string {
  const status = lstatSync(RUN, { throwIfNoEntry: false });
  if (status?.isDirectory() !== true || status.uid !== 0 || (status.mode & 0o022) !== 0) {
    throw new TunnelError('capture-failed', `${RUN} is not a directory that only root can change`, {
      hint: 'start tunnel without sudo: it asks for root itself where it needs it',
    });
  }
  const path = mkdtempSync(join(RUN, 'tunnel-'));
  chownSync(path, uid, gid);
  return path;
}

function removeDirectory(path: string): void {
  try {
    unlinkSync(join(path, HELPER_SOCKET));
  } catch {
    // ENOENT: the program has not listened there. Whatever else it has put there is its own.
  }
  try {
    rmdirSync(path);
  } catch {
    // ENOTEMPTY: the same. /run is emptied at the next start of the machine.
  }
}

async function startHelper({ uid }: CommandUser, directory: string): Promise<HelperStart> {
  let printed = '';
  const child = spawn(helperPath(silentObserver), [join(directory, HELPER_SOCKET)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { SUDO_UID: String(uid) },
    cwd: '/',
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed = (printed + text).slice(-MAX_COMPLAINT);
  });
  const [status, by] = (await once(child, 'close')) as [number | null, string | null];
  return { status: status ?? by ?? 'unknown', complaint: printed };
}
