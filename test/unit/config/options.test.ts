import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { buildConfiguration } from '../../../src/config/options.ts';
import { MAX_REMOTES } from '../../../src/config/sshoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { parseHostKeyPin } from '../../../src/ssh/keys/pin.ts';
import { given, type OptionTexts } from '../../support/options.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-options-'));
after(() => rmSync(directory, { recursive: true }));

const PIN = `SHA256:${'A'.repeat(42)}E`;
const KEY = 'AAAAC3NzaC1lZDI1NTE5AAAAIJ1dYxM4CdX1PJ5Tb9kbTpb5Jx2ZL0uCIRnfVhkXnHWQ';
const build = (options: OptionTexts, ...targets: string[]) =>
  buildConfiguration(given({ remote: ['user@jumphost'], ...options }, targets));

describe('buildConfiguration', () => {
  it('fills in the defaults', () => {
    assert.deepEqual(build({}, '10.0.0.0/8'), {
      ssh: {
        remotes: [{ user: 'user', host: 'jumphost', port: undefined, text: 'user@jumphost' }],
        port: undefined,
        jump: undefined,
        configFile: undefined,
        sshOptions: [],
        transport: 'auto',
        sshCommand: undefined,
        identityFiles: [],
        oneKey: false,
        hostKeyPins: [],
        connectTimeout: undefined,
        authTimeout: 60,
        keepalive: undefined,
        windows: { maxWindow: undefined, budget: undefined },
        flush: true,
        reconnectHold: 30,
        waitAuth: 0,
        waitOnline: 0,
        onDemand: undefined,
      },
      targets: [
        { prefix: { family: 4, address: '10.0.0.0', length: 8 }, ports: [], text: '10.0.0.0/8' },
      ],
      exclusions: [],
      nameTargets: [],
      nameExclusions: [],
      dns: { throughTunnel: false, servers: [], domains: [] },
      cloud: undefined,
      allow: { rules: undefined, dryRun: false, dryRunTo: undefined },
      capture: { allowDiverted: false, captureLocal: false, failClosed: false },
      proxies: undefined,
      forwards: [],
      command: 'connect',
      forwardsOnly: false,
      metrics: undefined,
      logLevel: 'notice',
      flowLog: undefined,
      pcap: undefined,
      progress: true,
      name: 'user@jumphost',
      service: { daemon: false, pidfile: undefined, syslog: false },
      readyFd: undefined,
      notices: [],
      given: given({ remote: ['user@jumphost'] }).options,
    });
  });

  it('takes everything that is given', () => {
    writeFileSync(join(directory, 'targets'), '10.2.0.0/16\n');
    writeFileSync(join(directory, 'excludes'), '10.2.3.4/24 # office\n');
    const configuration = build(
      {
        remote: ['u@a', 'u@b:23'],
        exclude: ['10.1.0.0/16'],
        targetsFrom: [join(directory, 'targets')],
        excludesFrom: [join(directory, 'excludes')],
        identity: ['~/.ssh/cloud', 'relative/key'],
        port: '2222',
        jump: 'a@x@b:23,[2001:db8::1]',
        sshConfig: '~/other',
        sshOption: ['port 24', 'User=a b'],
        transport: 'openssh',
        sshCmd: 'sudo -u "the user" ssh',
        keepalive: '0',
        reconnectHold: '0',
        onDemand: true,
        idleDisconnect: '90.5',
        hostKey: [PIN, `${PIN}=`, `ssh-ed25519  ${KEY} comment here`],
        connectTimeout: '2.5',
        authTimeout: '3600',
        verbose: 2,
      },
      '10.0.0.0/8:443',
    );
    assert.deepEqual(
      configuration.ssh.remotes.map(({ host, port }) => [host, port]),
      [
        ['a', undefined],
        ['b', 23],
      ],
    );
    assert.deepEqual(
      configuration.targets.map(({ text }) => text),
      ['10.0.0.0/8:443', '10.2.0.0/16'],
    );
    assert.deepEqual(
      configuration.exclusions.map(({ prefix }) => prefix.address),
      ['10.1.0.0', '10.2.3.0'],
    );
    assert.deepEqual(configuration.notices, [
      `${join(directory, 'excludes')}:1: 10.2.3.4/24 has host bits set, it is read as 10.2.3.0/24`,
    ]);
    assert.deepEqual(configuration.ssh.identityFiles, [
      join(homedir(), '.ssh/cloud'),
      'relative/key',
    ]);
    assert.equal(configuration.ssh.port, 2222);
    assert.deepEqual(
      configuration.ssh.jump?.map(({ user, host, port }) => [user, host, port]),
      [
        ['a@x', 'b', 23],
        [undefined, '2001:db8::1', undefined],
      ],
    );
    assert.equal(configuration.ssh.configFile, join(homedir(), 'other'));
    assert.deepEqual(configuration.ssh.sshOptions, ['Port=24', 'User=a b']);
    assert.equal(configuration.ssh.transport, 'openssh');
    assert.deepEqual(configuration.ssh.sshCommand, ['sudo', '-u', 'the user', 'ssh']);
    assert.equal(configuration.ssh.keepalive, 0);
    assert.equal(configuration.ssh.reconnectHold, 0);
    assert.deepEqual(configuration.ssh.onDemand, { idleDisconnect: 90.5 });
    assert.deepEqual(
      configuration.ssh.hostKeyPins,
      [PIN, PIN, `ssh-ed25519 ${KEY}`].map(parseHostKeyPin),
    );
    assert.equal(configuration.ssh.connectTimeout, 2.5);
    assert.equal(configuration.ssh.authTimeout, 3600);
    assert.equal(configuration.logLevel, 'debug');
  });

  it('takes -e for a choice of the transport', () => {
    assert.equal(build({ sshCmd: 'ssh -v' }, '10/8').ssh.transport, 'openssh');
    assert.equal(build({ transport: 'ssh2' }, '10/8').ssh.transport, 'ssh2');
  });

  it('reads sizes as ssh_config has them', () => {
    const { windows } = build({ maxWindow: '64k', windowBudget: '1G' }, '10/8').ssh;
    assert.deepEqual(windows, { maxWindow: 65_536, budget: 2 ** 30 });
    assert.equal(build({ windowBudget: '40000' }, '10/8').ssh.windows.budget, 40_000);
  });

  it('maps -v and -q to levels', () => {
    const levels: OptionTexts[] = [
      {},
      { verbose: 1 },
      { verbose: 2 },
      { verbose: 5 },
      { quiet: true, verbose: 0 },
    ];
    assert.deepEqual(
      levels.map((options) => build(options, '10/8').logLevel),
      ['notice', 'info', 'debug', 'debug', 'warning'],
    );
  });

  it('says where an argument from a file stands', () => {
    const line4 = { kind: 'file', path: 'args', line: 4 } as const;
    const places = {
      '-p "0"': { port: '0' },
      '--host-key: "x"': { hostKey: ['x'] },
      '--connect-timeout: "0"': { connectTimeout: '0' },
      '--max-window: "1"': { maxWindow: '1' },
      '-J "": the jump host is empty': { jump: 'a,,b' },
      '--dns-server: "x"': { dnsServer: ['x'] },
      '-x: "10/33"': { exclude: ['10/33'] },
      '--ready-fd: "x"': { readyFd: 'x' },
      '--os-catalog: "x"': { osCatalog: 'x' },
      '--only-targets belongs to a proxy': { onlyTargets: true },
      '--os-follow-links belongs to a cloud': { osFollowLinks: true },
      '-q and -v exclude each other': { quiet: true, verbose: 1 },
      '-p is given twice': { port: ['1', '2'] },
      "-s: nowhere can't be read": { targetsFrom: ['nowhere'] },
      "--allow: nowhere can't be read": { allow: 'nowhere' },
      "--proxy-auth: nowhere can't be read": { listen: ['1'], proxyAuth: 'nowhere' },
    } as const;
    for (const [message, options] of Object.entries<OptionTexts>(places)) {
      assert.throws(
        () => buildConfiguration(given({ remote: ['h'], ...options }, ['10/8'], line4)),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.ok(error.message.startsWith(`args:4: ${message}`), error.message);
          return true;
        },
      );
    }
    assert.throws(
      () => buildConfiguration(given({ remote: ['h'] }, ['10/33'], line4)),
      /^UsageError: args:4: "10\/33"/,
    );
  });

  it('accepts a descriptor that is open for writing', () => {
    const fd = openSync(join(directory, 'ready'), 'w');
    assert.equal(build({ readyFd: `${fd}` }, '10/8').readyFd, fd);
    assert.equal(build({ readyFd: '1' }, '10/8').readyFd, 1);
    closeSync(fd);
    const input = openSync('/dev/null', 'r');
    assert.throws(() => build({ readyFd: `${input}` }, '10/8'), /isn't open for writing/);
    closeSync(input);
  });

  it('has localhost as a target where a proxy gets the name', () => {
    const names = (config: { readonly nameTargets: readonly { readonly text: string }[] }) =>
      config.nameTargets.map(({ text }) => text);
    assert.deepEqual(names(build({ socks: ['1080'] }, 'localhost:80')), ['localhost:80']);
    const proxy = buildConfiguration(given({ remote: ['h'] }, ['localhost:80']), 'proxy');
    assert.deepEqual(names(proxy), ['localhost:80']);
  });

  const wrong: readonly (readonly [
    name: string,
    options: OptionTexts,
    targets: string[],
    message: RegExp,
  ])[] = [
    ['no jump host', { remote: [] }, ['10/8'], /no jump host is given/],
    ['no target', {}, [], /no target is given/],
    ['a network as the jump host', { remote: ['10/8'] }, [], /no jump host is given: "10\/8" is a/],
    ['localhost', {}, ['localhost:5432'], /^target: "localhost:5432" is this machine for every/],
    ['a name below localhost', {}, ['*.app.localhost'], /^target: "\*\.app\.localhost" is this/],
    [
      'too many jump hosts',
      { remote: Array(MAX_REMOTES + 1).fill('h') },
      ['10/8'],
      /-r is given 17 times/,
    ],
    ['bad target', {}, ['10/33'], /^target: "10\/33"/],
    ['bad exclusion', { exclude: ['10/33'] }, ['10/8'], /^-x: "10\/33"/],
    ['bad port', { port: '0' }, ['10/8'], /^-p "0": 0 is not a port number/],
    [
      'two stdins',
      { targetsFrom: ['-'], excludesFrom: ['-'] },
      [],
      /standard input .* is named by -s and by -X; it can be read only once/,
    ],
    ['stdin for --allow, too', { targetsFrom: ['-'], allow: '-' }, [], /by -s and by --allow; it/],
    [
      'stdin for a catalog, too',
      { osCloud: 'c', osCatalogFile: '-', allow: '-' },
      [],
      /by --allow and by --os-catalog-file; it/,
    ],
    [
      'a list without a file',
      { dryRunTo: '' },
      ['10/8'],
      /--dry-run-to: the name of the file is empty/,
    ],
    ['empty identity', { identity: [''] }, ['10/8'], /-i: the name of the key file is empty/],
    [
      'bad hop',
      { jump: 'a,-oProxyCommand=x' },
      ['10/8'],
      /^-J: "-oProxyCommand=x" has a host that begins/,
    ],
    ['empty hop', { jump: 'a,,b' }, ['10/8'], /^-J "": the jump host is empty/],
    [
      'too many hops',
      { jump: 'abcdefghi'.split('').join(',') },
      ['10/8'],
      /^-J: a chain of 9 hosts is too long/,
    ],
    ['empty -F', { sshConfig: '' }, ['10/8'], /^-F: the name of the configuration file is empty/],
    ['NUL in -F', { sshConfig: 'a\0' }, ['10/8'], /^-F: .* NUL/],
    ['bad -o', { sshOption: ['Prot=1'] }, ['10/8'], /^-o "Prot=1": "Prot" is not a keyword/],
    [
      'unknown transport',
      { transport: 'ssh' },
      ['10/8'],
      /^--transport: "ssh" is none of auto, ssh2, openssh/,
    ],
    [
      '-e with ssh2',
      { transport: 'ssh2', sshCmd: 'ssh' },
      ['10/8'],
      /^-e and --transport ssh2 exclude/,
    ],
    ['empty -e', { sshCmd: ' ' }, ['10/8'], /^-e: " " names no program/],
    ['-e without end', { sshCmd: 'ssh "x' }, ['10/8'], /^-e .*isn't closed/],
    [
      'keepalive below 0',
      { keepalive: '-1' },
      ['10/8'],
      /^--keepalive: "-1" is not a number of seconds from 0/,
    ],
    [
      'a window below a packet',
      { maxWindow: '32767' },
      ['10/8'],
      /^--max-window: "32767" is not a size from 32K/,
    ],
    ['a window of 4 GiB', { maxWindow: '4G' }, ['10/8'], /^--max-window: "4G"/],
    ['a budget in another unit', { windowBudget: '1T' }, ['10/8'], /^--window-budget: "1T"/],
    ['a budget of -1', { windowBudget: '-1' }, ['10/8'], /^--window-budget: "-1"/],
    [
      'windows of ssh',
      { transport: 'openssh', windowBudget: '8M' },
      ['10/8'],
      /^--window-budget is for the embedded SSH client/,
    ],
    [
      'windows of -e',
      { sshCmd: 'ssh', maxWindow: '8M' },
      ['10/8'],
      /^--max-window is for the embedded/,
    ],
    [
      'a wait for the login that would be penalised',
      { waitAuth: '14.9' },
      ['10/8'],
      /^--wait-auth: a refused login is not tried again within 14\.9 s/,
    ],
    ['a wait for the login without end', { waitAuth: 'inf' }, ['10/8'], /^--wait-auth: "inf"/],
    ['idle alone', { idleDisconnect: '60' }, ['10/8'], /^--idle-disconnect belongs to --on-demand/],
    ['idle time', { onDemand: true, idleDisconnect: 'x' }, ['10/8'], /^--idle-disconnect: "x"/],
    ['hold too long', { reconnectHold: '3601' }, ['10/8'], /^--reconnect-hold: "3601"/],
    ['a list to -', { dryRunTo: '-' }, ['10/8'], /^--dry-run-to: "-", standard output, is no file/],
    ['one file for two', { flowLog: './f', pidfile: 'f' }, ['10/8'], /^--flow-log and --pidfile/],
    ['a socket for two', { metrics: '/x/f', pcap: '/x/./f' }, ['10/8'], /name one file, \/x\/f/],
    ['-q with -v', { quiet: true, verbose: 1 }, ['10/8'], /-q and -v exclude each other/],
    [
      'timeout 0',
      { connectTimeout: '0' },
      ['10/8'],
      /^--connect-timeout: "0" is not a number of seconds above 0/,
    ],
    ['timeout with unit', { authTimeout: '10s' }, ['10/8'], /^--auth-timeout: "10s"/],
    ['timeout in hex', { authTimeout: '0x10' }, ['10/8'], /^--auth-timeout/],
    ['timeout too long', { authTimeout: '3601' }, ['10/8'], /up to 3600/],
    ['ready-fd text', { readyFd: 'x' }, ['10/8'], /--ready-fd: "x" is not the number/],
    ['ready-fd closed', { readyFd: '999' }, ['10/8'], /--ready-fd: descriptor 999 isn't open/],
    ['ready-fd stderr', { readyFd: '2' }, ['10/8'], /2 is standard error/],
    ['ready-fd stdin', { readyFd: '0' }, ['10/8'], /0 is standard input/],
    [
      'MD5 fingerprint',
      { hostKey: ['MD5:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff'] },
      ['10/8'],
      /is an MD5 fingerprint/,
    ],
    [
      'short fingerprint',
      { hostKey: ['SHA256:AAAA'] },
      ['10/8'],
      /neither a fingerprint .* nor a public key/,
    ],
    ['key of another type', { hostKey: [`ssh-rsa ${KEY}`] }, ['10/8'], /neither a fingerprint/],
    ['key file name', { hostKey: ['/etc/ssh/key.pub'] }, ['10/8'], /neither a fingerprint/],
    ['key without blob', { hostKey: ['ssh-ed25519 AAAA'] }, ['10/8'], /neither a fingerprint/],
  ];
  for (const [name, options, targets, message] of wrong) {
    it(`refuses: ${name}`, () => {
      assert.throws(
        () => build(options, ...targets),
        (error) => {
          assert.ok(error instanceof UsageError);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  it('does not take an epoll descriptor of the runtime for one of the caller', () => {
    const own = readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventpoll]';
      } catch {
        return false; // the descriptor that listed them
      }
    });
    assert.ok(own.length > 0);
    for (const fd of own)
      assert.throws(() => build({ readyFd: fd }, '10/8'), /isn't open for writing/);
  });
});
