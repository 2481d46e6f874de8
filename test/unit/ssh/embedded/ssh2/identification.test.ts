/**
 * The server's identification in pieces: every way to cut it, and a real sshd behind such a path.
 */
import assert from 'node:assert/strict';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { awaitIdentification } from '../../../../../src/ssh/embedded/ssh2/identification.ts';
import { listen, triesAt } from '../../../../support/dialtries.ts';
import { LoopbackSshd, sshdMissing } from '../../../../support/loopback-sshd.ts';

const IDENTIFICATION = 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n';
const AFTER = '\0\0\x01\nSSH-not a line\r\n';

/** What comes out, for pieces that go in; the octets before and behind each are not its own. */
function read(...pieces: string[]): string[] {
  const handed: string[] = [];
  const protocol = {
    parse: (chunk: Buffer, start: number, end: number) =>
      void handed.push(chunk.toString('latin1', start, end)),
  };
  awaitIdentification(protocol);
  for (const piece of pieces) {
    const chunk = Buffer.from(`\n${piece}\n`, 'latin1');
    protocol.parse(chunk, 1, chunk.length - 1);
  }
  return handed;
}

/** How long each piece is alone on the way: more than a turn of the event loop. */
const APART_MS = 2;

/** Writes `text` cut at these places, each piece by itself. */
async function inPieces(to: Socket, text: Buffer, at: readonly number[]): Promise<void> {
  let begin = 0;
  for (const end of [...at, text.length]) {
    to.write(text.subarray(begin, end));
    begin = end;
    await delay(APART_MS);
  }
}

describe('an identification', () => {
  it('is passed on whole, wherever it is cut once or twice, after other lines or not', () => {
    for (const before of ['', 'hello\r\nSSH\n\r\nSSH-\r\n']) {
      const text = before + IDENTIFICATION;
      const all = text + AFTER;
      for (let first = 0; first < text.length; first++) {
        for (let second = first; second <= all.length; second++) {
          const handed = read(all.slice(0, first), all.slice(first, second), all.slice(second));
          assert.equal(handed.join(''), IDENTIFICATION + AFTER);
          assert.ok(handed[0]?.startsWith(IDENTIFICATION));
        }
      }
    }
  });

  it('is passed on whole, octet by octet', () => {
    const handed = read(...`a line\r\n${IDENTIFICATION}${AFTER}`);
    assert.equal(handed[0], IDENTIFICATION);
    assert.equal(handed.join(''), IDENTIFICATION + AFTER);
  });

  it('goes into the exchange hash octet by octet, whatever they are', () => {
    const protocol = { parse: () => {}, _remoteIdentRaw: undefined as Buffer | undefined };
    awaitIdentification(protocol);
    const octets = Buffer.from([...Buffer.from('SSH-2.0-x '), 0xe9, 0x80, 0, 0xff]);
    const line = Buffer.concat([octets, Buffer.from('\r\n')]);
    (protocol.parse as (chunk: Buffer, start: number, end: number) => void)(line, 0, line.length);
    assert.deepEqual(protocol._remoteIdentRaw, octets);
  });

  it('is waited for only for a limited number of lines of limited length', () => {
    assert.deepEqual(read('x\n'.repeat(1024), IDENTIFICATION), [IDENTIFICATION]);
    assert.throws(() => read('x\n'.repeat(1025)), /Max greeting lines exceeded/);
    assert.throws(() => read(...Array<string>(1025).fill('x\n')), /Max greeting lines exceeded/);
    assert.deepEqual(read(`${'x'.repeat(8191)}\n`, IDENTIFICATION), [IDENTIFICATION]);
    assert.throws(() => read('x'.repeat(8193)), /Header line too long/);
    assert.throws(() => read(...'x'.repeat(8193)), /Header line too long/);
    assert.throws(() => read('a\r', 'b\n'), /expected newline/);
  });
});

describe('the identification of an sshd, in pieces', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let relay: Server;
  let port: number;
  /** Said before the sshd's own, and where all of it is cut. */
  let lines = '';
  let cuts: readonly number[] = [];
  const { accepted } = triesAt(() => sshd);

  before(async () => {
    sshd = await LoopbackSshd.start();
    relay = createServer({ noDelay: true }, (client) => {
      const server = connect({ port: sshd.port, host: '127.0.0.1', noDelay: true });
      for (const [one, other] of [
        [client, server],
        [server, client],
      ] as const) {
        one.on('error', () => other.destroy());
        one.on('close', () => other.destroy());
      }
      client.pipe(server);
      server.once('data', (first) => {
        server.pause();
        void inPieces(client, Buffer.concat([Buffer.from(lines), first]), cuts).then(() =>
          server.pipe(client),
        );
      });
    });
    port = await listen(relay);
  });
  after(async () => {
    relay.close();
    await sshd.stop();
  });

  async function reads(before: string, at: readonly number[]): Promise<void> {
    lines = before;
    cuts = at;
    await accepted({ port, files: [join(sshd.directory, 'user_key')] });
  }

  it('three pieces, cut at every place', async () => {
    for (let cut = 1; cut < 45; cut++) await reads('', [cut, cut + 1]);
  });

  it('octet by octet, also the lines before it', async () => {
    const before = 'Welcome.\r\nSSH is spoken here\n\r\n';
    const every = Array.from({ length: before.length + 60 }, (_, index) => index + 1);
    await reads('', every);
    await reads(before, every);
  });
});
