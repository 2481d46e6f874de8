/** TCP connections that are bound to a device, on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectTcp, type TcpOptions } from '../../../../src/ssh/dial/tcp.ts';
import { Inbox } from '../../../../src/ssh/embedded/channels/inbox.ts';

const WORDS = 'SSH-2.0-first\r\nsecond, third';

describe('connectTcp, bound to a device', { timeout: 60_000 }, () => {
  let server: Server;
  let port: number;
  before(async () => {
    server = createServer((socket) => {
      socket.on('error', () => {}); // the other end is reset
      socket.write('SSH-2.0-first\r\n');
      setTimeout(() => socket.write('second, '), 2);
      setTimeout(() => socket.end('third'), 4);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });
  after(() => server.close());

  const connect = (more: Partial<TcpOptions>, localAddress?: string) =>
    connectTcp(
      { host: '127.0.0.1', port, ...(localAddress === undefined ? {} : { localAddress }) },
      { timeout: 5, role: 'jump host', ...more },
    );

  it('loses nothing that comes before it is read from', async () => {
    for (let round = 0; round < 60; round++) {
      const inbox = new Inbox();
      const socket = await connect({ deviceFor: () => 'lo', reader: inbox });
      inbox.openEarly(socket);
      await sleep(round % 6);
      let got = '';
      socket.on('data', (bytes: Buffer) => {
        got += bytes.toString();
      });
      socket.resume();
      await once(socket, 'end');
      socket.destroy();
      assert.equal(got, WORDS);
    }
  });

  it('asks with the address to be dialled from, and dials from it', async () => {
    const asked: unknown[] = [];
    const deviceFor: TcpOptions['deviceFor'] = (address) => {
      asked.push(address);
      return 'lo';
    };
    const socket = await connect({ deviceFor }, '127.0.0.9');
    assert.equal(socket.localAddress, '127.0.0.9');
    socket.destroy();
    assert.deepEqual(asked, [{ host: '127.0.0.1', port, localAddress: '127.0.0.9' }]);
  });

  it('says why there is no connection', async () => {
    for (const [device, message] of [
      [null, /^127\.0\.0\.1:\d+ can't be reached \(ENETUNREACH\)$/],
      ['missing0', /^127\.0\.0\.1:\d+ can't be reached \(missing0/],
    ] as const)
      await assert.rejects(connect({ deviceFor: () => device }), {
        code: 'jumphost-unreachable',
        message,
      });
  });
});
