/**
 * ssh_config, beyond single values: jump hosts, what only ssh can, what is wrong with a
 * configuration.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { TunnelError, UsageError } from '../../../../src/errors/errors.ts';
import { copySshConfig, resolveSettings } from '../../../../src/ssh/config/resolve.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import {
  both,
  CALLER,
  LACKING,
  lab,
  NO_SSH,
  options,
  resolve,
} from '../../../support/sshconfiglab.ts';

describe('resolveSettings, through jump hosts', { skip: LACKING }, () => {
  const hopsOf = ({ proxy }: SshSettings): string[] =>
    proxy.kind === 'jump'
      ? proxy.hops.map((hop) => `${hop.user}@${hop.hostName}:${hop.port} ${hop.proxy.kind}`)
      : [proxy.kind];
  const CONFIG = `
    Host inner
      HostName 10.0.0.9
      ProxyJump middle
    Host middle
      HostName 10.0.0.8
      User m
      ProxyJump ssh://o@outer:2222
    Host outer
      HostName outer.example.com
      ProxyCommand nc %h %p
    Host several
      ProxyJump u@x@inner:1,[2001:db8::1]:2`;

  it('resolves each by its own section', async () => {
    assert.deepEqual(hopsOf(await both(lab(CONFIG), 'inner')), [
      'o@outer.example.com:2222 command',
      'm@10.0.0.8:22 direct',
    ]);
  });

  it('passes several in order; the last is reached through the others, the first in its own way', async () => {
    assert.deepEqual(hopsOf(await both(lab(CONFIG), 'several')), [
      'o@outer.example.com:2222 command',
      'm@10.0.0.8:22 direct',
      'u@x@10.0.0.9:1 direct',
      `${CALLER}@2001:db8::1:2 direct`,
    ]);
  });

  it('takes -J instead, and none', async () => {
    const where = lab(CONFIG);
    assert.deepEqual(hopsOf(await both(where, 'inner', { jump: 'q@x:7, y' })), [
      'q@x:7 direct',
      `${CALLER}@y:22 direct`,
    ]);
    assert.deepEqual(hopsOf(await both(where, 'inner', { jump: 'none' })), ['direct']);
  });

  it('reads addresses of hops as ssh -G prints them, with brackets', async () => {
    for (const jump of ['u@10.0.0.1', 'u@[2001:db8::1]'])
      assert.match(
        hopsOf(await both(lab(''), 'a', { jump }))[0] ?? '',
        /^u@(10\.0\.0\.1|2001:db8::1):22 direct$/,
      );
    assert.deepEqual(hopsOf(await both(lab('Host a\n  ProxyJump u@10.0.0.1,10.0.0.2:2222'), 'a')), [
      'u@10.0.0.1:22 direct',
      `${CALLER}@10.0.0.2:2222 direct`,
    ]);
  });

  it("gives hops none of the options that are the jump host's", async () => {
    const { proxy } = await both(lab('ConnectTimeout 9'), 'a', {
      jump: 'b',
      port: '7',
      identity: ['/k'],
      sshOption: ['User=o', 'ConnectTimeout=4'],
    });
    assert.ok(proxy.kind === 'jump');
    const [hop] = proxy.hops;
    assert.ok(hop !== undefined);
    assert.deepEqual(
      [hop.port, hop.user, hop.connectTimeout, hop.authentication.identityFiles],
      [22, CALLER, 9, []],
    );
  });

  it('holds hops to the same timeouts and keepalive', async () => {
    const where = lab('ConnectTimeout 9\nServerAliveInterval 8\nServerAliveCountMax 5');
    const timed = { connectTimeout: '2.5', authTimeout: '7', keepalive: '0' };
    const { proxy } = await both(where, 'a', { jump: 'b,c', ...timed });
    assert.ok(proxy.kind === 'jump');
    assert.deepEqual(
      proxy.hops.map((hop) => [hop.name, hop.connectTimeout, hop.authTimeout, hop.keepalive]),
      ['b', 'c'].map((name) => [name, 2.5, 7, { interval: 0, count: 5 }]),
    );
  });

  for (const [name, config] of [
    ['of one', 'Host *\nProxyJump a'],
    ['of two', 'Host a\nProxyJump b\nHost b\nProxyJump a'],
    ['behind the jump host', 'Host a\nProxyJump b\nHost b\nProxyJump c\nHost c\nProxyJump b'],
  ] as const) {
    it(`refuses a loop ${name}`, async () => {
      for (const sshProgram of ['ssh', NO_SSH]) {
        await assert.rejects(resolve(lab(config), 'a', {}, { sshProgram }), (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, /^ProxyJump: [abc] would be reached through itself$/);
          assert.match(error.hint ?? '', /ProxyJump none/);
          return true;
        });
      }
    });
  }

  it('refuses a chain without end', async () => {
    const config = Array.from({ length: 12 }, (_, n) => `Host h${n}\nProxyJump h${n + 1}\n`).join(
      '',
    );
    await assert.rejects(
      resolve(lab(config), 'h0', {}, { sshProgram: NO_SSH }),
      /more than 8 hosts/,
    );
  });
});

describe('resolveSettings, what only ssh can', { skip: LACKING }, () => {
  it("counts the system's GSSAPIAuthentication only for users with tickets", async () => {
    const where = lab('', {}, 'GSSAPIAuthentication yes');
    const skip = readdirSync('/tmp').includes(`krb5cc_${process.getuid?.()}`);
    if (!skip) assert.deepEqual((await both(where, 'a')).onlyOpenssh, []);
    const environment = { ...where.context.environment, KRB5CCNAME: 'KEYRING:x' };
    assert.deepEqual((await resolve(where, 'a', {}, { environment })).onlyOpenssh, [
      'GSSAPIAuthentication',
    ]);
  });

  it('asks klist for tickets, which may be in no file', async (t) => {
    if (readdirSync('/tmp').includes(`krb5cc_${process.getuid?.()}`))
      return t.skip('this user has a file with tickets');
    const where = lab('', { 'bin/klist': '#!/bin/sh\n[ "$1" = -s ] && exit "$TICKETS"\n' });
    chmodSync(join(where.home, 'bin/klist'), 0o755);
    writeFileSync(join(where.home, 'etc/ssh_config'), 'GSSAPIAuthentication yes\n');
    for (const [status, expected] of [
      ['0', ['GSSAPIAuthentication']],
      ['1', []],
    ] as const) {
      const PATH = `${join(where.home, 'bin')}:${process.env['PATH']}`;
      const environment = { ...where.context.environment, PATH, TICKETS: status };
      const { onlyOpenssh } = await resolve(where, 'a', {}, { environment });
      assert.deepEqual(onlyOpenssh, expected, `klist ends with ${status}`);
    }
  });

  it('names certificates and security keys', async () => {
    const sk = `sk-ssh-ed25519@openssh.com ${publicBlob('sk-ssh-ed25519@openssh.com')}`;
    const where = lab(
      'Host c\nIdentityFile ~/k\nHost s\nIdentityFile ~/sk\nHost o\nPubkeyAuthentication no\nIdentityFile ~/k',
      {
        k: 'x',
        'k-cert.pub': 'x',
        sk,
        '.ssh/id_ed25519_sk': sk,
      },
    );
    const { home } = where;
    assert.deepEqual((await both(where, 'c')).onlyOpenssh, [`the certificate ${home}/k-cert.pub`]);
    assert.deepEqual((await both(where, 's')).onlyOpenssh, [`the security key ${home}/sk`]);
    assert.deepEqual((await both(where, 'o')).onlyOpenssh, []);
    assert.deepEqual((await both(where, 'd')).onlyOpenssh, [
      `the security key ${home}/.ssh/id_ed25519_sk`,
    ]);
    writeFileSync(join(home, '.ssh/id_rsa'), 'x');
    writeFileSync(join(home, '.ssh/id_rsa-cert.pub'), 'x');
    assert.deepEqual((await both(where, 'd')).onlyOpenssh, [
      `the certificate ${home}/.ssh/id_rsa-cert.pub`,
    ]);
  });

  function publicBlob(type: string): string {
    const field = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
    const blob = [Buffer.from(type), Buffer.alloc(32, 1), Buffer.from('ssh:')].map(field);
    return Buffer.concat(blob).toString('base64');
  }

  it('mentions what has no effect, at level debug', async () => {
    const where = lab('ForwardAgent yes\nRemoteCommand x');
    await resolve(where, 'a');
    const [note] = where.logged;
    assert.equal(note?.level, 'debug');
    assert.deepEqual(note?.fields, {
      host: 'a',
      keywords: 'forwardagent,remotecommand',
    });
  });

  it('names what it can not evaluate without ssh, and what to install', async () => {
    const where = lab('Host b\nMatch final all\nPort 3');
    await assert.rejects(resolve(where, 'a', {}, { sshProgram: NO_SSH }), (error) => {
      assert.ok(error instanceof UsageError);
      const path = join(where.home, '.ssh/config');
      assert.equal(
        error.message,
        `${path}:2: without ssh on this machine, Match final can't be used`,
      );
      assert.match(error.hint ?? '', /^install OpenSSH \(.*openssh-client\) to use Match final/);
      return true;
    });
  });

  it('leaves Match exec to ssh', async () => {
    const where = lab('Match exec "test %h = a"\nPort 3');
    assert.equal((await resolve(where, 'a')).port, 3);
    assert.equal((await resolve(where, 'b')).port, 22);
  });
});

describe('resolveSettings, on wrong configuration', { skip: LACKING }, () => {
  it("tells what ssh has against it, with the user's own file names", async () => {
    const where = lab('Include x', { '.ssh/x': '\nPrt 3\n' });
    await assert.rejects(resolve(where, 'a'), (error) => {
      assert.ok(error instanceof UsageError);
      assert.equal(
        error.message,
        `ssh refuses its configuration for a: ${where.home}/.ssh/x: line 2: Bad configuration option: prt`,
      );
      return true;
    });
  });

  const wrong: readonly (readonly [config: string, message: RegExp])[] = [
    ['Port 0', /port/i],
    ['Port x', /port/i],
    ['ConnectTimeout soon', /connecttimeout|time/i],
    ['AddressFamily inet7', /addressfamily|argument|option/i],
    ['StrictHostKeyChecking maybe', /stricthostkeychecking|argument|option/i],
    ['RekeyLimit 1X', /1X/],
    ['User "u', /quote/i],
    ['Port', /value|argument/i],
    ['Match host', /pattern|criteria|argument/i],
    ['Match colour blue', /criterion|unsupported|bad match/i],
    ['HostName %x', /%x|unknown key/i],
    [`IdentityFile \${NOT_SET}/x`, /NOT_SET/],
    ['ProxyJump -oProxyCommand=x', /dash|invalid|proxyjump/i],
  ];
  for (const [config, message] of wrong) {
    it(`refuses ${config}`, async () => {
      for (const sshProgram of ['ssh', NO_SSH]) {
        await assert.rejects(resolve(lab(config), 'a', {}, { sshProgram }), (error) => {
          assert.ok(error instanceof UsageError, String(error));
          assert.match(error.message, message);
          return true;
        });
      }
    });
  }

  it('puts nothing into a shell command that a shell would read', async () => {
    const where = lab('Host a\nProxyCommand connect %r@%h\nHost b\nProxyCommand connect %%r');
    const changed = { sshProgram: NO_SSH };
    for (const user of ['$(id)', 'u;id', 'u v', '`id`', '\\u', "u'"]) {
      await assert.rejects(
        resolve(where, `${user}@a`, {}, changed),
        /would put .* into a shell command/,
      );
      assert.equal((await resolve(where, `${user}@b`, {}, changed)).user, user);
      // Newer ssh has the same scruples, and refuses such users altogether.
      await assert.rejects(
        resolve(where, `${user}@a`),
        /would put .* into a shell command|invalid characters/,
      );
    }
    assert.deepEqual((await both(where, 'u@x.y@a')).proxy, {
      kind: 'command',
      command: 'connect u@x.y@a',
    });
  });

  it('never hands ssh an option in place of a host or user', async () => {
    const where = lab('');
    const { ssh, remote } = options('a');
    for (const wrongRemote of [
      { ...remote, host: '-oProxyCommand=x' },
      { ...remote, user: '-x' },
    ]) {
      await assert.rejects(resolveSettings(wrongRemote, ssh, where.context), /begins with a dash/);
    }
  });

  it('gives up on a Match exec that is stopped, and leaves no process or copy behind', async () => {
    const where = lab('Match exec "sleep 20.125"\nPort 3');
    const stop = new AbortController();
    const directory = mkdtempSync('/tmp/tunnel-hops-');
    let copied = false;
    setTimeout(() => {
      copied = readdirSync(directory).length > 0;
      stop.abort(new TunnelError('flow-given-up', 'x'));
    }, 300);
    const { XDG_RUNTIME_DIR } = process.env;
    process.env['XDG_RUNTIME_DIR'] = directory;
    try {
      const resolving = resolve(where, 'a', {}, { signal: stop.signal });
      await assert.rejects(resolving, { code: 'flow-given-up' });
    } finally {
      if (XDG_RUNTIME_DIR === undefined) delete process.env['XDG_RUNTIME_DIR'];
      else process.env['XDG_RUNTIME_DIR'] = XDG_RUNTIME_DIR;
    }
    assert.ok(copied, 'the copy was made where it is looked for');
    assert.deepEqual(readdirSync(directory), []);
    rmdirSync(directory);
    assert.doesNotMatch(
      spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).stdout,
      /^sleep 20\.125$/m,
    );
  });
});

describe('copySshConfig', { skip: LACKING }, () => {
  it('is what ssh connects with, and can be removed', async () => {
    const where = lab(
      'Include x',
      { '.ssh/x': 'Host a\n  IdentityFile ~/k\n' },
      'GSSAPIAuthentication yes',
    );
    const { ssh } = options('a');
    const copy = await copySshConfig(ssh, where.context, {
      ...{ without: [], remote: options('a').remote, via: undefined, sshOptions: [] },
    });
    const { stdout } = spawnSync('ssh', ['-G', '-T', '-F', copy.path, 'a'], { encoding: 'utf8' });
    assert.ok(stdout.includes(`\nidentityfile ${where.home}/k\n`));
    assert.ok(stdout.includes('\ngssapiauthentication yes\n'));
    assert.ok(stdout.includes(`\nuserknownhostsfile ${where.home}/.ssh/known_hosts `));
    assert.ok(stdout.includes('\nserveraliveinterval 0\n'));
    assert.match(copy.originalNames(`${dirname(copy.path)}/2 line 1`), /\/\.ssh\/x line 1$/);
    await copy.remove();
    assert.throws(() => readFileSync(copy.path));
  });
});
