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
import type { Authentication, Cloud, Factor, Method, Named, Scope } from '../settings/cloud.ts';
import { type AskSecret, Question, type Secret } from '../settings/secret.ts';
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
 * `ask` is for a password or one-time code that the settings lack, each once; undefined: nobody
 * can be asked. Rejects with TunnelError: openstack-identity (no Keystone v3 there),
 * openstack-auth-failed, openstack-catalog (it is empty), and the errors of HttpClient.request,
 * `cloud.authentication` and `ask`.
 */
export async function fetchCatalog(
  cloud: Cloud,
  http: HttpClient,
  ask?: AskSecret,
): Promise<KeystoneAnswer> {
  const authentication = cloud.authentication();
  const { authUrl } = cloud;
  if (authUrl === undefined) throw new TypeError('a cloud without Keystone has no catalog');
  const { url, foreignLinks } = await findIdentity(authUrl, http);
  // A one-time code is short-lived: it is asked for when Keystone is known to be there.
  const body = await authenticationBody(authentication, ask);
  const answer = await http.request({
    method: 'POST',
    url: below(url, 'auth/tokens'),
    body: JSON.stringify(body),
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

/** The request for a token. Rejects with the errors of `ask`, or with what is missing. */
export async function authenticationBody(
  { method, scope }: Authentication,
  ask?: AskSecret,
): Promise<object> {
  const factors = method.kind === 'multifactor' ? method.factors : [method];
  const methods: string[] = [];
  const identity: Record<string, object> = {};
  for (const factor of factors) {
    const [name, body] = await factorBody(factor, ask);
    methods.push(name);
    identity[name] = body;
  }
  const scoped = scopeBody(scope);
  return {
    auth: { identity: { methods, ...identity }, ...(scoped !== undefined && { scope: scoped }) },
  };
}

async function factorBody(
  factor: Factor,
  ask: AskSecret | undefined,
): Promise<readonly [name: string, body: object]> {
  switch (factor.kind) {
    case 'password': {
      const password = await revealed(factor.password, ask);
      return ['password', { user: { ...namedBody(factor.user), password } }];
    }
    case 'totp': {
      const passcode = await revealed(factor.passcode, ask);
      return ['totp', { user: { ...namedBody(factor.user), passcode } }];
    }
    case 'token':
      return ['token', { id: factor.token.reveal() }];
    case 'application-credential': {
      const which =
        factor.id === undefined
          ? { name: factor.name, user: namedBody(factor.user) }
          : { id: factor.id };
      return ['application_credential', { ...which, secret: factor.secret.reveal() }];
    }
  }
}

async function revealed(secret: Secret | Question, ask: AskSecret | undefined): Promise<string> {
  return (secret instanceof Question ? await secret.answer(ask) : secret).reveal();
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
          ? 'it wants a second factor: set auth_type v3multifactor and auth_methods [v3password, v3totp], or use an application credential'
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
  totp: 'check username and domain; a one-time code is valid for less than a minute, and once',
  multifactor: 'check username, password and domains; a one-time code is valid only once',
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
