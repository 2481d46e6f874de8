/**
 * Reads from a cloud's settings how it authenticates: `password`, `token` and
 * `v3applicationcredential`, the first two also with a fixed version (`v3password`, `v3token`).
 * Every other type (v2, OpenID Connect, Kerberos, ...) is refused with a hint how to do without the
 * catalog. Missing settings are reported here: Keystone would answer them only with a bare 400 or
 * 401.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import type { Authentication, Method, Named, Scope } from './cloud.ts';
import { Secret } from './secret.ts';

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
}

/** Throws TunnelError: openstack-auth-type, openstack-credentials. */
export function authenticationOf(settings: AuthSettings): Authentication {
  switch (effectiveType(settings)) {
    case 'password':
    case 'v3password':
      return { method: passwordMethod(settings), scope: scopeOf(settings) };
    case 'token':
    case 'v3token':
      return {
        method: { kind: 'token', token: new Secret(required(settings, 'token')) },
        scope: scopeOf(settings),
      };
    case 'v3applicationcredential':
      return { method: applicationCredential(settings), scope: { kind: 'none' } };
    default:
      throw new TunnelError(
        'openstack-auth-type',
        `the cloud ${quoted(settings.cloud)} authenticates by ${quoted(settings.type)}, which is not supported`,
        { hint: `password, token and v3applicationcredential are supported; ${WITHOUT_CATALOG}` },
      );
  }
}

/** If no type is given, the one that command line clients derive from the other settings. */
function effectiveType({ type, typeGiven, get }: AuthSettings): string {
  if (typeGiven || get('username') !== undefined || get('user_id') !== undefined) return type;
  if (get('application_credential_secret') !== undefined) return 'v3applicationcredential';
  return get('token') === undefined ? type : 'token';
}

function passwordMethod(settings: AuthSettings): Method {
  const password = new Secret(required(settings, 'password'));
  return { kind: 'password', user: userOf(settings), password };
}

function userOf(settings: AuthSettings): Named {
  const id = settings.get('user_id');
  if (id !== undefined) return { id };
  const name = required(settings, 'username');
  return inDomain(settings, name, 'user');
}

function applicationCredential(settings: AuthSettings): Method {
  const secret = new Secret(required(settings, 'application_credential_secret'));
  const id = settings.get('application_credential_id');
  if (id !== undefined)
    return { kind: 'application-credential', id, name: undefined, user: {}, secret };
  const name = settings.get('application_credential_name');
  if (name === undefined) throw missing(settings, 'application_credential_id');
  return { kind: 'application-credential', id: undefined, name, user: userOf(settings), secret };
}

function scopeOf(settings: AuthSettings): Scope {
  const { get } = settings;
  const trust = get('trust_id');
  if (trust !== undefined) return { kind: 'trust', id: trust };
  if (get('system_scope') !== undefined) return { kind: 'system' };
  const projectId = get('project_id');
  if (projectId !== undefined) return { kind: 'project', project: { id: projectId } };
  const project = get('project_name');
  if (project !== undefined)
    return { kind: 'project', project: inDomain(settings, project, 'project') };
  const domainId = get('domain_id');
  if (domainId !== undefined) return { kind: 'domain', domain: { id: domainId } };
  const domain = get('domain_name');
  return domain === undefined ? { kind: 'none' } : { kind: 'domain', domain: { name: domain } };
}

/**
 * Names are unique only inside a domain: its own domain, the one for both user and project, or the
 * default one.
 */
function inDomain({ cloud, get }: AuthSettings, name: string, what: 'user' | 'project'): Named {
  const domainId = get(`${what}_domain_id`);
  if (domainId !== undefined) return { name, domainId };
  const domainName = get(`${what}_domain_name`);
  if (domainName !== undefined) return { name, domainName };
  const bothId = get('domain_id');
  if (bothId !== undefined) return { name, domainId: bothId };
  const bothName = get('domain_name');
  if (bothName !== undefined) return { name, domainName: bothName };
  const fallback = get('default_domain') ?? get('default_domain_id');
  if (fallback !== undefined) return { name, domainId: fallback };
  const fallbackName = get('default_domain_name');
  if (fallbackName !== undefined) return { name, domainName: fallbackName };
  throw new TunnelError(
    'openstack-credentials',
    `the cloud ${quoted(cloud)} names its ${what} without the domain that it belongs to`,
    { hint: `set ${what}_domain_name (often "Default") or ${what}_domain_id` },
  );
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
    ? `set ${variable}; the program doesn't ask for it`
    : `write it into clouds.yaml or secure.yaml below "auth:"; the program doesn't ask for it, and ${variable} counts only for --os-cloud envvars`;
  return new TunnelError('openstack-credentials', message, { hint });
}
