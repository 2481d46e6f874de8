/**
 * Clouds and the jump host, put together: `tunnel openstack`.
 *
 *   cloud from files and environment -> jump host -> catalog through it -> targets -> each is tried -> report
 *
 * A cloud that isn't configured properly is found out before the jump host is asked for anything.
 */

import type { OpenStackConfiguration, OpenStackOptions } from '../config/openstackoptions.ts';
import { homeDirectory } from '../home.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import { cacheDirectory } from '../openstack/cache.ts';
import type { Cloud } from '../openstack/cloud.ts';
import { type CloudRules, rulesOf } from '../openstack/cloudrules.ts';
import { loadCloud } from '../openstack/cloudsettings.ts';
import { type CloudTargets, findCloudTargets, formatAge } from '../openstack/cloudtargets.ts';
import { formatReport, probeTargets } from '../openstack/report.ts';
import type { RunOptions } from '../run.ts';
import { addressToExclude } from '../transport/resolve.ts';
import type { Connector, Transport } from '../transport/transport.ts';
import { Dialler, type Located } from './dialling.ts';

export interface CloudRunOptions {
  readonly connect: Connector['connect'];
  readonly observer: Observer;
  readonly signal: AbortSignal;
}

/** Before the jump host is dialled. Its warnings are logged. Throws what `loadCloud` throws. */
export function loadConfiguredCloud({ cloud, region }: OpenStackOptions, observer: Observer): Cloud {
  const found = loadCloud(
    { cloud, region },
    { env: process.env, directory: process.cwd(), home: homeDirectory() },
  );
  for (const warning of found.warnings) observer.log('warning', warning);
  return found;
}

/**
 * The rules that --os-cloud adds to a run's targets, where a command has it (none has yet). Rejects with what
 * `findCloudTargets` rejects with.
 */
export async function cloudRules(
  cloud: Cloud,
  options: OpenStackOptions,
  run: CloudRunOptions,
): Promise<CloudRules> {
  const { observer } = run;
  const { targets, age, warnings } = await targetsOf(cloud, options, options.followLinks, run);
  for (const warning of warnings) observer.log('warning', warning);
  const from =
    age === undefined ? 'auth_url alone' : age === 0 ? 'a fresh catalog' : `a catalog ${formatAge(age)} old`;
  observer.log('notice', `${targets.length} targets of the cloud ${cloud.name}, from ${from}`);
  return rulesOf(targets);
}

/** Runs `tunnel openstack`; resolves with what it prints. Rejects with TunnelError, or when `stop` is aborted. */
export async function reportCloud(
  { tunnel, openstack, format }: OpenStackConfiguration,
  { observer, prompter, stop }: RunOptions,
): Promise<string> {
  // The report has the warnings itself; the other formats are for programs.
  const warnings = format === 'table' || format === 'json' ? silentObserver : observer;
  const cloud = loadConfiguredCloud(openstack, warnings);
  const lost = new AbortController();
  const signal = AbortSignal.any([stop, lost.signal]);
  let transport: Transport | undefined;
  try {
    const dialler = new Dialler({ ssh: tunnel.ssh, prompter, observer });
    const located = await dialler.locate(signal);
    transport = await dialler.dial(located, signal);
    transport.ended.then((error) => {
      if (error !== undefined) lost.abort(error);
    });
    const { connect } = transport;
    const run = { connect: connect.bind(transport), observer, signal };
    const found = await targetsOf(cloud, openstack, true, run);
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

/** Where the jump host was reached. Behind other hops its address is known to the last of them only. */
function sourcesOf({ jumpHosts }: Located): string[] {
  const hosts = jumpHosts
    .filter(({ settings }) => settings.proxy.kind === 'direct')
    .flatMap(({ addresses }) => addresses.map(({ host }) => addressToExclude(host) ?? host));
  return [...new Set(hosts)];
}

function targetsOf(
  cloud: Cloud,
  { catalog }: OpenStackOptions,
  findLinks: boolean,
  { connect, observer, signal }: CloudRunOptions,
): Promise<CloudTargets> {
  const directory = cacheDirectory(process.env, homeDirectory());
  return findCloudTargets({
    cloud,
    mode: catalog,
    findLinks,
    connect,
    cacheDirectory: directory,
    env: process.env,
    observer,
    signal,
  });
}
