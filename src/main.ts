#!/usr/bin/env -S node --single-threaded-gc --max-semi-space-size=4 --heap-growing-percent=20 --inspect-port=255.255.255.255
/**
 * The entry point: connects the command line, the log, the signals and the exit code.
 *
 *   arguments -> runCommandLine -> Configuration -> run(), runProxy(), runExec()
 *   INT, TERM, HUP -> abort its `stop` signal
 *   an error from run() or from anything before it -> two lines on stderr -> exit code
 *   USR1 -> the counters, on stderr; USR2 -> nothing
 *
 * Under sudo and doas all this happens in a second process, which is the caller's. The first one
 * starts it, stays root, and does what it is asked for (session/ascaller.ts); `exec` becomes its
 * caller by itself.
 *
 * All messages go through one LineWriter. Nothing waits for the terminal until the program ends,
 * and then no longer than FLUSH_MS.
 *
 * The heap is small, and the garbage is many short-lived buffers. So it is cheapest to collect it
 * on one thread. A young generation that doesn't grow with the number of flows, and an old one that
 * is collected early, keep less garbage in memory (docs/decisions/0009). The first line can't be
 * broken, and Linux before 5.1 reads 127 octets of it. session/connect.ts and the SSH client are
 * loaded only when there is something to run: --help and usage errors don't wait for them.
 */
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { learnedList } from './cli/allow.ts';
import { reportRecovery } from './cli/clean.ts';
import { formatJson, formatLine, formatTable, verdictOf } from './cli/doctor.ts';
import { EXIT_SIGNAL_BASE, execExitCodeOf, exitCodeOf } from './cli/exit.ts';
import {
  closeInspector,
  filesForCaller,
  giveBack,
  nodeStartOf,
  refuseNodeOptions,
} from './cli/node.ts';
import { print } from './cli/output.ts';
import { isExec, runCommandLine, version } from './cli/program.ts';
import { createPrompter } from './cli/prompt.ts';
import { reportError } from './cli/report.ts';
import type { Configuration } from './config/configuration.ts';
import type { ControlConfiguration } from './config/controloptions.ts';
import type { DoctorConfiguration } from './config/doctoroptions.ts';
import type { ExecConfiguration } from './config/execoptions.ts';
import type { JumpHostConfiguration } from './config/jumphostoptions.ts';
import type { OpenStackConfiguration } from './config/openstackreport.ts';
import { EXIT } from './errors/codes.ts';
import { TunnelError } from './errors/errors.ts';
import { addon } from './native/addon.ts';
import { LineWriter } from './observe/linewriter.ts';
import { Log } from './observe/log.ts';
import { type Level, type Observer, silentObserver } from './observe/observer.ts';
import { printable } from './observe/printable.ts';
import { type NativeWrite, standardErrorWriter } from './observe/standarderror.ts';
import type { Machine } from './session/machine.ts';
import type { TunnelIdentity } from './session/overview.ts';
import type { RunOptions } from './session/tunnel.ts';
import { PrivilegedLink } from './system/privileged/client.ts';
import { completeIdentity } from './system/privileged/identity.ts';

/** Errors that an agent may have prevented. */
const ASKS_FOR_AGENT: ReadonlySet<string> = new Set([
  'auth-failed',
  'auth-cancelled',
  'no-terminal',
]);
/** How long the end of the program waits for a terminal that takes nothing. */
const FLUSH_MS = 1000;
/**
 * A signal to the whole process group may arrive twice under sudo: directly, and passed on by the
 * part that is root.
 */
const SAME_SIGNAL_MS = 100;
const DEFAULT_COLUMNS = 80;
const MAX_COLUMNS = 100;

/** Whether stacks are shown: known once the options have been read. */
let detailed = false;

const args = process.argv.slice(2);
const nodeStart = nodeStartOf(process.execArgv, process.env);

/** The log of the current run. */
let log: Log | undefined;

/** To the part of this program that is root: under sudo and doas. */
let privileged: PrivilegedLink | undefined;

