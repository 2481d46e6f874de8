/**
 * Slow logins and opens, long banners, user names of bastions, and keys that are refused: the whole
 * program, with both transports.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, makeKey, sshdMissing } from '../support/loopback-sshd.ts';
import { startProxyProgram } from '../support/loopbackprogram.ts';
import { run } from '../support/process.ts';
import { SlowServer } from '../support/slowserver.ts';
import { startAgent } from '../support/sshagent.ts';

const TRANSPORTS = ['ssh2', 'openssh'] as const;
const READY = /tunnel: ready\n/;
const URL_END = 'the-end-of-the-code';
const URL = `https://id.example.com/device?${'x'.repeat(3_000)}${URL_END}`;
const BANNER = [
  'Sign in here:\u001b[2J\u0007',
  URL,
  ...Array.from({ length: 60 }, (_, i) => `line ${i}`),
  '',
].join('\r\n');

describe('a server that takes its time', { skip: sshdMissing }, () => {
  let directory: string;
  let key: string;
  let configFile: string;
  let web: Server;
  let webPort: number;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-patience-'));
    key = join(directory, 'key');
    await makeKey(key, 'ed25519');
    configFile = join(directory, 'config');
    const knownHosts = join(directory, 'known_hosts');
    writeFileSync(
      configFile,
      `StrictHostKeyChecking accept-new\nUserKnownHostsFile ${knownHosts}\nIdentityFile ${key}\n`,
    );
    web = createServer((socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nhello'));
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    const address = web.address();
    webPort = typeof address === 'object' ? (address?.port ?? 0) : 0;
  });
  after(() => {
    web?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const common = (transport: string): string[] => [
    ...['--socks', '127.0.0.1:0', '--transport', transport],
  ];

  for (const transport of TRANSPORTS)
    it(`is waited for, with a word about what (${transport})`, async () => {
      const server = await SlowServer.start({ loginMs: 6_000, openMs: 6_000, banner: BANNER });
      const remote = `user@session@domain@127.0.0.1:${server.port}`;
      const program = await startProxyProgram([...common(transport), '-r', remote], {
        configFile,
      });
      try {
        await program.waitForLine(READY, 30_000);
        const [, port] = await program.waitForLine(/proxy at 127\.0\.0\.1:(\d+)/);
        const at = `127.0.0.1:${server.port}`;
        assert.match(
          program.stderr,
          new RegExp(`waiting for ${at} to decide about the login(: .+)? \\(5 s so far\\)\n`),
        );
        assert.ok(program.stderr.includes(URL_END), 'the banner is whole');
        assert.ok(program.stderr.includes('line 59'));
        assert.ok(!/[\u0007\u001b]/.test(program.stderr));
        assert.deepEqual(server.users, ['user@session@domain']);
        const { stdout } = await run([
          ...['curl', '-s', '-m', '20', '-x', `socks5h://127.0.0.1:${port}`],
          `http://127.0.0.1:${webPort}/`,
        ]);
        assert.equal(stdout, 'hello');
        assert.match(
          program.stderr,
          new RegExp(`waiting for the jump host to open 127.0.0.1:${webPort} \\(5 s so far\\)\n`),
        );
        assert.match(program.stderr, new RegExp(`127.0.0.1:${webPort} is open, after 6 s\n`));
        assert.equal(server.sessions(), 0);
      } finally {
        await program.stop('SIGINT');
        server.close();
      }
    });

  for (const transport of TRANSPORTS)
    for (const user of ['user:target', 'DOMAIN\\user', 'user@session@domain'])
      it(`user ${user} on each host of the way, and in a URI (${transport})`, async () => {
        const hop = await SlowServer.start();
        const server = await SlowServer.start();
        const uri = `ssh://${encodeURIComponent(user)}@127.0.0.1:${server.port}`;
        const program = await startProxyProgram(
          [...common(transport), '-r', uri, '-J', `${user}@127.0.0.1:${hop.port}`],
          { configFile },
        );
        try {
          await program.waitForLine(READY, 20_000);
          assert.deepEqual([...hop.users, ...server.users], [user, user]);
        } finally {
          await program.stop('SIGINT');
          hop.close();
          server.close();
        }
      });
});

describe('a server that counts refused keys', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let agent: Awaited<ReturnType<typeof startAgent>>;
  let key: (name: string) => string;
  before(async () => {
    sshd = await LoopbackSshd.start({ config: ['LogLevel DEBUG2'] });
    key = (name) => join(sshd.directory, name);
    for (const name of ['a', 'b', 'c']) await makeKey(key(name), 'ed25519');
    agent = await startAgent(key('agent'), ['a', 'b', 'c'].map(key));
  });
  after(async () => {
    agent?.kill();
    await sshd?.stop();
  });

  const offers = async (): Promise<number> =>
    (await sshd.log()).match(/userauth-request for user \S+ service \S+ method publickey/g)
      ?.length ?? 0;

  for (const transport of TRANSPORTS)
    for (const [more, count, words] of [
      [[], 3, /3 keys were offered/],
      [['--one-key'], 1, /1 key was offered/],
    ] as const)
      it(`is offered ${count} (${[transport, ...more].join(', ')})`, async () => {
        const before = await offers();
        const hostKey = (await sshd.knownHostsLine()).trim();
        const program = await startProxyProgram(
          [
            ...['--socks', '127.0.0.1:0', '-r', `${sshd.user}@127.0.0.1:${sshd.port}`],
            ...['-i', key('a'), '--transport', transport, '--host-key', hostKey, ...more],
          ],
          { agentSocket: key('agent') },
        );
        const { status } = await program.wait(20_000);
        assert.equal(status, 3, program.stderr);
        assert.match(program.stderr, /error \[auth-failed\]/);
        assert.match(program.stderr, words);
        assert.equal((await offers()) - before, count, await sshd.log());
      });
});
