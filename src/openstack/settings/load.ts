/**
 * Makes a typed `Cloud` from a cloud's merged settings: parses addresses, translates old names,
 * wraps secrets.
 *
 * A setting of `auth` may also be outside it (OS_* variables are), and then counts only if `auth`
 * lacks it. `tenant_*` is the old name for projects, `endpoint_type` for interfaces. The domain of
 * a project-scoped cloud is both the user's and the project's. Where text is expected, numbers are
 * read as openstacksdk reads them. A date, and a boolean that isn't part of a name, can't be sent
 * by any client: the error says that it needs quotes.
 */
import { join, resolve } from 'node:path';
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { type AuthSettings, authenticationOf } from './auth.ts';
import {
  type Cloud,
  INTERFACES,
  type Interface,
  type ServiceSettings,
  type TlsSettings,
} from './cloud.ts';
import { isMapping, type Raw, type Surroundings } from './files.ts';
import { gophercloudWarnings } from './gophercloud.ts';
import { Unquoted } from './scalars.ts';
import { officialType } from './servicetypes.ts';
import { type Choice, loadRawCloud, type RawCloud } from './yaml.ts';

/** In `block_storage_endpoint_override` the suffix is the setting, the rest is the service. */
const SERVICE_SUFFIXES = [
  '_endpoint_override',
  '_endpoint',
  '_interface',
  '_endpoint_type',
  '_region_name',
] as const;

/**
 * The cloud that the user names, or that files and environment choose. Throws TunnelError:
 * openstack-config (malformed), openstack-cloud (no such cloud), openstack-region (no such region),
 * openstack-auth-url.
 */
export function loadCloud(choice: Choice, surroundings: Surroundings): Cloud {
  const raw = loadRawCloud(choice, surroundings);
  const warnings = [...raw.warnings];
  const warn = (warning: string): void => {
    warnings.push(warning);
  };
  const settings = new CloudSettings(raw, warn);
  const authType = typeOf(settings);
  const keystoneless = WITHOUT_KEYSTONE.has(authType);
  const services = serviceSettings(settings, warn);
  const authUrl = keystoneless ? undefined : settings.url('auth_url', settings.auth('auth_url'));
  if (authUrl === undefined && !keystoneless) throw withoutAuthUrl(raw);
  const endpointText = settings.auth('endpoint') ?? settings.auth('url');
  const endpoint = keystoneless ? settings.url('endpoint', endpointText) : undefined;
  const hasOverride = [...services.values()].some((service) => service.endpoint !== undefined);
  if (keystoneless && endpoint === undefined && !hasOverride) throw withoutEndpoint(raw, authType);
  const tls = tlsSettings(settings, surroundings, warn);
  warnings.push(...gophercloudWarnings(raw, surroundings));
  return {
    name: raw.name,
    source: raw.file ?? 'the environment',
    authUrl,
    ...(keystoneless && { withoutKeystone: { endpoint } }),
    authType,
    authentication: () => authenticationOf(settings.authSettings(authType)),
    region: raw.region,
    // endpoint_type is the older name, but it wins.
    interfaces: settings.interfaces('endpoint_type') ??
      settings.interfaces('interface') ?? ['public'],
    tls,
    services,
    warnings,
  };
}

/** Types of keystoneauth that know one endpoint and ask no Keystone. */
const WITHOUT_KEYSTONE = new Set(['none', 'http_basic', 'admin_token']);
const OTHER_NAMES: Readonly<Record<string, string>> = {
  None: 'none',
  noauth: 'none',
  token_endpoint: 'admin_token',
};

function typeOf(settings: CloudSettings): string {
  const type = settings.text('auth_type') ?? settings.text('auth_plugin') ?? 'password';
  return OTHER_NAMES[type] ?? type;
}

/** Typed access to one cloud's settings. Errors name the wrong key and its cloud. */
class CloudSettings {
  readonly #raw: RawCloud;
  readonly #settings: Raw;
  readonly #auth: Raw;
  readonly #warn: (message: string) => void;
  readonly #warnedOf = new Set<string>();

  constructor(raw: RawCloud, warn: (message: string) => void) {
    this.#raw = raw;
    this.#warn = warn;
    this.#settings = raw.settings;
    const auth = raw.settings['auth'];
    this.#auth = isMapping(auth) ? auth : {};
  }

