/** Whose a socket is: tables of a kernel, and this one. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { endianness } from 'node:os';
import { describe, it } from 'node:test';
import { MAX_WAITING, SocketUsers } from '../../../src/system/socketusers.ts';

const HEAD =
  '   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode';

function end(address: string, port: number): string {
  const octets = Buffer.from(address, 'hex');
  if (endianness() === 'LE') octets.swap32();
  const hex = (port + 0x1_0000).toString(16).slice(1);
  return `${octets.toString('hex')}:${hex}`.toUpperCase();
}

function line(address: string, port: number, user: number, state = '07', peer = '00000000') {
  const ends = `${end(address, port)} ${end(peer, peer === '00000000' ? 0 : 53)}`;
  return `  12: ${ends} ${state} 00000000:00000000 00:00000000 00000000  ${user}        0 99 2 0 0`;
}

const TABLES: Readonly<Record<string, string>> = {
  udp: [
    HEAD,
    line('c6120001', 40_000, 1000),
    line('00000000', 40_001, 1001),
    line('c6120001', 40_001, 1002),
    line('c0a80105', 40_002, 1003),
  ].join('\n'),
  udp6: [
    HEAD,
    line('00000000000000000000ffffc6120001', 40_003, 1004),
    line('00000000000000000000000000000000', 40_004, 1005),
    line('20010002000000000000000000000001', 40_005, 1006),
  ].join('\n'),
  // One port, with two peers; what listens there, and what has ended.
  tcp: [
    HEAD,
    line('c6120001', 40_000, 1007, '02', 'c6120035'),
    line('c6120001', 40_000, 1008, '01', 'c6120135'),
    line('c6120001', 40_000, 1009, '0A'),
    line('c6120001', 40_000, 1010, '06', 'c6120036'),
  ].join('\n'),
};

function setUp(gate: Promise<void> = Promise.resolve()) {
  const looks: string[] = [];
  const users = new SocketUsers({
    table: async (name) => {
      looks.push(name);
      await gate;
      const table = TABLES[name];
      if (table === undefined) throw new Error('ENOENT');
      return table;
    },
    addresses: () => new Set(['198.18.0.1', '192.168.1.5', '2001:2::1']),
  });
  return { users, looks };
}

describe('the user of a socket', () => {
  it('is found by its address and port, or by its port if it has any address', async () => {
    const { users } = setUp();
    const of = (host: string, port: number) => users.userOf({ host, port }, undefined);
    assert.deepEqual(
      await Promise.all([
        of('198.18.0.1', 40_000),
        of('198.18.0.1', 40_001),
        of('192.168.1.5', 40_001),
        of('198.18.0.1', 40_002),
        of('198.18.0.1', 40_003),
        of('198.18.0.1', 40_004),
        of('2001:2::1', 40_004),
        of('2001:2::1', 40_005),
        of('198.18.0.1', 9),
      ]),
      [1000, 1002, 1001, undefined, 1004, 1005, 1005, 1006, undefined],
    );
  });

  it('of TCP is found by both ends: others may have the same port', async () => {
    const { users } = setUp();
    const of = (host: string) =>
      users.userOf({ host: '198.18.0.1', port: 40_000 }, { host, port: 53 });
    const peers = ['198.18.0.53', '198.18.1.53', '198.18.0.54', '198.18.0.55'];
    assert.deepEqual(await Promise.all(peers.map(of)), [1007, 1008, undefined, undefined]);
  });

  it("isn't known while this machine's addresses can't be listed, but afterwards", async () => {
    let left = false;
    const users = new SocketUsers({
      table: async () => TABLES['udp'] ?? '',
      addresses: () => {
        if (left) return new Set(['198.18.0.1']);
        throw new Error('uv_interface_addresses returned EMFILE');
      },
    });
    const socket = { host: '198.18.0.1', port: 40_000 };
    assert.equal(await users.userOf(socket, undefined), undefined);
    left = true;
    assert.equal(await users.userOf(socket, undefined), 1000);
  });

  it("is nobody of this machine if the address isn't the machine's", async () => {
    const { users } = setUp();
    const other = { host: '172.17.0.2', port: 40_001 };
    assert.equal(await users.userOf(other, undefined), undefined);
  });

  it('takes one look for all who ask, and no more wait than are bounded', async () => {
    let open = () => {};
    const { users, looks } = setUp(
      new Promise((resolve) => {
        open = resolve;
      }),
    );
    const ask = () => users.userOf({ host: '198.18.0.1', port: 40_000 }, undefined);
    const first = ask();
    const waiting = Array.from({ length: MAX_WAITING - 1 }, ask);
    assert.equal(await ask(), undefined);
    open();
    const found = await Promise.all([first, ...waiting]);
    assert.ok(found.every((user) => user === 1000));
    assert.deepEqual(looks, ['udp', 'udp6']);
  });

  it('is this one on this machine', async () => {
    const users = new SocketUsers();
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const server = createServer().listen(0, '::');
    await once(server, 'listening');
    const at = server.address();
    assert.ok(typeof at === 'object' && at !== null);
    const { port } = socket.address();
    const peer = { host: '127.0.0.1', port: at.port };
    const client = connect(peer);
    await once(client, 'connect');
    const mine = { host: '127.0.0.1', port: client.localPort ?? 0 };
    assert.equal(await users.userOf({ host: '127.0.0.1', port }, undefined), process.getuid?.());
    assert.equal(await users.userOf(mine, peer), process.getuid?.());
    client.destroy();
    socket.close();
    server.close();
  });
});
