/**
 * Clouds and the jump host, put together: `tunnel openstack`.
 *
 *   cloud from files and environment -> jump host -> catalog through it -> targets
 *         -> each is tried -> report
 *
 * A cloud that isn't configured properly is found out before the jump host is asked for anything.
 */
import type { OpenStackConfiguration } from '../config/openstackreport.ts';
import type { Located } from '../link/dialler.ts';
import { silentObserver } from '../observe/observer.ts';
import { formatReport, probeTargets } from '../openstack/report/report.ts';
import { cloudTargetsOf, loadConfiguredCloud } from '../openstack/targets/cloud.ts';
import { addressToExclude } from '../ssh/dial/addresses.ts';
import { linux } from './machine.ts';
import { inSession } from './session.ts';
import { secretsFrom } from './targets.ts';
import type { RunOptions } from './tunnel.ts';

/**
 * Runs `tunnel openstack`; resolves with what it prints. Rejects with TunnelError, or with the
 * reason of `stop`.
 */
export function reportCloud(
  { ssh, openstack, format }: OpenStackConfiguration,
  options: Omit<RunOptions, 'learned'>,
): Promise<string> {
  const { observer, prompter, machine = linux } = options;
  // The report has the warnings itself; the other formats are for programs.
  const warnings = format === 'table' || format === 'json' ? silentObserver : observer;
  return inSession(options, async (session) => {
    const { signal } = session;
    const configured = loadConfiguredCloud(openstack, warnings);
    machine.hideMemory();
    const dialler = machine.dialler({ ssh, prompter, observer });
    const located = await dialler.locate(signal);
    const transport = session.own('the SSH connection', await dialler.dial(located, signal), (it) =>
      it.close(),
    );
    session.endsWith(transport.ended);
    const connect = transport.connect.bind(transport);
    const ask = secretsFrom(prompter, signal);
    const found = await session.within(
      cloudTargetsOf(configured, true, { connect, observer, signal, ask }),
    );
    for (const warning of found.warnings) warnings.log('warning', warning);
    const wanted = found.targets.filter(({ linked }) => !linked || openstack.followLinks);
    const linkedOnly = found.targets.filter((target) => !wanted.includes(target));
    const targets = await session.within(probeTargets(wanted, connect, signal));
    const { cloud } = configured;
    const report = { cloud, found, targets, linkedOnly, sources: sourcesOf(located) };
    return formatReport(report, format);
  });
}

/**
 * Where the jump host was reached. Behind other hops its address is known to the last of them only.
 */
function sourcesOf({ jumpHosts }: Located): string[] {
  const hosts = jumpHosts
    .filter(({ settings }) => settings.proxy.kind === 'direct')
    .flatMap(({ addresses }) => addresses.map(({ host }) => addressToExclude(host) ?? host));
  return [...new Set(hosts)];
}
