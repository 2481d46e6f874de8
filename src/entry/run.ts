/**
 * The program: connects the command line, the log, the signals and the exit code.
 *
 *   arguments -> runCommandLine -> a configuration -> entry/tunnels.ts: connect, proxy, exec
 *                                                     entry/results.ts: what prints a result
 *   -D -> entry/daemon.ts: the program again, which is waited for until it is ready
 *   under sudo and doas -> entry/ascaller.ts, before the arguments are read
 *   INT, TERM, HUP -> abort its `stop` signal (entry/signals.ts)
 *   an error from a command or from anything before it -> two lines on stderr -> exit code
 *   USR1 -> the status and the counters, on stderr; USR2 -> nothing (entry/self.ts)
 *
 * What only some command lines need is loaded when it is needed: the ways to become somebody else,
 * the commands that print, and in config/profiles/ whatever reads YAML. Everybody else would wait
 * for it.
 */
import { isatty } from 'node:tty';
import { asksForDaemon } from '../cli/daemon.ts';
import { giveBack, refuseNodeOptions } from '../cli/node.ts';
import { print } from '../cli/output.ts';
import { isExec, runCommandLine } from '../cli/program.ts';
import { EXIT } from '../errors/codes.ts';
import { PrivilegedLink } from '../system/privileged/client.ts';
import { completeIdentity } from '../system/privileged/identity.ts';
import { readAsCaller, startAsCaller } from './ascaller.ts';
import { runAsDaemon } from './daemon.ts';
import {
  clean,
  doctor,
  jumphost,
  nc,
  openstack,
  reconnect,
  reload,
  status,
  stop,
} from './results.ts';
import { Self } from './self.ts';
import { runCommand, runTunnel } from './tunnels.ts';

const DEFAULT_COLUMNS = 80;
const MAX_COLUMNS = 100;

/** process.stdout isn't touched unless it is a terminal, and help is shown. */
function terminalColumns(): number {
  return (isatty(1) ? process.stdout.columns : undefined) ?? DEFAULT_COLUMNS;
}

/** Ends the process. Never rejects. */
export async function run(): Promise<never> {
  const self = new Self();
  const { args, nodeStart } = self;
  // Something is waited for that can't come any more.
  process.once('beforeExit', () => {
    self.fail(new Error('nothing is left that could go on'));
    self.end(Number(process.exitCode));
  });
  try {
    process.exitCode = EXIT.ok;
    refuseNodeOptions(nodeStart);
    if (self.daemon === undefined && asksForDaemon(args)) await runAsDaemon(self);
    let readAgainAsRoot = () => {};
    if (nodeStart.asRoot) {
      if (isExec(args)) readAgainAsRoot = await readAsCaller();
      else await startAsCaller(self);
    }
    giveBack(process.env);
    self.findSystemd();
    self.privileged = PrivilegedLink.take(process.env);
    if (self.privileged !== undefined) completeIdentity(process.env);
    await runCommandLine(
      args,
      {
        connect: (configuration) => runTunnel(self, configuration, 'connect'),
        proxy: (configuration) => runTunnel(self, configuration, 'proxy'),
        exec(configuration) {
          readAgainAsRoot();
          return runCommand(self, configuration);
        },
        nc: (configuration) => nc(self, configuration),
        doctor: (configuration) => doctor(self, configuration),
        openstack: (configuration) => openstack(self, configuration),
        jumphost: (configuration) => jumphost(self, configuration),
        status: (configuration) => status(self, configuration),
        stop: (configuration) => stop(self, configuration),
        reconnect: (configuration) => reconnect(self, configuration),
        reload: (configuration) => reload(self, configuration),
        clean: () => clean(self),
      },
      {
        output: print,
        get columns() {
          return Math.min(terminalColumns(), MAX_COLUMNS);
        },
      },
    );
  } catch (error) {
    self.fail(error);
  }
  // All parts have been closed. Ending here avoids the wait for handles that Node may still keep
  // open.
  return self.end(Number(process.exitCode));
}
