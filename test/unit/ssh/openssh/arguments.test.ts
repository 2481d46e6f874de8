/**
 * The command line of ssh: nothing that the user writes becomes an option, or another host, or a
 * second line.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../../src/errors/errors.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import {
  type ArgumentOptions,
  atLeast,
  type GivenOptions,
  hopConfiguration,
  opensshArguments,
  pinnedKnownHosts,
} from '../../../../src/ssh/openssh/arguments.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import { loopbackSettings } from '../../../support/openssh.ts';
import { authenticationSettings } from '../../../support/settings.ts';

const FILES = {
  log: '/d/log',
  socks: '/d/socks',
  askpass: '/d/ask',
  knownHosts: '/d/known_hosts',
  hopConfiguration: '/d/config',
};
const GIVEN: GivenOptions = {
  command: undefined,
  configFile: undefined,
  options: [],
  jump: undefined,
  identityFiles: [],
};
const SETTINGS = loopbackSettings(2222, 'jump', '/home/u/.ssh/known_hosts');
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8+5vCpVBMHzvIjnO6Xe4m4bGmJ3uHkDsfHAMmrH5nP';
const FINGERPRINT = `SHA256:${'A'.repeat(43)}`;

function build(
  settings: Partial<SshSettings> = {},
  given: Partial<GivenOptions> = {},
  more: Partial<ArgumentOptions> = {},
): string[] {
  return opensshArguments({
    settings: { ...SETTINGS, ...settings },
    given: { ...GIVEN, ...given },
    files: FILES,
    hostpin: '/opt/tunnel/hostpin',
    guard: '/opt/tunnel/guard',
    version: [9, 2],
    givesUp: false,
    ...more,
  });
}

/** As ssh reads them with getopt(3): options with their values, then what isn't one. */
function parse(argv: readonly string[]): { options: [string, string][]; rest: string[] } {
  const options: [string, string][] = [];
  for (let i = 1; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (word === '--') return { options, rest: argv.slice(i + 1) };
    if (!word.startsWith('-')) return { options, rest: argv.slice(i) };
    if ('EDoFiJpl'.includes(word[1] ?? '')) options.push([word, argv[++i] ?? '']);
    else options.push([word, '']);
  }
  return { options, rest: [] };
}

/** The value that ssh uses: the first. */
function value(argv: readonly string[], name: string): string | undefined {
  const wanted = name.toLowerCase();
  for (const [flag, text] of parse(argv).options) {
    const [key = '', rest] = text.split(/[= \t]+(.*)/s);
    if (flag === '-o' && key.toLowerCase() === wanted) return rest;
  }
  return undefined;
}

