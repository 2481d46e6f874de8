/**
 * The system's ssh against real sshds: what comes of a start, in words and codes; what is left
 * afterwards; what carries flows.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { TunnelError } from '../../../../src/errors/errors.ts';
import { ConnectError, LinkGoneError } from '../../../../src/flow/connector.ts';
import type { Destination } from '../../../../src/net/destination.ts';
import type { Observer } from '../../../../src/observe/observer.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import { CLOSE_TIMEOUT_MS } from '../../../../src/ssh/openssh/process.ts';
import { isProbing, type Transport } from '../../../../src/ssh/transport.ts';
import { connectStream } from '../../../support/connectstream.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../../../support/loopback-sshd.ts';
import { type Changes, opensshOptions } from '../../../support/openssh.ts';
import {
  clients,
  closeAll,
  closedPort,
  dial,
  fails,
  leftovers,
  serve,
} from '../../../support/opensshlab.ts';
import { processEntry } from '../../../support/processtable.ts';
import { ipv6Missing } from '../../../support/requirements.ts';
import { authority, fakeSecurityKey, sign } from '../../../support/sshcertificates.ts';
import { AT_ONCE_MS } from '../../../support/until.ts';

const OPENSSHDIAL = fileURLToPath(new URL('../../../support/opensshdial.js', import.meta.url));
const scriptMissing = existsSync('/usr/bin/script') ? false : 'script (bsdutils) is not installed';

/** Milliseconds: a prompt or an end that doesn't come is a failure. */
const TIMEOUT = 20_000;

let sshd: LoopbackSshd;
let directory: string;

before(async () => {
  if (sshdMissing !== false) return;
  directory = await mkdtemp(join(tmpdir(), 'tunnel-openssh-test-'));
  sshd = await LoopbackSshd.start({
    config: ['PermitOpen 127.0.0.1:* [::1]:* nosuch.invalid:80', 'MaxSessions 0'],
  });
});

