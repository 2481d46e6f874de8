/**
 * From a cloud's merged settings to a typed `Cloud`: addresses are read, names of other times
 * translated, secrets wrapped.
 *
 * A setting of `auth` may stand beside it (OS_* variables do), and then counts only where `auth`
 * has none. `tenant_*` is what projects were called, `endpoint_type` what interfaces were; the
 * domain of a project-scoped cloud stands for both the user's and the project's. Numbers and
 * booleans where text is meant are read as text, as the clients do.
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
import { officialType } from './servicetypes.ts';
import { type Choice, loadRawCloud, type RawCloud } from './yaml.ts';

/** `block_storage_endpoint_override`: the suffix tells what it is, the rest which service. */
const SERVICE_SUFFIXES = [
  '_endpoint_override',
  '_endpoint',
  '_interface',
  '_endpoint_type',
  '_region_name',
] as const;

/**
 * The cloud that is asked for, or that files and environment choose. Throws TunnelError:
 * openstack-config (malformed), openstack-cloud (no such cloud), openstack-region (no such region),
 * openstack-auth-url.
 */
export function loadCloud(choice: Choice, surroundings: Surroundings): Cloud {
  const raw = loadRawCloud(choice, surroundings);
  const warnings = [...raw.warnings];
  const settings = new CloudSettings(raw);
  const authUrl = settings.url('auth_url', settings.auth('auth_url'));
  if (authUrl === undefined) throw withoutAuthUrl(raw);
  const tls = tlsSettings(settings, surroundings, (warning) => warnings.push(warning));
  warnings.push(...gophercloudWarnings(raw, surroundings));
  const authType = settings.text('auth_type') ?? settings.text('auth_plugin') ?? 'password';
  return {
    name: raw.name,
    source: raw.file ?? 'the environment',
    authUrl,
    authType,
    authentication: () => authenticationOf(settings.authSettings(authType)),
    region: raw.region,
    // endpoint_type is the older name, and wins all the same.
    interfaces: settings.interfaces('endpoint_type') ??
      settings.interfaces('interface') ?? ['public'],
    tls,
    services: serviceSettings(settings, (warning) => warnings.push(warning)),
    warnings,
  };
}

/** Typed access to one cloud's settings; errors say which key of which cloud is wrong. */
class CloudSettings {
  readonly #raw: RawCloud;
  readonly #settings: Raw;
  readonly #auth: Raw;

  constructor(raw: RawCloud) {
    this.#raw = raw;
    this.#settings = raw.settings;
    const auth = raw.settings['auth'];
    this.#auth = isMapping(auth) ? auth : {};
  }

  get keys(): string[] {
    return Object.keys(this.#settings);
  }

  /** undefined: not set, or empty, which the clients take for not set. */
  text(key: string): string | undefined {
    return this.#read(this.#settings, key);
  }

  auth(key: string): string | undefined {
    return this.#read(this.#auth, key) ?? this.text(key);
  }

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
          `${quoted(text)} is no interface`,
          `the interfaces are ${INTERFACES.join(', ')}`,
        );
      }
      return found;
    });
    return first === undefined ? undefined : [first, ...others];
  }

  /**
   * `text` may have `{region_name}` and the like in it, which stand for the cloud's own settings.
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
        // With an "@" it may have a password in it.
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
    };
  }

  /** With the names of other times: the later one of a pair wins. */
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

  #read(settings: Raw, key: string): string | undefined {
    const value = Object.hasOwn(settings, key) ? settings[key] : undefined;
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value === 'string') return value;
    if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
      return String(value);
    throw this.wrong(
      key,
      'it is a list or a mapping where a text belongs',
      'write the value behind the colon',
    );
  }
}

function withoutAuthUrl(raw: RawCloud): TunnelError {
  const profile = raw.settings['profile'] ?? raw.settings['cloud'];
  const place = raw.file ?? 'the environment';
  return new TunnelError(
    'openstack-auth-url',
    `${place}: the cloud ${quoted(raw.name)} has no auth_url`,
    {
      hint:
        typeof profile === 'string'
          ? 'write the auth_url of its provider into the cloud, below "auth:"; a profile counts only where clouds-public.yaml has it'
          : 'write auth_url below "auth:", the address of Keystone: https://HOST:PORT/v3',
    },
  );
}

function tlsSettings(
  settings: CloudSettings,
  { directory, home }: Surroundings,
  warn: (message: string) => void,
): TlsSettings {
  const path = (key: string): string | undefined => {
    const text = settings.text(key);
    if (text === undefined) return undefined;
    return text.startsWith('~/') ? join(home, text.slice(2)) : resolve(directory, text);
  };
  const verify = settings.flag('insecure') !== true && settings.flag('verify') !== false;
  const caFile = path('cacert');
  if (!verify) {
    warn(
      caFile === undefined
        ? 'the certificates of the cloud are not verified (verify: false): whoever sits between the jump host and it can read the password'
        : 'the certificates of the cloud are not verified although it has a cacert: "verify: false" or "insecure: true" wins',
    );
  }
  return { caFile, verify, certFile: path('cert'), keyFile: path('key') };
}

/**
 * A key may look like a service's and be something else's: what can't be read is passed over with a
 * warning.
 */
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
      // The newer of the two names wins wherever it stands.
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
