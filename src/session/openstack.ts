/**
 * Clouds and the jump host, put together: `tunnel openstack`.
 *
 *   cloud from files and environment -> jump host -> catalog through it -> targets -> each is tried -> report
 *
 * A cloud that isn't configured properly is found out before the jump host is asked for anything.
 */
import type { OpenStackConfiguration } from '../config/openstackreport.ts';
import { Dialler, type Located } from '../link/dialler.ts';
import { silentObserver } from '../observe/observer.ts';
import { formatReport, probeTargets } from '../openstack/report/report.ts';
import { cloudTargetsOf, loadConfiguredCloud } from '../openstack/targets/cloud.ts';
import { addressToExclude } from '../ssh/dial/addresses.ts';
import type { Transport } from '../ssh/transport.ts';
import type { RunOptions } from './connect.ts';

/**
 * Runs `tunnel openstack`; resolves with what it prints. Rejects with TunnelError, or when `stop`
 * is aborted.
 */
export async function reportCloud(
  { ssh, openstack, format }: OpenStackConfiguration,
  { observer, prompter, stop }: Omit<RunOptions, 'learned'>,
): Promise<string> {
  // The report has the warnings itself; the other formats are for programs.
  const warnings = format === 'table' || format === 'json' ? silentObserver : observer;
  const cloud = loadConfiguredCloud(openstack, warnings);
  const lost = new AbortController();
  const signal = AbortSignal.any([stop, lost.signal]);
  let transport: Transport | undefined;
  try {
    const dialler = new Dialler({ ssh, prompter, observer });
    const located = await dialler.locate(signal);
    transport = await dialler.dial(located, signal);
    transport.ended.then((error) => {
      if (error !== undefined) lost.abort(error);
    });
    const { connect } = transport;
    const run = { connect: connect.bind(transport), observer, signal };
    const found = await cloudTargetsOf(cloud, openstack, true, run);
    for (const warning of found.warnings) warnings.log('warning', warning);
    const wanted = found.targets.filter(({ linked }) => !linked || openstack.followLinks);
    const linkedOnly = found.targets.filter((target) => !wanted.includes(target));
    const targets = await probeTargets(wanted, run.connect, signal);
    const report = { cloud, found, targets, linkedOnly, sources: sourcesOf(located) };
    return formatReport(report, format);
  } finally {
    await transport?.close();
  }
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
