/**
 * What Node does for whoever starts it or signals it, and this program must not: it listens for a
 * debugger, and obeys variables before the program's first line. `./tunnel` starts Node so that
 * neither happens. This is for what has not come through it (`node dist/src/main.js`).
 */
import { close, url } from 'node:inspector';
import { UsageError } from '../errors/errors.ts';

/** Names of variables that `./tunnel` has set aside begin with this. */
const ASIDE = 'TUNNEL_ASIDE_';

export interface NodeStart {
  /** Node's own options, in front of the script. */
  readonly execArgv: readonly string[];
  /** The NODE_OPTIONS that Node has obeyed. */
  readonly nodeOptions: string;
  /** For the caller of sudo or doas. */
  readonly asRoot: boolean;
}

/** How Node was started. Call it before giveBack(). */
export function nodeStartOf(execArgv: readonly string[], env: NodeJS.ProcessEnv): NodeStart {
  const nodeOptions = env['NODE_OPTIONS'] ?? '';
  const called = env['SUDO_UID'] !== undefined || env['DOAS_USER'] !== undefined;
  return { execArgv, nodeOptions, asRoot: called && process.geteuid?.() === 0 };
}

/**
 * Gives the variables that `./tunnel` has set aside back, to the programs that are started from now
 * on. Not to this program itself, when it starts itself as the caller of sudo.
 */
export function giveBack(env: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(ASIDE)) continue;
    delete env[name];
    env[name.slice(ASIDE.length)] = value;
  }
}

/**
 * Closes the debugger's port if a signal has opened it, and not the command line. A debugger that
 * is connected by then loses its connection. Call it once the program handles SIGUSR1.
 */
export function closeInspector(start: NodeStart): void {
  if (isDebugged(start)) return;
  const closeOpen = () => {
    if (url() !== undefined) close();
  };
  closeOpen();
  // Node heeds a signal that came just before a moment later.
  setImmediate(closeOpen);
}

/**
 * Throws UsageError if the program runs as root for the caller of sudo or doas, and Node has obeyed
 * NODE_OPTIONS, or a debugger may connect.
 */
export function refuseNodeOptions(start: NodeStart): void {
  if (!start.asRoot || (start.nodeOptions === '' && !isDebugged(start))) return;
  throw new UsageError(
    'NODE_OPTIONS and --inspect are not for a program that runs as root for you',
    {
      hint: 'leave them out, or run it without sudo and doas',
    },
  );
}

/** --inspect-port alone opens nothing. Node takes `_` for `-` in its options. */
function isDebugged({ execArgv, nodeOptions }: NodeStart): boolean {
  return [...execArgv, ...nodeOptions.split(/[\s"]+/)].some((option) =>
    /^--(inspect|debug)(-brk|-wait)?(=|$)/.test(option.replaceAll('_', '-')),
  );
}
