/**
 * Warns where Terraform and other programs in Go would read other settings than openstacksdk.
 *
 * Terraform's provider looks for `clouds.yaml`, `secure.yaml` and `clouds-public.yaml` in the
 * working directory, `~/.config/openstack` and `/etc/openstack` (github.com/gophercloud/utils,
 * openstack/clientconfig); If OS_CLIENT_CONFIG_FILE is set, gophercloud 2 looks nowhere else, and
 * it reads `secure.yaml` only in the directory of the file that it found. Only differences that
 * matter for the chosen cloud are reported.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { isMapping, SITE_DIRECTORY, type Surroundings } from './files.ts';
import type { RawCloud } from './yaml.ts';

/** The only suffix that programs in Go know. */
const ONLY_SUFFIX = '.yaml';

export function gophercloudWarnings(raw: RawCloud, surroundings: Surroundings): string[] {
  if (raw.file === undefined) return [];
  return [
    ...fileWarnings(raw.file, surroundings),
    ...secureWarnings(raw.file, raw.secureFile, surroundings),
    ...settingWarnings(raw),
    ...variableWarnings(raw, surroundings),
  ];
}

function fileWarnings(
  file: string,
  { env, directory, home, site = SITE_DIRECTORY }: Surroundings,
): string[] {
  const override = env['OS_CLIENT_CONFIG_FILE'];
  if (override) {
    const path = resolve(directory, override);
    if (path === file) return [];
    return [
      `OS_CLIENT_CONFIG_FILE names ${path}, which isn't there: ${file} is used, where gophercloud 2 fails`,
    ];
  }
  if (!file.endsWith(ONLY_SUFFIX))
    return [`${file} is used, but programs in Go (Terraform) read only clouds.yaml`];
  const places = [directory, join(home, '.config', 'openstack'), site];
  if (places.includes(dirname(file))) return [];
  return [`${file} is used, but Terraform looks only in ${places.join(', ')}`];
}

function secureWarnings(
  file: string,
  secure: string | undefined,
  { env, directory }: Surroundings,
): string[] {
  if (secure === undefined) return [];
  const override = env['OS_CLIENT_SECURE_FILE'];
  if (override && resolve(directory, override) === secure) {
    return [
      `${secure} is used because of OS_CLIENT_SECURE_FILE, which programs in Go (Terraform) don't know`,
    ];
  }
  if (basename(secure) !== 'secure.yaml') {
    return [`${secure} is used, but programs in Go (Terraform) read only secure.yaml`];
  }
  if (dirname(secure) === dirname(file)) return [];
  return [
    `${secure} is used, but gophercloud 2 reads secure.yaml only in the directory of ${file}`,
  ];
}

function settingWarnings({ settings, regionListed, builtInProfile }: RawCloud): string[] {
  const warnings: string[] = [];
  if (builtInProfile !== undefined) {
    warnings.push(
      `the profile "${builtInProfile}" is built in, but programs in Go (Terraform) know only those of a clouds-public.yaml`,
    );
  }
  const { verify } = settings;
  if (typeof verify === 'string' && /[/.]/.test(verify)) {
    warnings.push(
      `verify is the path of a file, which programs in Go (Terraform) can't read: set cacert`,
    );
  }
  if (regionListed) {
    warnings.push(
      'the region comes from a list "regions", which programs in Go (Terraform) don\'t know: set region_name',
    );
  }
  const overrides = Object.keys(settings).filter((key) => key.endsWith('_endpoint_override'));
  if (overrides.length > 0) {
    warnings.push(
      `${overrides.join(', ')}: Terraform takes such addresses only from endpoint_overrides in its provider block`,
    );
  }
  const auth = settings['auth'];
  const authUrl = isMapping(auth) ? auth['auth_url'] : undefined;
  if (typeof authUrl === 'string' && authUrl.includes('{')) {
    warnings.push(
      'auth_url has a placeholder in it, which programs in Go (Terraform) take for part of the address',
    );
  }
  return warnings;
}

/**
 * The command line clients let such variables override the named cloud. Libraries don't. Go fills
 * gaps with them, as this program does.
 */
function variableWarnings({ name, variables }: RawCloud, { env }: Surroundings): string[] {
  const clashing = [
    'OS_AUTH_URL',
    'OS_AUTH_TYPE',
    'OS_USERNAME',
    'OS_PASSWORD',
    'OS_TOKEN',
    'OS_PROJECT_NAME',
    'OS_PROJECT_ID',
    'OS_INTERFACE',
    'OS_CACERT',
  ].filter((variable) => env[variable] && !variables.includes(variable));
  if (clashing.length === 0) return [];
  return [
    `${clashing.join(', ')} ${clashing.length === 1 ? 'is' : 'are'} set, but not used for the cloud "${name}": the openstack command lets variables win over clouds.yaml, this program doesn't`,
  ];
}
