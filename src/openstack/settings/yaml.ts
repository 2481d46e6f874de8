/**
 * Chooses the cloud and merges its settings from all their sources, as openstacksdk does
 * (openstack.config.loader; the user documentation is "Configuring OpenStack SDK Applications").
 *
 *   built-in defaults < profile in clouds-public.yaml < clouds.yaml < secure.yaml < values of the
 *   chosen region
 *
 * The cloud is the one that the user names (--os-cloud), or else OS_CLOUD, or else the one that
 * OS_* variables describe (`envvars`, or OS_CLOUD_NAME), or else the only one in the files. The
 * region is the one that the user names, or else OS_REGION_NAME, or else the first of the cloud's
 * regions. openstacksdk itself reads OS_REGION_NAME only for `envvars`. But the command line
 * clients and Terraform, for which tunnels are started, read it for every cloud.
 *
 * The result is still untyped text by key. load.ts makes a `Cloud` from it, and gophercloud.ts
 * compares it with what Terraform's library would read.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { environmentCloud, fillGaps, incompleteLogin } from './environment.ts';
import {
  type CloudsFile,
  cloudsOf,
  findFile,
  isMapping,
  namedFile,
  type Raw,
  type Surroundings,
} from './files.ts';
import { merge, withAuth, withUnderscores } from './merge.ts';
import { profileOf } from './profile.ts';
import { Unquoted } from './scalars.ts';

const DEFAULTS: Raw = { auth_type: 'password', interface: 'public' };
const DEFAULT_ENVIRONMENT_CLOUD = 'envvars';

export interface Choice {
  /** --os-cloud */
  readonly cloud?: string | undefined;
  /** --os-region */
  readonly region?: string | undefined;
}

export interface RawCloud {
  readonly name: string;
  /** The file that has the cloud; undefined: OS_* variables. */
  readonly file: string | undefined;
  /** The secure file, if it has settings of this cloud. */
  readonly secureFile: string | undefined;
  /** Keys with `_`, values as written; `auth` is a mapping. */
  readonly settings: Raw;
  readonly region: string | undefined;
  /** Whether the region comes from a list `regions`. */
  readonly regionListed: boolean;
  /** Whether the user wrote `auth_type`, and it isn't the default. */
  readonly authTypeGiven: boolean;
  /** The name of its profile, if that is one of vendors.ts. */
  readonly builtInProfile: string | undefined;
  /** The OS_* variables that a cloud of a file has settings from. */
  readonly variables: readonly string[];
  readonly warnings: readonly string[];
}

interface Region {
  readonly name: string;
  readonly values: Raw;
}

/** Throws TunnelError: openstack-config, openstack-cloud, openstack-region. */
export function loadRawCloud(choice: Choice, surroundings: Surroundings): RawCloud {
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  const { env } = surroundings;
  const clouds = findFile('clouds', surroundings, warn);
  const secure = findFile('secure', surroundings, warn);
  const merged = merge(cloudsOf(clouds, 'clouds'), cloudsOf(secure, 'clouds'));
  const fromEnvironment = environmentCloud(env);
  const environmentName = env['OS_CLOUD_NAME'] || DEFAULT_ENVIRONMENT_CLOUD;
  if (Object.hasOwn(merged, environmentName)) {
    throw new TunnelError(
      'openstack-config',
      `${clouds?.path ?? secure?.path ?? ''} has a cloud ${quoted(environmentName)}, which is the name for the OS_* variables`,
      { hint: 'rename the cloud, or set OS_CLOUD_NAME to another name' },
    );
  }
  const all: Raw =
    fromEnvironment === undefined
      ? merged
      : { ...merged, [environmentName]: fromEnvironment.settings };
  const described = fromEnvironment?.complete === true ? environmentName : undefined;
  const wanted = choice.cloud ?? (env['OS_CLOUD'] || described);
  const name =
    wanted === undefined
      ? onlyCloud(Object.keys(merged), clouds, env)
      : knownCloud(wanted, all, clouds, env);
  const isEnvironment = name === environmentName && fromEnvironment !== undefined;
  const secureClouds = cloudsOf(secure, 'clouds');
  if (!isEnvironment) for (const file of [clouds, secure]) refuseEmpty(file, name);
  const own = isMapping(all[name]) ? withUnderscores(all[name]) : {};
  const { profile, builtIn: builtInProfile } = profileOf(
    own,
    name,
    environmentName,
    surroundings,
    warn,
  );
  const base = withAuth(withAuth(DEFAULTS, profile), own);
  // OS_REGION_NAME is also a setting of `envvars`, but doesn't forbid --os-region.
  const regions =
    isEnvironment && choice.region !== undefined ? { ...own, region_name: choice.region } : own;
  const { region, listed } = chooseRegion(
    choice.region ?? env['OS_REGION_NAME'],
    regions,
    profile,
    name,
  );
  const settings = region === undefined ? base : withAuth(base, region.values);
  const { settings: filled, variables } = isEnvironment
    ? { settings, variables: [] }
    : fillGaps(settings, withAuth(profile, own), env);
  return {
    name,
    file: isEnvironment ? undefined : clouds?.path,
    secureFile: Object.hasOwn(secureClouds, name) ? secure?.path : undefined,
    settings: filled,
    region: region?.name,
    regionListed: listed,
    authTypeGiven:
      variables.includes('OS_AUTH_TYPE') ||
      [own, profile].some((settings) => 'auth_type' in settings || 'auth_plugin' in settings),
    builtInProfile,
    variables,
    warnings,
  };
}

