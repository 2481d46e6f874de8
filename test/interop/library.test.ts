/** The library at a real sshd on the loopback device, and the programs in examples/. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, get as httpGet, type IncomingMessage } from 'node:http';
import { createServer as createHttpsServer, get as httpsGet } from 'node:https';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Agent, fetch } from 'undici';
import { ConnectError, type OpenTunnelOptions, openTunnel } from '../../src/library.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { startPostgres } from '../support/postgresstandin.ts';
import { StandInCloud } from '../support/standincloud.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

describe('openTunnel', { skip: sshdMissing, timeout: 60_000 }, () => {
  let sshd: LoopbackSshd;
  let directory: string;
  let options: OpenTunnelOptions;
  const servers: Server[] = [];
  const serving = async (server: Server): Promise<number> => {
    servers.push(server);
    return listen(server);
  };

  before(async () => {
    sshd = await LoopbackSshd.start();
    directory = mkdtempSync(join(tmpdir(), 'tunnel-library-'));
    const hostKey = readFileSync(join(sshd.directory, 'host_ed25519.pub'), 'utf8');
    options = {
      remote: `${sshd.user}@127.0.0.1:${sshd.port}`,
      identity: sshd.userKey,
      hostKey: hostKey.trim().split(' ').slice(0, 2).join(' '),
      config: 'none',
      sshOptions: ['IdentityAgent=none'],
    };
    mkdirSync(join(directory, '.ssh'));
    writeFileSync(join(directory, 'known_hosts'), await sshd.knownHostsLine());
    const lines = [
      'Host jump',
      'HostName 127.0.0.1',
      `Port ${sshd.port}`,
      `User ${sshd.user}`,
      `IdentityFile ${sshd.userKey}`,
      'IdentityAgent none',
      `UserKnownHostsFile ${join(directory, 'known_hosts')}`,
    ];
    writeFileSync(join(directory, '.ssh/config'), `${lines.join('\n')}\n`);
  });
  after(async () => {
    for (const server of servers) server.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('gives streams that end each way by themselves', async () => {
    await using tunnel = await openTunnel(options);
    const port = await serving(
      createServer({ allowHalfOpen: true }, (socket) => {
        // Answers only when all has come.
        let received = 0;
        socket.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
        socket.on('end', () => socket.end(`${received} bytes`));
      }),
    );
    const stream = await tunnel.connect(`127.0.0.1:${port}`);
    stream.end('x'.repeat(3_000_000));
    assert.equal(await text(stream), '3000000 bytes');
  });

  it('passes back-pressure on: a reader that stops stops the server', async () => {
    await using tunnel = await openTunnel({ ...options, maxWindow: 65_536 });
    let sent = 0;
    let stalled: () => void = () => {};
    const whenStalled = new Promise<void>((resolve) => {
      stalled = resolve;
    });
    const total = 64 * 1024 * 1024;
    const port = await serving(
      createServer((socket) => {
        const chunk = Buffer.alloc(65_536);
        socket.on('error', () => socket.destroy());
        const more = (): void => {
          while (sent < total) {
            sent += chunk.length;
            if (!socket.write(chunk)) {
              // Buffers of the kernel and of sshd may still take some.
              const timer = setTimeout(stalled, 2_000);
              socket.once('drain', () => {
                clearTimeout(timer);
                more();
              });
              return;
            }
          }
          socket.end();
        };
        more();
      }),
    );
    const stream = await tunnel.connect({ host: '127.0.0.1', port });
    await whenStalled;
    assert.ok(sent < total, `${sent} bytes were sent`);
    let received = 0;
    for await (const chunk of stream) received += (chunk as Buffer).length;
    assert.equal(received, total);
  });

  it('tells the truth about a connect', async () => {
    await using tunnel = await openTunnel(options);
    const closed = createServer();
    const port = await listen(closed);
    await new Promise((resolve) => closed.close(resolve));
    await assert.rejects(tunnel.connect({ host: '127.0.0.1', port }), (error) => {
      assert.ok(error instanceof ConnectError);
      assert.equal(error.code, 'connect-refused');
      assert.equal(error.refusal, 'refused');
      return true;
    });
    await assert.rejects(tunnel.connect('10.0.0.1'), { code: 'usage' });
    await assert.rejects(tunnel.connect('10.0.0.1:0'), { code: 'usage' });
    const reason = new Error('enough');
    await assert.rejects(
      tunnel.connect('127.0.0.1:1', { signal: AbortSignal.abort(reason) }),
      (error) => error === reason,
    );
  });

  it('opens only what the allow-list has', async () => {
    const port = await serving(createServer((socket) => socket.end('here')));
    await using tunnel = await openTunnel({ ...options, allow: [`127.0.0.1:${port}`] });
    assert.equal(await text(await tunnel.connect(`127.0.0.1:${port}`)), 'here');
    await assert.rejects(tunnel.connect(`127.0.0.1:${sshd.port}`), { refusal: 'prohibited' });
  });

  it('says what is wrong with its options, by their names', async () => {
    const wrong = (more: object) => openTunnel({ ...options, ...more });
    await assert.rejects(wrong({ remote: '' }), /^UsageError: remote: no jump host is given/);
    await assert.rejects(wrong({ hostkey: 'x' }), /has no option "hostkey"/);
    await assert.rejects(wrong({ hostKey: 'x' }), /^UsageError: hostKey/);
    await assert.rejects(wrong({ keepalive: -1 }), /^UsageError: keepalive/);
    await assert.rejects(wrong({ allow: [] }), /^UsageError: allow/);
  });

  it('asks nobody without a prompt, and the prompt otherwise', async () => {
    const unknown = {
      ...options,
      hostKey: [],
      sshOptions: ['IdentityAgent=none', `UserKnownHostsFile=${join(directory, 'new_hosts')}`],
    };
    await assert.rejects(openTunnel(unknown), /host-key|key/);
    const asked: string[] = [];
    await using tunnel = await openTunnel({
      ...unknown,
      prompt({ kind, text }) {
        asked.push(`${kind}: ${text}`);
        return true;
      },
    });
    assert.equal(asked.length, 1);
    assert.match(asked[0] ?? '', /^confirm: /);
    assert.ok(tunnel);
  });

  it('gives up when the signal says so, and closes', async () => {
    const silent = createServer(() => {});
    const port = await serving(silent);
    const signal = AbortSignal.timeout(200);
    const remote = `user@127.0.0.1:${port}`;
    await assert.rejects(
      openTunnel({ ...options, remote, signal }),
      (error) => error === signal.reason,
    );
    const stop = new AbortController();
    const tunnel = await openTunnel({ ...options, signal: stop.signal });
    const closed = once(tunnel.events, 'closed');
    stop.abort();
    await closed;
    await assert.rejects(tunnel.connect('127.0.0.1:1'), { code: 'link-closed' });
  });

  it('tells of the link, and dials again', async () => {
    const tunnel = await openTunnel(options);
    const told: string[] = [];
    for (const name of ['up', 'lost', 'reconnecting', 'reconnected', 'closed'] as const)
      tunnel.events.on(name, () => told.push(name));
    await once(tunnel.events, 'up');
    const again = once(tunnel.events, 'reconnected');
    await sshd.killConnections();
    await again;
    const port = await serving(createServer((socket) => socket.end('again')));
    assert.equal(await text(await tunnel.connect(`127.0.0.1:${port}`)), 'again');
    const closed = once(tunnel.events, 'closed');
    await tunnel.close();
    await closed;
    assert.deepEqual(told, ['up', 'lost', 'reconnecting', 'reconnected', 'closed']);
    await tunnel.close();
  });

  it('is an agent of node:http, which keeps connections', async () => {
    await using tunnel = await openTunnel(options);
    let connections = 0;
    const server = createHttpServer((request, response) => response.end(`for ${request.url}`));
    server.on('connection', () => {
      connections += 1;
    });
    const port = await serving(server);
    for (const path of ['/1', '/2']) {
      const request = httpGet({ host: '127.0.0.1', port, path, agent: tunnel.httpAgent });
      const [answer] = (await once(request, 'response')) as [IncomingMessage];
      assert.equal(await text(answer), `for ${path}`);
    }
    assert.equal(connections, 1);
    const closed = createServer();
    const nowhere = await listen(closed);
    await new Promise((resolve) => closed.close(resolve));
    const refused = httpGet({ host: '127.0.0.1', port: nowhere, agent: tunnel.httpAgent });
    const [error] = await once(refused, 'error').catch((reason: unknown) => [reason]);
    assert.equal((error as { code?: string }).code, 'connect-refused');
  });

  it('is an agent of node:https, and checks certificates', async () => {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name));
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-keyout', key ?? '', '-out', cert ?? '', '-days', '2', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost'],
    ]);
    assert.equal(made.status, 0, made.stderr.toString());
    const ca = readFileSync(cert ?? '');
    const server = createHttpsServer({ key: readFileSync(key ?? ''), cert: ca }, (_, response) =>
      response.end('secret'),
    );
    const port = await serving(server);
    await using tunnel = await openTunnel(options);
    const request = httpsGet({ host: 'localhost', port, ca, agent: tunnel.httpsAgent });
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    assert.equal(await text(answer), 'secret');
    const other = httpsGet({ host: '127.0.0.1', port, ca, agent: tunnel.httpsAgent });
    await assert.rejects(once(other, 'response'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    const dispatcher = new Agent({ connect: tunnel.undiciConnect({ ca }) });
    const fetched = await fetch(`https://localhost:${port}/`, { dispatcher });
    assert.equal(await fetched.text(), 'secret');
    await dispatcher.close();
  });

  it('answers names with themselves, so that nothing is dialled past it', async () => {
    await using tunnel = await openTunnel(options);
    const socket = connect({ host: 'db.internal', port: 5432, lookup: tunnel.lookup });
    await assert.rejects(once(socket, 'connect'), { code: 'ERR_INVALID_IP_ADDRESS' });
  });

  /** An example of examples/, with HOME where ssh_config has the jump host. */
  const example = async (name: string, args: readonly string[], environment: object = {}) => {
    const env = { PATH: process.env['PATH'], HOME: directory, ...environment };
    const { stdout, stderr } = await run(
      process.execPath,
      [join(ROOT, 'examples', name), 'jump', ...args],
      { env, timeout: 30_000 },
    );
    assert.equal(stderr, '');
    return stdout;
  };

  it('fetches a page (examples/fetch.mjs)', async () => {
    const port = await serving(createHttpServer((_, response) => response.end('a page')));
    assert.equal(await example('fetch.mjs', [`http://127.0.0.1:${port}/`]), 'a page');
  });

  it('asks a PostgreSQL server (examples/postgres.mjs)', async () => {
    const server = await startPostgres('PostgreSQL 17');
    try {
      const args = ['127.0.0.1', String(server.port)];
      const said = await example('postgres.mjs', args, { PGUSER: 'app', PGSSLMODE: 'disable' });
      assert.equal(said, 'PostgreSQL 17\n');
    } finally {
      server.close();
    }
  });

  it('lists the images of a cloud (examples/openstack.mjs)', async () => {
    const cloud = await StandInCloud.start();
    try {
      const said = await example('openstack.mjs', [], cloud.environment);
      assert.match(said, /^\S+ debian-12\n\S+ debian-13\n$/);
    } finally {
      await cloud.close();
    }
  });
});
