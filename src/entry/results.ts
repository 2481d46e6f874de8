/** The commands that print a result: doctor, openstack, jumphost, status, clean, ... */
import { isatty } from 'node:tty';
import { requireLinux } from '../base/platform.ts';
import { learnedList } from '../cli/allow.ts';
import { reportRecovery } from '../cli/clean.ts';
import { formatJson, formatLine, formatTable, verdictOf } from '../cli/doctor.ts';
import { print } from '../cli/output.ts';
import { createPrompter } from '../cli/prompt.ts';
import type { ControlConfiguration } from '../config/controloptions.ts';
import type { DoctorConfiguration } from '../config/doctoroptions.ts';
import type { JumpHostConfiguration } from '../config/jumphostoptions.ts';
import type { NcConfiguration } from '../config/ncoptions.ts';
import type { OpenStackConfiguration } from '../config/openstackreport.ts';
import { EXIT } from '../errors/codes.ts';
import type { Level } from '../observe/observer.ts';
import { printable } from '../observe/printable.ts';
import type { RunOptions } from '../session/tunnel.ts';
import { adviseAboutAgent, machineBeside } from './ascaller.ts';
import type { Self } from './self.ts';
import { stopOnSignals } from './signals.ts';

export async function status(self: Self, configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('../control/client.ts');
  const { formatStatus, formatStatusJson, isWell } = await import('../cli/status.ts');
  const { name, json, watch } = configuration;
  await printResult(self, configuration, async (_, { stop: signal }) => {
    if (watch && (json || !isatty(1))) {
      const { streamStatus } = await import('../cli/watch/stream.ts');
      await streamStatus({ name, json, signal, print });
      return '';
    }
    if (watch) {
      const { watchTunnels } = await import('../cli/watch/watch.ts');
      return watchTunnels(name, signal, process.env);
    }
    const found = await findTunnels();
    const wanted = name === undefined ? found : { tunnels: [tunnelNamed(found, name)], silent: [] };
    const well = wanted.tunnels.every(isWell) && wanted.silent.length === 0;
    process.exitCode = well ? EXIT.ok : EXIT.jumpHost;
    return json ? formatStatusJson(wanted) : formatStatus(wanted);
  });
}

export async function stop(self: Self, configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('../control/client.ts');
  const { stopTunnel } = await import('../control/commands.ts');
  await printResult(self, configuration, async ({ name }, { observer, stop: signal }) => {
    const tunnel = tunnelNamed(await findTunnels(), name);
    await stopTunnel(tunnel, signal);
    observer.log('info', `${tunnel.status.name} (pid ${tunnel.pid}) has ended`);
    return '';
  });
}

export async function reconnect(self: Self, configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('../control/client.ts');
  const { reconnectTunnel } = await import('../control/commands.ts');
  await printResult(self, configuration, async ({ name }, { observer, prompter, stop: signal }) => {
    const tunnel = tunnelNamed(await findTunnels(), name);
    await reconnectTunnel(tunnel, prompter, signal, {
      waits: (sentence) => observer.log('notice', `${printable(tunnel.status.name)}: ${sentence}`),
      says: (line) => observer.log('notice', line),
    });
    observer.log('info', `${tunnel.status.name} (pid ${tunnel.pid}) has reconnected`);
    return '';
  });
}

export async function reload(self: Self, configuration: ControlConfiguration): Promise<void> {
  const { findTunnels, tunnelNamed } = await import('../control/client.ts');
  const { reloadTunnel } = await import('../control/commands.ts');
  await printResult(self, configuration, async ({ name }, { observer, prompter, stop: signal }) => {
    const tunnel = tunnelNamed(await findTunnels(), name);
    const says = (line: string): void => observer.log('notice', line);
    const said = await reloadTunnel(tunnel, prompter, signal, says);
    return said.map((sentence) => `${printable(sentence)}\n`).join('');
  });
}

export async function doctor(self: Self, configuration: DoctorConfiguration): Promise<void> {
  const { json, quiet } = configuration;
  const { diagnose } = await import('../session/doctor.ts');
  await printResult(self, configuration, async (wanted, options) => {
    const diagnosis = await diagnose(wanted, options);
    process.exitCode = verdictOf(diagnosis).exitStatus;
    if (json) return formatJson(diagnosis, quiet);
    return quiet ? formatLine(diagnosis) : formatTable(diagnosis);
  });
}

/** What it prints is what the far side sends. */
export async function nc(self: Self, configuration: NcConfiguration): Promise<void> {
  const { runNc } = await import('../session/nc.ts');
  const { logLevel, allow } = configuration.tunnel;
  await printResult(self, { ...configuration, logLevel }, async (wanted, options) => {
    const learned = learnedList(allow, (text) => self.stderr.writeSurely(text), options.observer);
    await runNc(wanted, { ...options, learned });
    return '';
  });
}

export async function openstack(self: Self, configuration: OpenStackConfiguration): Promise<void> {
  const { reportCloud } = await import('../session/openstack.ts');
  await printResult(self, configuration, reportCloud);
}

export async function jumphost(self: Self, configuration: JumpHostConfiguration): Promise<void> {
  const { renderJumpHost } = await import('../session/jumphost.ts');
  await printResult(self, configuration, renderJumpHost);
}

/** Prints what a run resolves with. */
async function printResult<C extends { readonly logLevel: Level }>(
  self: Self,
  configuration: C,
  run: (configuration: C, options: Omit<RunOptions, 'learned'>) => Promise<string>,
): Promise<void> {
  const stop = stopOnSignals(self);
  const observer = self.createLog(configuration.logLevel);
  try {
    const machine = await machineBeside(self);
    const options = { observer, prompter: createPrompter(), stop: stop.signal, ...machine };
    print(await run(configuration, options));
  } catch (error) {
    adviseAboutAgent(self, error, observer);
    if (stop.by === undefined || error !== stop.signal.reason) throw error;
    // Unlike a tunnel that is stopped, it has not done what it was asked for.
    self.failBySignal(stop.by);
  }
}

export async function clean(self: Self): Promise<void> {
  requireLinux('tunnel clean');
  const { cleanMachine } = await import('../session/clean.ts');
  const { machine } = await machineBeside(self);
  reportRecovery(await cleanMachine(self.createLog('notice'), machine), print);
}
