/** HTTP and Keystone against servers of the test's own, for what a real Keystone never answers. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { ConnectError, type Connector } from '../../../../src/flow/connector.ts';
import { StreamConduit } from '../../../../src/flow/streamconduit.ts';
import type { Destination } from '../../../../src/net/destination.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { secureContextOf } from '../../../../src/openstack/keystone/authorities.ts';
import { HttpClient, MAX_ANSWER_BYTES } from '../../../../src/openstack/keystone/http.ts';
import { fetchCatalog } from '../../../../src/openstack/keystone/keystone.ts';
import type { Cloud, TlsSettings } from '../../../../src/openstack/settings/cloud.ts';
import { Secret } from '../../../../src/openstack/settings/secret.ts';
import { makeCertificates } from '../../../support/certificates.ts';
import { AT_ONCE_MS } from '../../../support/until.ts';

const NAME = 'api.example';
const noCertificates = spawnSync('openssl', ['version']).status !== 0 && 'this test lacks openssl';
const PLAIN: TlsSettings = {
  caFile: undefined,
  verify: true,
  certFile: undefined,
  keyFile: undefined,
};

let directory: string;
let trusted: TlsSettings;
const servers: Server[] = [];
let opened: Destination[] = [];
let port = 0;

/** Whatever is asked for is at the server of the test, as behind a jump host. */
const connect: Connector['connect'] = (destination): Promise<StreamConduit> => {
  opened.push(destination);
  const socket = connectTcp(port, '127.0.0.1');
  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(new StreamConduit(socket)));
    socket.once('error', reject);
  });
};

async function serve(listener: RequestListener, tls = false): Promise<void> {
  const pair = () => ({
    cert: readFileSync(join(directory, 'server.pem')),
    key: readFileSync(join(directory, 'server.key')),
  });
  const server = tls ? createHttpsServer(pair(), listener) : createHttpServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
  servers.push(server);
}

function client(tls: TlsSettings = PLAIN, timeout = 5000, via = connect): HttpClient {
  const context = secureContextOf(tls, {});
  return new HttpClient({
    connect: via,
    tls: { context, verify: tls.verify },
    observer: silentObserver,
    timeout,
  });
}

const get = (url: string, http = client()) => http.request({ method: 'GET', url: new URL(url) });

function failure(code: string, text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof TunnelError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(`${error.message} | ${error.hint}`, text);
    return true;
  };
}

