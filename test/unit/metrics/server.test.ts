/** The listener of --metrics: what it answers, and what hangs or reads slowly. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MAX_CLIENTS, MAX_HEAD_BYTES, MetricsServer } from '../../../src/metrics/server.ts';
import { Log } from '../../../src/observe/log.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-metrics-'));
after(() => rmSync(directory, { recursive: true }));

class Run {
  readonly observer = new Log({ level: 'error', sink: { broken: false, dropped: 0, write() {} } });
  made = 0;
  readonly server: MetricsServer;

  constructor(
    place: ConstructorParameters<typeof MetricsServer>[0]['place'],
    text: () => string,
    clientMs?: number,
  ) {
    const { observer } = this;
    this.server = new MetricsServer({
      place,
      observer,
      text: async () => {
        this.made++;
        return text();
      },
      ...(clientMs === undefined ? {} : { clientMs }),
    });
  }

  counted(name: string): number | undefined {
    return this.observer.snapshot().find((counter) => counter.name === name)?.value;
  }
}

const PORT = { kind: 'port', host: '127.0.0.1', port: 0 } as const;
const socketAt = (name: string) => ({ kind: 'socket', path: join(directory, name) }) as const;
const portOf = ({ server }: Run): number => Number(server.where.split(':').at(-1));

/** All that comes until the server closes. */
function ask(to: { path: string } | { port: number; host: string }, text: string): Promise<string> {
  return new Promise((resolve) => {
    let got = '';
    const socket = connect(to);
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(got));
    socket.write(text);
  });
}

async function connected(path: string): Promise<Socket> {
  const client = connect(path);
  client.on('error', () => {});
  await new Promise<void>((resolve) => client.once('connect', resolve));
  return client;
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });
}

describe('MetricsServer', () => {
  it('answers GET and HEAD of /metrics, and nothing else', async () => {
    const place = socketAt('one.sock');
    const run = new Run(place, () => 'tunnel_x 1\n');
    await run.server.start();
    assert.equal(statSync(place.path).mode & 0o777, 0o600);
    const get = await ask(place, 'GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(get, /^HTTP\/1\.1 200 .*Content-Type: text\/plain; version=0\.0\.4/s);
    assert.match(get, /\r\n\r\ntunnel_x 1\n$/);
    const head = await ask(place, 'HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(head, /^HTTP\/1\.1 200 .*Content-Length: 11\r\n.*\r\n\r\n$/s);
    const refusals = [
      ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 404 /],
      ['GET /metrics/x HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 404 /],
      [
        'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
        /^HTTP\/1\.1 405 .*Allow: GET/s,
      ],
      ['SSH-2.0-x\r\n\r\n', /^HTTP\/1\.1 400 /],
      [`GET /metrics HTTP/1.1\r\nX: ${'x'.repeat(MAX_HEAD_BYTES)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ] as const;
    for (const [text, answer] of refusals) assert.match(await ask(place, text), answer);
    assert.equal(run.counted('tunnel_metrics_bad_requests_total'), refusals.length);
    assert.equal(run.counted('tunnel_metrics_requests_total'), 2);
    assert.equal(run.made, 1, 'two within FRESH_MS share one text');
    await run.server.close();
    assert.throws(() => statSync(place.path), /ENOENT/);
  });

  it('answers no web page that resolves a name of its own to loopback', async () => {
    const run = new Run(PORT, () => 'tunnel_x 1\n');
    await run.server.start();
    const at = { host: '127.0.0.1', port: portOf(run) };
    const asked = (host: string) => ask(at, `GET /metrics HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    assert.match(await asked('evil.example:9470'), /^HTTP\/1\.1 403 /);
    assert.match(await asked('127.0.0.1:9470'), /^HTTP\/1\.1 200 /);
    assert.match(await asked('[::1]:9470'), /^HTTP\/1\.1 200 /);
    assert.match(await asked('localhost'), /^HTTP\/1\.1 200 /);
    await run.server.close();
  });

  it('turns away who is too many', async () => {
    const place = socketAt('many.sock');
    const run = new Run(place, () => '');
    await run.server.start();
    const clients: Socket[] = [];
    for (let i = 0; i < MAX_CLIENTS; i++) clients.push(await connected(place.path));
    assert.equal(await ask(place, ''), '');
    assert.equal(run.counted('tunnel_metrics_over_limit_total'), 1);
    for (const client of clients) client.destroy();
    await run.server.close();
  });

  it('closes who asks nothing or reads nothing', async () => {
    const place = socketAt('slow.sock');
    const run = new Run(place, () => 'x'.repeat(8 * 1024 * 1024), 300);
    await run.server.start();
    const clients: Socket[] = [];
    for (let i = 0; i < MAX_CLIENTS; i++) {
      const client = await connected(place.path);
      // Half of them ask, and read nothing of the answer.
      if (i % 2 === 0) client.pause().write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
      clients.push(client);
    }
    for (const client of clients.filter((_, i) => i % 2 === 1)) await closed(client);
    for (const client of clients) client.resume();
    await Promise.all(clients.map(closed));
    assert.equal(run.counted('tunnel_metrics_timeouts_total'), MAX_CLIENTS);
    await run.server.close();
  });

  it('answers 500 when the metrics fail, and goes on', async () => {
    const place = socketAt('failing.sock');
    const run = new Run(place, () => {
      throw new Error('broken');
    });
    await run.server.start();
    const answer = await ask(place, 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(answer, /^HTTP\/1\.1 500 /);
    assert.doesNotMatch(answer, /broken/);
    await run.server.close();
  });

  it('says why it cannot listen', async () => {
    const unavailable = { code: 'metrics-unavailable' };
    const first = new Run(socketAt('taken.sock'), () => '');
    await first.server.start();
    await assert.rejects(new Run(socketAt('taken.sock'), () => '').server.start(), unavailable);
    await assert.rejects(new Run(socketAt('no/dir.sock'), () => '').server.start(), {
      ...unavailable,
      hint: /^name a new file in a directory of yours/,
    });
    await assert.rejects(
      new Run({ kind: 'socket', path: directory }, () => '').server.start(),
      unavailable,
    );
    await first.server.close();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const taken = new Run({ kind: 'port', host: '127.0.0.1', port }, () => '');
    await assert.rejects(taken.server.start(), { ...unavailable, hint: /^another program/ });
    other.close();
    if (process.geteuid?.() === 0) return;
    chmodSync(directory, 0o500);
    await assert.rejects(new Run(socketAt('new.sock'), () => '').server.start(), unavailable);
    chmodSync(directory, 0o700);
  });
});
