/**
 * Runs of `tunnel jumphost` that can't succeed, from the command line on: each ends with one line,
 * a hint and the status of its kind, prints nothing on standard output, and writes nothing.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { JUMP_HOST_FORMATS, type JumpHostFormat } from '../../../src/config/jumphostoptions.ts';
import { EXIT } from '../../../src/errors/codes.ts';
import { publicKeyLine } from '../../support/keyscript.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../../support/loopback-sshd.ts';
import { MAIN } from '../../support/tunnel.ts';

const LISTED = 'api.example.com:443';

const root = mkdtempSync(join(tmpdir(), 'tunnel-badinput-'));
after(() => rmSync(root, { recursive: true }));
const file = (name: string) => join(root, name);
/** A file of this text; returns its path. */
function written(name: string, text: string): string {
  writeFileSync(file(name), text);
  return file(name);
}

interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function jumphost(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [MAIN, 'jumphost', ...args],
      { timeout: 30_000, env: { ...process.env, SSH_AUTH_SOCK: '', HOME: root, ...env } },
      (_, stdout, stderr) => resolve({ status: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end();
  });
}

/** Everything below `directory`: names and contents. */
function everything(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return entry.isFile() ? `${path}: ${readFileSync(path, 'base64')}` : path;
    })
    .sort();
}

/** One line and its hint, and nothing else anywhere. */
async function refused(
  args: readonly string[],
  { status, code, message, hint }: Refusal,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const before = everything(root);
  const output = args.includes('--output') ? [] : ['--output', file('out')];
  const run = await jumphost([...args, ...output], env);
  const [first = '', second = '', ...rest] = run.stderr.split('\n');
  assert.match(first, new RegExp(`^tunnel: error \\[${code}\\]: .`), run.stderr);
  assert.match(first, message);
  assert.match(second, /^tunnel: hint: ./);
  assert.match(second, hint);
  assert.deepEqual([run.status, run.stdout, rest], [status, '', ['']]);
  assert.deepEqual(everything(root), before);
}

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: RegExp;
  readonly hint: RegExp;
}

const usage = (message: RegExp, hint: RegExp): Refusal => ({
  status: EXIT.usage,
  code: 'usage',
  message,
  hint,
});

type Case = readonly [what: string, args: () => readonly string[], refusal: Refusal];

const withKeys = () => ['--key', written('users.pub', `${publicKeyLine('alice')}\n`)];
/** What each format needs besides a list. */
const NEEDS: Readonly<Record<JumpHostFormat, () => readonly string[]>> = {
  sshd: () => [],
  'authorized-key': withKeys,
  'cloud-init': withKeys,
  terraform: withKeys,
  kubernetes: () => ['--image', 'jumphost:1', ...withKeys()],
  'keys-command': () => ['--keys-from', 'https://keys.example.com/'],
};

const SHARED: readonly string[] = ['a wildcard', 'no list'];

describe('a list that no jump host can be made of', () => {
  for (const format of JUMP_HOST_FORMATS) {
    const cases: readonly Case[] = [
      ['a wildcard', () => ['*.example.com:443'], usage(/no patterns/, /api\.example\.com:443/)],
      ['a wildcard within a name', () => ['api.*.com:443'], usage(/not a host name/, /\*\.ex/)],
      [
        'a prefix of more than 256',
        () => ['10.0.0.0/23:443'],
        usage(/10\.0\.0\.0\/23.* 512 addresses; at most 256/, /a smaller prefix/),
      ],
      [
        'a prefix of IPv6',
        () => ['[2001:db8::]/64:443'],
        usage(/18446744073709551616 addresses/, /a smaller prefix/),
      ],
      [
        'more than 256 ports',
        () => ['10.0.0.1:1-257'],
        usage(/257; at most 256/, /leave them out/),
      ],
      [
        'a prefix times ports',
        () => ['10.0.0.0/25:1-3'],
        usage(/would become 384 entries/, /leave the ports out/),
      ],
      ['the jump host itself', () => ['0.0.0.0:22'], usage(/no host can have/, /127\.0\.0\.1/)],
      ['no list', () => [], usage(/nothing is listed/, /name what it may connect to/)],
      [
        'an empty file of -s',
        () => ['-s', written('empty', '# nothing\n')],
        usage(/nothing is listed/, /name what it may connect to/),
      ],
      [
        'an empty --allow',
        () => ['--allow', written('empty', '')],
        usage(/nothing is listed/, /name what it may connect to/),
      ],
      ['no such file', () => ['-s', file('nowhere')], usage(/nowhere.*no such file/, /path/)],
      ['no such --allow', () => ['--allow', file('nowhere')], usage(/no such file/, /path/)],
      [
        'a wildcard in --allow',
        () => ['--allow', written('allow', `${LISTED}\n*.example.com:443\n`)],
        usage(/allow:2: "\*\.example\.com:443": sshd/, /list each name by itself/),
      ],
      [
        'a long prefix in -s',
        () => ['-s', written('list', `# ours\n${LISTED}\n10.0.0.0/8:443\n`)],
        usage(/list:3: "10\.0\.0\.0\/8:443": sshd knows no prefixes/, /smaller prefix/),
      ],
      ['a quote', () => [`${LISTED}"`], usage(/is not a port number/, /10\.0\.0\.0\/8/)],
      ['a line break', () => [`${LISTED}\n`], usage(/is not a port number/, /10\.0\.0\.0\/8/)],
      ['no port number', () => ['api.example.com:70000'], usage(/not a port number/, /./)],
    ];
    // The list is read before it is rendered: two of them show that the others read it as well.
    const some = format === 'sshd' ? cases : cases.filter(([what]) => SHARED.includes(what));
    for (const [what, args, refusal] of some) {
      it(`${format}: ${what}`, () => refused([format, ...NEEDS[format](), ...args()], refusal));
    }
  }
});

