/** The command line as users meet it: the program itself, with exit code, message and hint. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { NAMES } from '../../../src/cli/commands.ts';
import { runCommandLine } from '../../../src/cli/program.ts';
import type { Configuration } from '../../../src/config/configuration.ts';
import { standInCommands } from '../../support/commands.ts';
import { refusalOf } from '../../support/linereader.ts';
import { MAIN } from '../../support/tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-commandline-'));
after(() => rmSync(directory, { recursive: true }));

function tunnel(args: readonly string[], input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    input,
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, stdout, stderr };
}

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const R = ['-r', 'user@jumphost'];

describe('tunnel, used wrongly', () => {
  const table: readonly (readonly [args: readonly string[], message: RegExp, hint?: RegExp])[] = [
    [[], /no jump host is given/, /name it with -r/],
    [['10/8'], /no jump host is given/],
    [R, /no target is given/, /tunnel -r user@jumphost 10\.0\.0\.0\/8/],
    [['connect', ...R], /no target is given/],
    [
      ['-r', '10.0.0.0/8'],
      /"10\.0\.0\.0\/8" is a network/,
      /tunnel -r user@jumphost 10\.0\.0\.0\/8$/,
    ],
    [[...R, 'localhost'], /never captured/, /-L 8000:localhost:8000$/],
    [[...R, 'localhost:5432'], /never captured/, /-L 5432:localhost:5432$/],
    [[...R, 'localhost:443'], /never captured/, /-L 8443:localhost:443$/],
    [['exec', ...R, 'localhost:5432', '--', 'true'], /never captured/],
    [[...R, '10.0.0.0/33'], /target: "10\.0\.0\.0\/33" has a prefix length of 33/],
    [['connect', ...R, '10.0.0.1.2'], /target: "10\.0\.0\.1\.2" has 5 parts/],
    [[...R, '010.0.0.1'], /octal/, /write 10 instead of 010/],
    [[...R, 'api.example.com/24'], /begins with a name/, /api\.example\.com:443/],
    [
      [...R, 'https://api.example.com/'],
      /target ".*": this is a URL/,
      /hint: write api\.example\.com:443$/,
    ],
    [
      ['proxy', ...R, '-x', 'http://[::1]:5000', '10/8'],
      /-x ".*": this is a URL/,
      /write \[::1\]:5000$/,
    ],
    [[...R, '-x', '10/40', '10/8'], /-x: "10\/40"/],
    [['-r', 'user@', '10/8'], /-r: "user@" has no host/],
    [['-r-oProxyCommand=id', '10/8'], /-r: "-oProxyCommand=id" has a host that begins with a dash/],
    [['-r'], /: -r has no value$/m, /--help/],
    [[...R, '10/8', '--idle-disconnect'], /: --idle-disconnect has no value$/m, /--help/],
    [
      ['--idle-disconnect', '-r', 'user@jumphost', '10/8'],
      /--idle-disconnect has no value, but "-r" after it/,
      /write --idle-disconnect=-r$/m,
    ],
    [
      ['-F', '--remote=user@jumphost', '10/8'],
      /-F has no value, but "--remote=user@jumphost" after it/,
    ],
    [['-vi', '-v', ...R, '10/8'], /-i has no value, but "-v" after it/, /write -i-v$/m],
    [['-r', '--help'], /-r has no value, but "--help" after it/],
    [['-s', '--', ...R, '10/8'], /-s has no value, but "--" after it/, /--help/],
    [['--dns-server', '--method', ...R, '10/8'], /--dns-server has no value, but "--method"/],
    [['exec', '-r', '--', 'true'], /-r has no value/],
    [
      ['exec', '--os-cloud', '-r', 'user@jumphost', '--', 'true'],
      /--os-cloud has no value, but "-r" after it/,
    ],
    [
      ['-x', `@${file('forgotten', '-r user@jumphost 10/8')}`],
      /forgotten:1: -x has no value|-x has no value, but "-r" after it/,
    ],
    [[...R, `@${file('last', '10/8\n-x')}`], /last:2: -x has no value$/m],
    [[...R, '--connect-timeout', '-5', '10/8'], /--connect-timeout: "-5" is not a number/],
    [
      ['openstack', ...R, '--dns'],
      /unknown option '--dns'/,
      /"tunnel connect", .*"tunnel exec", .*only$/,
    ],
    [
      ['openstack', ...R, '--dns-server=10.0.0.53'],
      /unknown option '--dns-server=/,
      /leave it out/,
    ],
    [
      ['openstack', ...R, '--reconnect-hold', '5'],
      /unknown option '--reconnect-hold'/,
      /leave it out: .*"tunnel connect"/,
    ],
    [[...R, '--identty', 'x', '10/8'], /unknown option '--identty'/, /Did you mean --identity\?/],
    [[...R, '--verison', '10/8'], /unknown option '--verison'/, /Did you mean --version\?/],
    [[...R, '--verb', '10/8'], /unknown option '--verb'/, /Did you mean --verbose\?$/m],
    [[...R, '--keep', '5', '10/8'], /unknown option '--keep'/, /Did you mean --keepalive\?$/m],
    [[...R, '--identit=x', '10/8'], /unknown option '--identit=x'/, /Did you mean --identity\?$/m],
    [
      [...R, '--exc', '10.1/16', '10/8'],
      /unknown option '--exc'/,
      /Did you mean --exclude or --excludes-from\?$/m,
    ],
    [[...R, '--vers', '10/8'], /unknown option '--vers'/, /Did you mean --version\?$/m],
    [['exec', ...R, '--iso', '--', 'true'], /unknown option '--iso'/, /Did you mean --isolate\?$/m],
    [[...R, '--no-lat', '10/8'], /'--no-lat'/, /Did you mean --no-latency-control\?$/m],
    [[...R, '--o', '10/8'], /unknown option '--o'/, /--help/],
    [[...R, '-Z', '10/8'], /unknown option '-Z'/, /--help/],
    [
      ['-v', 'connect', ...R, '10/8'],
      /command "connect" comes before its options/,
      /tunnel connect -r/,
    ],
    [['-v', 'proxy', ...R], /command "proxy" comes before its options/, /tunnel proxy -r/],
    [[...R, 'exec', 'curl'], /command "exec" comes before its options/, /tunnel exec -r/],
    [['-v', 'list'], /command "list" comes before its options/, /"tunnel list \.\.\."$/m],
    [['-v', 'statsu'], /"statsu" is nearly the command "status"/, /"tunnel status \.\.\."\?/],
    [['exce', ...R, '--', 'true'], /there is no command "exce"/, /exec, .*after the options/],
    [['upp', 'x'], /there is no command "upp"/, /did you mean up\?/],
    [['start', 'x'], /there is no command "start"/, /did you mean up\?/],
    [['ls'], /there is no command "ls"/, /did you mean list\?/],
    [['hlep'], /there is no command "hlep"/, /did you mean help\?/],
    [['verison'], /there is no command "verison"/, /"tunnel --version" shows it/],
    [['list', 'x'], /"tunnel list" takes no names/, /tunnel list --help/],
    [['porxy', ...R], /there is no command "porxy"/, /did you mean proxy\?/],
    [[...R, 'porxy'], /"porxy" is nearly the command "proxy"/, /tunnel proxy -r .*porxy\. with/],
    [['-v', 'conect', ...R], /"conect" is nearly the command "connect"/],
    [
      ['up', 'office', '--dns'],
      /unknown option '--dns'/,
      /tunnel -D --profile NAME --dns \.\.\.$/m,
    ],
    [['up', 'office', '-x', '10/8'], /unknown option '-x'/, /write: tunnel -D --profile NAME -x/],
    [['up', 'office', '-D'], /unknown option '-D'/, /: leave it out: "tunnel up" runs on/],
    [['up', 'office', '--daemon'], /unknown option '--daemon'/, /: leave it out: "tunnel up" runs/],
    [['up', '--profile', 'office'], /unknown option '--profile'/, /takes the name alone, as in/],
    [['version'], /there is no command "version"/, /"tunnel --version" shows it/],
    [[...R, 'a.example,b.example:443'], /several targets/, /: a\.example b\.example:443$/],
    [['help', 'jumhost'], /there is no command "jumhost"/, /did you mean jumphost\?/],
    [['statuses'], /there is no command "statuses"/, /connect, /],
    [['help', 'statuses'], /there is no command "statuses"/, /the commands are connect, /],
    [[...R, '--dns=yes', '10/8'], /unknown option '--dns=yes'/, /--dns takes no value$/],
    [[...R, '10/8', '--', '-x'], /target: "-x" begins with a dash/, /options come before "--"/],
    [
      [...R, '10/8', '--', 'terraform', 'apply'],
      /"terraform" is in the place of the command of "tunnel exec"/,
      /tunnel exec -r/,
    ],
    [['proxy', ...R, '--', 'curl', 'http://10.0.0.1/'], /"curl" is in the place/, /tunnel exec -r/],
    [
      ['-r', 'ssh://user:secret@host', '10/8'],
      /what may be a password after it/,
      /leave a password out/,
    ],
    [[...R, '--domain', 'corp.example', '10/8'], /--domain needs a resolver/, /--dns-server/],
    [
      [...R, '--dns-server', 'resolver', '10/8'],
      /--dns-server: "resolver" is not an address/,
      /as the jump host/,
    ],
    [[...R, '-p', '22', '-p', '23', '10/8'], /-p is given twice \(22 and 23\)/],
    [[...R, '-J', 'a', '-J', 'b', '10/8'], /-J is given twice \(a and b\)/],
    [[...R, '-F', 'a', '-F', 'b', '10/8'], /-F is given twice/],
    [[...R, '-e', 'a', '-e', 'b', '10/8'], /-e is given twice/],
    [[...R, '--transport', 'ssh2', '--transport', 'auto', '10/8'], /--transport is given twice/],
    [[...R, '--keepalive', '1', '--keepalive', '2', '10/8'], /--keepalive is given twice/],
    [
      [...R, '--reconnect-hold', '1', '--reconnect-hold', '2', '10/8'],
      /--reconnect-hold is given twice/,
    ],
    [
      [...R, '-o', 'Prot=22', '10/8'],
      /-o "Prot=22": "Prot" is not a keyword/,
      /did you mean Port\?/,
    ],
    [[...R, '-J', 'a,-x', '10/8'], /-J: "-x" has a host that begins with a dash/],
    [
      [...R, '--transport', 'ssh2', '-e', 'ssh', '10/8'],
      /-e and --transport ssh2 exclude/,
      /leave one/,
    ],
    [[...R, '-q', '-v', '10/8'], /exclude each other/],
    [[...R, '--ready-fd', '77', '10/8'], /descriptor 77 isn't open/, /--ready-fd 77 77>ready/],
    [
      [...R, '-s', `${tmpdir()}/tunnel-no-such-file`],
      /-s: .*tunnel-no-such-file can't be read: there is no such file/,
    ],
    [[`@${tmpdir()}/tunnel-no-such-file`], /argument: .* can't be read: there is no such file/],
    [
      [...R, '-N', '10/8'],
      /-N\/--auto-nets is an option of sshuttle that doesn't exist here: .*routes/,
      /name the networks/,
    ],
    [[...R, '--auto-nets'], /--auto-nets is an option of sshuttle/],
    [
      [...R, '-H', '10/8'],
      /-H\/--auto-hosts is an option of sshuttle .*\/etc\/hosts/,
      /name the hosts as targets/,
    ],
    [[...R, '--python', 'python3', '10/8'], /--python is an option of sshuttle .* needs no Python/],
    [[...R, '--method', 'nft', '10/8'], /--method is an option of sshuttle .* TUN device/],
    [[...R, '--method=auto', '10/8'], /--method is an option of sshuttle/],
    [[...R, '-l', '0.0.0.0:0', '10/8'], /-l is an option of sshuttle/],
    [[...R, '--only-targets', '10/8'], /--only-targets belongs to a proxy/, /--listen/],
    [['proxy', ...R, '--only-targets'], /no target/],
    [
      ['proxy', ...R, '--listen', '0.0.0.0:1080'],
      /0\.0\.0\.0 is not a loopback address/,
      /--proxy-auth/,
    ],
    [
      ['proxy', ...R, '--http', 'proxy.example:80'],
      /--http "proxy\.example:80": "proxy\.example" is not an address/,
    ],
    [['proxy', ...R, '--method', 'nft'], /--method is an option of sshuttle/],
    [[...R, '--disable-ipv6', '10/8'], /--disable-ipv6 is an option of sshuttle/],
    [[...R, '10/8\u001b[31m'], /is not|isn't a number/],
  ];
  for (const [args, message, hint] of table) {
    it(`tunnel ${args.join(' ')}`, async () => {
      const { status, stderr } = await refusalOf(args);
      // 125 is exec's: its command may end with 2.
      assert.equal(status, args[0] === 'exec' ? 125 : 2, stderr);
      const [first = '', second] = stderr.trimEnd().split('\n');
      assert.match(first, /^tunnel: error \[usage\]: /);
      assert.match(first, message);
      assert.doesNotMatch(stderr, /[\u0000-\u0009\u000b-\u001f]/);
      if (hint !== undefined) assert.match(second ?? '', hint);
      if (second !== undefined) assert.match(second, /^tunnel: hint: /);
      assert.ok(stderr.trimEnd().split('\n').length <= 2, stderr);
    });
  }

  it('says so as a program: on standard error alone, and by its exit status', async () => {
    for (const args of [[], ['exec', '-r', '--', 'true'], [...R, '10/8\u001b[31m'], ['statuses']])
      assert.deepEqual(tunnel(args), { ...(await refusalOf(args)), stdout: '' });
  });

  it('names file and line', async () => {
    const args = file('args', `${R.join(' ')}\n# networks\n10.0.0.0/33\n`);
    assert.match((await refusalOf([`@${args}`])).stderr, /args:3: "10\.0\.0\.0\/33"/);
    const targets = file('targets', '10.0.0.0/8\n\n10.0.0.0/8:0\n');
    assert.match(
      (await refusalOf([...R, '-s', targets])).stderr,
      /targets:3 "10\.0\.0\.0\/8:0": 0 is not a port number/,
    );
    assert.match(tunnel([...R, '-s', '-'], '10/8\n10/33\n').stderr, /standard input:2: "10\/33"/);
    assert.match(tunnel([...R, '-s', '-']).stderr, /no target is given/);
  });

  it('names the right file and line where the same text stands in two places', async () => {
    const nets = file('nets.txt', '10.0.0.0/8\n10.1.0.0/16\n11.0.0.0/8\n');
    const other = file('other.txt', `${'# offices\n'.repeat(6)}11.0.0.0/33\n`);
    const args = file('args.txt', '-r u@h\n-p 22 -x 11.0.0.0/33\n');
    const wrong = file('wrong.txt', '-r u@h\n-o Prot=22\n');
    for (const [given, message] of [
      [[...R, '-s', nets, '-X', other], /other\.txt:7: "11\.0\.0\.0\/33"/],
      [[...R, '11.0.0.0/33', '-X', other], /: target: "11\.0\.0\.0\/33"/],
      [[`@${args}`, '-X', other, '10/8'], /args\.txt:2: -x: "11\.0\.0\.0\/33"/],
      [[`@${args}`, '--', '11.0.0.0/33'], /: target: "11\.0\.0\.0\/33"/],
      [[...R, '-o', 'Port=22', `@${wrong}`, '10/8'], /wrong\.txt:2: -o "Prot=22"/],
      [[...R, '-o', 'Prot=22', `@${wrong}`, '10/8'], /: -o "Prot=22"/],
      [[`@${args}`, '-p', '22', '10/8'], /: -p is given twice \(22 and 22\), .*args\.txt:2$/],
      [['-p', '22', `@${args}`, '10/8'], /args\.txt:2: -p is given twice \(22 and 22\)/],
    ] as const)
      assert.match((await refusalOf(given)).stderr.split('\n')[0] ?? '', message, given.join(' '));
  });

  it('keeps its exit code when stderr is closed or full', () => {
    for (const target of ['/dev/full', '/dev/null']) {
      const fd = openSync(target, 'w');
      const { status } = spawnSync(process.execPath, [MAIN, ...R], {
        stdio: ['ignore', 'ignore', fd],
        timeout: 30_000,
      });
      closeSync(fd);
      assert.equal(status, 2, target);
    }
  });
});

describe('tunnel, asked about itself', () => {
  for (const args of [
    ['--help'],
    ['-h'],
    ['connect', '--help'],
    ['help', 'connect'],
    [...R, '10/8', '-h'],
  ]) {
    it(`tunnel ${args.join(' ')} begins with examples and ends with exit codes`, () => {
      const { status, stdout, stderr } = tunnel(args);
      assert.equal(status, 0);
      assert.equal(stderr, '');
      assert.match(stdout, /^Examples:\n {2}tunnel -r user@jumphost 10\.0\.0\.0\/8\n/);
      assert.match(stdout, /^Usage: tunnel \[connect\] -r REMOTE \[options\] TARGET\.\.\.$/m);
      assert.match(
        stdout,
        /Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}130, 143 .*\n$/,
      );
      assert.equal(stdout.match(/^Usage:/gm)?.length, 1);
      for (const option of [
        '--remote',
        '--exclude',
        '--targets-from',
        '--excludes-from',
        '--identity',
        '--port',
        '--jump',
        '--ssh-config',
        '--ssh-option',
        '--transport',
        '--ssh-cmd',
        '--keepalive',
        '--reconnect-hold',
      ]) {
        assert.ok(stdout.includes(option), option);
      }
      for (const option of [
        '--host-key',
        '--connect-timeout',
        '--auth-timeout',
        '--ready-fd',
        '--verbose',
        '--quiet',
        '--version',
      ]) {
        assert.ok(stdout.includes(option), option);
      }
      assert.doesNotMatch(stdout, /--auto-nets|--python/);
      assert.ok(stdout.split('\n').every((line) => line.length <= 90));
    });
  }

  for (const args of [['-V'], ['--version'], ['connect', '--version']]) {
    it(`tunnel ${args.join(' ')} prints the version`, () => {
      const { status, stdout } = tunnel(args);
      assert.equal(status, 0);
      assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
    });
  }
});

const NOTHING_ELSE = standInCommands((name) => assert.fail(name));

describe('the help of each command', () => {
  async function helpOf(command: string): Promise<string> {
    let text = '';
    const unwanted = () => assert.fail('a command is run');
    await runCommandLine(
      [command, '--help'],
      { ...NOTHING_ELSE, connect: unwanted, proxy: unwanted },
      { output: (more) => (text += more), columns: 90 },
    );
    return text;
  }

  it('of the program names all of them', async () => {
    const text = await helpOf('connect');
    for (const name of [
      'exec',
      'proxy',
      'stop',
      'down',
      'reconnect',
      'reload',
      'status',
      'doctor',
      'openstack',
      'jumphost',
      'clean',
    ])
      assert.match(text, new RegExp(`^ {4}${name} +\\S`, 'm'));
  });

  it('of all together is one screen: examples, commands by purpose, where to read more', async () => {
    let text = '';
    const unwanted = () => assert.fail('a command is run');
    await runCommandLine(
      ['help'],
      { ...NOTHING_ELSE, connect: unwanted, proxy: unwanted },
      { output: (more) => (text += more), columns: 90 },
    );
    const lines = text.split('\n');
    assert.ok(lines.length <= 50, `${lines.length} lines`);
    assert.deepEqual(
      lines.filter((line) => line.length > 90),
      [],
    );
    assert.deepEqual(
      [...text.matchAll(/^ {4}([a-z]+) {2,}\S/gm)].map(([, name]) => name).sort(),
      [...NAMES].sort(),
    );
    assert.match(text, /^Examples:\n[\s\S]*^Commands:\n {2}Run:\n[\s\S]*^Read more:\n/m);
    const examples = [...text.matchAll(/^ {2}tunnel (.*)\n {6}/gm)].map(([, line = '']) => line);
    assert.equal(examples.length, 5);
  });

  it('lists each of them once, by purpose', async () => {
    const [, list = ''] = /Other commands.*\n((?: .*\n)+)/.exec(await helpOf('connect')) ?? [];
    assert.deepEqual(
      [...list.matchAll(/^ {4}(\S+)/gm)].map(([, name]) => name).sort(),
      NAMES.filter((name) => name !== 'connect').sort(),
    );
    assert.match(list, /^ {2}Run:\n {4}exec .*^ {2}Repair:\n {4}clean /ms);
  });

  const TUNNEL = ['Jump host', 'Targets', 'Names', 'SSH connection', 'OpenStack cloud'];
  const CAPTURED = ['Capture', 'Forwards', 'Proxies'];
  const CONNECT = [...TUNNEL, 'Allow-list', ...CAPTURED, 'Profiles', 'Records', 'Running'];
  const PROXY = ['Proxies', 'Forwards', ...TUNNEL, 'Allow-list'];
  for (const [command, headings] of [
    ['connect', [...CONNECT, 'Help', 'Global Options']],
    ['proxy', [...PROXY, 'Profiles', 'Records', 'Running', 'Help']],
    ['exec', ['Command', ...TUNNEL, 'Allow-list', 'Profiles', 'Records', 'Running', 'Help']],
    ['doctor', ['Report', ...CONNECT, 'Help']],
    [
      'openstack',
      ['Jump host', 'OpenStack cloud', 'Report', 'SSH connection', 'Profiles', 'Running', 'Help'],
    ],
    ['clean', ['Help']],
  ] as const) {
    it(`${command}: its groups under their headings, and its own options only`, async () => {
      const help = await helpOf(command);
      const found = [...help.matchAll(/^([A-Z].*):\n(?: {2}-)/gm)].map(([, heading]) => heading);
      assert.deepEqual(found, headings);
      assert.equal(help.includes('--listen <'), ['connect', 'proxy', 'doctor'].includes(command));
      assert.equal(help.includes('--isolate  '), command === 'exec');
      assert.equal(help.includes('--json'), command === 'doctor');
      assert.equal(help.includes('--format <'), command === 'openstack');
      assert.equal(help.includes('--transport <'), command !== 'clean');
      const tunnels = ['connect', 'proxy', 'exec', 'doctor'].includes(command);
      for (const option of ['--exclude <', '--reconnect-hold <', '--ready-fd <', '--allow <'])
        assert.equal(help.includes(option), tunnels, option);
    });
  }
});

describe('runCommandLine', () => {
  async function configurationOf(
    args: readonly string[],
    command: 'connect' | 'proxy' = 'connect',
  ): Promise<Configuration> {
    const seen: Configuration[] = [];
    const unwanted = () => assert.fail('the other command');
    await runCommandLine(
      args,
      {
        ...NOTHING_ELSE,
        connect: unwanted,
        proxy: unwanted,
        [command]: async (configuration: Configuration) => {
          seen.push(configuration);
        },
      },
      { output: () => assert.fail('no output'), columns: 80 },
    );
    const [configuration] = seen;
    assert.ok(configuration !== undefined && seen.length === 1);
    return configuration;
  }

  it('reads the same with and without the name of the command, options before or after targets', async () => {
    const expected = await configurationOf(['-r', 'u@h', '-x', '10.1/16', '-v', '10/8', '11/8']);
    for (const args of [
      ['connect', '-r', 'u@h', '-x', '10.1/16', '-v', '10/8', '11/8'],
      ['10/8', '-r', 'u@h', '11/8', '-v', '-x', '10.1/16'],
      ['--remote=u@h', '--exclude=10.1/16', '--verbose', '10/8', '11/8'],
      ['-ru@h', '-v', '-x10.1/16', '--', '10/8', '11/8'],
    ]) {
      assert.deepEqual(await configurationOf(args), expected, args.join(' '));
    }
    assert.equal(expected.logLevel, 'info');
  });

  it('takes a word that is nearly a command as a target where it may be one', async () => {
    for (const words of [['porxy', '10/8'], ['porxy.'], ['10/8', 'porxy'], ['porxy.example']])
      assert.equal((await configurationOf([...R, ...words])).nameTargets.length, 1, words.join());
  });

  it('collects what may be repeated', async () => {
    const { ssh, targets, exclusions, logLevel } = await configurationOf(
      '-r a -r b -x 10.1/16 -x 10.2/16 -i k1 -i k2 -o Port=1 -o user=u -vv 10/8 ::/0'.split(' '),
    );
    assert.deepEqual(
      ssh.remotes.map(({ host }) => host),
      ['a', 'b'],
    );
    assert.deepEqual(ssh.identityFiles, ['k1', 'k2']);
    assert.deepEqual(ssh.sshOptions, ['Port=1', 'User=u']);
    assert.equal(targets.length, 2);
    assert.equal(exclusions.length, 2);
    assert.equal(logLevel, 'debug');
  });

  it('takes arguments from files', async () => {
    const inner = file('inner', '10.0.0.0/8 "11.0.0.0/8"\n');
    const outer = file('outer', `-r u@h # the jump host\n-e "ssh -v" -J a,b\n@${inner}\n`);
    const { targets, ssh } = await configurationOf([`@${outer}`, '12/8']);
    assert.deepEqual(
      targets.map(({ text }) => text),
      ['10.0.0.0/8', '11.0.0.0/8', '12/8'],
    );
    assert.equal(ssh.remotes[0].text, 'u@h');
    assert.deepEqual(ssh.sshCommand, ['ssh', '-v']);
    assert.equal(ssh.jump?.length, 2);
  });

  it('reads the command proxy, with the options of connect and without targets', async () => {
    const { ssh, targets, proxies } = await configurationOf(
      ['proxy', '-r', 'u@h', '-p', '23', '-i', 'k'],
      'proxy',
    );
    assert.equal(ssh.port, 23);
    assert.deepEqual(ssh.identityFiles, ['k']);
    assert.deepEqual(targets, []);
    assert.deepEqual(proxies?.listens, [
      { hosts: ['127.0.0.1'], port: 1080, protocols: 'both', ownUserOnly: true },
    ]);
    const beside = await configurationOf(['-r', 'h', '--socks', '0', '10/8', '*.example.com:443']);
    assert.equal(beside.proxies?.listens[0]?.protocols, 'socks');
    assert.equal(beside.nameTargets[0]?.text, '*.example.com:443');
  });

  it("passes the command's own failure through", async () => {
    const failure = new Error('x');
    await assert.rejects(
      runCommandLine(
        ['-r', 'h', '10/8'],
        {
          ...NOTHING_ELSE,
          connect: () => Promise.reject(failure),
          proxy: () => assert.fail('the other command'),
        },
        { output: () => {}, columns: 80 },
      ),
      failure,
    );
  });
});