  get keys(): string[] {
    return Object.keys(this.#settings);
  }

  /** undefined: not set, or empty, which the clients treat as not set. */
  text(key: string): string | undefined {
    return this.#read(this.#settings, key);
  }

  auth(key: string): string | undefined {
    return this.#read(this.#auth, key) ?? this.text(key);
  }

  /** undefined also where it is neither true nor false. */
  flag(key: string): boolean | undefined {
    const value = this.#settings[key];
    if (typeof value === 'boolean') return value;
    const text = this.text(key)?.toLowerCase();
    if (text === 'true' || text === 'false') return text === 'true';
    return undefined;
  }

  interfaces(key: string): [Interface, ...Interface[]] | undefined {
    const value = this.#settings[key];
    const texts = Array.isArray(value)
      ? value.map(String)
      : [this.text(key)].filter((text) => text !== undefined);
    const [first, ...others] = texts.map((text) => {
      const bare = text.replace(/URL$/, '');
      const found = INTERFACES.find((name) => name === bare);
      if (found === undefined) {
        throw this.wrong(
          key,
          `${quoted(text)} is not an interface`,
          `the interfaces are ${INTERFACES.join(', ')}`,
        );
      }
      return found;
    });
    return first === undefined ? undefined : [first, ...others];
  }

  /**
   * `text` may contain placeholders such as `{region_name}`, which stand for the cloud's own
   * settings.
   */
  url(key: string, text: string | undefined): URL | undefined {
    if (text === undefined) return undefined;
    const filled = text.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = name === 'region_name' ? this.#raw.region : this.text(name);
      if (value !== undefined) return value;
      throw this.wrong(
        key,
        `"{${name}}" stands for a setting that the cloud doesn't have`,
        `set ${name}`,
      );
    });
    const url = URL.canParse(filled) ? new URL(filled) : undefined;
    if (
      url === undefined ||
      (url.protocol !== 'http:' && url.protocol !== 'https:') ||
      url.hostname === ''
    ) {
      throw this.wrong(
        key,
        // With an "@" it may contain a password.
        `${filled.includes('@') ? 'it' : quoted(filled)} is not the URL of a web service`,
        'write it as https://HOST:PORT/PATH',
      );
    }
    if (url.username !== '' || url.password !== '') {
      throw this.wrong(
        key,
        'the URL has a user or password in it',
        'put them into auth: username, password',
      );
    }
    return url;
  }

  authSettings(authType: string): AuthSettings {
    return {
      cloud: this.#raw.name,
      type: authType,
      typeGiven: this.#raw.authTypeGiven,
      fromEnvironment: this.#raw.file === undefined,
      get: (key) => this.#authSetting(key),
      list: (key) => this.#list(key),
    };
  }

  /** Knows the old names, too: the newer name of a pair wins. */
  #authSetting(key: string): string | undefined {
    switch (key) {
      case 'project_id':
        return this.auth('project_id') ?? this.auth('tenant_id');
      case 'project_name':
        return this.auth('project_name') ?? this.auth('tenant_name');
      case 'token':
        return this.auth('token') ?? this.auth('auth_token');
      case 'username':
        return this.auth('username') ?? this.auth('user_name');
      default:
        return this.auth(key);
    }
  }

  wrong(key: string, what: string, hint: string): TunnelError {
    const place = this.#raw.file ?? 'the environment';
    return new TunnelError(
      'openstack-config',
      `${place}: ${key} of the cloud ${quoted(this.#raw.name)}: ${what}`,
      {
        hint,
      },
    );
  }

  #list(key: string): readonly string[] {
    const value = this.#auth[key] ?? this.#settings[key];
    const items = Array.isArray(value) ? value.map(String) : (this.auth(key) ?? '').split(',');
    return items.map((item) => item.trim()).filter((item) => item !== '');
  }

  #read(settings: Raw, key: string): string | undefined {
    const value = Object.hasOwn(settings, key) ? settings[key] : undefined;
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value === 'string') return value;
    if (value instanceof Unquoted) return this.#unquoted(key, value);
    if (typeof value !== 'boolean') {
      throw this.wrong(
        key,
        'it is a list or a mapping, but must be text',
        'write the value after the colon',
      );
    }
    // openstacksdk makes text of these: Python's.
    if (NAMES.test(key)) return value ? 'True' : 'False';
    throw this.wrong(
      key,
      'without quotes it is true or false, and not text',
      'quote it: yes, no, on, off, true and false need quotes to be text',
    );
  }

  #unquoted(key: string, { kind, written, text }: Unquoted): string {
    if (kind !== 'number') {
      if (kind === 'date' && NAMES.test(key)) return text;
      throw this.wrong(key, 'without quotes it is a date, and not text', 'quote it');
    }
    if (written !== text && !this.#warnedOf.has(key)) {
      this.#warnedOf.add(key);
      // It may be a password.
      this.#warn(
        `${key} is read as a number, which is written otherwise than it is here, as in openstacksdk; programs in Go (Terraform) read it as it is written: quote it`,
      );
    }
    return text;
  }
}