/** A file may have a cloud's name or its `auth` with nothing below it: the error names the file. */
function refuseEmpty(file: CloudsFile | undefined, name: string): void {
  const clouds = cloudsOf(file, 'clouds');
  if (file === undefined || !Object.hasOwn(clouds, name)) return;
  const cloud = clouds[name];
  if (!isMapping(cloud)) {
    throw new TunnelError(
      'openstack-config',
      `${file.path}: the cloud ${quoted(name)} has no settings`,
      { hint: 'indent its settings below its name, or remove the name' },
    );
  }
  const auth = cloud['auth'];
  if (auth === undefined || isMapping(auth)) return;
  const what = auth === null ? 'is empty' : 'is not a mapping';
  throw new TunnelError(
    'openstack-config',
    `${file.path}: "auth:" of the cloud ${quoted(name)} ${what}`,
    { hint: 'indent what belongs to it below "auth:", or remove it' },
  );
}

function knownCloud(
  wanted: string,
  all: Raw,
  file: CloudsFile | undefined,
  env: Surroundings['env'],
): string {
  if (Object.hasOwn(all, wanted)) return wanted;
  const known = Object.keys(all);
  throw new TunnelError('openstack-cloud', `there is no cloud ${quoted(wanted)}${within(file)}`, {
    hint:
      known.length > 0
        ? `the clouds are: ${known.map(quoted).join(', ')}`
        : file === undefined
          ? (missingFile(env) ?? 'write a clouds.yaml, or name one in OS_CLIENT_CONFIG_FILE')
          : NO_CLOUDS,
  });
}

const NO_CLOUDS =
  'it has no clouds: write them below "clouds:"; only the first file that is found counts';

function onlyCloud(
  known: readonly string[],
  file: CloudsFile | undefined,
  env: Surroundings['env'],
): string {
  const [only, ...others] = known;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    throw new TunnelError(
      'openstack-cloud',
      `none of ${known.length} clouds is chosen${within(file)}`,
      {
        hint: `name it with --os-cloud or OS_CLOUD; the clouds are: ${known.map(quoted).join(', ')}`,
      },
    );
  }
  const login = incompleteLogin(env);
  if (login.length > 0) {
    throw new TunnelError(
      'openstack-cloud',
      `${login.join(', ')} ${login.length === 1 ? 'is' : 'are'} set, but OS_AUTH_URL is not`,
      { hint: 'load the whole openrc file of your project, or write a clouds.yaml' },
    );
  }
  if (file !== undefined) {
    throw new TunnelError('openstack-cloud', `there are no clouds in ${file.path}`, {
      hint: NO_CLOUDS,
    });
  }
  throw new TunnelError(
    'openstack-cloud',
    'there is no clouds.yaml, and no OS_* variables describe a cloud',
    {
      hint:
        missingFile(env) ??
        'write ~/.config/openstack/clouds.yaml, or load the openrc file of your project',
    },
  );
}

/** A hint where a variable names a file of clouds, and there is none anywhere. */
function missingFile(env: Surroundings['env']): string | undefined {
  const named = namedFile('clouds', env);
  if (named === undefined) return undefined;
  const { variable, path } = named;
  const what = `${variable} names ${quoted(path)}, which can't be read`;
  return path.startsWith('~') ? `${what}: write the full path, since nobody expands the ~` : what;
}

function within(file: CloudsFile | undefined): string {
  return file === undefined ? '' : ` in ${file.path}`;
}

/** The cloud's `regions` take precedence over its `region_name`, and both over the profile's. */
function chooseRegion(
  wanted: string | undefined,
  own: Raw,
  profile: Raw,
  cloud: string,
): { readonly region: Region | undefined; readonly listed: boolean } {
  const source = 'regions' in own || 'region_name' in own ? own : profile;
  const regionName = source['region_name'];
  const list = source['regions'];
  const listed = Array.isArray(list);
  if (!listed && list !== undefined && list !== null && list !== '')
    throw new TunnelError(
      'openstack-config',
      `the cloud ${quoted(cloud)} has "regions" that are no list`,
      { hint: 'write one region as "region_name: NAME", and several as "regions: [NAME, NAME]"' },
    );
  const regions = regionsOf(listed ? list : regionName, cloud);
  const [first] = regions;
  if (first === undefined) {
    return { region: wanted ? { name: wanted, values: {} } : undefined, listed: false };
  }
  const region = wanted ? regions.find(({ name }) => name === wanted) : first;
  if (region !== undefined) return { region, listed };
  throw new TunnelError(
    'openstack-region',
    `the cloud ${quoted(cloud)} has no region ${quoted(wanted ?? '')}`,
    {
      hint: `its regions are: ${regions.map(({ name }) => quoted(name)).join(', ')}; capitals matter`,
    },
  );
}

function regionsOf(value: unknown, cloud: string): Region[] {
  if (value === undefined || value === null || value === '') return [];
  const entries: readonly unknown[] = Array.isArray(value)
    ? value
    : nameOf(value, cloud).split(',');
  return entries.map((entry) => {
    if (!isMapping(entry)) return { name: nameOf(entry, cloud), values: {} };
    const { name, values = {}, ...others } = entry;
    if (name === undefined || !isMapping(values) || Object.keys(others).length > 0) {
      throw new TunnelError(
        'openstack-config',
        `the cloud ${quoted(cloud)} has a region without name or values, or with other settings`,
        { hint: 'write a region as its name, or as a mapping of "name" and "values"' },
      );
    }
    return { name: nameOf(name, cloud), values: withUnderscores(values) };
  });
}

/** `region_name: no` is false, not Norway. */
function nameOf(region: unknown, cloud: string): string {
  if (typeof region === 'string') return region;
  if (region instanceof Unquoted && region.kind === 'number') return region.text;
  const shown = typeof region === 'boolean' ? String(region) : 'not text';
  throw new TunnelError('openstack-config', `a region of the cloud ${quoted(cloud)} is ${shown}`, {
    hint: 'put the name of the region into quotes',
  });
}
