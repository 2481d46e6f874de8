/**
 * Makes a checked `Configuration` of a tunnel from the given options: for `connect` and `proxy`,
 * and as a part of `exec`'s configuration. Every error in the command line is found here, before
 * anything is started. Only descriptors and the files that options name are touched.
 */
import { resolve } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { isLocalhost } from '../net/name.ts';
import { quoted, shellWord } from '../net/notation.ts';
import { formatPlace } from '../net/place.ts';
import { looksLikePrefix } from '../ssh/numerichost.ts';
import type { SshOptions } from '../ssh/options.ts';
import { ALLOW_OPTIONS, readAllowOptions } from './allowfile.ts';
import {
  type CaptureOptions,
  type Configuration,
  EVERYTHING,
  type NameTarget,
  type TargetRules,
} from './configuration.ts';
import { NAME_OPTIONS, readTunnelName } from './controloptions.ts';
import { DNS_OPTIONS, readDnsOptions } from './dnsoptions.ts';
import { FORWARD_OPTIONS, readForwards } from './forwardoptions.ts';
import { METRICS_OPTIONS, readMetricsPlace } from './metricsoptions.ts';
import { CLOUD_OPTIONS, readOpenStackOptions, withoutAsking } from './openstackoptions.ts';
import { type GivenArguments, readOptions, toggle } from './option.ts';
import { PROFILE_OPTIONS, SAVE_OPTIONS } from './profileoptions.ts';
import { PROXY_OPTIONS, readProxyOptions } from './proxyoptions.ts';
import {
  FLOW_LOG_OPTIONS,
  PCAP_OPTIONS,
  readFlowLogOptions,
  readPcapOptions,
} from './recordoptions.ts';
import {
  PROGRESS_OPTIONS,
  READY_OPTIONS,
  readLogLevel,
  readProgress,
  readReadyFd,
  VERBOSITY_OPTIONS,
} from './runoptions.ts';
import { readServiceOptions, SERVICE_OPTIONS } from './serviceoptions.ts';
import {
  CONNECTION_OPTIONS,
  JUMP_HOST_OPTIONS,
  LINK_OPTIONS,
  readSshOptions,
} from './sshoptions.ts';
import { readTargetRules, TARGET_OPTIONS } from './targetoptions.ts';

const CAPTURE_OPTIONS = {
  heading: 'Capture:',
  options: {
    captureLocal: toggle(
      '--capture-local',
      'capture networks that this machine is connected to, too',
    ),
    failClosed: toggle(
      '--fail-closed',
      'unless it is stopped in order, what is captured stays unreachable afterwards',
    ),
    allowDiverted: toggle('--allow-diverted', 'go on when a rule leads captured traffic elsewhere'),
  },
} as const;

/** Options of every tunnel, in the order of help: before and after those of some commands only. */
const CARRYING_GROUPS = [
  JUMP_HOST_OPTIONS,
  TARGET_OPTIONS,
  DNS_OPTIONS,
  CONNECTION_OPTIONS,
  LINK_OPTIONS,
  CLOUD_OPTIONS,
  ALLOW_OPTIONS,
] as const;
const RUNNING_GROUPS = [
  PROFILE_OPTIONS,
  SAVE_OPTIONS,
  FLOW_LOG_OPTIONS,
  PCAP_OPTIONS,
  NAME_OPTIONS,
  METRICS_OPTIONS,
  READY_OPTIONS,
  VERBOSITY_OPTIONS,
] as const;

/** The options that every tunnel takes. */
export const TUNNEL_GROUPS = [...CARRYING_GROUPS, ...RUNNING_GROUPS] as const;

export const CONNECT_GROUPS = [
  ...CARRYING_GROUPS,
  CAPTURE_OPTIONS,
  FORWARD_OPTIONS,
  PROXY_OPTIONS,
  ...RUNNING_GROUPS,
  PROGRESS_OPTIONS,
  SERVICE_OPTIONS,
] as const;

export const PROXY_GROUPS = [
  PROXY_OPTIONS,
  FORWARD_OPTIONS,
  ...TUNNEL_GROUPS,
  PROGRESS_OPTIONS,
  SERVICE_OPTIONS,
] as const;

/**
 * `proxy` always has a proxy, needs no target, and may have targets that can't be captured by a
 * route. `exec` has EVERYTHING as its targets if none is named. `library` captures nothing and
 * needs no target. Throws UsageError.
 */
