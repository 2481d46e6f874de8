/** A configured cloud and what its clients connect to, for runs and for `tunnel openstack`. */
import type { OpenStackOptions } from '../../config/openstackoptions.ts';
import { TunnelError } from '../../errors/errors.ts';
import type { Connector } from '../../flow/connector.ts';
import { quoted } from '../../net/notation.ts';
import type { Observer } from '../../observe/observer.ts';
import { homeDirectory } from '../../system/home.ts';
import { cacheDirectory } from '../keystone/cache.ts';
import { readCatalogFile } from '../keystone/catalogfile.ts';
import type { Cloud } from '../settings/cloud.ts';
import { loadCloud } from '../settings/load.ts';
import type { AskSecret } from '../settings/secret.ts';
import { type CloudRules, rulesOf } from './rules.ts';
import {
  type CloudTargets,
  type CloudTargetsOptions,
  findCloudTargets,
  formatAge,
} from './targets.ts';

export interface CloudRunOptions {
  /** Opens connections at the jump host. */
  readonly connect: Connector['connect'];
  readonly observer: Observer;
  readonly signal: AbortSignal;
  /** For a password or one-time code that the settings lack; undefined: nobody can be asked. */
  readonly ask?: AskSecret | undefined;
}

export interface ConfiguredCloud {
  readonly cloud: Cloud;
  readonly catalog: CloudTargetsOptions['catalog'];
  readonly followLinks: boolean;
}

/**
 * Reads all files that describe the cloud, before the jump host is dialled. Logs warnings. Throws
 * the errors of `loadCloud` and `readCatalogFile`, and those of `Cloud.authentication` where
 * Keystone is to be asked.
 */
export function loadConfiguredCloud(
  { cloud, region, catalog, followLinks }: OpenStackOptions,
  observer: Observer,
): ConfiguredCloud {
  const found = loadCloud(
    { cloud, region },
    { env: process.env, directory: process.cwd(), home: homeDirectory() },
  );
  // What is missing is said now, and not when the jump host has been reached.
  const asksKeystone = typeof catalog === 'string' && catalog !== 'off';
  if (asksKeystone && found.withoutKeystone === undefined) found.authentication();
  for (const warning of found.warnings) observer.log('warning', warning);
  return {
    cloud: found,
    catalog: typeof catalog === 'object' ? readCatalogFile(catalog.file) : catalog,
    followLinks,
  };
}

/**
 * The rules that --os-cloud adds to a run's targets. Rejects with the errors of `findCloudTargets`,
 * and with `openstack-catalog` when there are no rules: without targets a proxy would carry
 * everything.
 */
export async function cloudRules(
  configured: ConfiguredCloud,
  run: CloudRunOptions,
): Promise<CloudRules> {
  const { observer } = run;
  const { cloud, followLinks } = configured;
  const { targets, age, file, warnings } = await cloudTargetsOf(configured, followLinks, run);
  for (const warning of warnings) observer.log('warning', warning);
  if (targets.length === 0) {
    throw new TunnelError(
      'openstack-catalog',
      `none of the addresses of the cloud ${quoted(cloud.name)} can be a target`,
      { hint: '"tunnel openstack" lists them; others can be named as TARGETs' },
    );
  }
  const from =
    file !== undefined
      ? `the catalog of ${file}`
      : age === undefined
        ? cloud.authUrl === undefined
          ? 'its settings alone'
          : 'auth_url alone'
        : age === 0
          ? 'a fresh catalog'
          : `a catalog ${formatAge(age)} old`;
  const count = targets.length === 1 ? '1 target' : `${targets.length} targets`;
  observer.log('notice', `${count} of the cloud ${cloud.name}, from ${from}`);
  return rulesOf(targets);
}

export function cloudTargetsOf(
  { cloud, catalog }: ConfiguredCloud,
  findLinks: boolean,
  { connect, observer, signal, ask }: CloudRunOptions,
): Promise<CloudTargets> {
  return findCloudTargets({
    cloud,
    catalog,
    findLinks,
    connect,
    cacheDirectory: cacheDirectory(process.env, homeDirectory()),
    env: process.env,
    observer,
    signal,
    ask,
  });
}
