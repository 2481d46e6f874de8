/** Reloads of `tunnel proxy`, and of a cloud's catalog, at a real sshd on the loopback device. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child, run } from '../support/process.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';
import { MAIN } from '../support/tunnel.ts';

const LIMIT_MS = 30_000;

/** Not loopback's: a cloud's catalog may not name that. */
const own = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

describe('a reload of tunnel proxy', { skip: sshdMissing }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-reload-'));
  const targets = join(directory, 'targets');
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory, RUNTIME_DIRECTORY: directory };
  const services: Server[] = [];
  let sshd: LoopbackSshd;
  let keystone: HttpServer;
  /** The ports of the cloud's services. */
  let catalog: number[] = [];
  let child: Child | undefined;

  const portOf = (server: Server | HttpServer) => (server.address() as AddressInfo).port;
  const service = (i: number): number => portOf(services[i] as Server);

  before(async () => {
    sshd = await LoopbackSshd.start();
    for (let i = 0; i < 2; i++) {
      const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket));
      echo.listen(0, '0.0.0.0');
      await once(echo, 'listening');
      services.push(echo);
    }
    keystone = createHttpServer((_request, response) => {
      const entries = catalog.map((port, i) => ({
        type: ['compute', 'network'][i],
        endpoints: [{ interface: 'public', url: `http://${own}:${port}/` }],
      }));
      response.writeHead(201, { 'X-Subject-Token': 't' });
      response.end(JSON.stringify({ token: { catalog: entries } }));
    });
    keystone.listen(0, '127.0.0.1');
    await once(keystone, 'listening');
    const auth = `auth_url: "http://127.0.0.1:${portOf(keystone)}/v3", username: u, password: p, user_domain_id: default`;
    writeFileSync(
      join(directory, 'clouds.yaml'),
      `clouds:\n  demo:\n    auth: {${auth}, project_id: x}\n`,
    );
  });
  afterEach(async () => {
    await child?.stop('SIGINT');
    child = undefined;
  });
  after(async () => {
    for (const echo of services) echo.close();
    keystone?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function start(...args: readonly string[]): Promise<number> {
    const hostKey = readFileSync(join(sshd.directory, 'host_ed25519.pub'), 'utf8').trim();
    const remote = `${sshd.user}@127.0.0.1:${sshd.port}`;
    const ssh = ['-r', remote, '-i', sshd.userKey, '-F', 'none', '--host-key', hostKey];
    const own = ['--name', 'lab', '--socks', '127.0.0.1:0', '--only-targets'];
    child = await Child.start(
      ['setsid', process.execPath, MAIN, 'proxy', ...ssh, ...own, ...args],
      { env, cwd: directory },
    );
    const [, port] = await child.waitForLine(/proxy at 127\.0\.0\.1:(\d+)/, LIMIT_MS);
    await child.waitForLine(/tunnel: ready\n/, LIMIT_MS);
    return Number(port);
  }

  async function reload(expected: RegExp): Promise<void> {
    const argv = [process.execPath, MAIN, 'reload', 'lab'];
    const { stdout, stderr, status } = await run(argv, { env, cwd: directory, timeout: LIMIT_MS });
    assert.match(stdout + stderr, expected);
    assert.equal(status, 0);
  }

  it('changes what it carries, and keeps the connections that it has', async () => {
    writeFileSync(targets, `127.0.0.1:${service(0)}\n`);
    const proxy = await start('-s', targets);
    const kept = await throughProxy(proxy, service(0));
    await assert.rejects(throughProxy(proxy, service(1)));
    writeFileSync(targets, `127.0.0.1:${service(1)}\n`);
    await reload(/reloaded: 1 target added, 1 removed/);
    await exchange(await throughProxy(proxy, service(1)), 1_000);
    await assert.rejects(throughProxy(proxy, service(0)));
    await exchange(kept, 1_000);
    await reload(/reloaded: nothing has changed/);
  });

  const skip = own === undefined && 'this machine has no address except loopback';
  it('learns of a service that the cloud has got, and of one that it has lost', {
    skip,
  }, async () => {
    catalog = [service(0)];
    const proxy = await start('--os-cloud', 'demo');
    const kept = await throughProxy(proxy, service(0), own);
    await assert.rejects(throughProxy(proxy, service(1), own));
    // Nothing in a file has changed: an apply has added it.
    catalog = [service(0), service(1)];
    await reload(/reloaded: 1 target added/);
    await exchange(await throughProxy(proxy, service(1), own), 1_000);
    catalog = [service(1)];
    await reload(/reloaded: 1 target removed/);
    await assert.rejects(throughProxy(proxy, service(0), own));
    await exchange(kept, 1_000);
  });
});
