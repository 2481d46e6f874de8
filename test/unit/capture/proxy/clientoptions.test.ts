import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { CLIENT_KEEPALIVE_MS, setForClient } from '../../../../src/capture/proxy/clientoptions.ts';

/** proc_net_tcp(5): 02 is the timer of keepalives, and when it fires, in 1/100 s. */
function timerOf({ localPort = 0, remotePort = 0 }: Socket): readonly [string, number] {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((text) => text.trim().split(/\s+/))
    .find(
      ([, here = '', there = '']) =>
        here.endsWith(`:${hex(localPort)}`) && there.endsWith(`:${hex(remotePort)}`),
    );
  const [timer = '', due = ''] = (line?.[5] ?? '').split(':');
  return [timer, Number.parseInt(due, 16) * 10];
}

/** The timer of a socket that a server of Node's accepts. */
async function accepted(prepare: (socket: Socket) => void): Promise<readonly [string, number]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  try {
    prepare(socket);
    return timerOf(socket);
  } finally {
    socket.destroy();
    client.destroy();
    server.close();
  }
}

describe('the sockets of clients', { timeout: 20_000 }, () => {
  it('get their options one by one where they are of Node', async () => {
    const [timer, due] = await accepted(setForClient);
    assert.equal(timer, '02');
    assert.ok(Math.abs(due - CLIENT_KEEPALIVE_MS) < 20_000, String(due));
    assert.notEqual((await accepted(() => {}))[0], '02');
  });
});
