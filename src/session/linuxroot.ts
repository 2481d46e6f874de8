/** What the privileged part does on this machine (system/privileged/part.ts). Runs as root. */
import { sharedDnsAddresses } from '../dns/server/sharedaddresses.ts';
import { TunnelError } from '../errors/errors.ts';
import { silentObserver } from '../observe/observer.ts';
import { listRuleset } from '../system/doctor/firewall.ts';
import { removeLeftDevices } from '../system/helper/leftovers.ts';
import type { CommandUser } from '../system/launcher/protocol.ts';
import {
  makeDirectory,
  removeAbandoned,
  removeDirectory,
  runHelper,
} from '../system/privileged/helperstart.ts';
import type { Root } from '../system/privileged/part.ts';
import { runPlainly } from '../system/programs/command.ts';
import { ResolvConfFile } from '../system/resolver/file.ts';
import { Journal } from '../system/resolver/journal.ts';
import { recover } from '../system/resolver/recover.ts';

/** `serversOf`: as Root has it. */
export function linuxRoot(caller: CommandUser, serversOf: Root['serversOf']): Root {
  return {
    async recover() {
      removeAbandoned();
      const files = recover(silentObserver);
      const devices = await removeLeftDevices(silentObserver);
      return {
        done: [...files.done, ...devices.done],
        failed: [...files.failed, ...devices.failed],
      };
    },
    makeDirectory: () => makeDirectory(caller),
    removeDirectory,
    startHelper: (directory) => runHelper(caller, directory),
    resolvConf: (servers) =>
      new ResolvConfFile({ servers: sharedDnsAddresses(servers), journal: new Journal() }),
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
