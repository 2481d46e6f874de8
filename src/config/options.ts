/**
 * From what was given to a checked `Configuration` of a tunnel, for `connect` and `proxy`, and as a
 * part of `exec`'s. Everything that can be wrong with the command line is found here, before
 * anything is started; only descriptors and the files that hold targets are touched.
 */
import { UsageError } from '../errors/errors.ts';
import { ALLOW_OPTIONS, readAllowOptions } from './allowfile.ts';
import { type Configuration, EVERYTHING } from './configuration.ts';
import { DNS_OPTIONS, readDnsOptions } from './dnsoptions.ts';
import { CLOUD_OPTIONS, readOpenStackOptions } from './openstackoptions.ts';
import type { GivenArguments } from './option.ts';
import { PROXY_OPTIONS, readProxyOptions } from './proxyoptions.ts';
import { READY_OPTIONS, readLogLevel, readReadyFd, VERBOSITY_OPTIONS } from './runoptions.ts';
import {
  CONNECTION_OPTIONS,
  JUMP_HOST_OPTIONS,
  LINK_OPTIONS,
  readSshOptions,
} from './sshoptions.ts';
import { readTargetRules, TARGET_OPTIONS } from './targetoptions.ts';

/** What every tunnel takes, in the order of help: before and behind what only some take. */
const CARRYING_GROUPS = [
  JUMP_HOST_OPTIONS,
  TARGET_OPTIONS,
  DNS_OPTIONS,
  CONNECTION_OPTIONS,
  LINK_OPTIONS,
  CLOUD_OPTIONS,
  ALLOW_OPTIONS,
] as const;
const RUNNING_GROUPS = [READY_OPTIONS, VERBOSITY_OPTIONS] as const;

/** Of every tunnel. */
export const TUNNEL_GROUPS = [...CARRYING_GROUPS, ...RUNNING_GROUPS] as const;

export const CONNECT_GROUPS = [...CARRYING_GROUPS, PROXY_OPTIONS, ...RUNNING_GROUPS] as const;

export const PROXY_GROUPS = [PROXY_OPTIONS, ...TUNNEL_GROUPS] as const;

/**
 * `proxy` has proxies in any case, needs no target, and may have targets that can't be captured by
 * route. `exec` has EVERYTHING for its targets where none is named. Throws UsageError.
 */
export function buildConfiguration(
  given: GivenArguments,
  command: 'connect' | 'proxy' | 'exec' = 'connect',
): Configuration {
  const { options } = given;
  const ssh = readSshOptions(options);
  const proxies = readProxyOptions(options, command === 'proxy');
  const { rules, named, notices } = readTargetRules(given, command !== 'proxy');
  const cloud = readOpenStackOptions(options);
  const everything = command === 'exec' && !named && cloud === undefined;
  const targets = everything ? EVERYTHING : rules.targets;
  const none = targets.length + rules.nameTargets.length === 0 && cloud === undefined;
  if (none) requireNoTarget(command, proxies?.onlyTargets ?? false);
  return {
    ssh,
    ...rules,
    targets,
    dns: readDnsOptions(options),
    cloud,
    allow: readAllowOptions(options),
    proxies,
    logLevel: readLogLevel(options),
    readyFd: readReadyFd(options),
    notices,
  };
}

/** Throws UsageError where a command can't do without a target; a cloud is one, too. */
function requireNoTarget(command: 'connect' | 'proxy' | 'exec', onlyTargets: boolean): void {
  if (command === 'proxy' && !onlyTargets) return;
  if (command === 'proxy') {
    throw new UsageError('--only-targets is given, but no target', {
      hint: 'name what may be reached',
    });
  }
  throw new UsageError('no target is given', {
    hint: 'name the networks to reach through the jump host, as in: tunnel -r user@jumphost 10.0.0.0/8; or a cloud with --os-cloud',
  });
}
