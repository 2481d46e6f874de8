/**
 * Reads from a cloud's settings how it authenticates: `password`, `token`, both also with a fixed
 * version (`v3password`, `v3token`), `v3totp`, `v3multifactor` and `v3applicationcredential`. Every
 * other type (v2, OpenID Connect, Kerberos, ...) is refused with a hint how to do without the
 * catalog. Missing settings are reported here: Keystone would answer them only with a bare 400 or
 * 401. The person is asked for a password or code that is missing.
 *
 * Which domain and which scope count is as in openstacksdk and keystoneauth: beside a project,
 * `domain_id` and `domain_name` are the domains of user and project, and an id wins over a name.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import type { Authentication, Factor, Named, Scope } from './cloud.ts';
import { Question, Secret } from './secret.ts';

const WITHOUT_CATALOG =
  'without authentication, give the catalog with --os-catalog-file, or use --os-catalog off, which takes auth_url alone';

export interface AuthSettings {
  /** The cloud's name, for messages. */
  readonly cloud: string;
  readonly type: string;
  /** false: `type` is the default. */
  readonly typeGiven: boolean;
  /** Whether the OS_* variables describe the cloud. They count for no other cloud. */
  readonly fromEnvironment: boolean;
  get(key: string): string | undefined;
  /** The items of a list, or of a text with commas. */
  list(key: string): readonly string[];
}

/** Throws TunnelError: openstack-auth-type, openstack-credentials. */
export function authenticationOf(settings: AuthSettings): Authentication {
  const type = effectiveType(settings);
  if (type === 'v3applicationcredential')
    return { method: applicationCredential(settings), scope: { kind: 'none' } };
  if (type === 'v3multifactor') {
    const factors = settings.list('auth_methods').map((name) => factorOf(settings, name));
    if (factors.length === 0) throw missing(settings, 'auth_methods');
    return { method: { kind: 'multifactor', factors }, scope: scopeOf(settings) };
  }
  return { method: factorOf(settings, type), scope: scopeOf(settings) };
}

function factorOf(settings: AuthSettings, type: string): Factor {
  switch (type) {
    case 'password':
    case 'v3password': {
      const user = userOf(settings);
      return { kind: 'password', user, password: asked(settings, 'password', 'Password') };
    }
    case 'v3totp': {
      const user = userOf(settings);
      return { kind: 'totp', user, passcode: asked(settings, 'passcode', 'TOTP passcode') };
    }
    case 'token':
    case 'v3token':
      return { kind: 'token', token: new Secret(required(settings, 'token')) };
    case 'v3applicationcredential':
      return applicationCredential(settings);
    default:
      throw new TunnelError(
        'openstack-auth-type',
        `the cloud ${quoted(settings.cloud)} authenticates by ${quoted(type)}, which is not supported`,
        { hint: `${SUPPORTED} are supported; ${WITHOUT_CATALOG}` },
      );
  }
}

const SUPPORTED =
  'password, token, v3totp, v3multifactor (of v3password, v3totp and v3token) and v3applicationcredential';

/** If no type is given, the one that command line clients derive from the other settings. */
function effectiveType({ type, typeGiven, get }: AuthSettings): string {
  if (typeGiven || get('username') !== undefined || get('user_id') !== undefined) return type;
  if (get('application_credential_secret') !== undefined) return 'v3applicationcredential';
  return get('token') === undefined ? type : 'token';
}

function asked(settings: AuthSettings, key: string, what: string): Secret | Question {
  const value = settings.get(key);
  if (value !== undefined) return new Secret(value);
  return new Question(`${what} for the cloud ${settings.cloud}: `, missing(settings, key));
}

function userOf(settings: AuthSettings): Named {
  const id = settings.get('user_id');
  if (id !== undefined) return { id };
  const name = required(settings, 'username');
  return inDomain(settings, name, 'user');
}

function applicationCredential(settings: AuthSettings): Factor {
  const secret = new Secret(required(settings, 'application_credential_secret'));
  const id = settings.get('application_credential_id');
  if (id !== undefined)
    return { kind: 'application-credential', id, name: undefined, user: {}, secret };
  const name = settings.get('application_credential_name');
  if (name === undefined) throw missing(settings, 'application_credential_id');
  return { kind: 'application-credential', id: undefined, name, user: userOf(settings), secret };
}