/** openstacksdk makes text of whatever these are. */
const NAMES = /^(?:(?:user_|project_)?domain|project|tenant)_(?:id|name)$|^(?:auth_)?token$/;

function withoutAuthUrl(raw: RawCloud): TunnelError {
  const profile = raw.settings['profile'] ?? raw.settings['cloud'];
  const place = raw.file ?? 'the environment';
  return new TunnelError(
    'openstack-auth-url',
    `${place}: the cloud ${quoted(raw.name)} has no auth_url`,
    {
      hint:
        typeof profile === 'string'
          ? 'write the auth_url of its provider into the cloud, below "auth:", or the profile into ~/.config/openstack/clouds-public.yaml, below "public-clouds:" and its name'
          : 'write auth_url below "auth:", the address of Keystone: https://HOST:PORT/v3',
    },
  );
}

function withoutEndpoint(raw: RawCloud, type: string): TunnelError {
  const place = raw.file ?? 'the environment';
  return new TunnelError(
    'openstack-auth-url',
    `${place}: the cloud ${quoted(raw.name)} has no endpoint, which ${type} needs`,
    {
      hint: 'write "endpoint" below "auth:", the address of its service, or SERVICE_endpoint_override beside it',
    },
  );
}

function tlsSettings(
  settings: CloudSettings,
  { directory, home }: Surroundings,
  warn: (message: string) => void,
): TlsSettings {
  const path = (key: string): string | undefined => {
    // `cacert: false` is as good as none.
    const text = settings.flag(key) === false ? undefined : settings.text(key);
    if (text === undefined) return undefined;
    if (/^~[^/]/.test(text))
      throw settings.wrong(key, 'the home directory of another user', 'write the full path');
    return text.startsWith('~/') ? join(home, text.slice(2)) : resolve(directory, text);
  };
  const verify = settings.flag('insecure') !== true && settings.flag('verify') !== false;
  // `verify` may be the path of a file, as in Python's requests; `cacert` wins.
  const caFile =
    path('cacert') ?? (settings.flag('verify') === undefined ? path('verify') : undefined);
  if (!verify) {
    warn(
      caFile === undefined
        ? 'the certificates of the cloud are not verified (verify: false): anybody between the jump host and the cloud can read the password'
        : 'the certificates of the cloud are not verified although it has a cacert: "verify: false" or "insecure: true" wins',
    );
  }
  return { caFile, verify, certFile: path('cert'), keyFile: path('key') };
}

/** A key may only look like a service's. One that can't be read is skipped with a warning. */
function serviceSettings(
  settings: CloudSettings,
  warn: (message: string) => void,
): ReadonlyMap<string, ServiceSettings> {
  const services = new Map<string, ServiceSettings>();
  for (const key of settings.keys) {
    const suffix = SERVICE_SUFFIXES.find((end) => key.endsWith(end) && key.length > end.length);
    if (suffix === undefined) continue;
    const type = officialType(key.slice(0, -suffix.length));
    try {
      const before = services.get(type) ?? {};
      services.set(type, { ...before, ...serviceSetting(settings, key, suffix, before) });
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error;
      warn(`${error.message}; it is not used`);
    }
  }
  return services;
}

function serviceSetting(
  settings: CloudSettings,
  key: string,
  suffix: (typeof SERVICE_SUFFIXES)[number],
  before: ServiceSettings,
): ServiceSettings {
  switch (suffix) {
    case '_endpoint_override':
    case '_endpoint': {
      const endpoint = settings.url(key, settings.text(key));
      // The newer of the two names wins, in any order.
      const loses = suffix === '_endpoint' && before.endpoint !== undefined;
      return endpoint === undefined || loses ? {} : { endpoint };
    }
    case '_region_name': {
      const region = settings.text(key);
      return region === undefined ? {} : { region };
    }
    case '_interface':
    case '_endpoint_type': {
      const interfaces = settings.interfaces(key);
      return interfaces === undefined ? {} : { interfaces };
    }
  }
}
