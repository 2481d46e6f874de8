/**
 * ssh_config as it stands in files, resolved by the real `ssh -G` and without ssh: both must come
 * to the same settings.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { assembleAlgorithms } from '../../../../src/ssh/config/algorithms.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import {
  both,
  CALLER,
  LACKING,
  lab,
  NO_SSH,
  pick,
  resolve,
} from '../../../support/sshconfiglab.ts';

describe('resolveSettings', { skip: LACKING }, () => {
  it('refuses values in another encoding than UTF-8, and takes comments in any', async () => {
    for (const line of ['IdentityFile /k/caf\u00e9', 'User caf\u00e9', 'ProxyCommand /caf\u00e9']) {
      for (const sshProgram of ['ssh', NO_SSH]) {
        const where = lab('');
        const write = (text: string) =>
          writeFileSync(join(where.home, '.ssh/config'), Buffer.from(text, 'latin1'));
        write(`Host a # caf\u00e9\n${line}\n`);
        await assert.rejects(resolve(where, 'a', {}, { sshProgram }), /config:2: .* is not UTF-8/);
        write(`# caf\u00e9\nHost caf\u00e9\n${line}\nHost a\nPort 7\n`);
        assert.equal((await resolve(where, 'a', {}, { sshProgram })).port, 7);
      }
    }
  });

  it('finds the files of an Include that ssh finds', async () => {
    for (const pattern of [
      '[[:alpha:]]',
      'a\\*',
      '\\a\\*',
      '[^x]',
      '[!a-w]',
      'd/../x',
      '?',
      '{a,x}',
    ]) {
      const files = { '.ssh/x': 'User x\nPort 3', '.ssh/1': 'User one', '.ssh/a*': 'User star' };
      const where = lab(`Include ${pattern}\nUser none`, { ...files, '.ssh/d/y': '' });
      const { user } = await both(where, 'a');
      writeFileSync(`${where.home}/c`, `Include "${where.home}/.ssh/${pattern}"\nUser none\n`);
      const answer = spawnSync('ssh', ['-T', '-G', '-F', `${where.home}/c`, 'a'], {
        encoding: 'utf8',
      });
      assert.ok(answer.stdout.includes(`\nuser ${user}\n`), `${pattern}: ${user}`);
    }
  });

  it('takes none for a name where ssh does', async () => {
    const where = lab('HostName none\nUser None\nHostKeyAlias none\nBindAddress none');
    const { hostName, user, bindAddress, hostKeys } = await both(where, 'a');
    assert.deepEqual(
      [hostName, user, bindAddress, hostKeys.alias],
      ['none', 'None', 'none', 'none'],
    );
  });

  it('reads a line up to a NUL, as ssh does', async () => {
    assert.equal((await both(lab('HostName h\0x\nPort 7\n'), 'a')).hostName, 'h');
  });

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
        revokedFiles: [],
        command: undefined,
        leastRsaBits: 1024,
        fixedOrder: false,
      },
      authentication: {
        identityFiles: [],
        certificateFiles: [],
        identitiesOnly: false,
        oneKey: false,
        agentSocket: '/run/agent',
        methods: ['publickey', 'keyboard-interactive', 'password'],
        numberOfPasswordPrompts: 3,
        batch: false,
        acceptedAlgorithms: undefined,
        leastRsaBits: 1024,
      },
      algorithms: { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined },
      connectTimeout: 15,
      authTimeout: 60,
      keepalive: { interval: 15, count: 3 },
      rekey: { bytes: undefined, seconds: undefined },
      flush: true,
      forwards: {
        local: [],
        dynamic: [],
        unfit: [],
        gatewayPorts: false,
        exitOnFailure: false,
        cleared: false,
        socketMask: 0o177,
        unlinksSockets: false,
      },
      onlyOpenssh: [],
      unobeyed: [],
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
    [
      'what REMOTE says itself',
      'Host a\nUser u\nPort 2222',
      'me@x@a:23',
      { user: 'me@x', port: 23 },
    ],
    ['the first value', 'Host a\nPort 1\nHost *\nPort 2\nUser u', 'a', { port: 1, user: 'u' }],
    ['wildcards', 'Host db-??.ex*\nPort 3', 'db-01.example.com', { port: 3 }],
    ['a ? that needs a character', 'Host db-?\nPort 3', 'db-', { port: 22 }],
    ['negation', 'Host *.example.com !b.example.com\nPort 3', 'b.example.com', { port: 22 }],
    [
      'negation of others',
      'Host *.example.com !b.example.com\nPort 3',
      'a.example.com',
      { port: 3 },
    ],
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
    [
      'an IPv6 literal',
      'Host 2001:db8::*\nPort 3',
      '2001:db8::1',
      { hostName: '2001:db8::1', port: 3 },
    ],
    ['a zone', '', 'fe80::1%eth0', { hostName: 'fe80::1%eth0' }],
    ['Match all', 'Host b\nPort 2\nMatch all\nPort 3', 'a', { port: 3 }],
    [
      'Match host after HostName',
      'Host a\nHostName x.example.com\nMatch host *.example.com\nPort 3',
      'a',
      { port: 3 },
    ],
    ['Match originalhost', 'HostName x\nMatch originalhost a,b\nPort 3', 'a', { port: 3 }],
    ['Match originalhost in any case', 'Match originalhost DB.lab\nPort 3', 'db.LAB', { port: 3 }],
    ['Match host in any case', 'HostName DB.lab\nMatch host db.LAB\nPort 3', 'a', { port: 3 }],
    ['Host in the case that is given', 'Host DB\nPort 3', 'db', { port: 22 }],
    ['Match with "=" and quotes', 'Match host=a user "u"\nPort 3', 'u@a', { port: 3 }],
    ['Match !all', 'Match !all\nPort 3', 'a', { port: 22 }],
    ['Match of one and all', 'Match user u all\nPort 3', 'u@a', { port: 3 }],
    ['what is only noise', 'Protocol 2,1\nUseRoaming no\nCipher x y\nPort 3', 'a', { port: 3 }],
    ['a time that is none', 'ConnectTimeout none\nConnectTimeout 9', 'a', { connectTimeout: 9 }],
    ['HostKeyAlias in lower case', 'HostKeyAlias Db\nPort 3', 'a', { port: 3 }],
    ['Match with a list and !', 'Match host *,!a\nPort 3', 'a', { port: 22 }],
    ['Match with a negated criterion', 'Match !host b\nPort 3', 'a', { port: 3 }],
    ['Match user given', 'Match user u\nPort 3', 'u@a', { port: 3 }],
    ['Match user configured', 'Host a\nUser u\nMatch user u\nPort 3', 'a', { port: 3 }],
    ['Match localuser', `Match localuser ${CALLER}\nPort 3`, 'u@a', { port: 3 }],
    ['Match of two', 'Match host a user v\nPort 3', 'u@a', { port: 22 }],
    ['Match canonical', 'Match canonical\nPort 3', 'a', { port: 22 }],
    ['ConnectTimeout', 'ConnectTimeout 1m', 'a', { connectTimeout: 60 }],
    ['a long ConnectTimeout', 'ConnectTimeout 52w', 'a', { connectTimeout: 1_000_000 }],
    [
      'keepalive',
      'ServerAliveInterval 1m30s\nServerAliveCountMax 5',
      'a',
      { keepalive: { interval: 90, count: 5 } },
    ],
    [
      'keepalive: the first interval has no question yet',
      'ServerAliveInterval 20\nServerAliveCountMax 1',
      'a',
      { keepalive: { interval: 20, count: 2 } },
    ],
    [
      'times that no timer of Node can be set to',
      'ConnectTimeout 2147483647\nServerAliveInterval 3000w',
      'a',
      { connectTimeout: 1_000_000, keepalive: { interval: 1_000_000, count: 3 } },
    ],
    ['keepalive off', 'ServerAliveInterval 0', 'a', { keepalive: { interval: 0, count: 3 } }],
    ['RekeyLimit', 'RekeyLimit 1G 1h', 'a', { rekey: { bytes: 2 ** 30, seconds: 3600 } }],
    [
      'RekeyLimit with default',
      'RekeyLimit default 2d',
      'a',
      { rekey: { bytes: undefined, seconds: 172_800 } },
    ],
    [
      'RekeyLimit with none',
      'RekeyLimit 16M none',
      'a',
      { rekey: { bytes: 2 ** 24, seconds: undefined } },
    ],
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
      { proxy: { kind: 'command', command: 'nc a' } },
    ],
    [
      'the proxy that comes first',
      'ProxyCommand nc %h\nProxyJump b',
      'a',
      { proxy: { kind: 'command', command: 'nc a' } },
    ],
    [
      'system keys',
      'PKCS11Provider /lib/x.so\nGSSAPIAuthentication yes\nHostbasedAuthentication yes',
      'a',
      {
        onlyOpenssh: ['GSSAPIAuthentication', 'HostbasedAuthentication', 'PKCS11Provider'],
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
    const own = (await resolve(where, 'u@a:9', {}, { sshProgram: NO_SSH })).authentication
      .agentSocket;
    assert.equal(own, printed);
  });

  it('knows which keys were asked for', async () => {
    const none = await both(lab('IdentityFile none'), 'a');
    assert.deepEqual(none.authentication.identityFiles, []);
    assert.equal(none.authentication.noIdentityFiles, true);
    const where = lab('IdentityFile ~/.ssh/id_rsa\nIdentitiesOnly yes');
    const { authentication } = await both(where, 'a', {
      identity: ['/k', `${where.home}/.ssh/id_rsa`],
    });
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
    [`\${DIR}/agent`, '/srv/agent'],
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

  for (const file of ['/dev/null', 'none']) {
    it(`asks about keys when UserKnownHostsFile ${file} would make each one new`, async () => {
      const where = lab(`StrictHostKeyChecking no\nUserKnownHostsFile ${file}`);
      const { hostKeys } = await both(where, 'a');
      assert.deepEqual([hostKeys.strict, hostKeys.userFiles], ['ask', []]);
      assert.match(
        where.logged.map(({ message }) => message).join('\n'),
        /there is no UserKnownHostsFile/,
      );
    });
  }

  for (const option of [
    'MACs=+hmac-sha1',
    'MACs=+hmac-sha1,hmac-sha1',
    'MACs=-nosuch',
    'MACs=^umac-64-etm@openssh.com,umac-64-etm@openssh.com',
    'Ciphers=+aes128-ctr',
    'KexAlgorithms=-nosuch*',
    'HostKeyAlgorithms=+ssh-ed25519',
  ]) {
    it(`${option}, which comes to the defaults, is no choice`, async () => {
      const none = { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined };
      const [keyword = '', value = ''] = option.split('=');
      const { algorithms: written } = await both(lab(`${keyword} ${value}`), 'a');
      const { algorithms: given } = await both(lab(''), 'a', { sshOption: [option] });
      assert.deepEqual([written, given], [none, none]);
    });
  }

  for (const list of ['+3des-cbc', '-aes*,chacha*', '^aes256-ctr']) {
    const local =
      spawnSync('ssh', ['-G', '-T', '-F', 'none', 'x'], { encoding: 'utf8' }).stdout ?? '';
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
    assert.deepEqual(a.authentication.identityFiles, [
      { path: `${where.home}/k2`, explicit: false },
    ]);
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

  it('takes keywords of earlier versions with -o, too', async () => {
    const sshOption = ['Protocol=2', 'UseRoaming no', 'Port=4'];
    assert.equal((await both(lab(''), 'a', { sshOption })).port, 4);
  });

  it('lets options win: REMOTE, -p, -o, the files', async () => {
    const where = lab(
      'Port 1\nUser file\nConnectTimeout 7\nServerAliveInterval 8\nServerAliveCountMax 2',
    );
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
    const timed = await both(where, 'a', {
      connectTimeout: '2.5',
      keepalive: '0',
      authTimeout: '9',
    });
    assert.deepEqual(
      [timed.connectTimeout, timed.authTimeout, timed.keepalive],
      [2.5, 9, { interval: 0, count: 2 }],
    );
    const keyed = await both(where, 'a', { sshOption: ['IdentityFile=~/k', 'HostName=%h.o'] });
    assert.deepEqual(keyed.authentication.identityFiles, [
      { path: `${where.home}/k`, explicit: false },
    ]);
    assert.equal(keyed.hostName, 'a.o');
  });

  it('takes what systemd passes to the service, after what is named', async () => {
    const where = lab(
      'Host a\nProxyJump bastion\nHost *\nIdentityFile /configured\nGlobalKnownHostsFile /global',
    );
    const own = join(where.home, 'credentials');
    mkdirSync(own);
    for (const name of ['identity', 'passphrase', 'password', 'known_hosts'])
      writeFileSync(join(own, `tunnel.${name}`), '');
    const environment = { ...where.context.environment, CREDENTIALS_DIRECTORY: own };
    const context = { sshProgram: NO_SSH, environment };
    const settings = await resolve(where, 'a', { identity: ['/named'] }, context);
    const { authentication, hostKeys, proxy } = settings;
    assert.deepEqual(authentication.identityFiles, [
      { path: '/named', explicit: true },
      { path: join(own, 'tunnel.identity'), explicit: true },
      { path: '/configured', explicit: false },
    ]);
    assert.equal(authentication.passwordFile, join(own, 'tunnel.password'));
    assert.equal(authentication.passphraseFile, join(own, 'tunnel.passphrase'));
    assert.deepEqual(hostKeys.globalFiles, ['/global', join(own, 'tunnel.known_hosts')]);
    // A host on the way gets neither the key nor the password.
    assert.ok(proxy.kind === 'jump');
    const [hop] = proxy.hops;
    assert.deepEqual(hop?.authentication.identityFiles, [{ path: '/configured', explicit: false }]);
    assert.equal(hop?.authentication.passwordFile, undefined);
    assert.deepEqual(hop?.hostKeys.globalFiles, ['/global', join(own, 'tunnel.known_hosts')]);
  });

  it('wants a name of the calling user only where one is needed', async (t) => {
    // As in a container with a user of the day: no passwd entry, and no USER in the lab's
    // environment.
    t.mock.method(os, 'userInfo', () => {
      throw Object.assign(new Error('no such user'), { code: 'ENOENT' });
    });
    syncBuiltinESMExports();
    try {
      const nameless = { sshProgram: NO_SSH };
      const config = 'IdentityAgent /agent-%r\nKnownHostsCommand /bin/k %r\nMatch user me\nPort 3';
      const { user, port } = await resolve(lab(config), 'me@a', {}, nameless);
      assert.deepEqual([user, port], ['me', 3]);
      const unnamed = { name: 'UsageError', message: /no name for the calling user/ };
      await assert.rejects(resolve(lab(''), 'a', {}, nameless), unnamed);
      for (const line of ['IdentityFile /k-%u', 'KnownHostsCommand /bin/k %u'])
        await assert.rejects(resolve(lab(line), 'me@a', {}, nameless), unnamed);
      await assert.rejects(
        resolve(lab('Match localuser me\nPort 4'), 'me@a', {}, nameless),
        unnamed,
      );
      const where = lab('');
      const environment = { ...where.context.environment, USER: 'day' };
      assert.equal((await resolve(where, 'a', {}, { ...nameless, environment })).user, 'day');
    } finally {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    }
  });

  it('pins keys of the jump host, not of hops', async () => {
    const pin = `SHA256:${'A'.repeat(42)}E`;
    const { hostKeys, proxy } = await both(lab(''), 'a', { hostKey: [pin], jump: 'b' });
    assert.deepEqual(hostKeys.pins, [{ fingerprint: pin, key: undefined }]);
    assert.deepEqual(proxy.kind === 'jump' && proxy.hops.map((hop) => hop.hostKeys.pins), [[]]);
  });
});
