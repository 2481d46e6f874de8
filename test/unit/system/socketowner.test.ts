import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { SocketOwners } from '../../../src/system/socketowner.ts';

async function listen(host: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }).listen(0, host);
  await once(server, 'listening');
  return server;
}

/** Both ends of what the server has accepted, as the client has them. */
function endsOf({ remotePort = 0, localPort = 0 }: Socket, host: string) {
  return [
    { host, port: remotePort },
    { host, port: localPort },
  ] as const;
}

describe('SocketOwners', () => {
  for (const [host, at] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['127.0.0.1', '::ffff:127.0.0.1'],
  ] as const)
    it(`finds whose a connection to ${at} is, and nobody's once it is given up`, async () => {
      const server = await listen(host);
      try {
        const { port } = server.address() as AddressInfo;
        const client = connect(port, at);
        const [accepted] = (await once(server, 'connection')) as [Socket];
        accepted.on('error', () => {});
        const [own, remote] = endsOf(accepted, host);
        const owners = new SocketOwners();
        assert.equal(await owners.uidOf(own, remote), process.geteuid?.());
        assert.equal(await owners.uidOf(own, { ...remote, port: remote.port - 1 }), undefined);
        // It has closed, but its socket waits for our end: the kernel shows uid 0.
        client.destroy();
        accepted.resume();
        await once(accepted, 'end');
        assert.equal(await owners.uidOf(own, remote), undefined);
        accepted.destroy();
      } finally {
        server.close();
      }
    });

  it('asks the kernel for the one connection, and reads no table for it', async () => {
    const server = await listen('127.0.0.1');
    try {
      const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
      const [accepted] = (await once(server, 'connection')) as [Socket];
      const [own, remote] = endsOf(accepted, '127.0.0.1');
      const owners = new SocketOwners((name) => Promise.reject(new Error(`${name} is read`)));
      assert.equal(await owners.uidOf(own, remote), process.geteuid?.());
      client.destroy();
      accepted.destroy();
    } finally {
      server.close();
    }
  });

  it("finds another user's", { skip: process.geteuid?.() !== 0 && 'needs root' }, async () => {
    const server = await listen('127.0.0.1');
    const { port } = server.address() as AddressInfo;
    const child = spawn('/bin/bash', ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; read -u 3`], {
      uid: 65_534,
      cwd: '/',
    });
    try {
      const [accepted] = (await once(server, 'connection')) as [Socket];
      const [own, remote] = endsOf(accepted, '127.0.0.1');
      assert.equal(await new SocketOwners().uidOf(own, remote), 65_534);
      accepted.destroy();
    } finally {
      child.kill('SIGKILL');
      server.close();
    }
  });

  it('reads once for all who ask meanwhile, and never answers from before a question', async () => {
    let readings = 0;
    const line = (port: string, uid: number, inode = 7) =>
      `   1: 0100007F:${port} 0100007F:0050 01 00000000:00000000 02:00000000 00000000  ${uid} 0 ${inode} 2 0`;
    const owners = new SocketOwners(async (name) => {
      if (name === 'tcp6') return '';
      readings++;
      await new Promise((resolve) => setTimeout(resolve, 5));
      return `  sl  local_address rem_address\n${line('0400', readings)}\n${line('0401', 0, 0)}\n`;
    });
    const remote = { host: '127.0.0.1', port: 80 };
    const ask = (port: number) => owners.uidOf({ host: '127.0.0.1', port }, remote);
    const first = ask(1024);
    await Promise.resolve(); // now it is being read
    const later = Array.from({ length: 500 }, () => ask(1024));
    assert.equal(await first, 1);
    assert.deepEqual(new Set(await Promise.all(later)), new Set([2]));
    assert.equal(readings, 2);
    assert.equal(await ask(1025), undefined);
  });

  it('rejects when the tables can not be read, and reads again for the next', async () => {
    let fails = true;
    const owners = new SocketOwners(async () => {
      if (fails) throw new Error('EACCES');
      return '';
    });
    const end = { host: '127.0.0.1', port: 1 };
    await assert.rejects(async () => owners.uidOf(end, end), /EACCES/);
    fails = false;
    assert.equal(await owners.uidOf(end, end), undefined);
  });
});
