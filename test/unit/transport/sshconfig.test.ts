/** ssh_config as it stands in files, resolved by the real `ssh -G` and without ssh: both must come to the same settings. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Remote, SshOptions } from '../../../src/config/configuration.ts';
import { buildConfiguration, type ConnectOptions } from '../../../src/config/options.ts';
import { TunnelError, UsageError } from '../../../src/errors.ts';
import type { SshSettings } from '../../../src/transport/settings.ts';
import { assembleAlgorithms } from '../../../src/transport/sshalgorithms.ts';
import { copySshConfig, type ResolveContext, resolveSettings } from '../../../src/transport/sshconfig.ts';

const LACKING = spawnSync('ssh', ['-V']).status === 0 ? false : 'ssh is missing (package openssh-client)';
const NO_SSH = '/nonexistent/ssh';
const CALLER = userInfo().username;
const root = mkdtempSync(join(tmpdir(), 'tunnel-sshconfig-'));
after(() => rmSync(root, { recursive: true }));

let homes = 0;
interface Lab {
  readonly home: string;
  readonly context: ResolveContext;
  readonly logged: { level: string; message: string; fields: unknown }[];
}

/** A home and an /etc/ssh of their own; `files` are relative to the home, `system` is the system's ssh_config. */
function lab(config: string, files: Readonly<Record<string, string>> = {}, system = ''): Lab {
  homes += 1;
  // A space, because every path on the way must keep it.
  const home = join(root, `home ${homes}`);
  const write = (path: string, text: string) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  };
  write(join(home, '.ssh/config'), config);
  write(join(home, 'etc/ssh_config'), system);
  for (const [path, text] of Object.entries(files)) write(join(home, path), text);
  const logged: Lab['logged'] = [];
  return {
    home,
    logged,
    context: {
      home,
      systemDirectory: join(home, 'etc'),
      environment: {
        PATH: process.env['PATH'],
        SSH_AUTH_SOCK: '/run/agent',
        AGENT: '/run/other',
        DIR: '/srv',
      },
      observer: { log: (level, message, fields) => logged.push({ level, message, fields }), count() {} },
    },
  };
}

function options(remote: string, more: ConnectOptions = {}): { ssh: SshOptions; remote: Remote } {
  const { ssh } = buildConfiguration(['10/8'], { remote: [remote], ...more });
  return { ssh, remote: ssh.remotes[0] };
}

function resolve(
  { context }: Lab,
  remote: string,
  more: ConnectOptions = {},
  changed: ResolveContext = {},
): Promise<SshSettings> {
  const { ssh, remote: first } = options(remote, more);
  return resolveSettings(first, ssh, { ...context, ...changed });
}

/** Both ways; they must agree. */
async function both(where: Lab, remote: string, more: ConnectOptions = {}): Promise<SshSettings> {
  const asked = await resolve(where, remote, more);
  assert.deepEqual(await resolve(where, remote, more, { sshProgram: NO_SSH }), asked);
  return asked;
}

/** What of the printed settings a test is about. */
function pick(settings: SshSettings, expected: object): object {
  return Object.fromEntries(Object.keys(expected).map((key) => [key, settings[key as keyof SshSettings]]));
}

