/** `tunnel nc` with both transports at a real sshd: by pipes, by sockets, and for a real ssh. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { shellWord } from '../../src/net/notation.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { digest, digestOf, LoopbackLab } from '../support/loopbacklab.ts';
import { Child, type RunOptions, run } from '../support/process.ts';

const RUN_MS = 60_000;
const MIB = 1024 * 1024;
const UPLOAD = 24 * MIB;
/** open(2): O_NONBLOCK, as /proc/PID/fdinfo has it. */
const NONBLOCK = 0o4000;

/** What the other end of `socket`, on this machine, has not read yet (proc_pid_net(5)). */
function unreadBehind({ localPort, remotePort }: Socket): number {
  const port = (number = 0) => `:${number.toString(16).padStart(4, '0').toUpperCase()}`;
  const ends = `${port(remotePort)} [0-9A-F]{8}${port(localPort)}`;
  const row = new RegExp(`${ends} [0-9A-F]{2} [0-9A-F]{8}:([0-9A-F]{8}) `);
  const [, queue = '0'] = row.exec(readFileSync('/proc/net/tcp', 'latin1')) ?? [];
  return Number.parseInt(queue, 16);
}

describe('tunnel nc', { skip: sshdMissing, timeout: 300_000 }, () => {
  let lab: LoopbackLab;
  let target: LoopbackSshd;
  /** Answers with the digest of what it reads, once that has ended. */
  let answering = 0;
  /** Ends its half first. What it has read is in `stored`. */
  let silent = 0;
  const stored: string[] = [];

  before(async () => {
    lab = await LoopbackLab.open();
    target = await LoopbackSshd.start();
    answering = await lab.digests();
    const stores = createServer({ allowHalfOpen: true }, (socket) => {
      socket.end();
      digest(socket, (text) => stored.push(text));
    });
    silent = await lab.serve(stores);
  });
  after(async () => {
    await target.stop();
    await lab.close();
  });

  const nc = (args: readonly (string | number)[], options: RunOptions = {}) =>
    run(lab.words('nc', ...args), { env: lab.env, timeout: RUN_MS, ...options });
  /** The line as a shell has it. */
  const line = (...args: readonly (string | number)[]) =>
    lab
      .words('nc', ...args)
      .map(shellWord)
      .join(' ');

  for (const transport of ['ssh2', 'openssh']) {
    describe(`with --transport ${transport}`, () => {
      const by = ['--transport', transport];

      it('carries an upload to its end, then the answer, and ends with 0', async () => {
        const data = randomBytes(UPLOAD);
        const { status, stdout, stderr } = await nc([...by, 'localhost', answering], {
          input: data,
        });
        assert.deepEqual([status, stdout], [0, digestOf(data)], stderr);
        assert.match(await lab.sshd.log(), /direct.tcpip: originator .*, target localhost port/);
      });

      it('loses nothing where the far side has ended its half before', async () => {
        for (const length of [1, 3 * MIB, UPLOAD]) {
          stored.length = 0;
          const data = randomBytes(length);
          const { status, stderr } = await nc([...by, '127.0.0.1', silent], { input: data });
          assert.equal(status, 0, stderr);
          // sshd has handed it to the kernel; the destination reads it at its own pace.
          while (stored.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
          assert.deepEqual(stored, [digestOf(data)]);
        }
      });

      it('is a ProxyCommand for ssh', async () => {
        const known = lab.path('known_hosts');
        writeFileSync(known, await target.knownHostsLine());
        const command = [
          ...['ssh', '-F', 'none', '-T', '-i', target.userKey, '-o', 'BatchMode=yes'],
          ...['-o', `UserKnownHostsFile=${known}`, '-p', String(target.port)],
          ...['-o', `ProxyCommand=${line(...by)} %h %p`],
          ...[`${target.user}@127.0.0.1`, 'sha256sum; head -c 8388608 /dev/zero'],
        ];
        const data = randomBytes(8 * MIB);
        const script = `${command.map(shellWord).join(' ')} | { read -r sum; echo "$sum"; wc -c; }`;
        const { status, stdout, stderr } = await run(['sh', '-c', script], {
          env: lab.env,
          input: data,
          timeout: RUN_MS,
        });
        const sum = createHash('sha256').update(data).digest('hex');
        assert.deepEqual([status, stdout], [0, `${sum} -\n8388608\n`.replace(' -', '  -')], stderr);
      });

      it('says why it is refused, and ends with 1', async () => {
        const { status, stdout, stderr } = await nc([...by, 'localhost', 1]);
        assert.deepEqual([status, stdout], [1, '']);
        assert.match(stderr, /^tunnel: error \[connect-refused\]: localhost:1: .*\n/m);
      });
    });
  }

  it('reads and writes pipes, files and a socket that is both', async () => {
    const data = randomBytes(4 * MIB);
    const file = lab.path('input');
    writeFileSync(file, data);
    const words = line('localhost', answering);
    const piped = await run(['sh', '-c', `cat ${file} | ${words} | cat`], {
      env: lab.env,
      timeout: RUN_MS,
    });
    assert.equal(piped.stdout, digestOf(data), piped.stderr);
    const output = lab.path('output');
    await run(['sh', '-c', `${words} < ${file} > ${output}`], { env: lab.env, timeout: RUN_MS });
    assert.equal(readFileSync(output, 'utf8'), digestOf(data));
    const both = createServer({ allowHalfOpen: true }, (socket) => socket.end(data));
    const port = await lab.serve(both);
    const answer = new Promise<string>((resolve) => {
      both.once('connection', (socket: Socket) => {
        let text = '';
        socket.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        socket.on('end', () => resolve(text));
      });
    });
    const script = `exec 3<>/dev/tcp/127.0.0.1/${port}; ${words} <&3 >&3`;
    const { status, stderr } = await run(['bash', '-c', script], { env: lab.env, timeout: RUN_MS });
    assert.equal(status, 0, stderr);
    assert.equal(await answer, digestOf(data));
  });

  it('leaves the descriptors of others blocking, and ends at once on a signal', async () => {
    const child = await Child.start(lab.words('nc', '-v', 'localhost', answering), {
      env: lab.env,
      stdin: 'open',
    });
    await child.waitForLine(/connected to localhost/, RUN_MS);
    for (const fd of [0, 1]) {
      const [, flags = ''] =
        /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/${child.pid}/fdinfo/${fd}`, 'utf8')) ?? [];
      assert.equal(Number.parseInt(flags, 8) & NONBLOCK, 0, `descriptor ${fd}`);
    }
    const { status } = await child.stop('SIGINT');
    assert.equal(status, 130);
  });

  it('leaves its pipes at their size: all pipes of a user share one limit', async () => {
    /** It can't wait, so the test can fill it. */
    const fifo = (name: string): number => {
      spawnSync('mkfifo', [lab.path(name)]);
      return openSync(lab.path(name), constants.O_RDWR | constants.O_NONBLOCK);
    };
    const capacity = (fd: number): number => {
      for (let held = 0; ; ) {
        try {
          held += writeSync(fd, Buffer.alloc(4096));
        } catch (error) {
          assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN');
          closeSync(fd);
          return held;
        }
      }
    };
    const [pipe, other] = [fifo('pipe'), fifo('other')];
    const script = `exec ${line('-v', 'localhost', answering)} > ${lab.path('pipe')}`;
    const child = await Child.start(['sh', '-c', script], { env: lab.env, stdin: 'open' });
    await child.waitForLine(/connected to localhost/, RUN_MS);
    await child.stop('SIGINT');
    assert.equal(capacity(pipe), capacity(other));
  });

  it('ends when the link is lost, also while it waits for input', async () => {
    const child = await Child.start(lab.words('nc', '-v', 'localhost', answering), {
      env: lab.env,
      stdin: 'open',
    });
    await child.waitForLine(/connected to localhost/, RUN_MS);
    await lab.sshd.killConnections();
    const { status } = await child.wait(RUN_MS);
    assert.equal(status, 5, child.stderr);
    assert.match(child.stderr, /error \[link-lost\]/);
  });

  it('ends when nobody reads its output any more', async () => {
    const source = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(randomBytes(UPLOAD));
    });
    const port = await lab.serve(source);
    const words = line('localhost', port);
    const { stdout } = await run(
      ['bash', '-c', `exec 3< <(exec sleep 1000); ${words} <&3 3<&- | head -c 10 | wc -c; kill $!`],
      { env: lab.env, timeout: RUN_MS },
    );
    assert.equal(stdout.trim(), '10');
  });

  it('does not take a reset of its input for the end, while more waits than is taken', async () => {
    const destination = createServer({ pauseOnConnect: true });
    const source = createServer();
    const arrived = once(destination, 'connection') as Promise<[Socket]>;
    const connected = once(source, 'connection') as Promise<[Socket]>;
    const [to, from] = [await lab.serve(destination), await lab.serve(source)];
    const script = `exec 3<>/dev/tcp/127.0.0.1/${from}; ${line('localhost', to)} <&3`;
    const ended = run(['bash', '-c', script], { env: lab.env, timeout: RUN_MS });
    const [input] = await connected;
    // More than all buffers on the way take.
    input.on('error', () => {}).write(Buffer.alloc(64 * MIB));
    const [far] = await arrived;
    for (let last = 0, now = -1; now !== last || now === 0; await delay(50)) {
      last = now;
      now = unreadBehind(input);
    }
    input.resetAndDestroy();
    far.on('error', () => {}).resume();
    const { status, stderr } = await ended;
    assert.equal(status, 1, stderr);
    assert.match(stderr, /error \[input-failed\]: standard input can't be read: ECONNRESET/);
    far.destroy();
  });

  it('refuses what is no host and no port', async () => {
    const refused = async (...args: string[]) => {
      const { status, stderr } = await nc(args);
      assert.equal(status, 2, stderr);
      return stderr;
    };
    assert.match(await refused(), /nothing to connect to is given.*\n.*tunnel nc -r user@jumphost/);
    assert.match(await refused('host'), /"host" has no port/);
    assert.match(await refused('host', '70000'), /"70000" is not a port.*\n.*1 to 65535/);
    assert.match(await refused('host', '22', '23'), /"23" is one word too many/);
    assert.match(await refused('127.1', '22'), /neither a name nor an address/);
  });
});
