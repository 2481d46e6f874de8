/** Who has come in: from the tables of real connections, and from environments of logins. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, it } from 'node:test';
import {
  findLogin,
  incomingConnections,
  linuxIncoming,
  loginPeers,
  readTables,
} from '../../../src/system/incoming.ts';

describe('incomingConnections', () => {
  for (const host of ['127.0.0.1', '::1', '::ffff:127.0.0.1'])
    it(`finds connections to a listening port, and not those from here (${host})`, async () => {
      const server = createServer().listen(0, host);
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const socket = connect(port, host);
      await once(socket, 'connect');
      try {
        const found = incomingConnections(await readTables());
        const peer = host.replace('::ffff:', '');
        assert.deepEqual(
          found.filter((one) => one.port === port),
          [{ peer, port }],
        );
        assert.equal(
          found.some((one) => one.port === socket.localPort),
          false,
        );
        const outside = await linuxIncoming.connections();
        assert.equal(
          outside.some((one) => one.peer === peer),
          false,
          'from this machine itself',
        );
      } finally {
        socket.destroy();
        server.close();
      }
    });
});

describe('findLogin', () => {
  const none = () => '';

  it("is the first address of sshd's variable, canonical", () => {
    const of = (text: string) => findLogin({ SSH_CONNECTION: text }, process.pid, none)?.peer;
    assert.equal(of('203.0.113.7 50022 192.0.2.2 22'), '203.0.113.7');
    assert.equal(of('2001:DB8:0:0::7 50022 2001:db8::2 22'), '2001:db8::7');
    assert.equal(of('::ffff:203.0.113.7 50022 ::ffff:192.0.2.2 22'), '203.0.113.7');
    for (const text of ['', 'UNKNOWN 65535 UNKNOWN 65535', 'fe80::1%eth0 1 fe80::2 22'])
      assert.equal(of(text), undefined);
  });

  it('is that of the nearest ancestor that has one', () => {
    const asked: number[] = [];
    const of = (pid: number) => {
      asked.push(pid);
      return 'A=SSH_CONNECTION=1.2.3.4 1 2 3\0SSH_CONNECTION=203.0.113.7 1 192.0.2.2 22\0B=';
    };
    assert.deepEqual(findLogin({}, process.pid, of), { peer: '203.0.113.7', port: 22 });
    assert.deepEqual(asked, [process.ppid]);
    assert.equal(findLogin({}, process.pid, none), undefined);
  });

  it('reads the environment of a real ancestor', async () => {
    const env = { PATH: process.env['PATH'], SSH_CONNECTION: '203.0.113.7 1 192.0.2.2 22' };
    const script = 'env -u SSH_CONNECTION sleep 20 & echo $!; wait';
    const shell = spawn('sh', ['-c', script], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const [text] = (await once(shell.stdout, 'data')) as [Buffer];
    const sleeper = Number(text.toString());
    try {
      assert.equal(findLogin({}, sleeper)?.peer, '203.0.113.7');
    } finally {
      process.kill(sleeper);
      await once(shell, 'close');
    }
  });
});

describe('loginPeers', () => {
  const login = { peer: '203.0.113.7', port: 22 };
  const connected = (...peers: readonly string[]) => peers.map((peer) => ({ peer, port: 22 }));

  it('is the one of the login, whoever else is connected', () => {
    assert.deepEqual(loginPeers(login, connected('198.51.100.9', '203.0.113.7')), ['203.0.113.7']);
    assert.deepEqual(loginPeers(login, [{ peer: '198.51.100.9', port: 443 }]), ['203.0.113.7']);
  });

  it('are all at that port where the login has ended, as in tmux', () => {
    assert.deepEqual(loginPeers(login, connected('198.51.100.9', '198.51.100.9', '192.0.2.3')), [
      '203.0.113.7',
      '198.51.100.9',
      '192.0.2.3',
    ]);
  });

  it('are no more than each can have its routes', () => {
    const many = Array.from({ length: 40 }, (_, i) => `198.51.100.${i}`);
    assert.equal(loginPeers(login, connected(...many)).length, 16);
  });
});
