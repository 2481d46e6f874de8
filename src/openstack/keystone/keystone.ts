/**
 * Keystone v3: gets a cloud's service catalog for its credentials (Identity API v3, "Token
 * authentication").
 *
 *   auth_url ends in /v3     -> POST auth_url/auth/tokens
 *   auth_url has no version  -> GET it (200 or 300 with a list of versions), take the one whose id
 *                            is v3.*
 *
 * The catalog comes with the token. The token itself is in a header of the answer, which is never
 * read.
 *
 * Credentials go only to the host that auth_url names. A version's link may point to another host,
 * port or scheme than the list came from (if Keystone doesn't know about the TLS proxy in front of
 * it). Then the version's path below the list is used instead. The link is returned to the caller,
 * because openstacksdk will follow it.
 */
import { TunnelError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { printable } from '../../observe/printable.ts';
import type { Authentication, Cloud, Method, Named, Scope } from '../settings/cloud.ts';
import { type CatalogEndpoint, parseCatalog } from './catalog.ts';
import type { HttpAnswer, HttpClient } from './http.ts';
import { field, parseJson } from './json.ts';
import { parseVersions } from './versions.ts';

const MAX_QUOTED_ANSWER = 200;

export interface KeystoneAnswer {
  readonly endpoints: readonly CatalogEndpoint[];
  /** How many entries of the catalog could not be used. */
  readonly unusable: number;
  /** Links in the list of versions to other origins than that of the list. */
  readonly foreignLinks: readonly URL[];
}

/**
 * Rejects with TunnelError: openstack-identity (no Keystone v3 there), openstack-auth-failed,
 * openstack-catalog (it is empty), and the errors of HttpClient.request and `cloud.authentication`.
 */
export async function fetchCatalog(cloud: Cloud, http: HttpClient): Promise<KeystoneAnswer> {
  const authentication = cloud.authentication();
  const { url, foreignLinks } = await findIdentity(cloud.authUrl, http);
  const answer = await http.request({
    method: 'POST',
    url: below(url, 'auth/tokens'),
    body: JSON.stringify(authenticationBody(authentication)),
  });
  if (answer.status !== 201) throw refused(answer, cloud, authentication);
  const { endpoints, unusable } = parseCatalog(field(parseJson(answer.body), 'token', 'catalog'));
  if (endpoints.length === 0) throw emptyCatalog(cloud, authentication);
  return { endpoints, unusable, foreignLinks };
}

async function findIdentity(
  authUrl: URL,
  http: HttpClient,
): Promise<{ url: URL; foreignLinks: URL[] }> {
  if (/\/v3(\.[0-9]+)?\/?$/.test(authUrl.pathname)) return { url: authUrl, foreignLinks: [] };
  const answer = await http.request({ method: 'GET', url: authUrl });
  const versions = [200, 300].includes(answer.status) ? parseVersions(answer.body, answer.url) : [];
  const third = versions.find(({ id }) => /^v3(\.|$)/.test(id));
  if (third === undefined) {
    throw new TunnelError(
      'openstack-identity',
      `${authUrl.href} names no Keystone v3 (status ${answer.status})`,
      {
        hint: 'write the auth_url of Keystone version 3, which often ends in /v3',
      },
    );
  }
  // After a redirect to https nothing goes back to http.
  const foreignLinks = third.links.filter((link) => link.origin !== answer.url.origin);
  const own = third.links.find((link) => link.origin === answer.url.origin);
  return { url: own ?? below(answer.url, 'v3'), foreignLinks };
}

/** `path` below `url`, which may or may not end in a slash. */
function below(url: URL, path: string): URL {
  const base = new URL(url);
  base.search = '';
  base.pathname = `${base.pathname.replace(/\/+$/, '')}/${path}`;
  return base;
}

function authenticationBody({ method, scope }: Authentication): object {
  const scoped = scopeBody(scope);
  return {
    auth: { identity: identityBody(method), ...(scoped !== undefined && { scope: scoped }) },
  };
}

function identityBody(method: Method): object {
  switch (method.kind) {
    case 'password': {
      const user = { ...namedBody(method.user), password: method.password.reveal() };
      return { methods: ['password'], password: { user } };
    }
    case 'token':
      return { methods: ['token'], token: { id: method.token.reveal() } };
    case 'application-credential': {
      const which =
        method.id === undefined
          ? { name: method.name, user: namedBody(method.user) }
          : { id: method.id };
      return {
        methods: ['application_credential'],
        application_credential: { ...which, secret: method.secret.reveal() },
      };
    }
  }
}

function scopeBody(scope: Scope): object | undefined {
  switch (scope.kind) {
    case 'none':
      return undefined;
    case 'project':
      return { project: namedBody(scope.project) };
    case 'domain':
      return { domain: namedBody(scope.domain) };
    case 'system':
      return { system: { all: true } };
    case 'trust':
      return { 'OS-TRUST:trust': { id: scope.id } };
  }
}

function namedBody({ id, name, domainId, domainName }: Named): object {
  if (id !== undefined) return { id };
  if (domainId !== undefined) return { name, domain: { id: domainId } };
  return domainName === undefined ? { name } : { name, domain: { name: domainName } };
}

function refused(answer: HttpAnswer, cloud: Cloud, { method }: Authentication): TunnelError {
  const where = `Keystone at ${answer.url.host}`;
  const reason = field(parseJson(answer.body), 'error', 'message');
  const text = typeof reason === 'string' ? printable(reason).slice(0, MAX_QUOTED_ANSWER) : '';
  const detail = text === '' ? '' : `: ${text}`;
  // For an expired or revoked token Keystone answers that the token isn't found. If auth_url is
  // wrong, the answer doesn't mention a token.
  const unknownToken = answer.status === 404 && method.kind === 'token' && /\btoken\b/i.test(text);
  if (answer.status === 401 || answer.status === 403 || unknownToken) {
    const receipt = answer.headers['openstack-auth-receipt'] !== undefined;
    return new TunnelError(
      'openstack-auth-failed',
      `${where} refuses the credentials of the cloud ${quoted(cloud.name)} (${answer.status}${detail})`,
      {
        hint: receipt
          ? 'it wants a second factor; use an application credential'
          : CREDENTIAL_HINTS[method.kind],
      },
    );
  }
  const hint =
    answer.status >= 500
      ? 'the service itself is in trouble; try again later'
      : 'check that auth_url is the address of Keystone v3, and the names of user, project and domains';
  return new TunnelError('openstack-identity', `${where} answers ${answer.status}${detail}`, {
    hint,
  });
}

const CREDENTIAL_HINTS: Readonly<Record<Method['kind'], string>> = {
  password: 'check username, password, project and domains; the password may have expired',
  token: 'tokens expire, often after an hour, and can be revoked: issue a new one',
  'application-credential':
    'the application credential may have expired or been deleted: create a new one',
};

function emptyCatalog(cloud: Cloud, { scope, method }: Authentication): TunnelError {
  const unscoped = scope.kind === 'none' && method.kind !== 'application-credential';
  return new TunnelError(
    'openstack-catalog',
    `Keystone gives the cloud ${quoted(cloud.name)} no service catalog`,
    {
      hint: unscoped
        ? 'set project_name or project_id: without a project there is no catalog'
        : 'check the project with your provider',
    },
  );
}