describe('resolveSettings', { skip: LACKING }, () => {
  it('has the defaults of ssh, and keepalive', async () => {
    const where = lab('');
    assert.deepEqual(await both(where, 'jumphost'), {
      name: 'jumphost',
      hostName: 'jumphost',
      port: 22,
      user: CALLER,
      addressFamily: 'any',
      bindAddress: undefined,
      proxy: { kind: 'direct' },
      hostKeys: {
        alias: undefined,
        userFiles: ['known_hosts', 'known_hosts2'].map((name) => join(where.home, '.ssh', name)),
        globalFiles: ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2'],
        strict: 'ask',
        hashNames: false,
        pins: [],
      },
      authentication: {
        identityFiles: [],
        certificateFiles: [],
        identitiesOnly: false,
        agentSocket: '/run/agent',
        methods: ['publickey', 'keyboard-interactive', 'password'],
        numberOfPasswordPrompts: 3,
        batch: false,
      },
      algorithms: { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined },
      connectTimeout: 15,
      authTimeout: 60,
      keepalive: { interval: 15, count: 3 },
      rekey: { bytes: undefined, seconds: undefined },
      onlyOpenssh: [],
    });
  });

  const cases: readonly (readonly [
    name: string,
    config: string,
    remote: string,
    expected: Partial<SshSettings>,
  ])[] = [
    [
      'an alias',
      'Host a\nHostName host.example.com\nUser u\nPort 2222',
      'a',
      { name: 'a', hostName: 'host.example.com', user: 'u', port: 2222 },
    ],
    ['what REMOTE says itself', 'Host a\nUser u\nPort 2222', 'me@x@a:23', { user: 'me@x', port: 23 }],
    ['the first value', 'Host a\nPort 1\nHost *\nPort 2\nUser u', 'a', { port: 1, user: 'u' }],
    ['wildcards', 'Host db-??.ex*\nPort 3', 'db-01.example.com', { port: 3 }],
    ['a ? that needs a character', 'Host db-?\nPort 3', 'db-', { port: 22 }],
    ['negation', 'Host *.example.com !b.example.com\nPort 3', 'b.example.com', { port: 22 }],
    ['negation of others', 'Host *.example.com !b.example.com\nPort 3', 'a.example.com', { port: 3 }],
    ['only a negation', 'Host !b\nPort 3', 'a', { port: 22 }],
    ['a dot is a dot', 'Host a.b\nPort 3', 'axb', { port: 22 }],
    ['keywords in any case', 'hOST a\npORT=3\nUSER = u', 'a', { port: 3, user: 'u' }],
    [
      'quotes and comments',
      'Host "a" # c\n  User "u v" # comment\n#Port 9\n\tPort\t3',
      'a',
      { user: 'u v', port: 3 },
    ],
    ['CR LF', 'Host a\r\n  Port 3\r\n', 'a', { port: 3 }],
    ['%h in HostName', 'HostName %h.example.com', 'a', { hostName: 'a.example.com' }],
    ['HostName in lower case', 'HostName A.Example.COM', 'a', { hostName: 'a.example.com' }],
    ['an IPv6 literal', 'Host 2001:db8::*\nPort 3', '2001:db8::1', { hostName: '2001:db8::1', port: 3 }],
    ['a zone', '', 'fe80::1%eth0', { hostName: 'fe80::1%eth0' }],
    ['Match all', 'Host b\nPort 2\nMatch all\nPort 3', 'a', { port: 3 }],
    [
      'Match host after HostName',
      'Host a\nHostName x.example.com\nMatch host *.example.com\nPort 3',
      'a',
      { port: 3 },
    ],
    ['Match originalhost', 'HostName x\nMatch originalhost a,b\nPort 3', 'a', { port: 3 }],
    ['Match with a list and !', 'Match host *,!a\nPort 3', 'a', { port: 22 }],
    ['Match with a negated criterion', 'Match !host b\nPort 3', 'a', { port: 3 }],
    ['Match user given', 'Match user u\nPort 3', 'u@a', { port: 3 }],
    ['Match user configured', 'Host a\nUser u\nMatch user u\nPort 3', 'a', { port: 3 }],
    ['Match localuser', `Match localuser ${CALLER}\nPort 3`, 'u@a', { port: 3 }],
    ['Match of two', 'Match host a user v\nPort 3', 'u@a', { port: 22 }],
    [
      'Match final',
      'Match final host x\nPort 3\nHost a\nHostName x\nHost x\nUser u',
      'a',
      { port: 3, user: 'u' },
    ],
    ['Match canonical', 'Match canonical\nPort 3', 'a', { port: 22 }],
    ['ConnectTimeout', 'ConnectTimeout 1m', 'a', { connectTimeout: 60 }],
    [
      'keepalive',
      'ServerAliveInterval 1m30s\nServerAliveCountMax 5',
      'a',
      { keepalive: { interval: 90, count: 5 } },
    ],
    ['keepalive off', 'ServerAliveInterval 0', 'a', { keepalive: { interval: 0, count: 3 } }],
    ['RekeyLimit', 'RekeyLimit 1G 1h', 'a', { rekey: { bytes: 2 ** 30, seconds: 3600 } }],
    [
      'RekeyLimit with default',
      'RekeyLimit default 2d',
      'a',
      { rekey: { bytes: undefined, seconds: 172_800 } },
    ],
    ['RekeyLimit with none', 'RekeyLimit 16M none', 'a', { rekey: { bytes: 2 ** 24, seconds: undefined } }],
    [
      'AddressFamily',
      'AddressFamily inet6\nBindAddress ::1',
      'a',
      { addressFamily: 'inet6', bindAddress: '::1' },
    ],
    [
      'a list of algorithms',
      'Ciphers aes256-ctr,aes128-ctr',
      'a',
      {
        algorithms: {
          kex: undefined,
          ciphers: ['aes256-ctr', 'aes128-ctr'],
          macs: undefined,
          hostKeys: undefined,
        },
      },
    ],
    [
      'ProxyCommand',
      'ProxyCommand  nc  "%h" %p %% %n %r # no comment',
      'u@a',
      { proxy: { kind: 'command', command: 'nc  "a" 22 % a u # no comment' } },
    ],
    [
      'ProxyCommand none',
      'Host a\nProxyCommand none\nHost *\nProxyJump b',
      'a',
      { proxy: { kind: 'direct' } },
    ],
    [
      'ProxyJump none',
      'Host a\nProxyJump none\nHost *\nProxyCommand nc %h',
      'a',
      { proxy: { kind: 'direct' } },
    ],
    [
      'the proxy that comes first',
      'ProxyCommand nc %h\nProxyJump b',
      'a',
      { proxy: { kind: 'command', command: 'nc a' } },
    ],
    [
      'system keys',
      'PKCS11Provider /lib/x.so\nGSSAPIAuthentication yes\nHostbasedAuthentication yes\nRevokedHostKeys /x\nKnownHostsCommand /bin/k %H',
      'a',
      {
        onlyOpenssh: [
          'GSSAPIAuthentication',
          'HostbasedAuthentication',
          'PKCS11Provider',
          'KnownHostsCommand',
          'RevokedHostKeys',
        ],
      },
    ],
  ];
  for (const [name, config, remote, expected] of cases) {
    it(`reads ${name}`, async () => {
      assert.deepEqual(pick(await both(lab(config), remote), expected), expected);
    });
  }

  it('expands names of files', async () => {
    const where = lab(`
      Host a
        HostName h
        User u
        Port 7
        IdentityFile ~/k1
        IdentityFile "%d/.ssh/%h-%n-%p-%r-%u-%%"
        IdentityFile \${DIR}/k
        IdentityFile /k#4
        CertificateFile ~/%C-cert.pub
        IdentityAgent ~/agent-%h-%k
        UserKnownHostsFile "~/known %n" /k2
        GlobalKnownHostsFile ~/g
        HostKeyAlias alias`);
    const { authentication, hostKeys } = await both(where, 'a');
    const { home } = where;
    assert.deepEqual(
      authentication.identityFiles,
      [`${home}/k1`, `${home}/.ssh/h-a-7-u-${CALLER}-%`, '/srv/k', '/k#4'].map((path) => ({
        path,
        explicit: false,
      })),
    );
    const [certificate = ''] = authentication.certificateFiles;
    assert.match(certificate.slice(home.length), /^\/[0-9a-f]{40}-cert\.pub$/);
    assert.equal(authentication.agentSocket, `${home}/agent-h-alias`);
    assert.deepEqual(hostKeys.userFiles, [`${home}/known a`, '/k2']);
    assert.deepEqual(hostKeys.globalFiles, [`${home}/g`]);
    assert.equal(hostKeys.alias, 'alias');
  });

  it('has %C as ssh has it', async () => {
    const where = lab('Host a\nHostName h\nIdentityAgent /x/%C', {});
    const printed = (await resolve(where, 'u@a:9')).authentication.agentSocket;
    const own = (await resolve(where, 'u@a:9', {}, { sshProgram: NO_SSH })).authentication.agentSocket;
    assert.equal(own, printed);
  });

  it('knows which keys were asked for', async () => {
    const none = await both(lab('IdentityFile none'), 'a');
    assert.deepEqual(none.authentication.identityFiles, []);
    assert.equal(none.authentication.noIdentityFiles, true);
    const where = lab('IdentityFile ~/.ssh/id_rsa\nIdentitiesOnly yes');
    const { authentication } = await both(where, 'a', { identity: ['/k', `${where.home}/.ssh/id_rsa`] });
    assert.deepEqual(authentication.identityFiles, [
      { path: '/k', explicit: true },
      { path: `${where.home}/.ssh/id_rsa`, explicit: true },
    ]);
    assert.equal(authentication.identitiesOnly, true);
    const { identityFiles } = (await both(where, 'a')).authentication;
    assert.deepEqual(identityFiles, [{ path: `${where.home}/.ssh/id_rsa`, explicit: false }]);
  });

  for (const [written, socket] of [
    ['none', undefined],
    ['SSH_AUTH_SOCK', '/run/agent'],
    ['$AGENT', '/run/other'],
    ['$MISSING', undefined],
    ['${DIR}/agent', '/srv/agent'],
  ] as const) {
    it(`reads IdentityAgent ${written}`, async () => {
      const { authentication } = await both(lab(`IdentityAgent ${written}`), 'a');
      assert.equal(authentication.agentSocket, socket);
    });
  }

  it('has the methods in order of preference, without those that are off', async () => {
    const { authentication } = await both(
      lab(`PreferredAuthentications gssapi-with-mic,password,publickey,keyboard-interactive
        PasswordAuthentication no\nNumberOfPasswordPrompts 1\nBatchMode yes`),
      'a',
    );
    assert.deepEqual(authentication.methods, ['publickey', 'keyboard-interactive']);
    assert.equal(authentication.numberOfPasswordPrompts, 1);
    assert.equal(authentication.batch, true);
    const old = await both(lab('ChallengeResponseAuthentication no\nPubkeyAuthentication no'), 'a');
    assert.deepEqual(old.authentication.methods, ['password']);
  });

  for (const [written, strict] of [
    ['yes', 'yes'],
    ['ask', 'ask'],
    ['accept-new', 'accept-new'],
    ['no', 'accept-new'],
    ['off', 'accept-new'],
  ] as const) {
    it(`reads StrictHostKeyChecking ${written}`, async () => {
      const where = lab(`StrictHostKeyChecking ${written}\nHashKnownHosts yes`);
      const { hostKeys } = await resolve(where, 'a');
      assert.equal(hostKeys.strict, strict);
      assert.equal(hostKeys.hashNames, true);
      const warnings = where.logged.filter(({ level }) => level === 'warning');
      assert.equal(warnings.length, written === strict ? 0 : 1);
      await both(where, 'a');
    });
  }

  for (const list of ['+3des-cbc', '-aes*,chacha*', '^aes256-ctr']) {
    const local = spawnSync('ssh', ['-G', '-T', '-F', 'none', 'x'], { encoding: 'utf8' }).stdout ?? '';
    const skip = local.includes(`\nciphers ${assembleAlgorithms('ciphers', '-none')}\n`)
      ? false
      : 'this ssh has other default ciphers';
    it(`reads Ciphers ${list}`, { skip }, async () => {
      const { algorithms } = await both(lab(`Ciphers ${list}`), 'a');
      assert.ok(algorithms.ciphers !== undefined && algorithms.ciphers.length > 0);
      assert.equal(algorithms.kex, undefined);
    });
  }

  it('follows Includes, relative to where ssh looks, without leaving the section', async () => {
    const where = lab(
      'Include conf.d/*.conf ~/more\nHost a\nInclude in-a\nPort 4\nHost *\nUser last',
      {
        '.ssh/conf.d/1.conf': 'Host b\nPort 1\n',
        '.ssh/conf.d/2.conf': 'Host a\nIdentityFile ~/k2\n',
        '.ssh/conf.d/.3.conf': 'Port 33\n',
        '.ssh/conf.d/4.txt': 'Port 44\n',
        '.ssh/in-a': 'Host b\nUser ub\nHost *\nBindAddress 127.0.0.9\n',
        more: 'Include nested\n',
        '.ssh/nested': 'Match host a\nConnectTimeout 9\n',
        'etc/ssh_config.d/x.conf': 'NumberOfPasswordPrompts 7\n',
      },
      'Include ssh_config.d/*.conf\nUser system\n',
    );
    const a = await both(where, 'a');
    assert.deepEqual(
      [a.port, a.user, a.bindAddress, a.connectTimeout, a.authentication.numberOfPasswordPrompts],
      [4, 'last', '127.0.0.9', 9, 7],
    );
    assert.deepEqual(a.authentication.identityFiles, [{ path: `${where.home}/k2`, explicit: false }]);
    const b = await both(where, 'b');
    assert.deepEqual([b.port, b.user, b.bindAddress], [1, 'last', undefined]);
  });

  it('reads the file of -F instead of both, or none', async () => {
    const where = lab('Port 1', { other: 'User other\n' }, 'Port 2');
    const other = await both(where, 'a', { sshConfig: join(where.home, 'other') });
    assert.deepEqual([other.port, other.user], [22, 'other']);
    assert.equal((await both(where, 'a', { sshConfig: 'none' })).port, 22);
    assert.equal((await both(where, 'a')).port, 1);
    await assert.rejects(
      resolve(where, 'a', { sshConfig: join(where.home, 'missing') }),
      /-F: the configuration file .*missing can't be read: there is no such file/,
    );
  });

  it('lets options win: REMOTE, -p, -o, the files', async () => {
    const where = lab('Port 1\nUser file\nConnectTimeout 7\nServerAliveInterval 8\nServerAliveCountMax 2');
    const ports = [];
    for (const [remote, more] of [
      ['a:4', { port: '3', sshOption: ['Port=2'] }],
      ['a', { port: '3', sshOption: ['Port=2'] }],
      ['a', { sshOption: ['port 2', 'Port=9'] }],
      ['a', {}],
    ] as const) {
      ports.push((await both(where, remote, more)).port);
    }
    assert.deepEqual(ports, [4, 3, 2, 1]);
    assert.equal((await both(where, 'me@a', { sshOption: ['User=o'] })).user, 'me');
    assert.equal((await both(where, 'a', { sshOption: ['User=o'] })).user, 'o');
    const timed = await both(where, 'a', { connectTimeout: '2.5', keepalive: '0', authTimeout: '9' });
    assert.deepEqual(
      [timed.connectTimeout, timed.authTimeout, timed.keepalive],
      [2.5, 9, { interval: 0, count: 2 }],
    );
    const keyed = await both(where, 'a', { sshOption: ['IdentityFile=~/k', 'HostName=%h.o'] });
    assert.deepEqual(keyed.authentication.identityFiles, [{ path: `${where.home}/k`, explicit: false }]);
    assert.equal(keyed.hostName, 'a.o');
  });

  it('pins keys of the jump host, not of hops', async () => {
    const pin = `SHA256:${'A'.repeat(42)}E`;
    const { hostKeys, proxy } = await both(lab(''), 'a', { hostKey: [pin], jump: 'b' });
    assert.deepEqual(hostKeys.pins, [{ fingerprint: pin, key: undefined }]);
    assert.deepEqual(proxy.kind === 'jump' && proxy.hops.map((hop) => hop.hostKeys.pins), [[]]);
  });
});

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

  for (const [name, config] of [
    ['of one', 'Host *\nProxyJump a'],
    ['of two', 'Host a\nProxyJump b\nHost b\nProxyJump a'],
    ['behind the jump host', 'Host a\nProxyJump b\nHost b\nProxyJump c\nHost c\nProxyJump b'],
  ] as const) {
    it(`refuses a loop ${name}`, async () => {
      for (const sshProgram of ['ssh', NO_SSH]) {
        await assert.rejects(resolve(lab(config), 'a', {}, { sshProgram }), (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, /^ProxyJump: [abc] would be passed on the way to itself$/);
          assert.match(error.hint ?? '', /ProxyJump none/);
          return true;
        });
      }
    });
  }

  it('refuses a chain without end', async () => {
    const config = Array.from({ length: 12 }, (_, n) => `Host h${n}\nProxyJump h${n + 1}\n`).join('');
    await assert.rejects(resolve(lab(config), 'h0', {}, { sshProgram: NO_SSH }), /more than 8 hosts/);
  });
});