before(async () => {
  if (noCertificates !== false) return;
  directory = await mkdtemp(join(tmpdir(), 'tunnel-keystone-'));
  await makeCertificates(directory, [`DNS:${NAME}`, 'IP:192.0.2.1']);
  trusted = { ...PLAIN, caFile: join(directory, 'ca.pem') };
});
after(() => noCertificates === false && rmSync(directory, { recursive: true, force: true }));
afterEach(() => {
  opened = [];
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

describe('HTTP through the tunnel', { skip: noCertificates }, () => {
  it('connects to the host and port of the URL, and sends its name', async () => {
    await serve((request, response) => response.end(`${request.headers.host} ${request.url}`));
    assert.equal((await get('http://API.example/v3?x=1')).body, 'api.example /v3?x=1');
    assert.equal((await get('http://[2001:db8::0]:5000/')).body, '[2001:db8::]:5000 /');
    assert.deepEqual(opened, [
      { host: NAME, port: 80 },
      { host: '2001:db8::', port: 5000 },
    ]);
  });

  it("checks the certificate against the URL's own name or address", async () => {
    await serve((_, response) => response.end('ok'), true);
    for (const host of [NAME, '192.0.2.1']) {
      assert.equal((await get(`https://${host}/`, client(trusted))).body, 'ok');
    }
    for (const host of ['other.example', '192.0.2.2']) {
      await assert.rejects(
        get(`https://${host}/`, client(trusted)),
        failure('openstack-tls', /for other names than/),
      );
    }
    await assert.rejects(
      get(`https://${NAME}/`),
      failure('openstack-tls', /"cacert" in clouds\.yaml/),
    );
    assert.equal(
      (await get('https://other.example/', client({ ...PLAIN, verify: false }))).body,
      'ok',
    );
  });

  it('tells a server without TLS from one with a wrong certificate', async () => {
    await serve((_, response) => response.end('ok'));
    await assert.rejects(
      get(`https://${NAME}/`, client(trusted)),
      failure('openstack-tls', /written http:/),
    );
  });

  it('says which file of certificates is no good', () => {
    assert.throws(
      () => secureContextOf({ ...PLAIN, caFile: '/nowhere/ca.pem' }, {}),
      failure('openstack-tls', /nowhere/),
    );
  });

  it('takes the authorities of REQUESTS_CA_BUNDLE where the cloud names none', async () => {
    await serve((_, response) => response.end('ok'), true);
    const context = secureContextOf(PLAIN, { REQUESTS_CA_BUNDLE: join(directory, 'ca.pem') });
    const http = new HttpClient({
      connect,
      tls: { context, verify: true },
      observer: silentObserver,
    });
    assert.equal((await get(`https://${NAME}/`, http)).body, 'ok');
  });

  it('says what the jump host says', async () => {
    const prohibited: Connector['connect'] = () =>
      Promise.reject(new ConnectError('prohibited', 'the jump host prohibits it'));
    await assert.rejects(
      get(`https://${NAME}:5000/`, client(PLAIN, 5000, prohibited)),
      failure('openstack-unreachable', /PermitOpen api\.example:5000/),
    );
  });

  it('gives up a server that is silent, at any stage', async () => {
    const silent = createTcpServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    port = (silent.address() as AddressInfo).port;
    try {
      for (const url of [`http://${NAME}/`, `https://${NAME}/`]) {
        const began = performance.now();
        await assert.rejects(get(url, client(PLAIN, 200)), failure('openstack-timeout', /0\.2 s/));
        assert.ok(performance.now() - began < AT_ONCE_MS);
      }
    } finally {
      silent.close();
    }
    await serve((_, response) => response.writeHead(200).write('{'));
    await assert.rejects(
      get(`http://${NAME}/`, client(PLAIN, 200)),
      failure('openstack-timeout', /0\.2 s/),
    );
  });

  it('reads no more than MAX_ANSWER_BYTES', async () => {
    await serve((_, response) => response.end(Buffer.alloc(MAX_ANSWER_BYTES + 1)));
    await assert.rejects(get(`http://${NAME}/`), failure('openstack-answer', /more than 4 MiB/));
  });

  it('follows redirects of GET on the same host only, and not for ever', async () => {
    await serve((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://x');
      const to = searchParams.get('to');
      if (to !== null) response.writeHead(302, { Location: to }).end();
      else response.end(pathname);
    });
    const { body, url } = await get(`http://${NAME}/a?to=/b`);
    assert.deepEqual([body, url.pathname], ['/b', '/b']);
    await assert.rejects(
      get(`http://${NAME}/?to=http://evil.example/`),
      failure('openstack-answer', /evil/),
    );
    await assert.rejects(get(`http://${NAME}/?to=?to=`), failure('openstack-answer', /5 times/));
    const post = client().request({
      method: 'POST',
      url: new URL(`http://${NAME}/?to=/b`),
      body: 'secret',
    });
    await assert.rejects(post, failure('openstack-answer', /not followed with credentials/));
    assert.ok(opened.every(({ host }) => host === NAME));
  });
});

describe('Keystone', { skip: noCertificates }, () => {
  const cloud = (authUrl: string): Cloud => ({
    name: 'one',
    source: 'clouds.yaml',
    authUrl: new URL(authUrl),
    authType: 'password',
    authentication: () => ({
      method: {
        kind: 'password',
        user: { name: 'u', domainName: 'D' },
        password: new Secret('hunter2'),
      },
      scope: { kind: 'project', project: { id: 'p' } },
    }),
    region: undefined,
    interfaces: ['public'],
    tls: PLAIN,
    services: new Map(),
    warnings: [],
  });
  const CATALOG = {
    token: {
      catalog: [{ type: 'x', endpoints: [{ interface: 'public', url: 'http://x.example' }] }],
    },
  };

  function keystone(versions: (self: string) => object, posted: string[] = []): Promise<void> {
    return serve((request, response) => {
      if (request.method === 'GET') {
        response.writeHead(300).end(JSON.stringify(versions(`http://${request.headers.host}`)));
        return;
      }
      let body = '';
      request.on('data', (chunk: Buffer) => {
        body += chunk;
      });
      request.on('end', () => {
        posted.push(`${request.url} ${body}`);
        response.writeHead(201, { 'X-Subject-Token': 'tok' }).end(JSON.stringify(CATALOG));
      });
    });
  }

  const link = (href: string) => ({
    versions: {
      values: [
        { id: 'v2.0', links: [] },
        { id: 'v3.14', links: [{ rel: 'self', href }] },
      ],
    },
  });

  it('finds version 3 below an address without version', async () => {
    const posted: string[] = [];
    await keystone((self) => link(`${self}/identity/v3/`), posted);
    const { endpoints, foreignLinks } = await fetchCatalog(
      cloud(`http://${NAME}/identity`),
      client(),
    );
    assert.equal(endpoints[0]?.url, 'http://x.example/');
    assert.deepEqual(foreignLinks, []);
    assert.match(posted[0] ?? '', /^\/identity\/v3\/auth\/tokens /);
  });

  it('sends credentials to no other host, whatever the list of versions says', async () => {
    const posted: string[] = [];
    await keystone(() => link('http://internal.example:5000/v3/'), posted);
    const { foreignLinks } = await fetchCatalog(cloud(`http://${NAME}/identity/`), client());
    assert.deepEqual(
      foreignLinks.map(({ host }) => host),
      ['internal.example:5000'],
    );
    assert.match(posted[0] ?? '', /^\/identity\/v3\/auth\/tokens .*hunter2/);
    assert.deepEqual(new Set(opened.map(({ host }) => host)), new Set([NAME]));
  });

  it('stays where a redirect has led', async () => {
    const posted: string[] = [];
    await serve((request, response) => {
      const { host = '' } = request.headers;
      if (request.method === 'POST') {
        posted.push(`${host}${request.url}`);
        response.writeHead(201).end(JSON.stringify(CATALOG));
      } else if (host === NAME) response.writeHead(301, { Location: `http://${NAME}:5000/` }).end();
      else response.writeHead(300).end(JSON.stringify(link(`http://${NAME}/v3/`)));
    });
    const { foreignLinks } = await fetchCatalog(cloud(`http://${NAME}/`), client());
    assert.deepEqual(posted, [`${NAME}:5000/v3/auth/tokens`]);
    assert.deepEqual(
      foreignLinks.map(({ href }) => href),
      [`http://${NAME}/v3/`],
    );
  });

  it('says that there is no version 3', async () => {
    await keystone(() => ({ versions: { values: [{ id: 'v2.0' }] } }));
    await assert.rejects(
      fetchCatalog(cloud(`http://${NAME}/`), client()),
      failure('openstack-identity', /version 3/),
    );
  });

  for (const [status, answer, code, text] of [
    [404, 'Not here', 'openstack-identity', /answers 404/],
    [503, '<html>', 'openstack-identity', /try again later/],
    [401, '{"error":{"message":"no\\u001b[31m way"}}', 'openstack-auth-failed', /401: no way/],
    [201, '{"token":{}}', 'openstack-catalog', /no service catalog/],
    [201, 'no JSON', 'openstack-catalog', /no service catalog/],
  ] as const) {
    it(`answers ${status} ${answer}`, async () => {
      await serve((_, response) => response.writeHead(status).end(answer));
      await assert.rejects(fetchCatalog(cloud(`http://${NAME}/v3`), client()), failure(code, text));
    });
  }

  it('takes a token that Keystone does not find for one that has expired', async () => {
    const settings: Cloud = {
      ...cloud(`http://${NAME}/v3`),
      authentication: () => ({
        method: { kind: 'token', token: new Secret('t') },
        scope: { kind: 'none' },
      }),
    };
    const answer = (message: string) => JSON.stringify({ error: { code: 404, message } });
    let body = answer('Failed to validate token');
    await serve((_, response) => response.writeHead(404).end(body));
    await assert.rejects(
      fetchCatalog(settings, client()),
      failure('openstack-auth-failed', /issue a new one/),
    );
    body = answer('The requested URL was not found on the server.');
    await assert.rejects(
      fetchCatalog(settings, client()),
      failure('openstack-identity', /auth_url/),
    );
  });

  it('asks for a second factor', async () => {
    await serve((_, response) =>
      response.writeHead(401, { 'Openstack-Auth-Receipt': 'x' }).end('{}'),
    );
    await assert.rejects(
      fetchCatalog(cloud(`http://${NAME}/v3`), client()),
      failure('openstack-auth-failed', /second factor/),
    );
  });
});
