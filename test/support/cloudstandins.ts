/**
 * Stand-ins for nova, glance, neutron and cinder: they answer only version discovery and empty
 * lists, to any client with a token; glance has images (standinglance.ts); `/slow` is never
 * answered. `node cloudstandins.js` listens on 127.0.0.1:8000; the front says
 * whose a request is (X-Virtual-Host).
 */
import { createServer, type IncomingMessage } from 'node:http';
import { LINKED_ONLY } from './keystonecatalog.ts';
import { StandInGlance } from './standinglance.ts';
import { type ApiAnswer, Refusal } from './standinrequest.ts';

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
  networks: 'networks',
  volumes: 'volumes',
  flavors: 'flavors',
};

const glance = new StandInGlance();

/** Never rejects. */
async function imageAnswer(request: IncomingMessage, url: URL): Promise<ApiAnswer> {
  try {
    const [, , ...path] = url.pathname.split('/').filter(Boolean);
    return await glance.handle(request, path, url.searchParams);
  } catch (error) {
    const status = error instanceof Refusal ? error.status : 500;
    return { status, body: { message: String(error) } };
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://stand-in');
  const { pathname } = url;
  const [service = ''] = String(request.headers['x-virtual-host']).split('.');
  const last = pathname.split('/').filter(Boolean).at(-1) ?? '';
  const answer = (status: number, body?: object) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(body === undefined ? '' : JSON.stringify(body));
  };
  if (last === 'slow') return;
  if (last === '') answer(300, VERSIONS[service] ?? {});
  else if (/^v[0-9.]+$/.test(last)) answer(200, VERSIONS[service] ?? {});
  else if (request.headers['x-auth-token'] === undefined) answer(401, {});
  else if (service === 'glance' && pathname.startsWith('/v2/images'))
    void imageAnswer(request, url).then(({ status, body }) => answer(status, body));
  else if (LISTS[last] !== undefined) answer(200, { [LISTS[last]]: [] });
  else answer(404, {});
});
server.listen(8000, '127.0.0.1', () => process.stdout.write('ready\n'));
