/**
 * The program on other systems than Linux, as far as that can be had here: Node says that it is
 * another system, there are no native files, and no /proc. And on Linux without native files.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child, type ExecResult, run } from '../support/process.ts';
import { labUnavailable } from '../support/requirements.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PRELOAD = fileURLToPath(new URL('../support/othersystem.js', import.meta.url));
const TIMEOUT_MS = 60_000;
const SYSTEMS = [
  ['darwin', 'macOS'],
  ['win32', 'Windows'],
  ['linux', 'Linux'],
] as const;
/** In a mount namespace of its own. */
const HIDE_PROC = 'mount -t tmpfs -o mode=555 tmpfs /proc && exec "$@"';

describe('without native files', { skip: sshdMissing || labUnavailable('curl') }, () => {
  let directory: string;
  let sshd: LoopbackSshd;
  let server: Server;
  let port: number;
  let connection: string[];

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-other-'));
    cpSync(join(ROOT, 'dist/src'), join(directory, 'dist/src'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(directory, 'package.json'));
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
    mkdirSync(join(directory, 'home'));
    sshd = await LoopbackSshd.start();
    server = createServer((_, response) => response.end('carried'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    const key = readFileSync(join(sshd.directory, 'host_ed25519.pub'), 'utf8');
    connection = [
      ...['-F', 'none', '-r', `${sshd.user}@127.0.0.1:${sshd.port}`, '-i', sshd.userKey],
      ...['--host-key', key.split(' ').slice(0, 2).join(' ')],
    ];
  });
  after(async () => {
    server?.closeAllConnections();
    server?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  for (const [system, name] of SYSTEMS)
    describe(`on ${name}`, () => {
      const command = (words: readonly string[]) => [
        ...(system === 'linux' ? [] : ['unshare', '--mount', 'sh', '-c', HIDE_PROC, 'sh']),
        ...[process.execPath, '--import', PRELOAD, join(directory, 'dist/src/main.js'), ...words],
      ];
      const options = () => ({
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: join(directory, 'home'),
          TUNNEL_TEST_SYSTEM: system,
          ...(system === 'win32' ? { TEMP: directory } : {}),
        },
        timeout: TIMEOUT_MS,
      });
      const tunnel = (...words: string[]): Promise<ExecResult> => run(command(words), options());

      it('is a proxy', async () => {
        const proxy = await Child.start(
          command(['proxy', ...connection, '--http', '127.0.0.1:0']),
          options(),
        );
        try {
          await proxy.waitForLine(/tunnel: ready\n/, TIMEOUT_MS);
          const [, at = ''] = /proxy at (\S+)/.exec(proxy.stderr) ?? [];
          const words = ['-sS', '--max-time', '20', '--proxytunnel', '--proxy', `http://${at}`];
          const { stdout, stderr } = await run(['curl', ...words, url()]);
          assert.equal(stdout, 'carried', stderr);
          const warned = /does not tell whose a connection is.*\n.*--proxy-auth/.test(proxy.stderr);
          assert.equal(warned, system !== 'linux', proxy.stderr);
          assert.deepEqual(await proxy.stop('SIGINT'), { status: 0, signal: null });
        } finally {
          await proxy.stop();
        }
      });

      it('runs a command beside a proxy, and passes its status on', async () => {
        const script = `curl -sS --max-time 20 --noproxy '' --proxytunnel ${url()}; exit 3`;
        const words = [...connection, '10.0.0.0/8', '--', 'sh', '-c', script];
        const { status, stdout, stderr } = await tunnel('exec', ...words);
        assert.deepEqual([status, stdout], [3, 'carried'], stderr);
        assert.match(stderr, /is run with proxy variables instead/);
        assert.match(stderr, system === 'linux' ? /can't be loaded/ : /needs Linux/);
      });

      it('says so if a command isn’t there, or can’t be kept in a network', async () => {
        const absent = await tunnel('exec', ...connection, '10.0.0.0/8', '--', 'no-such-command');
        assert.equal(absent.status, 127, absent.stderr);
        const isolated = await tunnel('exec', '--isolate', ...connection, '10/8', '--', 'true');
        assert.equal(isolated.status, 125);
        assert.match(isolated.stderr, /--isolate can't be kept/);
      });

      it('protects the proxy of a command by a password', async () => {
        const words = [...connection, '10.0.0.0/8', '--', 'sh', '-c', 'echo $HTTP_PROXY'];
        const { stdout } = await tunnel('exec', ...words);
        const password = /^http:\/\/tunnel:[0-9a-f]{32}@127\.0\.0\.1:\d+\n$/;
        assert.equal(password.test(stdout), system !== 'linux', stdout);
      });

      it('reports', async () => {
        const report = await tunnel('doctor', ...connection, `10.0.0.1:${port}`);
        assert.match(report.stdout, /^jump-host +ok/m, report.stderr);
        assert.match(report.stdout, /^authentication +ok/m);
        assert.match(report.stdout, /^connect +no +.*(needs Linux|helper)/m);
        assert.match(report.stdout, /^proxy +yes/m);
        const list = await tunnel('list');
        assert.deepEqual([list.status, list.stderr], [0, '']);
        const rendered = await tunnel('jumphost', 'sshd', '--user', 'jump', '10.0.0.1:443');
        assert.equal(rendered.status, 0, rendered.stderr);
        assert.match(rendered.stdout, /PermitOpen 10\.0\.0\.1:443/);
        const cloud = await tunnel('openstack', '--os-cloud', 'none', ...connection);
        assert.match(cloud.stderr, /clouds\.yaml/);
      });

      it('names what it needs for the rest', async () => {
        const needs = (what: string) =>
          system === 'linux'
            ? /error \[native-missing\]/
            : new RegExp(`error \\[needs-linux\\]: ${what} needs Linux, and this is ${name}\n`);
        const rows: [what: string, ...words: string[]][] = [
          ['tunnel connect', ...connection, '10.0.0.0/8'],
          ['-D', 'proxy', '-D', ...connection, '--socks', '127.0.0.1:0'],
          ["a connection by the system's ssh", 'proxy', '--transport', 'openssh', ...connection],
        ];
        if (system !== 'linux') rows.push(['tunnel clean', 'clean']);
        for (const [what, ...words] of rows) {
          const { status, stderr } = await tunnel(...words);
          assert.equal(status, 6, stderr);
          assert.match(stderr, needs(what));
          assert.match(stderr, /tunnel: hint: ./);
        }
      });
    });

  const url = () => `http://127.0.0.1:${port}/`;
});