describe('arguments of ssh', () => {
  it('keeps the host at the end, behind --', () => {
    const argv = build(
      { name: 'jump-alias' },
      { identityFiles: ['/k'], jump: 'a,b:22', configFile: '-F' },
    );
    assert.deepEqual(argv.slice(-6), ['-p', '2222', '-l', 'jump', '--', 'jump-alias']);
    assert.deepEqual(parse(argv).rest, ['jump-alias']);
    assert.ok(argv.join(' ').includes('-F -F -i /k -J a,b:22'));
  });

  it('ssh never gives the server up, unless what it has read can not be seen', () => {
    const keepalive = { interval: 14.2, count: 3 };
    const alive = (argv: readonly string[]) => [
      value(argv, 'ServerAliveInterval'),
      value(argv, 'ServerAliveCountMax'),
    ];
    assert.deepEqual(alive(build({ keepalive })), ['16', '1000000']);
    const sudo = build({ keepalive }, { command: ['sudo', 'ssh'] });
    assert.deepEqual(alive(sudo.slice(1)), ['17', '1000000']);
    assert.deepEqual(alive(build({ keepalive }, {}, { givesUp: true })), ['15', '2']);
    const never = { keepalive: { interval: 0, count: 3 } };
    for (const givesUp of [true, false]) assert.equal(alive(build(never, {}, { givesUp }))[0], '0');
    const given = { options: ['ServerAliveCountMax=1', 'ServerAliveInterval=1'] };
    assert.deepEqual(alive(build({ keepalive }, given)), ['16', '1000000']);
  });

  it('is not changed by anything that the user gives in what the tunnel rests on', () => {
    const plain = build();
    const names = plain.flatMap((word, i) =>
      plain[i - 1] === '-o' ? [word.split('=', 1)[0] ?? ''] : [],
    );
    assert.ok(names.includes('StrictHostKeyChecking') && names.includes('ClearAllForwardings'));
    const argv = build({}, { options: names.map((name) => `${name}=wrong`) });
    for (const name of names) assert.equal(value(argv, name), value(plain, name), name);
    assert.equal(value(argv, 'ClearAllForwardings'), 'no');
    assert.equal(value(argv, 'ControlPath'), 'none');
    assert.equal(value(argv, 'StrictHostKeyChecking'), 'yes');
  });

  it('gets a connection from a program of ours, whatever the user says', () => {
    const departures = [{ host: '10.1.2.3', port: 2222, device: 'eth0' }];
    const given = { options: ['ProxyCommand=nc %h %p', 'ProxyUseFdpass=no'] };
    assert.equal(value(build({}, given), 'ProxyCommand'), 'nc %h %p');
    const argv = build({}, given, { departures });
    const words = /tunnel-dial' .* 'eth0' '-' '10\.1\.2\.3' '2222'$/;
    assert.match(value(argv, 'ProxyCommand') ?? '', words);
    assert.equal(value(argv, 'ProxyUseFdpass'), 'yes');
  });

  it('lets the first hop, and no other, get one', () => {
    const hops = [
      { ...SETTINGS, name: 'first' },
      { ...SETTINGS, name: 'second' },
    ];
    const departures = [{ host: '10.1.2.3', port: 22, device: 'eth0' }];
    const proxy = { kind: 'jump', hops } as const;
    const argv = build({ proxy }, {}, { departures });
    assert.equal(value(argv, 'ProxyCommand'), undefined);
    const lines = hopConfiguration({ ...SETTINGS, proxy }, GIVEN, departures).split('\n');
    assert.equal(lines[0], 'Host first');
    assert.match(lines[1] ?? '', /^ {2}ProxyCommand '.*tunnel-dial' /);
    assert.equal(lines[2], '  ProxyUseFdpass yes');
    assert.equal(lines.filter((line) => line.includes('Proxy')).length, 2);
  });

  it('offers one key with oneKey, whatever the configuration says, or starts nothing', () => {
    const withKeys = (...paths: string[]) => ({
      authentication: authenticationSettings(paths, { oneKey: true }),
    });
    const argv = build(withKeys('/k'), {
      identityFiles: ['/k'],
      options: ['IdentitiesOnly=no'],
    });
    assert.equal(value(argv, 'IdentitiesOnly'), 'yes');
    assert.equal(value(build(), 'IdentitiesOnly'), 'yes', 'settings of this test');
    const plain = { authentication: authenticationSettings(['/k']) };
    assert.equal(value(build(plain), 'IdentitiesOnly'), undefined);
    for (const [paths, message] of [
      [['/k', '/l'], /would offer 2 keys, .*\/k, \/l/],
      [[], /none is named/],
    ] as const)
      assert.throws(
        () => build(withKeys(...paths)),
        (error) => error instanceof UsageError && message.test(error.message),
      );
  });

  it('the user of a hop may have a backslash, which ssh would lose on the way', () => {
    const hop = (name: string, user: string) => ({ ...SETTINGS, name, hostName: name, user });
    const hops = [hop('a', 'DOMAIN\\user'), hop('b', 'user:target')];
    const settings = { proxy: { kind: 'jump', hops } } as const;
    const argv = build(settings, { jump: 'DOMAIN\\user@a:2222,user:target@b' });
    assert.equal(argv[argv.indexOf('-J') + 1], 'a:2222,user:target@b');
    const lines = hopConfiguration({ ...SETTINGS, ...settings }, GIVEN).split('\n');
    assert.deepEqual(
      lines.filter((line) => /Host |User /.test(line)),
      ['Host a', '  User DOMAIN\\user', 'Host b'],
    );
    const twice = { proxy: { kind: 'jump', hops: [...hops, hop('a', 'other')] } } as const;
    assert.throws(() => build(twice, { jump: 'DOMAIN\\user@a,b,other@a' }), UsageError);
  });

  it('whatever name and user are, ssh gets these, or nothing is started', () => {
    const awkward = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.string({
        unit: fc.constantFrom(
          '-',
          'o',
          'P',
          ' ',
          '@',
          '=',
          '\n',
          '$',
          '`',
          '/',
          'a',
          '\\',
          '%',
          ':',
        ),
      }),
    );
    let accepted = 0;
    fc.assert(
      fc.property(awkward, awkward, awkward, (name, user, option) => {
        let argv: string[];
        try {
          argv = build({ name, user }, { options: [option] });
        } catch (error) {
          if (error instanceof UsageError) {
            // An option that is refused may have hidden a name that is not.
            try {
              argv = build({ name, user });
            } catch (again) {
              assert.ok(again instanceof UsageError);
              return;
            }
          } else throw error;
        }
        accepted++;
        const { options, rest } = parse(argv);
        assert.deepEqual(rest, [name]);
        assert.ok(!/^-|[\s@/'"`$;&<>|(){}\\*?]/.test(name), name);
        assert.deepEqual(
          options.filter(([flag]) => flag === '-l'),
          [['-l', user]],
        );
        assert.ok(!/^-|['"`$;&<>|(){}\n]/.test(user), user);
        assert.equal(options.filter(([flag]) => flag === '-D').length, 1);
      }),
      { numRuns: 2000 },
    );
    assert.ok(accepted > 50, `only ${accepted} were accepted`);
  });

  for (const [what, settings, given] of [
    ['a host like an option', { name: '-oProxyCommand=sh' }, {}],
    ['a host with a user', { name: 'root@host' }, {}],
    ['a URI', { name: 'ssh://host' }, {}],
    ['a user like an option', { user: '-oProxyCommand=sh' }, {}],
    ['a user for a shell', { user: 'a;id' }, {}],
    ['a jump like an option', {}, { jump: '-oProxyCommand=sh' }],
    ['a second jump like an option', {}, { jump: 'a,-b' }],
    ['an option that is none', {}, { options: ['-v'] }],
    ['an option of two lines', {}, { options: ['User=a\nProxyCommand=sh'] }],
    ['-e like an option', {}, { command: ['-x'] as const }],
    [
      '-e without a check of host keys',
      {},
      { command: ['ssh', '-oStrictHostKeyChecking no'] as const },
    ],
    ['the same in two words', {}, { command: ['ssh', '-o', 'stricthostkeychecking=OFF'] as const }],
  ] as const) {
    it(`refuses ${what}`, () => assert.throws(() => build(settings, given), UsageError));
  }

  it('takes the users that bastions want', () => {
    for (const user of ['user@session@domain', 'DOMAIN\\user', 'first.last+tag'])
      assert.ok(build({ user }).join(' ').endsWith(`-l ${user} -- 127.0.0.1`));
  });

  it('puts the arguments behind those of a custom command', () => {
    const argv = build({}, { command: ['sshpass', '-f', 'file', 'ssh'] });
    assert.deepEqual(argv.slice(0, 6), ['sshpass', '-f', 'file', 'ssh', '-N', '-T']);
  });

  it('has a guard started by an ssh that a custom command starts, and no other local command', () => {
    const value = (argv: readonly string[], name: string) =>
      argv.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
    const plain = build({}, { options: ['PermitLocalCommand=yes', 'LocalCommand=touch x'] });
    assert.equal(value(plain, 'PermitLocalCommand'), 'no');
    const custom = build({}, { command: ['sudo', 'ssh'], options: ['LocalCommand=touch x'] });
    assert.equal(value(custom, 'PermitLocalCommand'), 'yes');
    assert.equal(
      value(custom, 'LocalCommand'),
      `exec '/opt/tunnel/guard' '${FILES.log}' '${FILES.socks}'`,
    );
    assert.throws(() => build({}, { command: ['ssh'] }, { guard: "/opt/it's" }), UsageError);
  });

  it('knows which options an older ssh has', () => {
    assert.equal(value(build({}, {}, { version: [8, 4] }), 'ForkAfterAuthentication'), undefined);
    assert.equal(value(build({}, {}, { version: [8, 7] }), 'ForkAfterAuthentication'), 'no');
    assert.ok(atLeast([10, 0], [8, 7]) && !atLeast([8, 6], [8, 7]));
  });

  it('quotes file names, and refuses those that ssh would read otherwise', () => {
    const files = (name: string) =>
      value(
        build({ hostKeys: { ...SETTINGS.hostKeys, userFiles: [name, '/b'] } }),
        'UserKnownHostsFile',
      );
    assert.equal(files('/with space'), '"/with space" /b');
    assert.equal(files('/with%token'), '/with%%token /b');
    assert.throws(() => files('/with"quote'), UsageError);
    assert.throws(() => files('/$' + '{HOME}x'), UsageError);
  });

  it('allows the time that people at hops may take', () => {
    const authentication = { ...SETTINGS.authentication, batch: false };
    const proxy = { kind: 'jump', hops: [SETTINGS, SETTINGS] } as const;
    assert.equal(value(build({ authentication }), 'ConnectTimeout'), '10');
    assert.equal(value(build({ authentication, proxy }), 'ConnectTimeout'), '50');
    assert.equal(value(build({ proxy }), 'ConnectTimeout'), '10');
  });
});

describe('pins for ssh', () => {
  const pinned = (...texts: string[]) => ({
    hostKeys: { ...SETTINGS.hostKeys, pins: texts.map(parseHostKeyPin) },
  });

  it('a whole key stands in a file that is the only one', () => {
    const argv = build(pinned(KEY));
    assert.equal(value(argv, 'UserKnownHostsFile'), FILES.knownHosts);
    assert.equal(value(argv, 'GlobalKnownHostsFile'), 'none');
    assert.equal(value(argv, 'KnownHostsCommand'), 'none');
    assert.equal(value(argv, 'StrictHostKeyChecking'), 'yes');
    assert.equal(pinnedKnownHosts({ ...SETTINGS, ...pinned(KEY, FINGERPRINT) }), `* ${KEY}\n`);
  });

  it('a fingerprint is compared by a command, which an old ssh does not have', () => {
    assert.equal(
      value(build(pinned(FINGERPRINT)), 'KnownHostsCommand'),
      `/opt/tunnel/hostpin only %f %H %t %K ${FINGERPRINT}`,
    );
    assert.throws(() => build(pinned(FINGERPRINT), {}, { version: [8, 4] }), UsageError);
    assert.equal(
      value(build(pinned(KEY), {}, { version: [8, 4] }), 'KnownHostsCommand'),
      undefined,
    );
  });
});

describe('the configuration for hops', () => {
  const hop = {
    ...SETTINGS,
    name: 'hop',
    hostKeys: { ...SETTINGS.hostKeys, strict: 'accept-new' },
  } as const;
  const settings: SshSettings = { ...SETTINGS, proxy: { kind: 'jump', hops: [hop] } };

  it('sets the check of keys before anything that is included', () => {
    const text = hopConfiguration(settings, GIVEN);
    assert.equal(
      text,
      'Host hop\n  StrictHostKeyChecking accept-new\n  NoHostAuthenticationForLocalhost no\n' +
        'Match all\nInclude ~/.ssh/config\nInclude /etc/ssh/ssh_config\n',
    );
    const argv = build({ proxy: settings.proxy }, { configFile: '/mine' });
    assert.equal(argv[argv.indexOf('-F') + 1], FILES.hopConfiguration);
  });

  it('names the default identities of another home, where nothing else is named', () => {
    const given = { ...GIVEN, configFile: 'none', defaultIdentities: ['/h/.ssh/id_rsa'] };
    assert.match(hopConfiguration(settings, given), /\n {2}IdentityFile \/h\/\.ssh\/id_rsa\n/);
    const argv = build({}, given);
    assert.equal(argv[argv.indexOf('-i') + 1], '/h/.ssh/id_rsa');
    const identityFiles = [{ path: '/k', explicit: false }];
    for (const authentication of [
      { ...hop.authentication, identityFiles },
      { ...hop.authentication, noIdentityFiles: true },
    ]) {
      const proxy = { kind: 'jump', hops: [{ ...hop, authentication }] } as const;
      assert.doesNotMatch(hopConfiguration({ ...settings, proxy }, given), /IdentityFile/);
      assert.ok(!build({ authentication }, given).includes('-i'));
    }
  });

  it('includes what -F names', () => {
    assert.match(
      hopConfiguration(settings, { ...GIVEN, configFile: '/a b' }),
      /\nInclude "\/a b"\n$/,
    );
    assert.doesNotMatch(hopConfiguration(settings, { ...GIVEN, configFile: 'none' }), /Include/);
    assert.throws(() => hopConfiguration(settings, { ...GIVEN, configFile: '/a*' }), UsageError);
  });

  it('refuses a hop that would be a pattern', () => {
    const wild = { ...settings, proxy: { kind: 'jump', hops: [{ ...hop, name: '*' }] } } as const;
    assert.throws(() => hopConfiguration(wild, GIVEN), UsageError);
  });
});
