/**
 * What Node does for whoever starts it or signals it, and this program must not: it listens for a
 * debugger, and obeys variables before the program's first line. `./tunnel` starts Node so that
 * neither happens. This is for what has not come through it (`node dist/src/main.js`).
 */
import { close, url } from 'node:inspector';
import { UsageError } from '../errors/errors.ts';

/** Names of variables that `./tunnel` has set aside begin with this. */
const ASIDE = 'TUNNEL_ASIDE_';

/** What ./tunnel always sets aside. */
const ALWAYS = ['NODE_OPTIONS', 'NODE_PATH', 'NODE_REDIRECT_WARNINGS', 'NODE_V8_COVERAGE'] as const;

/** What it sets aside only where root runs Node for a caller: they name files. */
const FILES = [
  'NODE_COMPILE_CACHE',
  'NODE_EXTRA_CA_CERTS',
  'NODE_ICU_DATA',
  'OPENSSL_CONF',
  'OPENSSL_ENGINES',
  'OPENSSL_MODULES',
] as const;

export interface NodeStart {
  /** Node's own options, in front of the script. */
  readonly execArgv: readonly string[];
  /** The NODE_OPTIONS that Node has obeyed. */
  readonly nodeOptions: string;
  /** Variables that have had Node read files. */
  readonly files: readonly string[];
  /** For the caller of sudo or doas. */
  readonly asRoot: boolean;
}

/** How Node was started. Call it before giveBack(). */
export function nodeStartOf(execArgv: readonly string[], env: NodeJS.ProcessEnv): NodeStart {
  const nodeOptions = env['NODE_OPTIONS'] ?? '';
  const called = env['SUDO_UID'] !== undefined || env['DOAS_USER'] !== undefined;
  const files = FILES.filter((name) => (env[name] ?? '') !== '');
  return { execArgv, nodeOptions, files, asRoot: called && process.geteuid?.() === 0 };
}

/**
 * The variables with which the program is started again as the caller: there Node may read the
 * files that it has not read as root. Undefined removes one.
 */
export function filesForCaller(env: NodeJS.ProcessEnv): Record<string, string | undefined> {
  const set = FILES.filter((name) => env[`${ASIDE}${name}`] !== undefined);
  return Object.fromEntries(
    set.flatMap((name) => [
      [name, env[`${ASIDE}${name}`]],
      [`${ASIDE}${name}`, undefined],
    ]),
  );
}

/**
 * Gives the variables that `./tunnel` has set aside back, to the programs that are started from now
 * on. Not to this program itself, when it starts itself as the caller of sudo. Only those: under
 * sudo the caller may have named others so, such as LD_PRELOAD, which sudo would have taken out.
 */
export function giveBack(env: NodeJS.ProcessEnv): void {
  for (const name of [...ALWAYS, ...FILES]) {
    const value = env[`${ASIDE}${name}`];
    if (value === undefined) continue;
    delete env[`${ASIDE}${name}`];
    env[name] = value;
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
 * NODE_OPTIONS or read a file that a variable names, or a debugger may connect.
 */
export function refuseNodeOptions(start: NodeStart): void {
  if (!start.asRoot) return;
  if (start.nodeOptions === '' && !isDebugged(start) && start.files.length === 0) return;
  const what = ['NODE_OPTIONS and --inspect', ...start.files].join(', ');
  throw new UsageError(`${what} are not for a program that runs as root for you`, {
    hint: 'leave them out, or run it without sudo and doas',
  });
}

/** --inspect-port alone opens nothing. Node takes `_` for `-` in its options. */
function isDebugged({
  execArgv,
  nodeOptions,
}: Pick<NodeStart, 'execArgv' | 'nodeOptions'>): boolean {
  return [...execArgv, ...nodeOptions.split(/[\s"]+/)].some((option) =>
    /^--(inspect|debug)(-brk|-wait)?(=|$)/.test(option.replaceAll('_', '-')),
  );
}
