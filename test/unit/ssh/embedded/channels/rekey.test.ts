/** Key exchanges that we begin, against a real sshd, and when they are due. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { describe, it } from 'node:test';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import { Ssh2Link } from '../../../../../src/ssh/embedded/channels/link.ts';
import { Rekeying, type RekeyLimits } from '../../../../../src/ssh/embedded/channels/rekey.ts';
import type { SshProtocol } from '../../../../../src/ssh/embedded/ssh2/internals.ts';
import ssh2 from '../../../../../src/ssh/embedded/ssh2/library.ts';

import { connectStream } from '../../../../support/connectstream.ts';
import { LoopbackSshd, sshdMissing } from '../../../../support/loopback-sshd.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

class AESGCMCipher {}
class ChaChaPolyCipherBinding {}

describe('Rekeying', () => {
  function make(limits: RekeyLimits, cipher: object = new AESGCMCipher()) {
    const seen = { rekeys: 0 };
    const time = { now: 0 };
    const protocol = { _cipher: cipher, rekey: () => void seen.rekeys++ } as unknown as SshProtocol;
    return { seen, time, rekeying: new Rekeying(protocol, limits, () => time.now) };
  }
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('by volume, both directions together, once for each volume', async () => {
    const { seen, rekeying } = make({ bytes: 1000, seconds: undefined });
    rekeying.count(999);
    await turn();
    assert.equal(seen.rekeys, 0);
    rekeying.count(1);
    rekeying.count(1);
    await turn();
    assert.equal(seen.rekeys, 1);
    rekeying.renewed();
    rekeying.count(999);
    await turn();
    assert.equal(seen.rekeys, 1);
  });

  it('by time, when something is carried', async () => {
    const { seen, time, rekeying } = make({ bytes: undefined, seconds: 60 });
    time.now = 59_999;
    rekeying.count(1);
    await turn();
    assert.equal(seen.rekeys, 0);
    time.now = 60_000;
    rekeying.count(1);
    await turn();
    assert.equal(seen.rekeys, 1);
  });

  for (const [cipher, gib] of [
    [new AESGCMCipher(), 64],
    [new ChaChaPolyCipherBinding(), 1],
  ] as const) {
    it(`${cipher.constructor.name}: after ${gib} GiB, whatever larger limit is set`, async () => {
      for (const bytes of [undefined, 1000 * GIB]) {
        const { seen, rekeying } = make({ bytes, seconds: undefined }, cipher);
        rekeying.count(gib * GIB - 1);
        await turn();
        assert.equal(seen.rekeys, 0);
        rekeying.count(1);
        await turn();
        assert.equal(seen.rekeys, 1);
      }
    });
  }
});

describe('key exchanges that we begin, with a real sshd', {
  skip: sshdMissing,
  timeout: 60_000,
}, () => {
  for (const cipher of [
    'aes128-gcm@openssh.com',
    'chacha20-poly1305@openssh.com',
    'aes128-ctr',
  ] as const) {
    it(`${cipher}: 16 MiB each way arrive unchanged, with new keys after each MiB`, async () => {
      const sshd = await LoopbackSshd.start({ config: [`Ciphers ${cipher}`] });
      const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = connect(sshd.port, '127.0.0.1');
      const client = new ssh2.Client();
      client.connect({
        sock: socket,
        username: sshd.user,
        privateKey: await readFile(sshd.userKey),
        algorithms: { cipher: [cipher] },
      });
      await once(client, 'ready');
      client.removeAllListeners();
      const rekey = { bytes: MIB, seconds: undefined };
      const link = new Ssh2Link({ client, socket, at: 'sshd', rekey, observer: silentObserver });
      let exchanges = 0;
      client.on('handshake', () => exchanges++);
      try {
        const { port } = server.address() as AddressInfo;
        const stream = await connectStream(link, { host: '127.0.0.1', port });
        const sent = randomBytes(16 * MIB);
        const received = createHash('sha256');
        stream.on('data', (chunk: Buffer) => void received.update(chunk));
        stream.end(sent);
        await once(stream, 'end');
        assert.equal(received.digest('hex'), createHash('sha256').update(sent).digest('hex'));
        assert.ok(exchanges >= 8, `${exchanges} key exchanges`);
      } finally {
        await link.close();
        server.close();
        await sshd.stop();
      }
    });
  }
});
