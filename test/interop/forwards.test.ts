/** Fixed forwards (-L, LocalForward) with both transports at a real sshd, beside real clients. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { connect, type NetConnectOpts } from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';
import { sshdMissing } from '../support/loopback-sshd.ts';
import { digestOf, forwardPorts, freePort, LoopbackLab } from '../support/loopbacklab.ts';

const UPLOAD = 24 * 1024 * 1024;

/** Sends `data`, ends its half, and resolves with what it reads; rejects if it is reset. */
function ask(to: NetConnectOpts, data: Buffer | string): Promise<string> {
  return new Promise((resolve, reject) => {
    let read = '';
    const socket = connect({ allowHalfOpen: true, ...to });
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString();
    });
    socket.on('end', () => resolve(read));
    socket.on('error', reject);
    socket.end(data);
  });
}

describe('fixed forwards', { skip: sshdMissing, timeout: 300_000 }, () => {
  let lab: LoopbackLab;
  /** Answers with the digest of what it reads, once that has ended. */
  let hashes = 0;

  before(async () => {
    lab = await LoopbackLab.open();
    hashes = await lab.digests();
  });
  afterEach(() => lab.endAll());
  after(() => lab.close());

  /** `lines`: its ssh_config. */
  const start = (lines: readonly string[], command: string, ...args: readonly string[]) =>
    lab.start(command, ...lab.configured(lines), ...args);
  const fail = (lines: readonly string[], ...[command = '', ...args]: readonly string[]) =>
    lab.run(lab.words(command, ...lab.configured(lines), ...args));

  for (const transport of ['ssh2', 'openssh']) {
    describe(`with --transport ${transport}`, () => {
      const by = ['--transport', transport];

      it('-L without a target: a port and a socket, whole uploads, refusals, status', async () => {
        const socket = lab.path(`${transport}.sock`);
        const child = await start(
          [],
          ...['connect', ...by, '-L', `0:localhost:${hashes}`],
          ...['-L', `${socket}:127.0.0.1:${hashes}`, '-L', '0:127.0.0.1:1'],
        );
        const [port = 0, refused = 0] = forwardPorts(child);
        const data = randomBytes(UPLOAD);
        const answers = await Promise.all([
          ask({ port, host: '127.0.0.1' }, data),
          ask({ port, host: '::1' }, data.subarray(1)),
          ask({ path: socket }, data.subarray(2)),
          ask({ port, host: '127.0.0.1' }, ''),
        ]);
        assert.deepEqual(answers, [
          digestOf(data),
          digestOf(data.subarray(1)),
          digestOf(data.subarray(2)),
          digestOf(Buffer.alloc(0)),
        ]);
        assert.equal(statSync(socket).mode & 0o777, 0o600);
        // The far side resolves names: it is asked for one.
        assert.match(await lab.sshd.log(), /direct.tcpip: originator .*, target localhost port/);
        await assert.rejects(ask({ port: refused, host: '127.0.0.1' }, 'x'), /ECONNRESET/);
        const { forwards, targets, device, flows, counters } = await lab.status(child.pid);
        assert.deepEqual(forwards.slice(0, 3), [
          `127.0.0.1:${port} -> localhost:${hashes}`,
          `[::1]:${port} -> localhost:${hashes}`,
          `${socket} -> 127.0.0.1:${hashes}`,
        ]);
        assert.deepEqual([targets, device], [[], undefined]);
        assert.deepEqual([flows.opened, flows.refused], [4, 1]);
        assert.equal(counters['tunnel_forward_connections_total'], 5);
        assert.equal((await child.stop('SIGTERM')).status, 0);
        assert.equal(existsSync(socket), false);
      });

      it('LocalForward: opened once, by this program, beside -L', async () => {
        const free = await freePort();
        const child = await start(
          [
            'Host 127.0.0.1',
            `  LocalForward 127.0.0.1:${free} localhost:${hashes}`,
            '  ExitOnForwardFailure yes',
            'Host elsewhere',
            '  LocalForward 1 localhost:1',
          ],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-L', `0:localhost:${hashes}`],
        );
        const both = forwardPorts(child);
        assert.equal(both.length, 2, child.stderr);
        for (const port of both)
          assert.equal(await ask({ port, host: '127.0.0.1' }, 'a'), digestOf(Buffer.from('a')));
      });

      it('LocalForward with a port: no other process listens on it', async () => {
        const port = await freePort();
        const child = await start(
          [`LocalForward 127.0.0.1:${port} localhost:${hashes}`],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-o', 'ExitOnForwardFailure=yes'],
          ...['--allow-rule', 'localhost:1'],
        );
        assert.deepEqual(forwardPorts(child), [port]);
        // What ssh itself would carry is not held to the allow-list.
        await assert.rejects(ask({ port, host: '127.0.0.1' }, 'x'), /ECONNRESET/);
        assert.match(child.stderr, /is denied by the allow-list; the rule to add: localhost:/);
      });

      it('ClearAllForwardings clears them all, and says so of -L', async () => {
        const child = await start(
          ['LocalForward 1 localhost:1', 'ClearAllForwardings yes'],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-L', '0:localhost:2'],
        );
        assert.deepEqual(forwardPorts(child), []);
        assert.match(child.stderr, /ClearAllForwardings is set: nothing of -L is forwarded/);
      });
    });
  }

  it('a port in use is a warning, and with ExitOnForwardFailure the end', async () => {
    const taken = `127.0.0.1:${hashes}:db:80`;
    const child = await start([], 'connect', '-L', taken, '-L', '0:localhost:1');
    assert.match(
      child.stderr,
      new RegExp(`warning: 127.0.0.1:${hashes} can't be forwarded to db:80: .*in use`),
    );
    const both = ['connect', '-L', taken, '-L', '0:localhost:1'];
    const ended = await fail(['ExitOnForwardFailure yes'], ...both);
    assert.equal(ended.status, 6, ended.stderr);
    assert.match(ended.stderr, /can't be forwarded to db:80: the port is in use/);
    assert.match(ended.stderr, /\[forward-listen\]/);
    // Nothing else is carried.
    const alone = await fail([], 'connect', '-L', taken);
    assert.equal(alone.status, 6, alone.stderr);
    const proxied = await start([], 'proxy', '--listen', '127.0.0.1:0', '-L', taken);
    assert.match(proxied.stderr, /in use/);
  });

  it('listens on loopback, and on all addresses with GatewayPorts or *', async () => {
    const listening = async (lines: readonly string[], forward: string) => {
      const child = await start(lines, 'connect', '-L', forward);
      const found = [...child.stderr.matchAll(/forwarding (\S+):\d+ ->/g)].map(([, at]) => at);
      assert.equal(/warning: whoever can connect/.test(child.stderr), found.includes('0.0.0.0'));
      return found;
    };
    const LOOPBACK = ['127.0.0.1', '[::1]'];
    const ALL = ['0.0.0.0', '[::]'];
    assert.deepEqual(await listening([], '0:db:80'), LOOPBACK);
    assert.deepEqual(await listening([], 'localhost:0:db:80'), LOOPBACK);
    assert.deepEqual(await listening([], '*:0:db:80'), ALL);
    assert.deepEqual(await listening(['GatewayPorts yes'], '0:db:80'), ALL);
    assert.deepEqual(await listening(['GatewayPorts yes'], 'localhost:0:db:80'), LOOPBACK);
    assert.deepEqual(await listening(['GatewayPorts yes'], '[::1]:0:db:80'), ['[::1]']);
  });

  it('reloads: connections of a former forward go on, a new one listens', async () => {
    const file = lab.path('forwards');
    writeFileSync(file, `-L 0:localhost:${hashes}\n`);
    const child = await start([], 'connect', `@${file}`);
    const [port = 0] = forwardPorts(child);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let read = '';
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString();
    });
    const ended = new Promise((resolve) => socket.on('end', resolve));
    socket.write('before ');
    while ((await lab.status(child.pid)).flows.live === 0);
    writeFileSync(file, `-L 0:127.0.0.1:${hashes}\n10.0.0.0/8\n`);
    const reloaded = await lab.tunnel('reload', String(child.pid));
    assert.match(reloaded.stdout, /reloaded: 1 forward added, 1 removed/);
    assert.match(reloaded.stdout, /needs a restart: TARGET/);
    await assert.rejects(ask({ port, host: '127.0.0.1' }, 'x'), /ECONNREFUSED/);
    const { forwards } = await lab.status(child.pid);
    const next = Number(/:(\d+) ->/.exec(forwards[0] ?? '')?.[1]);
    assert.equal(await ask({ port: next, host: '127.0.0.1' }, 'b'), digestOf(Buffer.from('b')));
    socket.end('after');
    await ended;
    assert.equal(read, digestOf(Buffer.from('before after')));
  });

  it('refuses what is no forward, and what a tunnel of this kind has not', async () => {
    const refused = async (...args: string[]) => {
      const { status, stderr } = await fail([], ...args);
      assert.equal(status, 2, stderr);
      return stderr;
    };
    assert.match(await refused('connect', '-L', '70000:db:80'), /-L "70000:db:80": 70000 is not a/);
    assert.match(await refused('connect', '-L', '8080:db'), /as in: 8080:db\.internal:5432/);
    assert.match(await refused('connect', '-L', '80:/run/x'), /a socket of the jump host/);
    const closed = await refused('connect', '-L', '80:db:80', '--fail-closed');
    assert.match(closed, /--fail-closed is for targets, and none is given/);
  });
});