// This comes first: until the program handles USR1, it makes Node start its debugger, and USR2 ends
// the program. Under `exec` both belong to the command; before the command runs they are ignored.
process.on('SIGUSR1', () => {
  if (!isExec(args)) log?.showCounters();
});
process.on('SIGUSR2', () => {});
closeInspector(nodeStart);

const stderr = new LineWriter(standardErrorWriter(nativeWrite, { reopens: !nodeStart.asRoot }));

function nativeWrite(): NativeWrite | undefined {
  try {
    return addon().writeNow;
  } catch {
    return undefined; // the addon isn't built: the parts that need it report that
  }
}

function createLog(level: Level): Log {
  log = new Log({ level, sink: stderr });
  return log;
}

function fail(error: unknown): void {
  process.exitCode = isExec(args) ? execExitCodeOf(error) : exitCodeOf(error);
  stderr.writeSurely(reportError(error, detailed));
}

/** process.stdout isn't touched unless it is a terminal. */
function terminalColumns(): number {
  return (isatty(1) ? process.stdout.columns : undefined) ?? DEFAULT_COLUMNS;
}

type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/**
 * Ends the program. process.exit() waits for pending name look-ups, half a minute with several
 * silent resolvers, because getaddrinfo(3) can't be cancelled. While one is pending, the program
 * ends without process.exit(), after an 'exit' event: code that has changed the terminal's mode
 * restores it then.
 */
function end(status: number): never {
  stderr.flush(FLUSH_MS);
  if (!process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) return process.exit(status);
  process.emit('exit', status);
  return addon().leave(status);
}

/** The first signal starts an orderly stop. A later INT (Ctrl-C again) ends the program at once. */
function stopOnSignals(
  first: (name: StopSignal) => void = () => {},
  stop = new AbortController(),
): AbortSignal {
  let began = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const within = privileged === undefined ? 0 : SAME_SIGNAL_MS;
      const isLater = stop.signal.aborted && performance.now() - began >= within;
      if (isLater && name === 'SIGINT') end(EXIT_SIGNAL_BASE + constants.signals[name]);
      if (!stop.signal.aborted) {
        began = performance.now();
        first(name);
      }
      stop.abort();
    });
  }
  return stop.signal;
}

/**
 * Takes Node's own streams away until the function that is returned is called: when Node first
 * looks at one, which it does whenever a pipe closes, it opens the terminal again, as root.
 */
function withoutStreams(): () => void {
  const names = ['stdin', 'stdout', 'stderr'] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(process, name));
  for (const name of names)
    Object.defineProperty(process, name, { value: undefined, configurable: true });
  return () => {
    for (const [i, name] of names.entries())
      Object.defineProperty(process, name, before[i] ?? { value: undefined });
  };
}

/**
 * Starts the program again as the caller of sudo or doas, and ends with its status. Returns if the
 * caller is root.
 */
async function startAsCaller(): Promise<void> {
  const giveStreamsBack = withoutStreams();
  const stop = stopOnSignals();
  const { runAsCaller } = await import('./session/ascaller.ts');
  const [, script = ''] = process.argv;
  const program = [process.execPath, ...process.execArgv, script];
  let status: number | undefined;
  try {
    const observer = createLog('notice');
    const variables = filesForCaller(process.env);
    const start = { program, args, env: process.env, variables };
    status = await runAsCaller(start, { observer, stop });
  } catch (error) {
    if (!(stop.aborted && error === stop.reason)) throw error;
    status = EXIT.ok;
  }
  log = undefined;
  if (status === undefined) return giveStreamsBack();
  stderr.flush(FLUSH_MS);
  addon().leave(status);
}

/** Ends it: see readAsCaller(). */
let readAgainAsRoot: () => void = () => {};

/**
 * For `exec`, which is root until the command's network is made: the files that its options name
 * are opened as the caller of sudo or doas.
 */
async function readAsCaller(): Promise<void> {
  const [{ actAs }, { findCaller }] = await Promise.all([
    import('./system/launcher/caller.ts'),
    import('./system/launcher/launcher.ts'),
  ]);
  readAgainAsRoot = actAs(await findCaller(silentObserver));
}

/** What needs root goes to the part of the program that is. Undefined: the default. */
async function machineBeside(): Promise<{ readonly machine?: Machine }> {
  if (privileged === undefined) return {};
  const { linuxBeside } = await import('./session/beside.ts');
  return { machine: linuxBeside(privileged) };
}