export function buildConfiguration(
  given: GivenArguments,
  command: Configuration['command'] = 'connect',
): Configuration {
  const { options } = given;
  const ssh = readSshOptions(options);
  const proxies = readProxyOptions(options, command === 'proxy');
  const { rules, named, notices } = readTargetRules(given, command !== 'proxy');
  const wanted = readOpenStackOptions(options);
  // `doctor` connects at once, whatever the line is for.
  const asksNobody = ssh.onDemand !== undefined && command !== 'doctor';
  const cloud = wanted !== undefined && asksNobody ? withoutAsking(wanted) : wanted;
  const everything = command === 'exec' && !named && cloud === undefined;
  const targets = everything ? EVERYTHING : rules.targets;
  const none = targets.length + rules.nameTargets.length === 0 && cloud === undefined;
  if (command === 'exec' || (command === 'connect' && proxies === undefined))
    refuseLocalhost(rules.nameTargets);
  const forwards = readForwards(options);
  const forwardsOnly = none && command === 'connect' && forwards.length > 0;
  if (none && !forwardsOnly && command !== 'doctor' && command !== 'library')
    requireNoTarget(command, ssh, proxies?.onlyTargets ?? false);
  if (forwardsOnly) refuseWithoutCapture(options, proxies?.onlyTargets ?? false);
  const profile = readOptions(PROFILE_OPTIONS, options).profile?.value;
  const configuration: Configuration = {
    command,
    name: readTunnelName(options) ?? profile ?? ssh.remotes[0].text,
    ssh,
    ...rules,
    targets,
    dns: readDnsOptions(options),
    cloud,
    allow: readAllowOptions(options),
    capture: readCaptureOptions(options, rules),
    proxies,
    forwards,
    forwardsOnly,
    metrics: readMetricsPlace(options),
    logLevel: readLogLevel(options),
    progress: readProgress(options),
    service: readServiceOptions(options),
    flowLog: readFlowLogOptions(options),
    pcap: readPcapOptions(options, forwardsOnly ? 'proxy' : command),
    readyFd: readReadyFd(options),
    notices,
    given: options,
  };
  refuseSharedFiles(configuration);
  return configuration;
}

/** One would write into the other, or remove it. Throws UsageError. */
function refuseSharedFiles({ service, flowLog, pcap, allow, metrics }: Configuration): void {
  const written = [
    ['--flow-log', flowLog?.kind === 'file' ? flowLog.path : undefined],
    ['--pcap', pcap?.path],
    ['--pidfile', service.pidfile],
    ['--dry-run-to', allow.dryRunTo],
    ['--metrics', metrics?.kind === 'socket' ? metrics.path : undefined],
  ] as const;
  const known = new Map<string, string>();
  for (const [option, path] of written) {
    if (path === undefined) continue;
    const other = known.get(resolve(path));
    if (other !== undefined)
      throw new UsageError(`${other} and ${option} name one file, ${resolve(path)}`, {
        hint: 'give each of them a file of its own',
      });
    known.set(resolve(path), option);
  }
}

/**
 * Programs look for `localhost` on this machine and never ask for it, so such a target could only
 * be a proxy's. Throws UsageError.
 */
function refuseLocalhost(names: readonly NameTarget[]): void {
  const target = names.find(({ pattern }) => isLocalhost(pattern.name));
  if (target === undefined) return;
  const port = target.ports[0]?.first ?? 8000;
  // Only root listens below 1024.
  const local = port < 1024 ? 8000 + port : port;
  const place = target.place ?? { kind: 'argument', name: 'target' };
  throw new UsageError(
    `${formatPlace(place)}: ${quoted(target.text)} is this machine for every program here, and is never captured`,
    {
      hint: `for what listens on the jump host's own loopback, write: tunnel -r user@jumphost -L ${local}:localhost:${port}`,
    },
  );
}

/** Throws UsageError for what --fail-closed can't keep. */
function readCaptureOptions(
  options: GivenArguments['options'],
  { exclusions, nameExclusions }: TargetRules,
): CaptureOptions {
  const { captureLocal, allowDiverted, failClosed } = readOptions(CAPTURE_OPTIONS, options);
  const [forPorts] = [...exclusions, ...nameExclusions].filter(({ ports }) => ports.length > 0);
  // The kernel refuses IPv4 addresses that have such a route to every socket.
  if (failClosed !== undefined && forPorts !== undefined) {
    throw new UsageError(
      `--fail-closed leaves no way past the tunnel, so ${forPorts.text} can't be excluded for some ports only`,
      { hint: 'exclude it for all ports, or leave --fail-closed out' },
    );
  }
  return {
    captureLocal: captureLocal !== undefined,
    failClosed: failClosed !== undefined,
    allowDiverted: allowDiverted !== undefined,
  };
}

/** For `connect` without a target. Throws UsageError for what only captured targets can have. */
function refuseWithoutCapture(options: GivenArguments['options'], onlyTargets: boolean): void {
  const given = readOptions(CAPTURE_OPTIONS, options);
  const place = given.captureLocal ?? given.failClosed ?? given.allowDiverted;
  if (place === undefined && !onlyTargets) return;
  const option = place === undefined ? '--only-targets' : formatPlace(place);
  throw new UsageError(`${option} is for targets, and none is given`, {
    hint: 'name the networks or hosts to reach, or leave the option out',
  });
}

/** Throws UsageError if the command needs a target. (A cloud counts as a target.) */
function requireNoTarget(
  command: 'connect' | 'proxy' | 'exec',
  { remotes: [remote] }: SshOptions,
  onlyTargets: boolean,
): void {
  if (command === 'proxy' && !onlyTargets) return;
  if (command === 'proxy') {
    throw new UsageError('--only-targets is given, but no target', {
      hint: 'name what may be reached',
    });
  }
  if (looksLikePrefix(remote.text)) {
    throw new UsageError(`no jump host is given: ${quoted(remote.text)} is a network`, {
      hint: `name the jump host with -r, and the network after it: tunnel -r user@jumphost ${remote.text}`,
    });
  }
  const given = `-r ${shellWord(remote.text)}`;
  throw new UsageError('no target is given', {
    hint: `name the networks or hosts to reach through the jump host, as in: tunnel ${given} 10.0.0.0/8 (api.example.com:443 is one, too); or a cloud with --os-cloud, or a port with -L; "tunnel proxy ${given}" needs none`,
  });
}
