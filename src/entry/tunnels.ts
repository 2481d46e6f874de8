/**
 * The commands that run until they are stopped: connect, proxy, exec.
 *
 * The SSH client and its dependencies are loaded only when there is something to run: --help and
 * usage errors don't wait for them.
 */
import { constants } from 'node:os';
import { requireLinux } from '../base/platform.ts';
import { learnedList } from '../cli/allow.ts';
import { commandNamed } from '../cli/commands.ts';
import { print } from '../cli/output.ts';
import { readAgain } from '../cli/program.ts';
import { createPrompter } from '../cli/prompt.ts';
import { version } from '../cli/version.ts';
import type { Configuration } from '../config/configuration.ts';
import { readTunnelName } from '../config/controloptions.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import type { Status } from '../control/status.ts';
import type { Log } from '../observe/log.ts';
import type { TunnelIdentity } from '../session/overview.ts';
import { Reloads } from '../session/reloads.ts';
import { adviseAboutAgent, machineBeside } from './ascaller.ts';
import { runAsDaemonAfterAll } from './daemon.ts';
import { showRun } from './display.ts';
import type { Self } from './self.ts';
import { Service } from './service.ts';
import { reloadOnHangup, stopOnSignals } from './signals.ts';

/** What `tunnel status` calls the run. */
function identity(
  { name }: Configuration,
  command: TunnelIdentity['command'],
  observer: Log,
): TunnelIdentity {
  return { name, command, version: version(), counters: () => observer.snapshot() };
}

/** What captures by routes, and what needs no privileges. */
async function load(command: 'connect' | 'proxy', { forwardsOnly }: Configuration) {
  if (command === 'connect' && !forwardsOnly)
    return (await import('../session/connect.ts')).runConnect;
  return (await import('../session/proxy.ts')).runProxy;
}

/** Of a tunnel that has the name of --name. The start doesn't wait for it. */
function tellOfSecond({ given, name }: Configuration, observer: Log): void {
  if (readTunnelName(given) === undefined) return;
  void import('../control/second.ts').then(({ warnOfSecond }) => warnOfSecond(name, observer));
}

export async function runTunnel(
  self: Self,
  configuration: Configuration,
  command: 'connect' | 'proxy',
): Promise<void> {
  if (command === 'connect' && !configuration.forwardsOnly) requireLinux('tunnel connect');
  if (commandNamed(self.args[0]) === 'up') {
    const { refuseSecond } = await import('../control/second.ts');
    await refuseSecond(configuration.name);
  }
  if (configuration.service.daemon && self.daemon === undefined) await runAsDaemonAfterAll(self);
  const stopping = stopOnSignals(self);
  const stop = stopping.signal;
  const observer = self.createLog(configuration.logLevel);
  for (const notice of configuration.notices) observer.log('notice', notice);
  const service = new Service(self, configuration.service, stopping, observer);
  tellOfSecond(configuration, observer);
  const reloads = new Reloads(
    () => readAgain(self.args),
    (work) => service.during(work),
  );
  reloadOnHangup(() => {
    reloads.request().catch(() => {}); // the session has said it
  });
  const run = await load(command, configuration);
  const shows = await showRun(self, configuration, observer, createPrompter());
  const control = {
    ...identity(configuration, command, observer),
    stop() {
      observer.log('notice', 'stopped by "tunnel stop"');
      stopping.now();
    },
    show: (status: () => Status) => self.showStatus(status),
  };
  try {
    await run(configuration, {
      observer,
      ...shows,
      stop,
      reloads,
      learned: learnedList(configuration.allow, print, observer),
      control,
      service,
      ...(await machineBeside(self)),
    });
  } catch (error) {
    adviseAboutAgent(self, error, observer);
    // An operation that was waiting when the signal came rejects with the signal's reason: that is
    // an orderly stop, unless it came before the tunnel was there.
    if (!(stop.aborted && error === stop.reason)) {
      service.close(error);
      throw error;
    }
    if (!service.isReady) self.failBySignal(stopping.by ?? constants.signals.SIGTERM);
  } finally {
    service.close();
    observer.logCounted();
  }
}

/** While the command runs, it gets the signals (system/launcher/job.ts). */
export async function runCommand(self: Self, configuration: ExecConfiguration): Promise<void> {
  const { logLevel, notices, allow } = configuration.tunnel;
  const stop = stopOnSignals(self);
  const observer = self.createLog(logLevel);
  for (const notice of notices) observer.log('notice', notice);
  const service = new Service(self, configuration.tunnel.service, stop, observer);
  tellOfSecond(configuration.tunnel, observer);
  const { runExec } = await import('../session/exec.ts');
  let status: number;
  try {
    status = await runExec(configuration, {
      observer,
      prompter: createPrompter(),
      stop: stop.signal,
      // Signals are the command's: only "tunnel reload" asks for it.
      reloads: new Reloads(
        () => readAgain(self.args),
        (work) => service.during(work),
      ),
      // Standard output belongs to the command alone.
      service,
      learned: learnedList(allow, (text) => self.stderr.writeSurely(text), observer),
      control: {
        ...identity(configuration.tunnel, 'exec', observer),
        // As kill(1) does: the command gets it, and its end ends the tunnel.
        stop() {
          // A warning: nothing else says why the command has ended.
          observer.log('warning', 'stopped by "tunnel stop"');
          process.kill(process.pid, 'SIGTERM');
        },
      },
    });
  } catch (error) {
    if (stop.by === undefined || error !== stop.signal.reason) {
      service.close(error);
      throw error;
    }
    return self.failBySignal(stop.by);
  } finally {
    service.close();
    observer.logCounted();
  }
  self.leave(status);
}
