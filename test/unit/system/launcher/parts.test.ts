/**
 * The smaller parts behind `tunnel exec`: proxy variables, resolv.conf, descriptors, exit statuses.
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { exitStatus } from '../../../../src/system/launcher/job.ts';
import { namedDescriptors, startInPlace } from '../../../../src/system/launcher/launcher.ts';
import {
  isAnyLoopback,
  proxiesOfCaller,
  proxyVariables,
} from '../../../../src/system/launcher/proxyvariables.ts';
import {
  resolvConfText,
  resolverConfiguration,
} from '../../../../src/system/resolver/resolvconf.ts';

const PROXY = 'http://127.0.0.1:3128';

describe('proxyVariables', () => {
  it('sets both spellings, merges the exceptions of both, and takes ALL_PROXY away', () => {
    const variables = proxyVariables(
      {
        PATH: '/bin',
        NO_PROXY: 'corp.example, 10.0.0.0/8',
        no_proxy: 'corp.example,localhost',
        https_proxy: 'http://old:1',
        ALL_PROXY: 'socks5://old:2',
        all_proxy: 'socks5://old:2',
      },
      PROXY,
    );
    const exceptions = 'corp.example,10.0.0.0/8,localhost,127.0.0.1,::1';
    assert.deepEqual(variables, {
      ALL_PROXY: undefined,
      all_proxy: undefined,
      HTTP_PROXY: PROXY,
      http_proxy: PROXY,
      HTTPS_PROXY: PROXY,
      https_proxy: PROXY,
      NO_PROXY: exceptions,
      no_proxy: exceptions,
    });
  });

  it('are told from those that the caller has set', () => {
    assert.deepEqual(
      proxiesOfCaller({
        https_proxy: 'http://old:1',
        ALL_PROXY: 'x',
        NO_PROXY: '*',
        HTTP_PROXY: '',
      }),
      ['https_proxy', 'ALL_PROXY'],
    );
  });
});

describe('isAnyLoopback', () => {
  for (const [value, expected] of [
    ['http://127.0.0.1:3128', true],
    ['localhost:3128', true],
    ['http://user:p@[::1]:1/', true],
    ['http://proxy.example:127', false],
    ['http://10.0.0.1:3128', false],
    ['', false],
  ] as const) {
    it(`of "${value}" is ${expected}`, () => {
      assert.equal(isAnyLoopback({ http_proxy: value }, ['http_proxy']), expected);
    });
  }
});

describe('resolverConfiguration', () => {
  function read(text: string) {
    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    try {
      writeFileSync(join(directory, 'resolv.conf'), text);
      return resolverConfiguration(join(directory, 'resolv.conf'));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  it('reads three resolvers at most, with zones, and keeps what is about names', () => {
    const text =
      '; made by hand\nsearch a.example b.example\nnameserver fe80::1%eth0\noptions ndots:2\nnameserver 127.0.0.53\nnameserver bogus\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsortlist 1.2.3.4\n';
    const { resolvers, lines } = read(text);
    assert.deepEqual(resolvers, ['fe80::1%eth0', '127.0.0.53', '192.0.2.1']);
    assert.deepEqual(lines, ['search a.example b.example', 'options ndots:2']);
    const made = resolvConfText(['198.18.0.53', '198.18.0.54'], lines);
    assert.deepEqual(read(made), { resolvers: ['198.18.0.53', '198.18.0.54'], lines });
  });

  it('knows what the library asks where nothing is said', () => {
    assert.deepEqual(read('').resolvers, ['127.0.0.1']);
    assert.deepEqual(resolverConfiguration('/nonexistent/resolv.conf').resolvers, ['127.0.0.1']);
  });
});

describe('namedDescriptors', () => {
  it('are those that are open and named', () => {
    const fd = openSync('/dev/null', 'r');
    try {
      const args = [
        `/dev/fd/${fd}`,
        `--config=/proc/self/fd/${fd}`,
        '/dev/fd/1',
        '/dev/fd/999',
        '/dev/fd/99999',
      ];
      assert.deepEqual(namedDescriptors(args), [fd]);
    } finally {
      closeSync(fd);
    }
  });
});

describe('exitStatus', () => {
  it('is the status, or 128 and the signal', () => {
    assert.equal(exitStatus({ status: 7, signal: null }), 7);
    assert.equal(exitStatus({ status: null, signal: 'SIGTERM' }), 143);
    assert.equal(exitStatus({ status: null, signal: 'SIGKILL' }), 137);
    assert.equal(exitStatus({ status: 0, signal: null }, 35), 163);
  });
});

describe('startInPlace', () => {
  const setup = { descriptors: undefined };

  before(() => {
    // Of who runs the tests by sudo: the launcher would become him.
    for (const name of ['SUDO_UID', 'DOAS_USER']) delete process.env[name];
  });

  it('runs the command in the environment that it is given', async () => {
    process.env['TUNNEL_TEST_GONE'] = 'here';
    const script =
      'test "$MARK" = "x=y" && ! env | grep -q TUNNEL_TEST_GONE && test -n "$PATH" && exit 9';
    const launcher = await startInPlace({ command: ['sh', '-c', script], setup });
    delete process.env['TUNNEL_TEST_GONE'];
    assert.deepEqual(launcher.user, { uid: process.getuid?.(), gid: process.getgid?.() });
    await launcher.execute({ MARK: 'x=y', TUNNEL_TEST_GONE: undefined });
    assert.equal(await launcher.ended, undefined);
    assert.deepEqual(await launcher.command.exited, { status: 9, signal: null });
  });

  it('tells what is not there from what can not be executed', async () => {
    for (const [file, code] of [
      ['/no/such/command', 'command-not-found'],
      ['/etc/passwd/command', 'command-not-found'],
      ['no-such-command', 'command-not-found'],
      ['/etc/passwd', 'command-not-executable'],
    ] as const) {
      const launcher = await startInPlace({ command: [file], setup });
      await assert.rejects(launcher.execute(), { code });
      assert.equal((await launcher.ended)?.code, code);
    }
  });

  it('tells at once that it is lost, and says why to whoever uses it then', async () => {
    const launcher = await startInPlace({ command: ['true'], setup });
    launcher.command.kill('SIGKILL');
    const error = await launcher.ended;
    assert.match(error?.message ?? '', /it was ended from outside/);
    await assert.rejects(launcher.execute(), (thrown) => thrown === error);
    launcher.close();
    await assert.rejects(launcher.execute(), (thrown) => thrown === error);
  });

  it('runs nothing once it is closed', async () => {
    const launcher = await startInPlace({ command: ['true'], setup });
    launcher.close();
    await assert.rejects(launcher.execute(), { code: 'launcher-failed', message: /stopped/ });
    assert.equal(await launcher.ended, undefined);
    // Killed, unless it has seen the end of its socket first.
    assert.notEqual((await launcher.command.exited).status, 0);
  });
});