describe('options that no jump host can be made of', () => {
  const cases: readonly Case[] = [
    ['an unknown format', () => ['ansible', LISTED], usage(/"ansible" is none of sshd/, /first/)],
    ['no format', () => [], usage(/no format is given/, /write one of sshd/)],
    [
      'no version',
      () => ['sshd', '--openssh', 'new', LISTED],
      usage(/"new" is not a version of OpenSSH/, /--openssh 9\.2/),
    ],
    ['an old version', () => ['sshd', '--openssh', '7.9', LISTED], usage(/older than/, /upgrade/)],
    [
      'a version of the future',
      () => ['sshd', '--openssh', '12.1', LISTED],
      usage(/12\.1 is not known here/, /--openssh \d/),
    ],
    ['no port', () => ['sshd', '--port', '0', LISTED], usage(/not a port number/, /2222/)],
    ['no login', () => ['sshd', '--user', '$(id)', LISTED], usage(/not a login name/, /letters/)],
    [
      'root',
      () => ['sshd', '--user', 'root', LISTED],
      usage(/root administrates/, /--user tunnel/),
    ],
    [
      'a source of keys that is none',
      () => ['keys-command', '--keys-from', 'ftp://keys.example.com/', LISTED],
      usage(/ftp:/, /https/),
    ],
    [
      'an option that changes nothing',
      () => ['authorized-key', '--openssh', '9.2', LISTED],
      usage(/--openssh changes nothing in authorized-key/, /render sshd/),
    ],
    ['an unknown option', () => ['sshd', '--opensshh', '9.2', LISTED], usage(/--opensshh/, /./)],
  ];
  for (const [what, args, refusal] of cases) it(what, () => refused(args(), refusal));
});

