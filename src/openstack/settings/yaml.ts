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
import { type CloudsFile, findFile, isMapping, type Raw, type Surroundings } from './files.ts';

const DEFAULTS: Raw = { auth_type: 'password', interface: 'public' };
const DEFAULT_ENVIRONMENT_CLOUD = 'envvars';
/** These choose a cloud or a file, but don't describe a cloud. */
const SELECTORS = new Set([
  'OS_CLOUD',
  'OS_REGION_NAME',
  'OS_CLIENT_CONFIG_FILE',
  'OS_CLIENT_SECURE_FILE',
  'OS_CLOUD_NAME',
]);
/** Variables of the OpenStack developers' own test tools. */
const FOREIGN_VARIABLES = /^OS_(TEST|STD|LOG)/;

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
    fromEnvironment === undefined ? merged : { ...merged, [environmentName]: fromEnvironment };
  const name = chooseCloud(
    choice.cloud ?? (env['OS_CLOUD'] || (fromEnvironment && environmentName)),
    all,
    clouds,
  );
  const own = mappingAt(all, name, clouds?.path);
  const profile = profileOf(own, name, environmentName, surroundings, warn);
  const base = withAuth(withAuth(DEFAULTS, profile), own);
  const { region, listed } = chooseRegion(
    choice.region ?? env['OS_REGION_NAME'],
    own,
    profile,
    name,
  );
  const secureClouds = cloudsOf(secure, 'clouds');
  return {
    name,
    file: name === environmentName && fromEnvironment !== undefined ? undefined : clouds?.path,
    secureFile: Object.hasOwn(secureClouds, name) ? secure?.path : undefined,
    settings: region === undefined ? base : withAuth(base, region.values),
    region: region?.name,
    regionListed: listed,
    authTypeGiven: [own, profile].some(
      (settings) => 'auth_type' in settings || 'auth_plugin' in settings,
    ),
    warnings,
  };
}

function chooseCloud(wanted: string | undefined, all: Raw, file: CloudsFile | undefined): string {
  const known = Object.keys(all);
  if (wanted !== undefined) {
    if (Object.hasOwn(all, wanted)) return wanted;
    throw new TunnelError('openstack-cloud', `there is no cloud ${quoted(wanted)}${within(file)}`, {
      hint:
        known.length === 0
          ? 'write a clouds.yaml, or name one in OS_CLIENT_CONFIG_FILE'
          : `the clouds are: ${known.map(quoted).join(', ')}`,
    });
  }
  const [only, ...others] = known;
  if (only === undefined) {
    throw new TunnelError(
      'openstack-cloud',
      'there is no clouds.yaml, and no OS_* variables describe a cloud',
      {
        hint: 'write ~/.config/openstack/clouds.yaml, or load the openrc file of your project',
      },
    );
  }
  if (others.length > 0) {
    throw new TunnelError(
      'openstack-cloud',
      `none of ${known.length} clouds is chosen${within(file)}`,
      {
        hint: `name it with --os-cloud or OS_CLOUD; the clouds are: ${known.map(quoted).join(', ')}`,
      },
    );
  }
  return only;
}

function within(file: CloudsFile | undefined): string {
  return file === undefined ? '' : ` in ${file.path}`;
}

/** undefined: no variable describes a cloud. */
function environmentCloud(env: Surroundings['env']): Raw | undefined {
  const names = Object.keys(env).filter(
    (name) => name.startsWith('OS_') && !FOREIGN_VARIABLES.test(name),
  );
  if (names.every((name) => SELECTORS.has(name))) return undefined;
  return Object.fromEntries(
    names.map((name) => [name.slice('OS_'.length).toLowerCase(), env[name]]),
  );
}

function cloudsOf(file: CloudsFile | undefined, key: 'clouds' | 'public-clouds'): Raw {
  const clouds = file?.content[key];
  if (file === undefined || clouds === undefined || clouds === null) return {};
  if (isMapping(clouds)) return clouds;
  throw new TunnelError(
    'openstack-config',
    `${file.path}: "${key}" is not a mapping of names to clouds`,
    {
      hint: 'write each cloud as "NAME:" below it, with its settings indented',
    },
  );
}

function mappingAt(clouds: Raw, name: string, path: string | undefined): Raw {
  const cloud = clouds[name];
  if (isMapping(cloud)) return withUnderscores(cloud);
  throw new TunnelError(
    'openstack-config',
    `${path ?? 'the environment'}: the cloud ${quoted(name)} has no settings`,
    {
      hint: 'indent its settings below its name',
    },
  );
}

/** The profile that a cloud names, from clouds-public.yaml; empty: none. */
function profileOf(
  cloud: Raw,
  name: string,
  environmentName: string,
  surroundings: Surroundings,
  warn: (message: string) => void,
): Raw {
  const profile = cloud['profile'] ?? cloud['cloud'];
  if (typeof profile !== 'string' || profile === '' || profile === environmentName) return {};
  const file = findFile('clouds-public', surroundings, warn);
  const profiles = cloudsOf(file, 'public-clouds');
  if (Object.hasOwn(profiles, profile)) return mappingAt(profiles, profile, file?.path);
  warn(
    `the profile ${quoted(profile)} of the cloud ${quoted(name)} is in no clouds-public.yaml; the built-in profiles of openstacksdk are not known here`,
  );
  return {};
}

/** The cloud's `regions` take precedence over its `region_name`, and both over the profile's. */
function chooseRegion(
  wanted: string | undefined,
  own: Raw,
  profile: Raw,
  cloud: string,
): { readonly region: Region | undefined; readonly listed: boolean } {
  const source = 'regions' in own || 'region_name' in own ? own : profile;
  const listed = Array.isArray(source['regions']);
  const regions = regionsOf(listed ? source['regions'] : source['region_name'], cloud);
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
  const entries: readonly unknown[] = Array.isArray(value) ? value : String(value).split(',');
  return entries.map((entry) => {
    if (!isMapping(entry)) return { name: String(entry), values: {} };
    const { name, values = {} } = entry;
    if (name === undefined || !isMapping(values)) {
      throw new TunnelError(
        'openstack-config',
        `the cloud ${quoted(cloud)} has a region without name or values`,
        {
          hint: 'write a region as its name, or as a mapping of "name" and "values"',
        },
      );
    }
    return { name: String(name), values: withUnderscores(values) };
  });
}

/** Merges `b` over `a`, down to the leaves. */
function merge(a: Raw, b: Raw): Raw {
  const result: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) {
    const before = Object.hasOwn(result, key) ? result[key] : undefined;
    result[key] = isMapping(value) && isMapping(before) ? merge(before, value) : value;
  }
  return result;
}

/** Puts `b` over `a`; only `auth` is merged key by key. */
function withAuth(a: Raw, b: Raw): Raw {
  const auths = [a['auth'], b['auth']].filter(isMapping);
  return { ...a, ...b, auth: Object.assign({}, ...auths) };
}

/** `project-name` is `project_name`. */
function withUnderscores(settings: Raw): Raw {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key.replaceAll('-', '_'),
      isMapping(value) ? withUnderscores(value) : value,
    ]),
  );
}