describe('resolveSettings, what only ssh can', { skip: LACKING }, () => {
  it("counts the system's GSSAPIAuthentication only for users with tickets", async () => {
    const where = lab('', {}, 'GSSAPIAuthentication yes');
    const skip = readdirSync('/tmp').includes(`krb5cc_${process.getuid?.()}`);
    if (!skip) assert.deepEqual((await both(where, 'a')).onlyOpenssh, []);
    const environment = { ...where.context.environment, KRB5CCNAME: 'KEYRING:x' };
    assert.deepEqual((await resolve(where, 'a', {}, { environment })).onlyOpenssh, ['GSSAPIAuthentication']);
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
    assert.deepEqual((await both(where, 'd')).onlyOpenssh, [`the security key ${home}/.ssh/id_ed25519_sk`]);
    writeFileSync(join(home, '.ssh/id_rsa'), 'x');
    writeFileSync(join(home, '.ssh/id_rsa-cert.pub'), 'x');
    assert.deepEqual((await both(where, 'd')).onlyOpenssh, [`the certificate ${home}/.ssh/id_rsa-cert.pub`]);
  });

  function publicBlob(type: string): string {
    const field = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
    const blob = [Buffer.from(type), Buffer.alloc(32, 1), Buffer.from('ssh:')].map(field);
    return Buffer.concat(blob).toString('base64');
  }

  it('mentions what has no effect, at level debug', async () => {
    const where = lab('ForwardAgent yes\nLocalForward 1 h:2\nRemoteCommand x');
    await resolve(where, 'a');
    const [note] = where.logged;
    assert.equal(note?.level, 'debug');
    assert.deepEqual(note?.fields, { host: 'a', keywords: 'forwardagent,localforward,remotecommand' });
  });

  it('says once what it can not evaluate without ssh', async () => {
    const where = lab(
      'Match exec "true"\nPort 3\nMatch all\nInclude ${DIR}/x\nNewKeyword x\nIgnoreUnknown Use*\nUseKeychain yes\nCanonicalizeHostname yes',
    );
    assert.equal((await resolve(where, 'a', { jump: 'b' }, { sshProgram: NO_SSH })).port, 22);
    const warnings = where.logged.filter(({ level }) => level === 'warning');
    assert.equal(warnings.length, 1);
    const path = join(where.home, '.ssh/config');
    assert.equal(
      warnings[0]?.message,
      `only ssh can evaluate parts of ssh_config, and it isn't here; they are passed over: "Match exec" at ${path}:1, the Include at ${path}:4, the keyword newkeyword at ${path}:5, CanonicalizeHostname`,
    );
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
    ['IdentityFile ${NOT_SET}/x', /NOT_SET/],
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
      await assert.rejects(resolve(where, `${user}@a`, {}, changed), /would put .* into a shell command/);
      assert.equal((await resolve(where, `${user}@b`, {}, changed)).user, user);
      // Newer ssh has the same scruples, and refuses such users altogether.
      await assert.rejects(
        resolve(where, `${user}@a`),
        /would put .* into a shell command|invalid characters/,
      );
    }
    assert.deepEqual((await both(where, 'u@x.y@a')).proxy, { kind: 'command', command: 'connect u@x.y@a' });
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

  it('gives up on a Match exec that is stopped, and leaves no copy behind', async () => {
    const where = lab('Match exec "sleep 20"\nPort 3');
    const before = copies();
    const stop = new AbortController();
    setTimeout(() => stop.abort(new TunnelError('stopped', 'x')), 100);
    await assert.rejects(resolve(where, 'a', {}, { signal: stop.signal }), { code: 'stopped' });
    assert.deepEqual(copies(), before);
  });
});

function copies(): string[] {
  return readdirSync(tmpdir()).filter((name) => /^tunnel-ssh-/.test(name));
}

describe('copySshConfig', { skip: LACKING }, () => {
  it('is what ssh connects with, and can be removed', async () => {
    const where = lab('Include x', { '.ssh/x': 'Host a\n  IdentityFile ~/k\n' }, 'GSSAPIAuthentication yes');
    const { ssh } = options('a');
    const copy = await copySshConfig(ssh, where.context);
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