describe('keys that no jump host can be made of', () => {
  before(() => makeKey(file('private'), 'ed25519'));

  const key = (path: string) => ['authorized-key', '--key', path, LISTED];
  const PRIVATE = usage(/is a private key/, /the public one/);
  const cases: readonly Case[] = [
    ['none', () => ['authorized-key', LISTED], usage(/no key is given/, /id_ed25519\.pub/)],
    ['a private one', () => key(file('private')), PRIVATE],
    [
      'a private one below public ones',
      () => {
        const text = readFileSync(file('private'), 'utf8').replaceAll('\n', '\r\n');
        return key(written('both', `${publicKeyLine('alice')}\r\n${text}`));
      },
      PRIVATE,
    ],
    ...['RSA PRIVATE', 'ENCRYPTED PRIVATE', 'PRIVATE'].map(
      (kind): Case => [
        `a private one of OpenSSL: ${kind}`,
        () => key(written('pem', `-----BEGIN ${kind} KEY-----\nMIIE\n-----END ${kind} KEY-----\n`)),
        PRIVATE,
      ],
    ),
    [
      'a private one of SSH2',
      () => key(written('ssh2', '---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/5\n')),
      PRIVATE,
    ],
    [
      'a private one of PuTTY',
      () => key(written('key.ppk', 'PuTTY-User-Key-File-3: ssh-ed25519\n')),
      usage(/is a private key/, /puttygen -L/),
    ],
    [
      'no such file',
      () => key(file('nowhere')),
      usage(/nowhere can't be read: there is no such file/, /path/),
    ],
    [
      'an address',
      () => key('https://keys.example.com/team'),
      usage(/team is an address, not a file/, /curl .*--keys-from/),
    ],
    ['a key itself', () => key(publicKeyLine('al')), usage(/is a key itself/, /into a file/)],
    ['a directory', () => key(root), usage(/can't be read: it is a directory/, /path/)],
    ['an empty file', () => key(written('empty.pub', '')), usage(/holds no key/, /\.pub/)],
    ['no end', () => key('/dev/zero'), usage(/\/dev\/zero is larger than/, /right file/)],
    ['no agent', () => key('agent'), usage(/SSH_AUTH_SOCK is not set/, /ssh-agent/)],
  ];
  for (const [what, args, refusal] of cases) it(what, () => refused(args(), refusal));
});

describe('standard input for two files', () => {
  const cases: readonly Case[] = [
    [
      'keys, and a list',
      () => ['authorized-key', '--key', '-', '-s', '-'],
      usage(/standard input .* -s and by --key/, /in a file/),
    ],
    [
      'keys twice',
      () => ['authorized-key', '--key', '-', '--key', '-', LISTED],
      usage(/standard input .* by --key and by --key/, /in a file/),
    ],
    [
      'keys of users, and of the host',
      () => ['cloud-init', '--key', '-', '--host-private-key', '-', LISTED],
      usage(/standard input .* by --key and by --host-private-key/, /in a file/),
    ],
  ];
  for (const [what, args, refusal] of cases) it(what, () => refused(args(), refusal));
});

describe('more than one file', () => {
  const args = ['sshd', '--mfa', LISTED];

  it('is written into a directory, which is said with the file to begin with', async () => {
    const { status, stdout, stderr } = await jumphost([...args, '--output', file('two')]);
    assert.deepEqual([status, stdout], [0, '']);
    assert.equal(
      stderr,
      `tunnel: ${file('two')} has 10-tunnel.conf, tunnel-mfa; the comment of the first says how to go on\n`,
    );
  });

  it('and so is one by itself', async () => {
    const { stderr } = await jumphost(['sshd', LISTED, '--output', file('one')]);
    assert.equal(
      stderr,
      `tunnel: ${file('one')} has 10-tunnel.conf; its comment says how to go on\n`,
    );
  });

  it('is printed as one text, which no program reads: that is said as well', async () => {
    const { stdout, stderr } = await jumphost(args);
    assert.match(stdout, /^# ===== 10-tunnel\.conf\n[\s\S]*\n# ===== tunnel-mfa\n/);
    assert.equal(
      stderr,
      'tunnel: these are 2 files, one after the other: --output DIRECTORY writes each by itself\n',
    );
    const manifests = ['kubernetes', ...NEEDS.kubernetes(), LISTED];
    assert.equal((await jumphost(manifests)).stderr, '');
    assert.equal((await jumphost(['sshd', LISTED])).stderr, '');
  });
});

describe('a directory that nothing can be written into', () => {
  const to = (path: string) => ['sshd', '--mfa', LISTED, '--output', path];
  const cases: readonly Case[] = [
    [
      'one that is not empty',
      () => {
        mkdirSync(file('full'));
        writeFileSync(file('full/mine'), 'mine');
        return to(file('full'));
      },
      usage(/full is not empty/, /a new directory/),
    ],
    ['a file', () => to(written('a-file', 'mine')), usage(/ENOTDIR/, /a file of that name/)],
    [
      'a link to nowhere',
      () => {
        symlinkSync('nowhere', file('a-link'));
        return to(file('a-link'));
      },
      usage(/EEXIST/, /dangling link/),
    ],
    ['/proc', () => to('/proc/tunnel/x'), usage(/can't be written/, /permissions/)],
    ['no name', () => to(''), usage(/--output: the name of the directory is empty/, /variable/)],
  ];
  for (const [what, args, refusal] of cases) it(what, () => refused(args(), refusal));

  it('one of somebody else', {
    skip: process.getuid?.() === 0 && 'root may write everywhere',
  }, async () => {
    mkdirSync(file('theirs'));
    chmodSync(file('theirs'), 0o500);
    await refused(to(file('theirs/x')), usage(/EACCES/, /permissions/));
  });
});

/** A clouds.yaml (which may be JSON) with one cloud, for OS_CLIENT_CONFIG_FILE. */
function cloud(authUrl: string, auth: object = {}): NodeJS.ProcessEnv {
  const domains = { user_domain_name: 'd', project_domain_name: 'd' };
  const known = { username: 'u', password: 'p', project_name: 'p', ...domains };
  const clouds = { clouds: { mine: { auth: { auth_url: authUrl, ...known, ...auth } } } };
  return { OS_CLIENT_CONFIG_FILE: written('clouds.yaml', JSON.stringify(clouds)) };
}

/** The port of a server that has ended. */
async function closedPort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("a cloud that can't be asked", () => {
  const of = (...options: readonly string[]) => ['sshd', '--os-cloud', 'mine', ...options];
  const OPENSTACK = { status: EXIT.usage, code: 'openstack-config' };

  it('none of that name', () =>
    refused(
      ['sshd', '--os-cloud', 'other', '--os-catalog', 'off'],
      { ...OPENSTACK, code: 'openstack-cloud', message: /no cloud "other"/, hint: /"mine"/ },
      cloud('https://keystone.example'),
    ));

  it('no jump host to ask it through', () =>
    refused(of(), usage(/through a jump host, and none is given/, /--os-catalog-file/)));

  it('no such file of its catalog', () =>
    refused(
      of('--os-catalog-file', file('nowhere')),
      { ...OPENSTACK, message: /nowhere can't be read: there is no such file/, hint: /path/ },
      cloud('https://keystone.example'),
    ));

  it('a file that is no catalog', () =>
    refused(
      of('--os-catalog-file', written('catalog.json', '{}')),
      { ...OPENSTACK, message: /has no endpoint/, hint: /openstack catalog list -f json/ },
      cloud('https://keystone.example'),
    ));

  it('no settings that can be read', () =>
    refused(
      of('--os-catalog', 'off'),
      { ...OPENSTACK, message: /bad\.yaml/, hint: /./ },
      { OS_CLIENT_CONFIG_FILE: written('bad.yaml', 'clouds: [\n') },
    ));

  it('a jump host that is not there', async () =>
    refused(
      of('-r', `127.0.0.1:${await closedPort()}`),
      {
        status: EXIT.jumpHost,
        code: 'jumphost-refused',
        message: /refused the connection/,
        hint: /sshd runs there/,
      },
      cloud('https://keystone.example'),
    ));

  describe('through a jump host that is there', { skip: sshdMissing }, () => {
    let sshd: LoopbackSshd;
    before(async () => {
      sshd = await LoopbackSshd.start();
      mkdirSync(file('.ssh'));
      writeFileSync(file('.ssh/known_hosts'), await sshd.knownHostsLine());
    });
    after(() => sshd?.stop());

    const through = () =>
      of(
        ...['--os-catalog', 'refresh', '-r', `${sshd.user}@127.0.0.1:${sshd.port}`],
        ...[
          '-i',
          sshd.userKey,
          '-F',
          'none',
          '-o',
          `UserKnownHostsFile=${file('.ssh/known_hosts')}`,
        ],
      );

    async function keystone<T>(answer: RequestListener, use: (url: string) => Promise<T>) {
      const server = createServer(answer).listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      try {
        return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v3`);
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    }

    it('nobody listens', async () =>
      refused(
        through(),
        {
          status: EXIT.unexpected,
          code: 'openstack-unreachable',
          message: /127\.0\.0\.1/,
          hint: /./,
        },
        cloud(`http://127.0.0.1:${await closedPort()}/v3`),
      ));

    for (const [what, status, body, refusal] of [
      [
        'it refuses the password',
        401,
        '{"error":{"message":"no","code":401}}',
        { status: EXIT.authentication, code: 'openstack-auth-failed' },
      ],
      ['it is no Keystone', 200, '<html>', { status: EXIT.unexpected, code: 'openstack-identity' }],
      ['it is broken', 500, '', { status: EXIT.unexpected, code: 'openstack-identity' }],
    ] as const) {
      it(what, () =>
        keystone(
          (_, response) => response.writeHead(status).end(body),
          (url) => refused(through(), { ...refusal, message: /./, hint: /./ }, cloud(url)),
        ),
      );
    }
  });
});
