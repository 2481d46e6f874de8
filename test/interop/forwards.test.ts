/** Fixed forwards (-L, LocalForward) with both transports at a real sshd, beside real clients. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import {
  type AddressInfo,
  connect,
  createServer,
  type NetConnectOpts,
  type Server,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import type { Status } from '../../src/control/status.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child, type ExecResult, run } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const START_MS = 30_000;
const UPLOAD = 24 * 1024 * 1024;

/** A listening server's port. */
function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What a client is told when it has sent all and ended its half. */
function digestOf(data: Buffer): string {
  return `${data.length} ${createHash('sha256').update(data).digest('hex')}`;
}

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
  let sshd: LoopbackSshd;
  let hashes: Server;
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-forwards-'));
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory, RUNTIME_DIRECTORY: directory };
  let children: Child[] = [];

  before(async () => {
    sshd = await LoopbackSshd.start({ config: ['MaxSessions 0'] });
    // Reads slowly at first, so that an upload is under way when its client ends.
    hashes = createServer({ allowHalfOpen: true }, (socket) => {
      const hash = createHash('sha256');
      let length = 0;
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        length += chunk.length;
        socket.pause();
        setTimeout(() => socket.resume(), length < 1024 * 1024 ? 5 : 0);
      });
      socket.on('end', () => socket.end(`${length} ${hash.digest('hex')}`));
    });
    await new Promise<void>((resolve) => hashes.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    for (const child of children) await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
    children = [];
  });
  after(async () => {
    hashes.close();
    await sshd.stop();
    rmSync(directory, { recursive: true });
  });

  const lineOf = async (lines: readonly string[], args: readonly string[]) => {
    const config = join(directory, 'ssh_config');
    writeFileSync(config, [...lines, ''].join('\n'), { mode: 0o600 });
    const key = (await sshd.knownHostsLine()).trim().split(' ').slice(1).join(' ');
    const remote = ['-r', `${sshd.user}@127.0.0.1:${sshd.port}`];
    const ssh = ['-F', config, '-i', sshd.userKey, '--host-key', key];
    const [command = 'connect', ...rest] = args;
    return ['setsid', process.execPath, MAIN, command, ...remote, ...ssh, ...rest];
  };
  const start = async (lines: readonly string[], ...args: readonly string[]): Promise<Child> => {
    const child = await Child.start(await lineOf(lines, args), { env });
    children.push(child);
    await child.waitForLine(/tunnel: ready\n/, START_MS);
    return child;
  };
  const fail = async (lines: readonly string[], ...args: string[]): Promise<ExecResult> =>
    run(await lineOf(lines, args), { env, timeout: START_MS });
  /** The ports of `forwarding 127.0.0.1:PORT -> ...`, in order. */
  const ports = ({ stderr }: Child) =>
    [...stderr.matchAll(/forwarding 127\.0\.0\.1:(\d+) ->/g)].map(([, port]) => Number(port));
  const statusOf = async (child: Child): Promise<Status> => {
    const { stdout } = await run([process.execPath, MAIN, 'status', String(child.pid), '--json'], {
      env,
      timeout: START_MS,
    });
    const [status] = (JSON.parse(stdout) as { tunnels: Status[] }).tunnels;
    assert.ok(status !== undefined);
    return status;
  };

  for (const transport of ['ssh2', 'openssh']) {
    describe(`with --transport ${transport}`, () => {
      const by = ['--transport', transport];

      it('-L without a target: a port and a socket, whole uploads, refusals, status', async () => {
        const socket = join(directory, `${transport}.sock`);
        const child = await start(
          [],
          ...['connect', ...by, '-L', `0:localhost:${portOf(hashes)}`],
          ...['-L', `${socket}:127.0.0.1:${portOf(hashes)}`, '-L', '0:127.0.0.1:1'],
        );
        const [port = 0, refused = 0] = ports(child);
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
        assert.match(await sshd.log(), /direct.tcpip: originator .*, target localhost port/);
        await assert.rejects(ask({ port: refused, host: '127.0.0.1' }, 'x'), /ECONNRESET/);
        const { forwards, targets, device, flows, counters } = await statusOf(child);
        assert.deepEqual(forwards.slice(0, 3), [
          `127.0.0.1:${port} -> localhost:${portOf(hashes)}`,
          `[::1]:${port} -> localhost:${portOf(hashes)}`,
          `${socket} -> 127.0.0.1:${portOf(hashes)}`,
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
            `  LocalForward 127.0.0.1:${free} localhost:${portOf(hashes)}`,
            '  ExitOnForwardFailure yes',
            'Host elsewhere',
            '  LocalForward 1 localhost:1',
          ],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-L', `0:localhost:${portOf(hashes)}`],
        );
        const both = ports(child);
        assert.equal(both.length, 2, child.stderr);
        for (const port of both)
          assert.equal(await ask({ port, host: '127.0.0.1' }, 'a'), digestOf(Buffer.from('a')));
      });

      it('LocalForward with a port: no other process listens on it', async () => {
        const port = await freePort();
        const child = await start(
          [`LocalForward 127.0.0.1:${port} localhost:${portOf(hashes)}`],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-o', 'ExitOnForwardFailure=yes'],
          ...['--allow-rule', 'localhost:1'],
        );
        assert.deepEqual(ports(child), [port]);
        // What ssh itself would carry is not held to the allow-list.
        await assert.rejects(ask({ port, host: '127.0.0.1' }, 'x'), /ECONNRESET/);
        assert.match(child.stderr, /is denied by the allow-list; the rule to add: localhost:/);
      });

      it('ClearAllForwardings clears them all, and says so of -L', async () => {
        const child = await start(
          ['LocalForward 1 localhost:1', 'ClearAllForwardings yes'],
          ...['proxy', '--listen', '127.0.0.1:0', ...by, '-L', '0:localhost:2'],
        );
        assert.deepEqual(ports(child), []);
        assert.match(child.stderr, /ClearAllForwardings is set: nothing of -L is forwarded/);
      });
    });
  }

  it('a port in use is a warning, and with ExitOnForwardFailure the end', async () => {
    const taken = `127.0.0.1:${portOf(hashes)}:db:80`;
    const child = await start([], 'connect', '-L', taken, '-L', '0:localhost:1');
    assert.match(
      child.stderr,
      new RegExp(`warning: 127.0.0.1:${portOf(hashes)} can't be forwarded to db:80: .*in use`),
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
    const file = join(directory, 'forwards');
    writeFileSync(file, `-L 0:localhost:${portOf(hashes)}\n`);
    const child = await start([], 'connect', `@${file}`);
    const [port = 0] = ports(child);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let read = '';
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString();
    });
    const ended = new Promise((resolve) => socket.on('end', resolve));
    socket.write('before ');
    while ((await statusOf(child)).flows.live === 0);
    writeFileSync(file, `-L 0:127.0.0.1:${portOf(hashes)}\n10.0.0.0/8\n`);
    const reloaded = await run([process.execPath, MAIN, 'reload', String(child.pid)], {
      env,
      timeout: START_MS,
    });
    assert.match(reloaded.stdout, /reloaded: 1 forward added, 1 removed/);
    assert.match(reloaded.stdout, /needs a restart: TARGET/);
    await assert.rejects(ask({ port, host: '127.0.0.1' }, 'x'), /ECONNREFUSED/);
    const { forwards } = await statusOf(child);
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
