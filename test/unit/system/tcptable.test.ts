import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, it } from 'node:test';
import { retransmits } from '../../../src/system/tcptable.ts';

describe('retransmits', () => {
  for (const host of ['127.0.0.1', '::1'])
    it(`finds a process's own connection to a port, which is acknowledged (${host})`, async () => {
      const server = createServer((socket) => socket.on('error', () => {}).pause());
      server.listen(0, host);
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      assert.equal(retransmits(process.pid, port), undefined, 'there is none yet');
      const socket = connect(port, host);
      await once(socket, 'connect');
      try {
        assert.equal(retransmits(process.pid, port), false);
        // What the peer doesn't read waits, but nothing of it is sent again.
        socket.write(Buffer.alloc(16_000_000));
        await new Promise((resolve) => setTimeout(resolve, 600));
        assert.equal(retransmits(process.pid, port), false);
        assert.equal(retransmits(1, port), undefined, "another process's");
      } finally {
        socket.destroy();
        server.close();
      }
    });

  it('knows nothing of a process that has gone', () => {
    assert.equal(retransmits(4_194_304, 22), undefined);
  });
});