/** sudo keeps the agent away from the programs that it starts. */
function adviseAboutAgent(error: unknown, observer: Observer): void {
  if (privileged === undefined || process.env['SSH_AUTH_SOCK'] !== undefined) return;
  if (!(error instanceof TunnelError) || !ASKS_FOR_AGENT.has(error.code)) return;
  observer.log(
    'notice',
    'no agent was asked, because sudo and doas drop SSH_AUTH_SOCK: "sudo --preserve-env=SSH_AUTH_SOCK tunnel ..." keeps it',
  );
}

/** What `tunnel status` calls the run. */
function identity(
  { name }: Configuration,
  command: TunnelIdentity['command'],
  observer: Log,
): TunnelIdentity {
  return { name, command, version: version(), counters: () => observer.snapshot() };
}

/** Loads the SSH client and its dependencies, only when there is something to run. */
async function load(command: 'connect' | 'proxy') {
  if (command === 'connect') return (await import('./session/connect.ts')).runConnect;
  return (await import('./session/proxy.ts')).runProxy;
}

async function start(configuration: Configuration, command: 'connect' | 'proxy'): Promise<void> {
  detailed = configuration.logLevel === 'debug';
  const stopping = new AbortController();
  const stop = stopOnSignals(undefined, stopping);
  const observer = createLog(configuration.logLevel);
  for (const notice of configuration.notices) observer.log('notice', notice);
  const run = await load(command);
  const control = {
    ...identity(configuration, command, observer),
    stop() {
      observer.log('notice', 'stopped by "tunnel stop"');
      stopping.abort();
    },
  };
  try {
    await run(configuration, {
      observer,
      prompter: createPrompter(),
      stop,
      learned: learnedList(configuration.allow, print, observer),
      control,
      ...(await machineBeside()),
    });
  } catch (error) {
    adviseAboutAgent(error, observer);
    // An operation that was waiting when the signal came rejects with the signal's reason: that is
    // an orderly stop.
    if (!(stop.aborted && error === stop.reason)) throw error;
  } finally {
    observer.logCounted();
  }
}

/** While the command runs, it gets the signals (system/launcher/job.ts). */
async function exec(configuration: ExecConfiguration): Promise<void> {
  readAgainAsRoot();
  const { logLevel, notices, allow } = configuration.tunnel;
  detailed = logLevel === 'debug';
  let stoppedBy: StopSignal | undefined;
  const stop = stopOnSignals((name) => {
    stoppedBy = name;
  });
  const observer = createLog(logLevel);
  for (const notice of notices) observer.log('notice', notice);
  const { runExec } = await import('./session/exec.ts');
  let status: number;
  try {
    status = await runExec(configuration, {
      observer,
      prompter: createPrompter(),
      stop,
      // Standard output belongs to the command alone.
      learned: learnedList(allow, (text) => stderr.writeSurely(text), observer),
      control: {
        ...identity(configuration.tunnel, 'exec', observer),
        // As kill(1) does: the command gets it, and its end ends the tunnel.
        stop: () => process.kill(process.pid, 'SIGTERM'),
      },
    });
  } catch (error) {
    if (stoppedBy === undefined || error !== stop.reason) throw error;
    process.exitCode = EXIT_SIGNAL_BASE + constants.signals[stoppedBy];
    return;
  } finally {
    observer.logCounted();
  }
  stderr.flush(FLUSH_MS);
  addon().leave(status);
}

async function status(configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('./control/client.ts');
  const { formatStatus, formatStatusJson, isWell } = await import('./cli/status.ts');
  const { name, json } = configuration;
  await printResult(configuration, async () => {
    const found = await findTunnels();
    const wanted = name === undefined ? found : { tunnels: [tunnelNamed(found, name)], silent: [] };
    const well = wanted.tunnels.every(isWell) && wanted.silent.length === 0;
    process.exitCode = well ? EXIT.ok : EXIT.jumpHost;
    return json ? formatStatusJson(wanted) : formatStatus(wanted);
  });
}

