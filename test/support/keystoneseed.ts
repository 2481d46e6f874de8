/**
 * Fills a fresh Keystone on 127.0.0.1:5000 with the tests' data, through its own API, and prints
 * the application credentials as JSON. Run inside the API host's namespace: `node keystoneseed.js
 * ADMIN_PASSWORD`.
 *
 * One project `demo` with a user of that name; a catalog with a region that has everything
 * (RegionOne), one that has only internal endpoints (RegionTwo) and one without any (RegionThree).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DEMO_PASSWORD, ENDPOINTS } from './keystonecatalog.ts';

const BASE = 'http://127.0.0.1:5000/v3';
/**
 * Seconds after which the short-lived application credential expires: before any test uses it.
 */
const SHORT_LIFE_S = 2;

type Json = Readonly<Record<string, unknown>>;

async function call(
  method: string,
  path: string,
  token: string,
  body?: Json,
): Promise<Record<string, Json>> {
  const response = await fetch(`${BASE}${path}`, {
    method,
    headers: { 'X-Auth-Token': token, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === '' ? {} : (JSON.parse(text) as Record<string, Json>);
}

async function tokenOf(
  name: string,
  password: string,
  project: string,
): Promise<{ token: string; user: string }> {
  const domain = { id: 'default' };
  const response = await fetch(`${BASE}/auth/tokens`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: { methods: ['password'], password: { user: { name, domain, password } } },
        scope: { project: { name: project, domain } },
      },
    }),
  });
  const answer = (await response.json()) as { token: { user: { id: string } } };
  return { token: response.headers.get('x-subject-token') ?? '', user: answer.token.user.id };
}

const idOf = (entry: Json | undefined): string => String(entry?.['id']);

const { token: admin } = await tokenOf('admin', process.argv[2] ?? '', 'admin');
const { project } = await call('POST', '/projects', admin, {
  project: { name: 'demo', domain_id: 'default' },
});
const { user } = await call('POST', '/users', admin, {
  user: { name: 'demo', domain_id: 'default', password: DEMO_PASSWORD },
});
const roles = (await call('GET', '/roles?name=member', admin)) as unknown as { roles: Json[] };
await call(
  'PUT',
  `/projects/${idOf(project)}/users/${idOf(user)}/roles/${idOf(roles.roles[0])}`,
  admin,
);
for (const id of ['RegionTwo', 'RegionThree'])
  await call('POST', '/regions', admin, { region: { id } });
for (const { type, name, region, kind, url } of ENDPOINTS) {
  const { services } = (await call('GET', `/services?type=${type}`, admin)) as unknown as {
    services: Json[];
  };
  const service =
    services[0] ?? (await call('POST', '/services', admin, { service: { type, name } }))['service'];
  await call('POST', '/endpoints', admin, {
    endpoint: { interface: kind, url, region_id: region, service_id: idOf(service) },
  });
}

const { token, user: demo } = await tokenOf('demo', DEMO_PASSWORD, 'demo');
const create = async (name: string, expires?: Date) => {
  const answer = await call('POST', `/users/${demo}/application_credentials`, token, {
    application_credential: {
      name,
      ...(expires && { expires_at: expires.toISOString().replace('Z', '') }),
    },
  });
  const { id, secret } = answer['application_credential'] ?? {};
  return { id, secret };
};
const lasting = await create('lasting');
const expired = await create('expired', new Date(Date.now() + SHORT_LIFE_S * 1000));
await sleep(SHORT_LIFE_S * 1000);
process.stdout.write(JSON.stringify({ lasting, expired }));