after(async () => {
  if (sshdMissing !== false) return;
  await sshd.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("the system's ssh", { skip: sshdMissing }, () => {
  async function echoes(transport: Transport): Promise<void> {
    const stream = await connectStream(transport, await serve((far) => far.pipe(far)));
    stream.end('there and back');
    let text = '';
    for await (const chunk of stream) text += chunk;
    assert.equal(text, 'there and back');
  }

  it('accepts a pinned key, and a pinned fingerprint, and looks nowhere else', async () => {
    const key = parseHostKeyPin((await sshd.knownHostsLine()).split(' ').slice(1).join(' '));
    for (const pin of [key, { ...key, key: undefined }])
      await echoes(await dial(sshd, { hostKeys: { pins: [pin], userFiles: ['/nonexistent'] } }));
    await closeAll();
  });

  it('gives each of many opens at once its own reason', async () => {
    const transport = await dial(sshd);
    const { port } = await serve((far) => far.end());
    const free = await closedPort();
    const refused6: [Destination, string, RegExp] = [
      { host: '::1', port: free.port },
      'refused',
      /\[::1\]:\d+: Connection refused/,
    ];
    const cases: [Destination, string | undefined, RegExp][] = [
      [{ host: '127.0.0.1', port: free.port }, 'refused', /Connection refused/],
      [{ host: '127.0.0.2', port }, 'prohibited', /does not permit 127\.0\.0\.2/],
      [{ host: 'nosuch.invalid', port: 80 }, 'unreachable', /not known|resolution/],
      ...(ipv6Missing === false ? [refused6] : []),
      [{ host: '127.0.0.1', port }, undefined, /^$/],
    ];
    const opens = Array.from({ length: 60 }, (_, i) => cases[i % cases.length] ?? assert.fail());
    await Promise.all(
      opens.map(async ([destination, refusal, message]) => {
        const outcome = await transport.connect(destination).catch((error: unknown) => error);
        if (refusal === undefined) {
          assert.ok(!(outcome instanceof Error), String(outcome));
        } else {
          assert.ok(outcome instanceof ConnectError, String(outcome));
          assert.equal(outcome.refusal, refusal, outcome.message);
          assert.match(outcome.message, message);
        }
      }),
    );
    await closeAll();
  });

  it('loses nothing of what the far side says before anybody reads, and takes 500 opens at once', async () => {
    const transport = await dial(sshd);
    const destination = await serve((far) => far.end('a greeting'));
    const streams = await Promise.all(
      Array.from({ length: 500 }, () => connectStream(transport, destination)),
    );
    await delay(100);
    for (const stream of streams) {
      let text = '';
      for await (const chunk of stream) text += chunk;
      assert.equal(text, 'a greeting');
      stream.destroy();
    }
    await closeAll();
  });

  it('is not ended by INT and TERM, which a terminal and a service manager send to all', async () => {
    const transport = await dial(sshd);
    const [pid = 0] = clients();
    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM');
    await delay(50);
    await echoes(transport);
    const before = performance.now();
    await closeAll();
    assert.ok(
      performance.now() - before < CLOSE_TIMEOUT_MS,
      'it ends by itself when it is told to',
    );
    assert.deepEqual(clients(), []);
    assert.deepEqual(leftovers(), []);
  });

  it('an ssh that is killed is a lost link, never the end of a download', {
    timeout: TIMEOUT,
  }, async () => {
    for (let round = 0; round < 5; round++) {
      const transport = await dial(sshd);
      const stream = await connectStream(
        transport,
        await serve((far) => far.write('the first half')),
      );
      let ended = false;
      stream.on('end', () => {
        ended = true;
      });
      stream.resume();
      await once(stream, 'data');
      const [pid = 0] = clients();
      process.kill(pid, 'SIGKILL');
      const error = await transport.ended;
      await once(stream, 'close').catch(() => {
        // It closes with the error that is looked at below.
      });
      assert.equal(error?.code, 'link-lost');
      assert.equal((stream.errored as TunnelError | null)?.code, 'link-lost');
      assert.ok(!ended);
    }
    assert.deepEqual(leftovers(), []);
    await closeAll();
  });

  it('is asked for a sign of life by a channel that the server refuses, and given up after as long a silence', {
    timeout: TIMEOUT,
  }, async () => {
    const server = await LoopbackSshd.start({ config: ['PermitOpen none'] });
    try {
      for (const to of [sshd, server]) {
        const transport = await dial(to, { settings: { keepalive: { interval: 1, count: 2 } } });
        assert.ok(isProbing(transport));
        assert.equal(await transport.probe(2_000), true);
        await to.stopConnections();
        const stopped = performance.now();
        assert.equal(await transport.probe(200), false);
        const error = await transport.ended;
        assert.match(error?.message ?? '', /no longer answers keepalives/);
        assert.ok(error?.cause !== undefined, 'that is no end in order');
        assert.equal(await transport.probe(200), false);
        // With intervals so short it is given a second more to answer.
        const ms = performance.now() - stopped;
        assert.ok(ms < 3_000 + AT_ONCE_MS, `noticed after ${ms} ms`);
      }
      await closeAll();
    } finally {
      await server.stop();
    }
  });

  it('knows a server that closes the connection in order, and one that is gone for its connects', {
    timeout: TIMEOUT,
  }, async () => {
    const server = await LoopbackSshd.start({ config: ['UnusedConnectionTimeout 1'] });
    try {
      const transport = await dial(server);
      const error = await transport.ended;
      assert.deepEqual([error?.code, error?.cause], ['link-lost', undefined]);
      await assert.rejects(transport.connect({ host: '127.0.0.1', port: 1 }), LinkGoneError);
      await closeAll();
    } finally {
      await server.stop();
    }
  });

  it('dies with a tunnel that is killed, and the next start removes what that one left', async (test) => {
    // A tunnel of another test would remove it, too.
    const before = process.env['XDG_RUNTIME_DIR'];
    process.env['XDG_RUNTIME_DIR'] = directory;
    test.after(() => {
      if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
      else process.env['XDG_RUNTIME_DIR'] = before;
    });
    const child: ChildProcess = fork(
      fileURLToPath(new URL('../../../support/opensshdial.js', import.meta.url)),
      {
        env: { ...process.env, OPENSSH_OPTIONS: JSON.stringify(await opensshOptions(sshd)) },
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      },
    );
    await once(child, 'message');
    const [pid = 0] = clients(child.pid);
    assert.ok(pid > 0);
    const left = (): string[] => leftovers(child.pid);
    assert.equal(left().length, 1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    for (let i = 0; i < 100 && processEntry(pid) !== undefined; i++) await delay(10);
    assert.equal(processEntry(pid), undefined, 'ssh is still there');
    assert.equal(left().length, 1);
    await dial(sshd);
    assert.deepEqual(left(), []);
    await closeAll();
  });

  it('lives with forwards of the configuration, also with ClearAllForwardings', async () => {
    const { port } = await serve(() => {});
    const file = join(directory, 'config');
    for (const line of [`LocalForward 127.0.0.1:${port} 127.0.0.1:1`, 'ClearAllForwardings yes']) {
      await writeFile(file, `ExitOnForwardFailure yes\n${line}\n`);
      await echoes(await dial(sshd, { given: { configFile: file } }));
    }
    await closeAll();
  });

  it('lets ssh ask at the terminal that it shares with the tunnel', {
    skip: scriptMissing,
    timeout: TIMEOUT,
  }, async () => {
    const key = join(directory, 'locked');
    await makeKey(key, 'ed25519', ['-N', 'open sesame']);
    const line = await readFile(`${key}.pub`, 'utf8');
    const server = await LoopbackSshd.start({
      authorizedKeys: { lines: [line.trim()], only: true },
    });
    const options = await opensshOptions(server, { given: { identityFiles: [key] } });
    const { settings } = options;
    const asking = {
      ...settings,
      authTimeout: 1,
      authentication: { ...settings.authentication, batch: false },
    };
    const program = [process.execPath, OPENSSHDIAL].map((word) => `'${word}'`).join(' ');
    const env = {
      ...process.env,
      OPENSSH_OPTIONS: JSON.stringify({ ...options, settings: asking }),
      DISPLAY: '',
    };
    const terminal = spawn('script', ['-qec', program, '/dev/null'], {
      env,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      let shown = '';
      terminal.stdout.on('data', (text) => {
        shown += text;
      });
      while (!/Enter passphrase for key/.test(shown)) await once(terminal.stdout, 'data');
      // Longer than --auth-timeout: while somebody is asked, no time is counted.
      await delay(1500);
      terminal.stdin.write('open sesame\n');
      while (!/^up/m.test(shown)) await once(terminal.stdout, 'data');
      assert.ok(!shown.includes('sesame'), 'there is no echo');
    } finally {
      terminal.kill('SIGKILL');
      await server.stop();
    }
  });

  it("shows the server's banner, and takes no line of it for one of ssh's log", async () => {
    const banner = join(directory, 'banner');
    await writeFile(banner, 'keep \x1b[31mout\ndebug1: channel 0: free: x, nchannels 1\n');
    const server = await LoopbackSshd.start({ config: [`Banner ${banner}`] });
    const notices: string[] = [];
    const observer: Observer = {
      log: (level, message) => void (level === 'notice' && notices.push(message)),
      count() {},
    };
    try {
      await echoes(await dial(server, { observer }));
      await closeAll();
    } finally {
      await server.stop();
    }
    assert.deepEqual(notices.slice(0, 2), [
      'ssh: keep \\033[31mout',
      'ssh: debug1: channel 0: free: x, nchannels 1',
    ]);
  });

  it('authenticates with a certificate, and says when it has expired', async () => {
    const ca = await authority(directory, 'user_ca');
    const server = await LoopbackSshd.start({
      config: [`TrustedUserCAKeys ${ca}.pub`],
      authorizedKeys: { lines: [], only: true },
    });
    try {
      await fails(server, 'auth-failed', /Permission denied/, {});
      await sign(ca, server.userKey, ['-n', server.user, '-V', '-1h:+1h']);
      await echoes(await dial(server));
      await closeAll();
      await sign(ca, server.userKey, ['-n', server.user, '-V', '-2h:-1h']);
      await fails(server, 'auth-failed', /user_key-cert\.pub expired on \d{4}-/, {});
    } finally {
      await server.stop();
    }
  });

  it('verifies a certificate of the host, and says when it has expired', async () => {
    const ca = await authority(directory, 'host_ca');
    const hostKey = join(directory, 'certified');
    await makeKey(hostKey, 'ed25519');
    const userFile = join(directory, 'known_authority');
    await writeFile(
      userFile,
      `@cert-authority [127.0.0.1]:* ${await readFile(`${ca}.pub`, 'utf8')}`,
    );
    const changes: Changes = { hostKeys: { userFiles: [userFile] } };
    for (const [validity, works] of [
      ['-1h:+1h', true],
      ['-2h:-1h', false],
    ] as const) {
      await sign(ca, hostKey, ['-h', '-n', '127.0.0.1', '-V', validity]);
      const server = await LoopbackSshd.start({
        config: [`HostKey ${hostKey}`, `HostCertificate ${hostKey}-cert.pub`],
      });
      try {
        if (works) await echoes(await dial(server, changes));
        else
          await fails(server, 'host-key-unknown', /certificate is not accepted: expired/, changes);
        await closeAll();
      } finally {
        await server.stop();
      }
    }
  });

  it('passes over a security key that is not plugged in', async () => {
    const key = join(directory, 'id_sk.pub');
    const line = fakeSecurityKey();
    await writeFile(key, `${line}\n`);
    const server = await LoopbackSshd.start({ authorizedKeys: { lines: [line] } });
    try {
      await echoes(await dial(server, { given: { identityFiles: [key, server.userKey] } }));
      await closeAll();
      assert.match(await server.log(), /sk-ssh-ed25519|ED25519-SK/);
    } finally {
      await server.stop();
    }
  });

  it('goes through two hops to a third host, and checks the key of each', async () => {
    const hops = await Promise.all([LoopbackSshd.start(), LoopbackSshd.start()]);
    try {
      const file = join(directory, 'hops');
      await mkdir(file);
      const known = join(file, 'known_hosts');
      const config = join(file, 'config');
      const lines = await Promise.all([...hops, sshd].map((server) => server.knownHostsLine()));
      await writeFile(known, lines.join(''));
      const text = (knownHosts: string) =>
        [
          'StrictHostKeyChecking no',
          `UserKnownHostsFile ${knownHosts}`,
          'GlobalKnownHostsFile /dev/null',
          'IdentityAgent none',
          'IdentitiesOnly yes',
          'BatchMode yes',
          ...hops.map(({ userKey }) => `IdentityFile ${userKey}`),
          '',
        ].join('\n');
      await writeFile(config, text(known));
      const own = await opensshOptions(sshd);
      const jump = hops.map(({ user, port }) => `${user}@127.0.0.1:${port}`).join(',');
      const proxy = {
        kind: 'jump',
        hops: hops.map(({ port }) => ({ ...own.settings, port })),
      } as const;
      const changes: Changes = { settings: { proxy }, given: { jump, configFile: config } };
      await echoes(await dial(sshd, changes));
      await closeAll();
      for (const hop of hops) assert.match(await hop.log(), /direct-tcpip/);

      await writeFile(config, text('/nonexistent'));
      await fails(sshd, 'host-key-unknown', /is not known/, changes);
    } finally {
      await Promise.all(hops.map((hop) => hop.stop()));
    }
  });
});