async function stopRunning(configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('./control/client.ts');
  const { stopTunnel } = await import('./control/commands.ts');
  await printResult(configuration, async ({ name }, { observer, stop: signal }) => {
    const tunnel = tunnelNamed(await findTunnels(), name);
    await stopTunnel(tunnel, signal);
    observer.log('info', `${tunnel.status.name} (pid ${tunnel.pid}) has ended`);
    return '';
  });
}

async function reconnect(configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('./control/client.ts');
  const { reconnectTunnel } = await import('./control/commands.ts');
  await printResult(configuration, async ({ name }, { observer, prompter, stop: signal }) => {
    const tunnel = tunnelNamed(await findTunnels(), name);
    await reconnectTunnel(tunnel, prompter, signal);
    observer.log('info', `${tunnel.status.name} (pid ${tunnel.pid}) has reconnected`);
    return '';
  });
}

async function doctor(configuration: DoctorConfiguration): Promise<void> {
  const { json, quiet } = configuration;
  const { diagnose } = await import('./session/doctor.ts');
  await printResult(configuration, async (wanted, options) => {
    const diagnosis = await diagnose(wanted, options);
    process.exitCode = verdictOf(diagnosis).exitStatus;
    if (json) return formatJson(diagnosis, quiet);
    return quiet ? formatLine(diagnosis) : formatTable(diagnosis);
  });
}

async function openstack(configuration: OpenStackConfiguration): Promise<void> {
  const { reportCloud } = await import('./session/openstack.ts');
  await printResult(configuration, reportCloud);
}

async function jumphost(configuration: JumpHostConfiguration): Promise<void> {
  const { renderJumpHost } = await import('./session/jumphost.ts');
  await printResult(configuration, renderJumpHost);
}

/** Prints what a run resolves with. */
async function printResult<C extends { readonly logLevel: Level }>(
  configuration: C,
  run: (configuration: C, options: Omit<RunOptions, 'learned'>) => Promise<string>,
): Promise<void> {
  const { logLevel } = configuration;
  detailed = logLevel === 'debug';
  let stoppedBy: StopSignal | undefined;
  const stop = stopOnSignals((name) => {
    stoppedBy = name;
  });
  const observer = createLog(logLevel);
  try {
    const machine = await machineBeside();
    print(await run(configuration, { observer, prompter: createPrompter(), stop, ...machine }));
  } catch (error) {
    adviseAboutAgent(error, observer);
    if (stoppedBy === undefined || error !== stop.reason) throw error;
    // Unlike a tunnel that is stopped, it has not done what it was asked for.
    process.exitCode = EXIT_SIGNAL_BASE + constants.signals[stoppedBy];
  }
}

async function clean(): Promise<void> {
  const { cleanMachine } = await import('./session/clean.ts');
  const { machine } = await machineBeside();
  reportRecovery(await cleanMachine(createLog('notice'), machine), print);
}

// Node's own streams stay unused: for a pipe they would set O_NONBLOCK for everybody who shares it.
process.removeAllListeners('warning');
process.on('warning', (warning) =>
  stderr.write(`tunnel: warning: ${printable(String(warning))}\n`),
);
// After an unhandled fault the parts are in an unknown state. All host state depends on the
// process, so end it.
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    fail(error);
    end(Number(process.exitCode));
  });
}

try {
  process.exitCode = EXIT.ok;
  refuseNodeOptions(nodeStart);
  if (nodeStart.asRoot) await (isExec(args) ? readAsCaller() : startAsCaller());
  giveBack(process.env);
  privileged = PrivilegedLink.take(process.env);
  if (privileged !== undefined) completeIdentity(process.env);
  await runCommandLine(
    args,
    {
      connect: (configuration) => start(configuration, 'connect'),
      proxy: (configuration) => start(configuration, 'proxy'),
      exec,
      doctor,
      openstack,
      jumphost,
      status,
      stop: stopRunning,
      reconnect,
      clean,
    },
    {
      output: print,
      columns: Math.min(terminalColumns(), MAX_COLUMNS),
    },
  );
} catch (error) {
  fail(error);
}
// All parts have been closed. Ending here avoids the wait for handles that Node may still keep
// open.
end(Number(process.exitCode));
