/**
 * The embedded transport's way up to ports that are not SSH servers: what is there is told, and in
 * time.
 */
import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import type { TunnelError } from '../../../../../src/errors/errors.ts';
import { closedPort, listen, triesAt } from '../../../../support/dialtries.ts';
import { sshdMissing } from '../../../../support/loopback-sshd.ts';
import { testSettings } from '../../../../support/settings.ts';
import { AT_ONCE_MS } from '../../../../support/until.ts';

describe('dialSsh2 against ports that are not SSH servers', { skip: sshdMissing }, () => {
  const { rejected } = triesAt(() => ({
    knownHostsLine: async () =>
      'x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKg5qG8aFvX8xA7W0VJbYx5mXp9dJ3mQv6ZQw8V2oC1B',
    directory: '/nonexistent',
    user: 'u',
    port: 0,
  }));
  const at = async (
    handler: (socket: Socket) => void,
    connectTimeout = 5,
  ): Promise<TunnelError> => {
    const listener = createServer((socket) => {
      socket.on('error', () => {
        // We hang up in the middle of what it says.
      });
      handler(socket);
    });
    const port = await listen(listener);
    try {
      return await rejected({ port, settings: { connectTimeout } });
    } finally {
      listener.close();
    }
  };

  it('HTTP', async () => {
    const error = await at((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\nno')),
    );
    assert.equal(error.code, 'jumphost-not-ssh');
    assert.match(error.message, /it says "HTTP\/1.1 400 Bad Request"/);
    assert.match(error.hint ?? '', /layer 7/);
  });

  it('a mail server that waits: reported when the time is over, with its greeting', async () => {
    const error = await at(
      (socket) => socket.write('220 mail.example.com \x1b]0;evil\x07ESMTP\r\n'),
      1,
    );
    assert.equal(error.code, 'jumphost-not-ssh');
    assert.match(error.message, /220 mail\.example\.com/);
    assert.doesNotMatch(error.message, /[\u0000-\u001f]/);
  });

  it('noise', async () => {
    const error = await at((socket) => socket.end(Buffer.alloc(100_000, 0x07)));
    assert.equal(error.code, 'jumphost-not-ssh');
    assert.ok(error.message.length < 300);
  });

  it('a port that closes at once', async () => {
    assert.equal((await at((socket) => socket.end())).code, 'jumphost-no-identification');
  });

  it('a port that resets at once', async () => {
    assert.equal(
      (await at((socket) => socket.resetAndDestroy())).code,
      'jumphost-no-identification',
    );
  });

  it('a port that closes during key exchange', async () => {
    const error = await at((socket) => {
      socket.write('SSH-2.0-test\r\n');
      socket.once('data', () => setTimeout(() => socket.end(), 50));
    });
    assert.equal(error.code, 'jumphost-closed');
    assert.match(error.message, /during key exchange/);
  });

  it('a port that says what SSH does not permit: told as that, not as closed', async () => {
    const error = await at((socket) => socket.write(`SSH-2.0-${'y'.repeat(20_000)}\r\n`));
    assert.equal(error.code, 'jumphost-protocol');
    assert.match(error.message, /in its identification: Header line too long/);
    const packet = await at((socket) =>
      socket.write(Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), Buffer.alloc(64, 0xff)])),
    );
    assert.equal(packet.code, 'jumphost-protocol');
    assert.match(packet.message, /in key exchange: Bad packet length/);
  });

  it('a port that has said a part of an identification is slow, not another server', async () => {
    const error = await at((socket) => socket.write('SSH-2.'), 1);
    assert.equal(error.code, 'jumphost-slow');
    assert.match(error.message, /no identification within 1 s/);
  });

  it('a port that speaks TLS', async () => {
    const error = await at((socket) =>
      socket.once('data', () => socket.end(Buffer.of(0x15, 3, 1, 0, 2, 2, 0x28))),
    );
    assert.equal(error.code, 'jumphost-not-ssh');
    assert.match(error.message, /it speaks TLS$/);
    assert.match(error.hint ?? '', /layer 7/);
  });

  it('a port that sends nothing', async () => {
    const before = performance.now();
    const error = await at(() => {}, 1);
    assert.equal(error.code, 'jumphost-slow');
    assert.ok(performance.now() - before < 1000 + AT_ONCE_MS);
  });

  it('a port that stops in the middle of key exchange', async () => {
    const error = await at((socket) => socket.write('SSH-2.0-test\r\n'), 1);
    assert.equal(error.code, 'jumphost-slow');
    assert.match(error.message, /no key exchange within 1 s/);
    assert.match(error.hint ?? '', /drops full packets/);
  });

  it('a closed port: the hint says how to set the port', async () => {
    const { code, hint } = await rejected({ port: await closedPort() });
    assert.equal(code, 'jumphost-refused');
    assert.match(hint ?? '', /\(-p\)/);
  });

  it('a closed port, or one that is not an SSH server, of a host on the way', async () => {
    const hops = [testSettings({ hostName: 'hop.test', port: 23, user: 'u' })] as const;
    const settings = { proxy: { kind: 'jump', hops } } as const;
    const listener = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n'));
    const port = await listen(listener);
    try {
      for (const [code, at] of [
        ['jumphost-refused', await closedPort()],
        ['jumphost-not-ssh', port],
      ] as const) {
        const error = await rejected({ port: at, settings });
        assert.equal(error.code, code);
        assert.match(error.hint ?? '', /-J user@hop:2222, or ProxyJump/);
        assert.doesNotMatch(error.hint ?? '', /-p/);
      }
    } finally {
      listener.close();
    }
  });

  it('an address without a route', async () => {
    const error = await rejected({ addresses: [{ host: '255.255.255.255', port: 22 }] });
    assert.equal(error.code, 'jumphost-unreachable');
  });
});
