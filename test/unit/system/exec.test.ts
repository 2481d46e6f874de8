/** The smaller parts behind `tunnel exec`: proxy variables, resolv.conf, descriptors, exit statuses. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { exitStatus } from '../../../src/system/job.ts';
import { namedDescriptors, startCommand } from '../../../src/system/launcher.ts';
import { withProxy } from '../../../src/system/proxyenvironment.ts';
import { resolvConfText, resolverConfiguration } from '../../../src/system/resolvers.ts';

const PROXY = 'http://127.0.0.1:3128';

describe('withProxy', () => {
  it('sets both spellings, merges the exceptions of both, and takes ALL_PROXY away', () => {
    const env = withProxy(
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
    assert.deepEqual(env, {
      PATH: '/bin',
      HTTP_PROXY: PROXY,
      http_proxy: PROXY,
      HTTPS_PROXY: PROXY,
      https_proxy: PROXY,
      NO_PROXY: exceptions,
      no_proxy: exceptions,
    });
  });
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
  });
});

describe('startCommand', () => {
  it('runs with the environment that it is given', async () => {
    const { exited } = await startCommand(['sh', '-c', 'test "$MARK" = here && exit 9'], {
      PATH: '/usr/bin:/bin',
      MARK: 'here',
    });
    assert.deepEqual(await exited, { status: 9, signal: null });
  });

  it('tells what is not there from what can not be executed', async () => {
    await assert.rejects(startCommand(['/no/such/command'], {}), { code: 'command-not-found' });
    await assert.rejects(startCommand(['/etc/passwd/command'], {}), { code: 'command-not-found' });
    await assert.rejects(startCommand(['/etc/passwd'], {}), { code: 'command-not-executable' });
  });
});
