/**
 * Generated configurations of clouds: clouds.yaml, secure.yaml, clouds-public.yaml and OS_*
 * variables, made of what people write there, in places and spellings that openstacksdk knows.
 */
import { SeededRandom } from './tcprandom.ts';

export interface GeneratedCase {
  readonly files: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly cloud: string | undefined;
  readonly region: string | undefined;
}

type Settings = Map<string, string | Settings>;

/** Written as they are: some are numbers, dates or booleans to YAML. */
const TEXTS = [
  ...['demo', 'admin', 'alice@example.com', '"quoted text"', "'it''s'", '0089123', '08123456'],
  ...['1234e5678', '1e3', '0123', '4711', '1.50', '12:30', 'y', '0x1F', '1_000', '"0123"', 'a#b'],
  ...['0123456789abcdef0123456789abcdef', '12345678901234567890123456789012', 'ü', '!!str 0123'],
] as const;
const ODD = ['yes', 'no', '2021-01-01', '~', '""', 'null', '[a]'] as const;
const URLS = [
  'https://keystone.example:5000/v3',
  'https://keystone.example:5000',
  'http://10.0.0.1/identity/v3',
  '"https://{region_name}.example:5000/v3"',
] as const;
const DOMAINS = ['default', 'Default', '0123', '1e3', 'corp'] as const;
const REGIONS = ['RegionOne', '08', 'eu-1', 'A,B', '4', '"no"'] as const;
const PROFILES = ['elastx', 'switchengines', 'otc', 'zetta', 'mine', 'unknown'] as const;

function text(random: SeededRandom): string {
  return random.chance(0.06) ? random.pick(ODD) : random.pick(TEXTS);
}

function domains(random: SeededRandom, auth: Settings): void {
  const kind = random.pick(['id', 'name']);
  switch (random.below(6)) {
    case 0:
      auth.set(`domain_${kind}`, random.pick(DOMAINS));
      break;
    case 1:
      auth.set(`user_domain_${kind}`, random.pick(DOMAINS));
      auth.set(`domain_${random.pick(['id', 'name'])}`, random.pick(DOMAINS));
      break;
    case 2:
      auth.set(`default_domain_${kind}`, random.pick(DOMAINS));
      if (random.chance(0.5)) auth.set('user_domain_name', random.pick(DOMAINS));
      break;
    default:
      auth.set(`user_domain_${kind}`, random.pick(DOMAINS));
      auth.set(`project_domain_${random.pick(['id', 'name'])}`, random.pick(DOMAINS));
  }
}

function project(random: SeededRandom, auth: Settings): void {
  const key = random.pick(['project_name', 'project_id', 'tenant_name', 'tenant_id', 'none']);
  if (key !== 'none') auth.set(key, text(random));
  if (random.chance(0.1)) auth.set('project_id', text(random));
  if (random.chance(0.04)) auth.set('system_scope', random.pick(['all', 'some']));
  if (random.chance(0.04)) auth.set('trust_id', text(random));
}

function user(random: SeededRandom, auth: Settings): void {
  auth.set(random.pick(['username', 'username', 'user_id', 'user_name']), text(random));
  if (random.chance(0.05)) auth.set('user_id', text(random));
}

/** The settings of one cloud, and those of secure.yaml. */
function cloud(random: SeededRandom): { readonly own: Settings; readonly secure: Settings } {
  const [own, auth, secret]: [Settings, Settings, Settings] = [new Map(), new Map(), new Map()];
  const type = random.pick([
    ...['', '', '', 'password', 'password', 'v3password', 'token', 'v3token'],
    ...['v3applicationcredential', 'v3totp', 'none', 'http_basic', 'admin_token', 'v3multifactor'],
  ] as unknown as readonly [string, ...string[]]);
  if (type !== '') own.set('auth_type', type);
  if (random.chance(0.12)) own.set('profile', random.pick(PROFILES));
  else if (!['none', 'http_basic', 'admin_token'].includes(type) || random.chance(0.5))
    auth.set('auth_url', random.pick(URLS));
  const secrets = random.chance(0.3) ? secret : auth;
  switch (type) {
    case '':
    case 'password':
    case 'v3password':
    case 'v3totp':
      user(random, auth);
      if (random.chance(0.9))
        secrets.set(type === 'v3totp' ? 'passcode' : 'password', text(random));
      domains(random, auth);
      project(random, auth);
      break;
    case 'token':
    case 'v3token':
      secrets.set(random.pick(['token', 'auth_token']), text(random));
      if (random.chance(0.8)) domains(random, auth);
      project(random, auth);
      break;
    case 'v3multifactor':
      auth.set('auth_methods', random.pick(['[v3password, v3totp]', '[v3totp]', '[v3token]']));
      user(random, auth);
      secrets.set('password', text(random));
      secrets.set('passcode', text(random));
      secrets.set('token', text(random));
      domains(random, auth);
      project(random, auth);
      break;
    case 'v3applicationcredential':
      secrets.set('application_credential_secret', text(random));
      if (random.chance(0.6)) auth.set('application_credential_id', text(random));
      else {
        auth.set('application_credential_name', text(random));
        user(random, auth);
        domains(random, auth);
      }
      break;
    default:
      auth.set('endpoint', 'https://service.example:6385');
      if (type === 'http_basic') user(random, auth);
      if (type === 'http_basic') secrets.set('password', text(random));
      if (type === 'admin_token') secrets.set('token', text(random));
  }
  // Some settings stand beside `auth`, some are written with dashes.
  const inside: Settings = new Map();
  for (const [key, value] of auth) {
    const outside = random.chance(0.12) && key !== 'auth_url';
    const dashed = random.chance(0.08) && key !== 'auth_url';
    (outside ? own : inside).set(dashed ? key.replaceAll('_', '-') : key, value);
  }
  own.set('auth', inside);
  common(random, own);
  const secure: Settings = new Map(secret.size === 0 ? [] : [['auth', secret]]);
  return { own, secure };
}

