/**
 * Stand-ins for nova, glance, neutron and cinder: they answer only version discovery and empty
 * lists, to any client with a token; `/slow` is never answered. `node cloudstandins.js` listens on
 * 127.0.0.1:8000 and tells the services apart by the Host header.
 */
import { createServer } from 'node:http';
import { LINKED_ONLY } from './keystonecatalog.ts';

const version = (id: string, href: string) => ({
  id,
  status: 'CURRENT',
  version: '',
  min_version: '',
  links: [{ rel: 'self', href }],
});

const VERSIONS: Readonly<Record<string, object>> = {
  nova: { versions: [version('v2.1', `http://${LINKED_ONLY}/v2.1/`)] },
  glance: { versions: [version('v2.9', 'https://glance.cloud.example:9292/v2/')] },
  neutron: { versions: [version('v2.0', 'https://neutron.cloud.example:9696/v2.0/')] },
  cinder: { versions: [version('v3.0', 'https://cinder.cloud.example:8776/v3/')] },
};

const LISTS: Readonly<Record<string, string>> = {
  servers: 'servers',
  detail: 'servers',
  images: 'images',
  networks: 'networks',
  volumes: 'volumes',
  flavors: 'flavors',
};

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://stand-in');
  const [service = ''] = (request.headers.host ?? '').split('.');
  const last = pathname.split('/').filter(Boolean).at(-1) ?? '';
  const answer = (status: number, body: object) => {
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  };
  if (last === 'slow') return;
  if (last === '') answer(300, VERSIONS[service] ?? {});
  else if (/^v[0-9.]+$/.test(last)) answer(200, VERSIONS[service] ?? {});
  else if (request.headers['x-auth-token'] === undefined) answer(401, {});
  else if (LISTS[last] !== undefined) answer(200, { [LISTS[last]]: [] });
  else answer(404, {});
});
server.listen(8000, '127.0.0.1', () => process.stdout.write('ready\n'));