function scopeOf(settings: AuthSettings): Scope {
  const { cloud, get } = settings;
  const project = projectOf(settings);
  // Beside a project they are its domain, and the user's.
  const domainId = project === undefined ? get('domain_id') : undefined;
  const domainName = project === undefined ? get('domain_name') : undefined;
  const trust = get('trust_id');
  const domain =
    domainId !== undefined
      ? { id: domainId }
      : domainName === undefined
        ? undefined
        : { name: domainName };
  if (trust !== undefined && (project !== undefined || domain !== undefined)) {
    throw new TunnelError(
      'openstack-credentials',
      `the cloud ${quoted(cloud)} has a trust_id beside a project or domain`,
      { hint: 'a token is for one of them: remove the others' },
    );
  }
  const system = get('system_scope');
  if (system !== undefined && (project ?? domain ?? trust) !== undefined) {
    throw new TunnelError(
      'openstack-credentials',
      `the cloud ${quoted(cloud)} has a system_scope beside a project, domain or trust`,
      { hint: 'a token is for one of them: remove the others' },
    );
  }
  if (project !== undefined) return { kind: 'project', project };
  if (domain !== undefined) return { kind: 'domain', domain };
  if (trust !== undefined) return { kind: 'trust', id: trust };
  return system === 'all' ? { kind: 'system' } : { kind: 'none' };
}

function projectOf(settings: AuthSettings): Named | undefined {
  const id = settings.get('project_id');
  if (id !== undefined) return { id };
  const name = settings.get('project_name');
  return name === undefined ? undefined : inDomain(settings, name, 'project');
}

/** Names are unique only inside a domain. */
function inDomain(settings: AuthSettings, name: string, what: 'user' | 'project'): Named {
  const { cloud, type, get } = settings;
  const ofProject = get('project_id') !== undefined || get('project_name') !== undefined;
  const both = (key: 'domain_id' | 'domain_name') => (ofProject ? get(key) : undefined);
  // Only the types that find the version out by themselves have a default of their own.
  const generic = type === 'password' || type === 'token';
  const fallback = (key: string) => (generic ? get(`default_${key}`) : undefined);
  const domainId = get(`${what}_domain_id`) ?? both('domain_id') ?? fallback('domain_id');
  if (domainId !== undefined) return { name, domainId };
  const domainName = get(`${what}_domain_name`) ?? both('domain_name') ?? fallback('domain_name');
  if (domainName !== undefined) return { name, domainName };
  const scopeId = get('domain_id') ?? defaultDomain(settings);
  if (scopeId !== undefined) return { name, domainId: scopeId };
  const scopeName = get('domain_name');
  if (scopeName !== undefined) return { name, domainName: scopeName };
  throw new TunnelError(
    'openstack-credentials',
    `the cloud ${quoted(cloud)} names its ${what} without the domain that it belongs to`,
    {
      hint: `set ${what}_domain_name (often "Default") or ${what}_domain_id; "identity_api_version: 3" means the domain "default"`,
    },
  );
}

/** As the `openstack` command has it: version 3 without a domain means the one called `default`. */
function defaultDomain({ type, get }: AuthSettings): string | undefined {
  const set = get('default_domain');
  if (set !== undefined) return set;
  const withUser = ['password', 'v3password', 'v3totp', 'v3multifactor'].includes(type);
  return withUser && get('identity_api_version') === '3' ? 'default' : undefined;
}

function required(settings: AuthSettings, key: string): string {
  const value = settings.get(key);
  if (value === undefined) throw missing(settings, key);
  return value;
}

function missing({ cloud, type, fromEnvironment }: AuthSettings, key: string): TunnelError {
  const variable = `OS_${key.toUpperCase()}`;
  const message = `the cloud ${quoted(cloud)} has no ${key}, which ${type} needs`;
  const hint = fromEnvironment
    ? `set ${variable}`
    : `write it into clouds.yaml or secure.yaml below "auth:", or set ${variable}`;
  return new TunnelError('openstack-credentials', message, { hint });
}
