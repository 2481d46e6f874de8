import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import type { Destination } from '../../../src/net/destination.ts';
import { MAX_ASKED, SocketSources, TRIES } from '../../../src/system/socketsources.ts';

/** `PORT [LOCAL_PORT]`: connects to the port of this machine, and prints its own. */
const CONNECT = `
  const [port, localPort = 0] = process.argv.slice(1).map(Number);
  const socket = require('node:net').connect({ host: '127.0.0.1', port, localPort }, () =>
    console.log(socket.localPort));`;

/** A listener here, and a child that is connected to it. */
describe('SocketSources, with the real kernel', () => {
  const servers: Server[] = [];
  const children: ChildProcess[] = [];
  let child: ChildProcess;
  let peer: Destination;
  let socket: Destination;

  async function listen(): Promise<Destination> {
    const server = createServer((accepted) => {
      accepted.on('error', () => {}).resume();
    }).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }

  /** A process that is connected to it, and its own end. */
  async function connectTo(to: Destination, localPort = 0): Promise<[ChildProcess, Destination]> {
    const client = spawn(process.execPath, ['-e', CONNECT, `${to.port}`, `${localPort}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    children.push(client);
    assert.ok(client.stdout !== null);
    const [port] = await once(client.stdout, 'data', { signal: AbortSignal.timeout(20_000) });
    return [client, { host: '127.0.0.1', port: Number(port) }];
  }

  before(async () => {
    peer = await listen();
    [child, socket] = await connectTo(peer);
  });
  after(() => {
    for (const client of children) client.kill('SIGKILL');
    for (const server of servers) server.close();
  });

  for (const [what, options] of [
    ['asked for one socket', {}],
    ['from its tables', { ask: null }],
  ] as const)
    it(`tells two processes apart that connect from one port, ${what}`, async () => {
      const peers = [await listen(), await listen()];
      // A socket that chose its port by itself would not share it.
      const { port } = await listen();
      servers.pop()?.close();
      const expected: string[] = [];
      for (const to of peers) {
        const [client] = await connectTo(to, port);
        expected.push(`${client.pid} (node)`);
      }
      const sources = new SocketSources(options);
      const found = peers.map(async (to) => {
        const source = await sources.sourceOf({ host: '127.0.0.1', port }, to);
        return source?.process;
      });
      assert.deepEqual(await Promise.all(found), expected);
    });

  for (const [what, options] of [
    ['asked for one socket', {}],
    ['from its tables', { ask: null }],
  ] as const)
    it(`tells user and process, ${what}`, async () => {
      const sources = new SocketSources(options);
      assert.equal(sources.sourceOf(socket, peer) instanceof Promise, 'ask' in options);
      const both = [sources.sourceOf(socket, peer), sources.sourceOf(socket, peer)];
      for (const source of await Promise.all(both)) {
        assert.equal(source?.user, process.getuid?.());
        assert.equal(await source?.process, `${child.pid} (node)`);
      }
    });

  it('tells of another user without the process, and of nobody', async () => {
    const sources = new SocketSources({ user: 4711 });
    const source = await sources.sourceOf(socket, peer);
    assert.deepEqual(source, { user: process.getuid?.(), process: undefined });
    assert.equal(await sources.sourceOf({ ...socket, port: 1 }, peer), undefined);
    const tables = new SocketSources({ ask: null });
    assert.equal(await tables.sourceOf({ ...socket, port: 1 }, peer), undefined);
  });

  it('finds what still connects, and not what has been closed', async () => {
    const sources = new SocketSources();
    const own = connect(peer.port, peer.host);
    await once(own, 'connect');
    const end = { host: '127.0.0.1', port: own.localPort ?? 0 };
    assert.equal((await sources.sourceOf(end, peer))?.user, process.getuid?.());
    own.resetAndDestroy();
    await once(own, 'close');
    assert.equal(await sources.sourceOf(end, peer), undefined);
  });
});

describe('SocketSources', () => {
  const LINE = (port: number, state: string, user: number, inode: number) =>
    `  0: 0100007F:${port.toString(16).padStart(4, '0').toUpperCase()} 0200007F:01BB ${state} 00000000:00000000 02:00000000 00000000 ${user} 0 ${inode} 2 0\n`;
  const PEER = { host: '127.0.0.2', port: 443 };
  const at = (port: number) => ({ host: '127.0.0.1', port });

  it('reads the tables once for all who ask together, and IPv6 only for those not found', async () => {
    const read: string[] = [];
    const sources = new SocketSources({
      ask: null,
      user: 1,
      table: async (name) => {
        read.push(name);
        return LINE(1, '02', 7, 1) + LINE(2, '01', 8, 2) + LINE(3, '06', 0, 0);
      },
    });
    const found = await Promise.all([1, 2, 1].map((port) => sources.sourceOf(at(port), PEER)));
    assert.deepEqual(
      found.map((source) => source?.user),
      [7, 8, 7],
    );
    assert.deepEqual(read, ['tcp']);
    assert.equal(await sources.sourceOf(at(3), PEER), undefined, 'TIME-WAIT');
    assert.deepEqual(read, ['tcp', 'tcp', 'tcp6', 'tcp', 'tcp6']);
  });

  it(`looks ${TRIES} times for what a table does not show`, async () => {
    let looks = 0;
    const sources = new SocketSources({
      ask: null,
      user: 1,
      table: async (name) => (name === 'tcp' && ++looks === TRIES ? LINE(1, '02', 7, 1) : ''),
    });
    const [shown, never] = await Promise.all(
      [1, 2].map((port) => sources.sourceOf(at(port), PEER)),
    );
    assert.equal(shown?.user, 7);
    assert.equal(never, undefined);
    assert.equal(looks, TRIES);
  });

  it('does without what it can not ask, or read', async () => {
    const sources = new SocketSources({
      ask: () => {
        throw new Error('EINVAL');
      },
      table: () => Promise.reject(new Error('EACCES')),
    });
    assert.equal(await sources.sourceOf(at(1), PEER), undefined);
  });

  it(`lets ${MAX_ASKED} wait`, async () => {
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const sources = new SocketSources({
      ask: null,
      user: 1,
      table: async () => {
        await gate;
        return LINE(1, '01', 7, 1);
      },
    });
    const asked = Array.from({ length: MAX_ASKED + 1 }, () => sources.sourceOf(at(1), PEER));
    assert.equal(await asked.at(-1), undefined);
    go();
    assert.equal((await asked[0])?.user, 7);
    assert.equal((await asked.at(-2))?.user, 7);
  });

  it('knows all loopback addresses as here, and those of devices', () => {
    const sources = new SocketSources({ addresses: () => new Set(['192.0.2.2']) });
    for (const host of ['127.0.0.1', '127.3.2.1', '::1', '192.0.2.2'])
      assert.equal(sources.isHere(host), true, host);
    assert.equal(sources.isHere('192.0.2.3'), false);
  });

  it('without descriptors knows as much as before, and nobody’s process', async (t) => {
    t.mock.timers.enable({ apis: ['Date'] });
    let now = 0;
    t.mock.method(performance, 'now', () => now);
    let addresses: ReadonlySet<string> | undefined = new Set(['192.0.2.2']);
    const sources = new SocketSources({
      ask: () => ({ user: 7, inode: '1' }),
      user: 7,
      proc: '/nowhere',
      addresses: () => {
        if (addresses === undefined) throw new Error('uv_interface_addresses returned EMFILE');
        return addresses;
      },
    });
    assert.equal(sources.isHere('192.0.2.2'), true);
    addresses = undefined;
    now += 60_000;
    assert.equal(sources.isHere('192.0.2.2'), true);
    assert.equal(sources.isHere('192.0.2.3'), false);
    addresses = new Set(['192.0.2.3']);
    now += 60_000;
    assert.equal(sources.isHere('192.0.2.3'), true);
    for (let twice = 0; twice < 2; twice++)
      assert.equal(await (await sources.sourceOf(at(1), PEER))?.process, undefined);
  });
});
