import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { speaksTls } from '../../../../src/ssh/dial/tlsprobe.ts';
import { makeCertificates } from '../../../support/certificates.ts';
import { run } from '../../../support/process.ts';
import { MAIN } from '../../../support/tunnel.ts';

const IDENTIFICATION = /^SSH-2\.0-/;

describe('a port that closes without a word', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-tlsprobe-'));
  const servers: Server[] = [];
  before(() => makeCertificates(directory, ['DNS:jump.example']));
  after(() => {
    for (const server of servers) server.close();
    rmSync(directory, { recursive: true });
  });

  async function listening(server: Server): Promise<number> {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    return address.port;
  }

  const tls = () =>
    listening(
      createTlsServer({
        cert: readFileSync(join(directory, 'server.pem')),
        key: readFileSync(join(directory, 'server.key')),
      }),
    );
  const tcp = (talk: (socket: Socket) => void) =>
    listening(
      createServer((socket) => {
        socket.on('error', () => {});
        talk(socket);
      }),
    );
  const probe = async (port: number) =>
    speaksTls({ host: '127.0.0.1', port }, 'jump.example', AbortSignal.timeout(10_000));

  it('is asked whether it speaks TLS', async () => {
    assert.equal(await probe(await tls()), true);
    // An alert is an answer in TLS (RFC 8446 §6.2: handshake_failure).
    const refusing = (socket: Socket) =>
      socket.once('data', () => socket.end(Buffer.of(0x15, 3, 3, 0, 2, 2, 40)));
    assert.equal(await probe(await tcp(refusing)), true);
    for (const talk of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.destroy(),
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'),
      (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      (socket: Socket) => socket.once('data', () => socket.end(Buffer.alloc(1_000, 7))),
    ])
      assert.equal(await probe(await tcp(talk)), false, String(talk));
  });

  it('is given two seconds for that, and less when the run ends', async () => {
    const silent = await tcp((socket) => socket.resume());
    const begin = performance.now();
    assert.equal(await probe(silent), false);
    assert.ok(performance.now() - begin < 5_000);
    const ending = new AbortController();
    const asked = speaksTls({ host: '127.0.0.1', port: silent }, 'x', ending.signal);
    ending.abort(new Error('the end'));
    await assert.rejects(asked, /the end/);
  });

  for (const transport of ['ssh2', 'openssh']) {
    it(`is named as TLS with --transport ${transport}, and asked once`, async () => {
      let handshakes = 0;
      const inner = await tls();
      // In front of it: what counts connections that begin with a ClientHello.
      const port = await tcp((socket) => {
        const to = connect(inner, '127.0.0.1');
        to.on('error', () => {});
        socket.once('data', (data) => {
          if (!IDENTIFICATION.test(data.toString('latin1'))) handshakes++;
        });
        socket.pipe(to).pipe(socket);
      });
      const remote = `someone@127.0.0.1:${port}`;
      const argv = [process.execPath, MAIN, 'proxy', '-F', 'none', '--transport', transport];
      const { status, stderr } = await run([...argv, '-r', remote, '10.0.0.0/8'], {
        timeout: 30_000,
      });
      assert.equal(status, 5, stderr);
      assert.match(stderr, /\[jumphost-not-ssh\]: .* is not an SSH server: it speaks TLS$/m);
      assert.match(stderr, /hint: check the port .*layer 7/);
      assert.equal(handshakes, 1);
    });
  }
});
