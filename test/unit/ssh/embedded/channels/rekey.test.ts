/** Key exchanges that we begin, against a real sshd, and when they are due. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { LinkGoneError } from '../../../../../src/flow/connector.ts';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import { Ssh2Link } from '../../../../../src/ssh/embedded/channels/link.ts';
import { MAX_BACKLOG } from '../../../../../src/ssh/embedded/channels/outbox.ts';
import {
  EXCHANGE_SECONDS,
  FREE_EXCHANGES,
  QUEUED_COST,
  Rekeying,
  type RekeyLimits,
  type Stuck,
  WORTHWHILE_BYTES,
} from '../../../../../src/ssh/embedded/channels/rekey.ts';
import {
  isExchangingKeys,
  protocolOf,
  queuedFrom,
  type SshProtocol,
} from '../../../../../src/ssh/embedded/ssh2/internals.ts';
import { connectStream } from '../../../../support/connectstream.ts';
import { LoopbackSshd, sshdMissing } from '../../../../support/loopback-sshd.ts';
import ssh2 from '../../../../support/ssh2.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

class AESGCMCipher {}
class ChaChaPolyCipherBinding {}

describe('Rekeying', () => {
  function make(limits: RekeyLimits, cipher: object = new AESGCMCipher()) {
    const seen = { rekeys: 0 };
    const time = { now: 0 };
    const protocol = { _cipher: cipher, rekey: () => void seen.rekeys++ } as unknown as SshProtocol;
    const stuck = (): void => assert.fail('no exchange is under way');
    return { seen, time, rekeying: new Rekeying(protocol, limits, stuck, () => time.now) };
  }
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('by bytes, both directions together, once for each limit reached', async () => {
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

  it('by time, when there is traffic', async () => {
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

  it('not on a link that has ended in the meantime', async () => {
    const { seen, rekeying } = make({ bytes: 1000, seconds: undefined });
    rekeying.count(1000);
    rekeying.stop();
    rekeying.count(1000);
    await turn();
    assert.equal(seen.rekeys, 0);
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

describe('a key exchange that does not end', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
  afterEach(() => mock.timers.reset());

  function exchanging(limits: RekeyLimits = { bytes: undefined, seconds: undefined }) {
    const protocol = {
      _cipher: new AESGCMCipher(),
      _kexinit: {},
      _queue: [] as Buffer[],
      rekey: () => assert.fail('an exchange is under way'),
    };
    const why: Stuck[] = [];
    const time = { now: 0 };
    const rekeying = new Rekeying(
      protocol as unknown as SshProtocol,
      limits,
      (reason) => void why.push(reason),
      () => time.now,
    );
    return { protocol, rekeying, time, why };
  }

  it('is given up after a number of seconds, however much is received meanwhile', () => {
    const { rekeying, why } = exchanging();
    for (let second = 0; second < EXCHANGE_SECONDS; second++) {
      assert.deepEqual(why, []);
      rekeying.count(1000);
      mock.timers.tick(1000);
    }
    assert.deepEqual(why, ['time']);
    rekeying.count(1);
    mock.timers.tick(2000 * EXCHANGE_SECONDS);
    assert.deepEqual(why, ['time'], 'once');
  });

  for (const [name, limits] of [
    ['a time', { bytes: undefined, seconds: 120 }],
    ['a number of bytes', { bytes: 1000, seconds: undefined }],
  ] as const) {
    it(`is given up although ${name} after which keys are exchanged passes meanwhile`, async () => {
      const { rekeying, time, why } = exchanging(limits);
      for (let second = 0; second < EXCHANGE_SECONDS; second++) {
        assert.deepEqual(why, []);
        rekeying.count(100);
        await new Promise(process.nextTick);
        time.now += 1000;
        mock.timers.tick(1000);
      }
      assert.deepEqual(why, ['time']);
    });
  }

  it('is given up when more waits for it than may wait in the socket', () => {
    const { protocol, rekeying, why } = exchanging();
    const packet = Buffer.alloc(1024 - QUEUED_COST);
    for (let queued = 0; queued < MAX_BACKLOG; queued += 1024) {
      protocol._queue.push(packet);
      if (queued % MIB === 0) rekeying.count(1);
    }
    assert.deepEqual(why, []);
    protocol._queue.push(packet);
    mock.timers.tick(1000);
    assert.deepEqual(why, ['queue'], 'also if nothing is sent or received');
  });

  it('begins with an empty queue', () => {
    const { protocol, rekeying, why } = exchanging();
    for (let exchange = 0; exchange < 3; exchange++) {
      protocol._queue = Array<Buffer>(10_000).fill(Buffer.alloc(1024));
      rekeying.count(1);
      rekeying.renewed();
    }
    assert.deepEqual(why, []);
  });

  it('counts again from zero for each exchange, and for none once the link has ended', () => {
    const { rekeying, why } = exchanging();
    for (let round = 0; round < 3; round++) {
      rekeying.count(1);
      mock.timers.tick(1000 * (EXCHANGE_SECONDS - 1));
      rekeying.renewed();
    }
    rekeying.count(1);
    rekeying.stop();
    rekeying.count(1);
    mock.timers.tick(2000 * EXCHANGE_SECONDS);
    assert.deepEqual(why, []);
  });

  it('ends the link with an error that says so, with a real sshd that receives nothing more', {
    skip: sshdMissing,
    timeout: 30_000,
  }, async () => {
    const sshd = await LoopbackSshd.start();
    const relay = createServer((client) => {
      const server = connect(sshd.port, '127.0.0.1');
      client.on('error', () => server.destroy()).on('close', () => server.destroy());
      server.on('error', () => client.destroy());
      client.pipe(server).pipe(client);
      relay.once('deaf', () => client.unpipe(server).pause());
    });
    relay.listen(0, '127.0.0.1');
    await once(relay, 'listening');
    const socket = connect((relay.address() as AddressInfo).port, '127.0.0.1');
    const client = new ssh2.Client();
    client.connect({
      sock: socket,
      username: sshd.user,
      privateKey: await readFile(sshd.userKey),
    });
    await once(client, 'ready');
    client.removeAllListeners();
    const counts: string[] = [];
    const link = new Ssh2Link({
      client,
      socket,
      at: 'sshd',
      keepalive: { interval: 0, count: 2 },
      rekey: { bytes: 1, seconds: undefined },
      observer: { ...silentObserver, count: (name) => void counts.push(name) },
    });
    try {
      relay.emit('deaf');
      const opened = assert.rejects(link.connect({ host: '127.0.0.1', port: 1 }), LinkGoneError);
      while (!isExchangingKeys(protocolOf(client))) await new Promise(setImmediate);
      void link.probe(10);
      assert.ok(queuedFrom(protocolOf(client), 0).length > 0, 'what is to be said waits');
      mock.timers.tick(1000 * EXCHANGE_SECONDS);
      const error = await link.ended;
      assert.equal(error?.code, 'link-lost');
      assert.match(error.message, /has not finished exchanging keys within 60 s/);
      assert.ok(counts.includes('tunnel_ssh_exchange_time_limit_total'));
      await opened;
    } finally {
      relay.close();
      await sshd.stop();
    }
  });
});

describe('key exchanges that the server begins', () => {
  function served() {
    const protocol = {
      _cipher: new AESGCMCipher(),
      _kexinit: undefined as object | undefined,
      rekey: () => {},
    };
    const why: Stuck[] = [];
    const time = { now: 1000 };
    const rekeying = new Rekeying(
      protocol as unknown as SshProtocol,
      { bytes: GIB, seconds: undefined },
      (reason) => void why.push(reason),
      () => time.now,
    );
    const exchange = (carried: number): void => {
      rekeying.count(carried);
      protocol._kexinit = {};
      rekeying.count(1000);
      protocol._kexinit = undefined;
      rekeying.renewed();
    };
    return { exchange, time, why };
  }

  it('are limited when hardly anything is carried in between', () => {
    const { exchange, why } = served();
    for (let round = 0; round < FREE_EXCHANGES; round++) exchange(100);
    assert.deepEqual(why, []);
    exchange(100);
    assert.deepEqual(why, ['storm']);
  });

  it('may come each second for ever, and after each MiB', () => {
    const { exchange, time, why } = served();
    for (let round = 0; round < 10 * FREE_EXCHANGES; round++) {
      exchange(WORTHWHILE_BYTES);
      exchange(100);
      time.now += 1000;
    }
    assert.deepEqual(why, []);
  });
});

describe('key exchanges that we begin', () => {
  it('are never taken for those of the server, however much is carried in a turn', async () => {
    const protocol = {
      _cipher: new AESGCMCipher(),
      _kexinit: undefined as object | undefined,
      begun: 0,
      rekey() {
        this.begun++;
        this._kexinit = {};
      },
    };
    const rekeying = new Rekeying(
      protocol as unknown as SshProtocol,
      { bytes: 1000, seconds: undefined },
      (why) => assert.fail(why),
      () => 0,
    );
    for (let round = 1; round <= 2 * FREE_EXCHANGES; round++) {
      for (let packet = 0; packet < 3; packet++) rekeying.count(1000);
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(protocol.begun, round);
      protocol._kexinit = undefined;
      rekeying.renewed();
    }
  });
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
