/**
 * OS_* variables: as a cloud of their own (`envvars`), and for what a cloud of a file lacks.
 *
 * openstacksdk takes every OS_* variable for a setting of `envvars`, and `envvars` for chosen as
 * soon as there is one. Here `envvars` is chosen only if the variables say where the cloud is:
 * systems and hosting companies have variables such as OS_VENDOR and OS_NAME.
 *
 * A cloud of a file takes from the variables what it lacks, as with the `openstack` command and
 * Terraform, but only in groups: OS_PROJECT_ID doesn't count beside a `project_name`. What the
 * cloud has, wins; with the `openstack` command the variables would.
 */
import { isMapping, type Raw, type Surroundings } from './files.ts';

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
/** One of these makes the variables a cloud. */
const PLACES = ['OS_AUTH_URL', 'OS_PROFILE', 'OS_ENDPOINT', 'OS_URL'];
/** Those that people set to log in, for messages. */
const LOGIN = ['OS_USERNAME', 'OS_USER_ID', 'OS_PASSWORD', 'OS_TOKEN', 'OS_PROJECT_NAME'];

export interface EnvironmentCloud {
  readonly settings: Raw;
  /** Whether it is chosen where nobody chooses. */
  readonly complete: boolean;
}

/** undefined: no variable describes a cloud. */
export function environmentCloud(env: Surroundings['env']): EnvironmentCloud | undefined {
  const names = Object.keys(env).filter(
    (name) => name.startsWith('OS_') && !FOREIGN_VARIABLES.test(name),
  );
  if (names.every((name) => SELECTORS.has(name))) return undefined;
  const settings = Object.fromEntries(
    names.map((name) => [name.slice('OS_'.length).toLowerCase(), env[name]]),
  );
  return { settings, complete: PLACES.some((name) => env[name]) };
}

/** The variables of a login that are set, although OS_AUTH_URL isn't. */
export function incompleteLogin(env: Surroundings['env']): string[] {
  return env['OS_AUTH_URL'] ? [] : LOGIN.filter((name) => env[name]);
}

const SCOPE = [
  'project_id',
  'project_name',
  'tenant_id',
  'tenant_name',
  'domain_id',
  'domain_name',
  'system_scope',
  'trust_id',
];
const PASSWORD_GAPS = [
  ['user_id', 'username', 'user_name'],
  ['user_domain_id', 'user_domain_name', 'domain_id', 'domain_name'],
  ['password'],
];
const SCOPE_GAPS = [
  SCOPE,
  ['project_domain_id', 'project_domain_name', 'domain_id', 'domain_name'],
];

/** Settings of which one stands for all: a cloud that has one of a group lacks none of it. */
const GAPS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  password: [...PASSWORD_GAPS, ...SCOPE_GAPS],
  v3password: [...PASSWORD_GAPS, ...SCOPE_GAPS],
  v3totp: [...PASSWORD_GAPS, ['passcode'], ...SCOPE_GAPS],
  v3multifactor: [...PASSWORD_GAPS, ['passcode'], ...SCOPE_GAPS],
  token: [['token', 'auth_token'], ...SCOPE_GAPS],
  v3token: [['token', 'auth_token'], ...SCOPE_GAPS],
  v3applicationcredential: [
    ['application_credential_id', 'application_credential_name'],
    ['application_credential_secret'],
  ],
};
const ALL_GAPS = [['auth_url']];
/** A cloud that has one of these has its own way to log in. */
const CREDENTIALS = [
  ...['auth_type', 'username', 'user_name', 'user_id', 'password', 'token', 'auth_token'],
  ...['application_credential_id', 'application_credential_name', 'application_credential_secret'],
];

/**
 * The settings with what they lack, and the variables that it is from. `written` are those that the
 * user wrote, without defaults.
 */
export function fillGaps(
  settings: Raw,
  written: Raw,
  env: Surroundings['env'],
): { readonly settings: Raw; readonly variables: readonly string[] } {
  const auth = isMapping(settings['auth']) ? settings['auth'] : {};
  const own = isMapping(written['auth']) ? written['auth'] : {};
  const isEmpty = (value: unknown): boolean =>
    value === undefined || value === null || value === '';
  const hasLogin = CREDENTIALS.some((key) => !isEmpty(own[key]) || !isEmpty(written[key]));
  const wanted = hasLogin ? undefined : env['OS_AUTH_TYPE'] || undefined;
  const type = wanted ?? settings['auth_type'];
  const isSet = (key: string): boolean => !isEmpty(auth[key]) || !isEmpty(settings[key]);
  const keys = [...ALL_GAPS, ...((typeof type === 'string' && GAPS[type]) || [])]
    .filter((group) => !group.some(isSet))
    .flat()
    .filter((key) => env[variableOf(key)]);
  const found = [...new Set(keys)];
  const filled = Object.fromEntries(found.map((key) => [key, env[variableOf(key)]]));
  return {
    settings: {
      ...settings,
      ...(wanted !== undefined && { auth_type: wanted }),
      auth: { ...auth, ...filled },
    },
    variables: [...(wanted === undefined ? [] : ['OS_AUTH_TYPE']), ...found.map(variableOf)],
  };
}

function variableOf(key: string): string {
  return `OS_${key.toUpperCase()}`;
}
