import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ForwardCapture, type OpenForward } from '../../../../src/capture/forward/forward.ts';
import { join as joinEnds } from '../../../../src/flow/join.ts';
import type { FlowRequest } from '../../../../src/flow/request.ts';
import { StreamConduit } from '../../../../src/flow/streamconduit.ts';
import type { Observer } from '../../../../src/observe/observer.ts';
import { until } from '../../../support/memorymachine.ts';
import { ipv6Missing } from '../../../support/requirements.ts';

const ADMITTED = 'tunnel_forward_connections_total';
const LOOPBACK = ['127.0.0.1', '::1'] as const;
const onPort = (port: number, host = 'db', text = `${port}:${host}:5432`): OpenForward => ({
  listen: { kind: 'port', hosts: LOOPBACK, port },
  destination: { host, port: 5432 },
  text,
});

describe('ForwardCapture', () => {
  let directory: string;
  let far: Server;
  let capture: ForwardCapture | undefined;
  const counters = new Map<string, number>();
  const said: string[] = [];
  const observer: Observer = {
    log: (_level, message) => void said.push(message),
    count: (name, n = 1) => void counters.set(name, (counters.get(name) ?? 0) + n),
  };

  beforeEach(async () => {
    counters.clear();
    said.length = 0;
    directory = mkdtempSync(join(tmpdir(), 'tunnel-forward-'));
    // Answers with what it has read, once the client has ended.
    far = createServer({ allowHalfOpen: true }, (socket) => {
      let read = 'read: ';
      socket.on('error', () => {});
      socket.setEncoding('utf8').on('data', (part: string) => {
        read += part;
      });
      socket.on('end', () => socket.end(read));
    });
    far.listen(0, '127.0.0.1');
    await once(far, 'listening');
  });
  afterEach(async () => {
    await capture?.close();
    capture = undefined;
    far.close();
    rmSync(directory, { recursive: true });
  });

  const farPort = () => {
    const bound = far.address();
    return typeof bound === 'object' && bound !== null ? bound.port : 0;
  };
  const dial = (request: FlowRequest) => {
    const socket = connect({ port: farPort(), host: '127.0.0.1', allowHalfOpen: true }, () => {
      const near = request.open();
      if (near === undefined) socket.destroy();
      else joinEnds(near, new StreamConduit(socket), () => {});
    });
    socket.on('error', () => {});
  };
  const start = async (
    forwards: readonly OpenForward[],
    accept: (request: FlowRequest) => void = dial,
    descriptors = 65_536,
  ) => {
    capture = new ForwardCapture({ forwards, observer, descriptors });
    await capture.start({ accept }, new AbortController().signal);
    return capture;
  };
  const portIn = ({ addresses }: ForwardCapture, index = 0) =>
    Number(/:([0-9]+) ->/.exec(addresses[index] ?? '')?.[1]);
  const client = async (port: number, host = '127.0.0.1'): Promise<Socket> => {
    const socket = connect({ port, host, allowHalfOpen: true });
    await once(socket, 'connect');
    return socket;
  };

  it('listens on one port of all addresses, and carries both ways with a half-close', {
    skip: ipv6Missing,
  }, async () => {
    const requests: FlowRequest[] = [];
    const running = await start([onPort(0)], (request) => {
      requests.push(request);
      dial(request);
    });
    const port = portIn(running);
    assert.deepEqual(running.addresses, [
      `127.0.0.1:${port} -> db:5432`,
      `[::1]:${port} -> db:5432`,
    ]);
    for (const host of LOOPBACK) {
      const socket = await client(port, host);
      socket.end('hello');
      assert.equal(await text(socket), 'read: hello');
      assert.equal(requests.at(-1)?.source.host, host);
      assert.deepEqual(requests.at(-1)?.destination, { host: 'db', port: 5432 });
      assert.deepEqual(requests.at(-1)?.peer, { host, port });
    }
    assert.equal(counters.get('tunnel_forward_connections_total'), 2);
  });

  it('passes on an end that came before the far side was connected', async () => {
    const waiting: FlowRequest[] = [];
    const running = await start([onPort(0)], (request) => waiting.push(request));
    const silent = await client(portIn(running));
    silent.end();
    const early = await client(portIn(running));
    early.end('early');
    await until(() => waiting.length === 2, 'both clients');
    // Both ends have arrived.
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const request of waiting) {
      assert.equal(request.signal.aborted, false);
      dial(request);
    }
    assert.deepEqual(await Promise.all([text(silent), text(early)]), ['read: ', 'read: early']);
  });

  it('resets a client whose destination refuses, and hears of one that gives up', async () => {
    const waiting: FlowRequest[] = [];
    const running = await start([onPort(0)], (request) => waiting.push(request));
    const refused = await client(portIn(running));
    await until(() => waiting.length === 1, 'the first');
    waiting[0]?.refuse('refused');
    const [error] = await once(refused, 'error');
    assert.equal(error.code, 'ECONNRESET');
    const impatient = await client(portIn(running));
    await until(() => waiting.length === 2, 'the second');
    impatient.resetAndDestroy();
    await until(() => waiting[1]?.signal.aborted === true, 'giving up');
  });

  it('admits so many clients of one forward, and keeps the others open', {
    skip: ipv6Missing,
  }, async () => {
    const running = await start([onPort(0), onPort(0, 'other')], () => {}, 12);
    const [full, free] = [portIn(running), portIn(running, 2)];
    const sockets = await Promise.all([client(full), client(full), client(full)]);
    const beyond = connect(full, '127.0.0.1');
    const [error] = await once(beyond, 'error');
    assert.equal(error.code, 'ECONNRESET');
    assert.equal(counters.get('tunnel_forward_over_limit_total'), 1);
    assert.deepEqual(said, [
      'a client of -L 0:db:5432 was turned away: 3 are already connected, 3 to all forwards',
    ]);
    const other = await client(free);
    assert.equal(counters.get('tunnel_forward_connections_total'), 4);
    sockets[0]?.resetAndDestroy();
    other.destroy();
    // Its place is free once its end has been seen.
    for (let admitted = 4; admitted < 5; admitted = counters.get(ADMITTED) ?? 0) {
      const again = connect(full, '127.0.0.1').on('error', () => {});
      sockets.push(again);
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const socket of sockets) socket.destroy();
  });

  it('says what is in use, and listens on the rest', { skip: ipv6Missing }, async () => {
    const taken = farPort();
    const running = await start([
      { ...onPort(taken), listen: { kind: 'port', hosts: ['127.0.0.1'], port: taken } },
      onPort(0),
    ]);
    assert.equal(running.addresses.length, 2);
    const [failure] = running.failures;
    assert.equal(failure?.error.code, 'forward-listen');
    assert.equal(
      failure?.error.message,
      `127.0.0.1:${taken} can't be forwarded to db:5432: the port is in use`,
    );
    assert.equal(counters.get('tunnel_forward_listen_failures_total'), 1);
  });

  it('goes on with one address if the port is in use at the other, and warns', {
    skip: ipv6Missing,
  }, async () => {
    const running = await start([onPort(farPort())]);
    assert.deepEqual(running.addresses, [`[::1]:${farPort()} -> db:5432`]);
    assert.deepEqual(said, [
      `127.0.0.1:${farPort()} can't be forwarded to db:5432: the port is in use`,
    ]);
    assert.deepEqual(running.failures, []);
  });

  it('leaves out an address that this machine does not have', async () => {
    const hosts = ['127.0.0.1', '2001:db8::99'] as const;
    const running = await start([{ ...onPort(0), listen: { kind: 'port', hosts, port: 0 } }]);
    assert.equal(running.addresses.length, 1);
    assert.deepEqual(said, []);
    await running.change([
      { ...onPort(0), listen: { kind: 'port', hosts: ['192.0.2.77'], port: 0 } },
    ]);
    assert.match(running.failures[0]?.error.message ?? '', /no such address/);
  });

  it('says in words that the name of the address to listen on does not resolve', async () => {
    const running = await start([onPort(0)]);
    const hosts = ['no-such-name.invalid'] as const;
    await running.change([{ ...onPort(0), listen: { kind: 'port', hosts, port: 0 } }]);
    const { message, hint } = running.failures[0]?.error ?? {};
    assert.match(
      message ?? '',
      /: (the name .* does not resolve here|.* no address of that name)$/,
    );
    assert.match(hint ?? '', /write the address itself/);
  });

  describe('with a Unix socket', () => {
    const onPath = (path: string, replaces = false): OpenForward => ({
      listen: { kind: 'socket', path, mode: 0o600, replaces },
      destination: { host: 'db', port: 5432 },
      text: `${path}:db:5432`,
    });

    it('is open to its user only, carries both ways, and is removed', async () => {
      const path = join(directory, 'db.sock');
      const running = await start([onPath(path)]);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.deepEqual(running.addresses, [`${path} -> db:5432`]);
      const socket = connect({ path, allowHalfOpen: true });
      socket.end('hello');
      assert.equal(await text(socket), 'read: hello');
      await running.close();
      assert.equal(existsSync(path), false);
    });

    it('closes a client whose destination refuses', async () => {
      const path = join(directory, 'db.sock');
      await start([onPath(path)], (request) => request.refuse('refused'));
      const socket = connect(path);
      socket.on('error', () => {});
      await once(socket, 'close');
    });

    it('takes the place of a socket that nobody listens on, and of nothing else', async () => {
      const path = join(directory, 'db.sock');
      writeFileSync(path, '');
      const running = await start([onPath(path)]);
      assert.match(running.failures[0]?.error.message ?? '', /another file, which is no socket/);
      await running.change([onPath(path, true)]);
      assert.match(running.failures[0]?.error.message ?? '', /another file, which is no socket/);
      rmSync(path);
      const other = createServer().listen(path);
      await once(other, 'listening');
      await running.change([onPath(path)]);
      assert.match(running.failures[0]?.error.message ?? '', /another program listens there/);
      await running.change([onPath(path, true)]);
      assert.deepEqual(running.failures, []);
      other.close();
    });
  });

  it('changes: the new ones listen, of the former ones the connections go on', async () => {
    const requests: FlowRequest[] = [];
    const running = await start([onPort(0, 'a')], (request) => {
      requests.push(request);
      dial(request);
    });
    const before = portIn(running);
    const socket = await client(before);
    socket.write('one ');
    await until(() => requests.length === 1, 'the client');
    await running.change([onPort(before, 'b')]);
    assert.equal(portIn(running), before);
    const next = await client(before);
    next.end('x');
    assert.equal(await text(next), 'read: x');
    assert.deepEqual(
      requests.map(({ destination }) => destination.host),
      ['a', 'b'],
    );
    socket.end('two');
    assert.equal(await text(socket), 'read: one two');
    await running.change([]);
    assert.deepEqual(running.addresses, []);
    await assert.rejects(client(before), /ECONNREFUSED/);
  });

  it('resets all connections when it closes, also those of former forwards', async () => {
    const running = await start([onPort(0, 'a')]);
    const port = portIn(running);
    const former = await client(port);
    await running.change([onPort(0, 'b')]);
    const current = await client(portIn(running));
    const errors = [former, current].map((socket) => once(socket, 'error'));
    await running.close();
    for (const [error] of await Promise.all(errors)) assert.equal(error.code, 'ECONNRESET');
    assert.equal(await running.ended, undefined);
  });
});