function common(random: SeededRandom, own: Settings): void {
  if (random.chance(0.5)) own.set('region_name', random.pick(REGIONS));
  if (random.chance(0.1)) own.set('regions', random.pick(['[A, B]', '[{name: A}, B]', '["1", c]']));
  if (random.chance(0.3))
    own.set(random.pick(['interface', 'endpoint_type']), random.pick(['internal', 'admin']));
  if (random.chance(0.2)) own.set('verify', random.pick(['true', 'false', 'no', '/etc/ca.pem']));
  if (random.chance(0.15)) own.set('cacert', random.pick(['/etc/other.pem', '~/ca.pem']));
  if (random.chance(0.1)) own.set('insecure', random.pick(['true', 'False', '"True"', 'yes']));
  if (random.chance(0.1)) own.set('volume_endpoint_override', 'https://volume.example/v3');
  if (random.chance(0.1)) own.set('compute_interface', 'internal');
  if (random.chance(0.1)) own.set('compute_region_name', 'compute-1');
  if (random.chance(0.2)) own.set('identity_api_version', random.pick(['3', '"3"']));
}

function written(settings: Settings, indent: string): string {
  return [...settings]
    .map(([key, value]) =>
      typeof value === 'string'
        ? `${indent}${key}: ${value}\n`
        : value.size === 0
          ? `${indent}${key}: {}\n`
          : `${indent}${key}:\n${written(value, `${indent}  `)}`,
    )
    .join('');
}

const OPENRC = {
  OS_AUTH_URL: 'https://env.example:5000/v3',
  OS_USERNAME: '0123',
  OS_PASSWORD: 'y',
  OS_PROJECT_NAME: '1e3',
  OS_USER_DOMAIN_NAME: 'Default',
  OS_PROJECT_DOMAIN_ID: 'default',
  OS_REGION_NAME: 'ER',
  OS_INTERFACE: 'internal',
  OS_IDENTITY_API_VERSION: '3',
};

/** The same for the same seed. `one` is the cloud that is meant in nearly all of them. */
export function generatedClouds(count: number, seed: number): GeneratedCase[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => {
    const one = cloud(random);
    const clouds: Settings = new Map([['one', one.own]]);
    if (random.chance(0.4)) clouds.set('two', cloud(random).own);
    const files: Record<string, string> = {
      'work/clouds.yaml': written(new Map([['clouds', clouds]]), ''),
    };
    if (one.secure.size > 0) {
      const place = random.pick(['work', 'home/.config/openstack']);
      const secure: Settings = new Map([['clouds', new Map([['one', one.secure]])]]);
      files[`${place}/secure.yaml`] = written(secure, '');
    }
    if (random.chance(0.5)) {
      files['work/clouds-public.yaml'] =
        'public-clouds: {mine: {auth: {auth_url: "https://mine.example/v3", user_domain_id: theirs}, interface: internal}}\n';
    }
    const env: Record<string, string> = {};
    const kind = random.below(8);
    if (kind === 0) Object.assign(env, OPENRC);
    if (kind === 1) env['OS_CLOUD'] = 'one';
    const cloudName = kind === 0 || kind === 1 ? undefined : 'one';
    return { files, env, cloud: cloudName, region: random.chance(0.05) ? 'B' : undefined };
  });
}
