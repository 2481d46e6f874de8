/** Profiles: every option of every command, what they inherit, and what is wrong with them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { type Commands, runCommandLine } from '../../../src/cli/program.ts';
import type { Option } from '../../../src/config/option.ts';
import { readConfigFiles } from '../../../src/config/profiles/files.ts';
import { PROFILE_KEYS, TUNNEL_COMMANDS } from '../../../src/config/profiles/keys.ts';
import { configSchema } from '../../../src/config/profiles/schema.ts';
import { TunnelError } from '../../../src/errors/errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-profiles-'));
after(() => rmSync(directory, { recursive: true }));
const FILE = join(directory, 'config.yaml');
const NAME = 'lab';
const SCHEMA = new URL('../../../../docs/config.schema.json', import.meta.url);

/** What a line runs: the command and its configuration, without places; or what it prints. */
async function run(
  args: readonly string[],
): Promise<{ command?: string; built?: unknown; out: string }> {
  let ran: { command?: string; built?: unknown } = {};
  let out = '';
  const commands = new Proxy({} as Commands, {
    get: (_, command: string) => async (built: unknown) => {
      ran = { command, built: withoutPlaces(built) };
    },
  });
  await runCommandLine(args, commands, {
    columns: 80,
    output: (text) => {
      out += text;
    },
  });
  return { ...ran, out };
}

/** Nor with the name of the run, unless it was given: otherwise it is the profile's. */
function withoutPlaces(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, function leaveOut(this: object, key, inner) {
      const derived = key === 'name' && 'ssh' in this && inner !== NAME;
      return key === 'place' || derived ? undefined : inner;
    }),
  );
}

function write(text: string): void {
  writeFileSync(FILE, text, { mode: 0o600 });
}

async function failure(
  text: string,
  args: readonly string[] = ['--profile', 'p'],
): Promise<string> {
  write(text);
  try {
    await run([...args, '--config', FILE]);
  } catch (error) {
    assert.ok(error instanceof TunnelError);
    return `${error.message.replaceAll(FILE, 'FILE')} | ${error.hint}`;
  }
  return 'none';
}

const BASE = 'profiles:\n  p:\n    remote: u@h\n    targets: [10.0.0.0/8]\n';

describe('profiles', () => {
  const allowFile = join(directory, 'allow');
  const secretFile = join(directory, 'users');
  writeFileSync(allowFile, '10.0.0.1:443\n');
  writeFileSync(secretFile, 'user:word\n', { mode: 0o600 });
  const pin = `SHA256:${'A'.repeat(43)}`;
  /** A value, or several; the words that say the same are made of it. */
  const samples: Readonly<Record<string, readonly string[]>> = {
    targets: ['10.0.0.0/8', '*.corp.example:443'],
    remote: ['u@h', 'u@[2001:db8::1]:22'],
    port: ['2222'],
    identity: ['/a', '/b c'],
    jump: ['a,b:22'],
    'ssh-config': ['none'],
    'ssh-option': ['Compression=yes', 'User=x'],
    exclude: ['10.1.0.0/16', '10.2.0.1:80'],
    'targets-from': [allowFile],
    'excludes-from': [allowFile],
    'dns-server': ['10.0.0.53', '[2001:db8::53]:5353'],
    domain: ['corp.example'],
    'rebind-domain-ok': ['x.example'],
    'virtual-range': ['10.99.0.0/16'],
    transport: ['ssh2'],
    'ssh-cmd': ['ssh -v'],
    'host-key': [pin],
    'connect-timeout': ['3.5'],
    'auth-timeout': ['60'],
    keepalive: ['0'],
    'reconnect-hold': ['7'],
    'wait-auth': ['900'],
    'wait-online': ['300'],
    'idle-disconnect': ['60'],
    'max-window': ['8M'],
    'window-budget': ['64M'],
    'os-cloud': ['true'],
    'os-region': ['no'],
    'os-catalog': ['off'],
    'os-catalog-file': ['/catalog.json'],
    allow: [allowFile],
    'allow-rule': ['10.0.0.1:443', 'api.example.com'],
    'dry-run-to': ['/rules'],
    listen: ['1080', '127.0.0.1:0'],
    'local-forward': ['8080:db.internal:5432', '[::1]:0:[2001:db8::5]:443'],
    socks: ['[::1]:1081'],
    http: ['3128'],
    'proxy-auth': [secretFile],
    'ready-fd': ['1'],
    name: [NAME],
    metrics: ['127.0.0.1:9470'],
  };
  const keys = [...PROFILE_KEYS.values()];

  /** The same settings as a profile and as words. */
  function written(chosen: readonly (readonly [name: string, value: string])[]): {
    readonly yaml: string;
    readonly words: readonly string[];
  } {
    const yaml = new Map<string, string[]>();
    const words: string[] = [];
    const operands: string[] = [];
    for (const [name, value] of chosen) {
      const kind = PROFILE_KEYS.get(name)?.kind;
      const hasValue = kind === 'once' || kind === 'repeated';
      if (name === 'targets') operands.push(value);
      else words.push(hasValue ? `--${name}=${value}` : `--${name}`);
      yaml.set(name, [...(yaml.get(name) ?? []), hasValue ? JSON.stringify(value) : 'true']);
    }
    const lines = [...yaml].map(
      ([name, texts]) => `    ${name}: ${texts.length > 1 ? `[${texts.join(', ')}]` : texts[0]}\n`,
    );
    return { yaml: `profiles:\n  p:\n${lines.join('')}`, words: [...words, ...operands] };
  }

  /** The configuration, or that there is none. */
  const outcome = async (args: readonly string[]): Promise<unknown> => {
    try {
      return await run(args);
    } catch (error) {
      assert.ok(error instanceof TunnelError && error.code === 'usage', String(error));
      return 'refused';
    }
  };

  async function same(
    command: string,
    chosen: readonly (readonly [name: string, value: string])[],
  ): Promise<unknown> {
    const { yaml, words } = written(chosen);
    const rest = command === 'exec' ? ['--', 'true'] : [];
    write(yaml);
    const profile = await outcome([command, '--config', FILE, '--profile', 'p', ...rest]);
    assert.deepEqual(profile, await outcome([command, ...words, ...rest]), `${command}\n${yaml}`);
    return profile;
  }

  const needs: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
    domain: [['dns-server', '10.0.0.53']],
    'idle-disconnect': [['on-demand', '']],
    'os-region': [['os-cloud', 'c']],
    'os-catalog': [['os-cloud', 'c']],
    'os-catalog-file': [['os-cloud', 'c']],
    'os-follow-links': [['os-cloud', 'c']],
    'proxy-auth': [['listen', '1080']],
    'only-targets': [['listen', '1080']],
    'allow-remote-clients': [['listen', '1080']],
  };
  for (const [command, groups] of Object.entries(TUNNEL_COMMANDS)) {
    const taken = new Set<Option>(groups.flatMap(({ options }) => Object.values<Option>(options)));
    it(`holds every option of ${command}, as on its command line`, async () => {
      for (const { name, options } of keys) {
        if (name !== 'targets' && !options.some((option) => taken.has(option))) continue;
        const values = (samples[name] ?? ['']).map((value) => [name, value] as const);
        const base = [['remote', 'u@h'] as const, ['targets', '10.0.0.0/8'] as const];
        const others = [...base, ...(needs[name] ?? [])].filter(([other]) => other !== name);
        const needed = others.filter(([other]) => {
          const key = PROFILE_KEYS.get(other);
          return other === 'targets' || key?.options.some((option) => taken.has(option)) === true;
        });
        const result = await same(command, [...needed, ...values]);
        // Without a sample, both may refuse what was tried. Proxy-shared needs a proxy in connect.
        if (name in samples) assert.notEqual(result, 'refused', `${command} ${name}`);
      }
    });

    it(`holds any options of ${command} together`, async () => {
      const own = keys.filter(({ options }) => options.some((option) => taken.has(option)));
      const option = fc.constantFrom(...own.map(({ name }) => name));
      const property = fc.asyncProperty(fc.uniqueArray(option, { maxLength: 8 }), async (names) => {
        const chosen = new Set(['remote', 'targets', ...names]);
        await same(
          command,
          [...chosen].flatMap((name) =>
            (samples[name] ?? ['']).map((value) => [name, value] as const),
          ),
        );
      });
      await fc.assert(property, { numRuns: 100 });
    });
  }

  it('takes over what others say, the nearest first', async () => {
    write(
      'defaults:\n  keepalive: 1\n  verbose: 1\nprofiles:\n  a:\n    remote: a\n    port: 1\n    dns: true\n' +
        '  b:\n    remote: b\n    port: 2\n  p:\n    extends: [a, b]\n    targets: 10.0.0.0/8\n    quiet: true\n' +
        '  web:\n    extends: p\n    command: proxy\n    without: remote\n    remote: w\n    dns: false\n',
    );
    const of = (name: string, ...words: string[]) =>
      run(['--config', FILE, '--profile', name, ...words]);
    const same = await run('-r b -r a -p 2 --dns --keepalive 1 -q 10.0.0.0/8'.split(' '));
    assert.deepEqual(await of('p'), same);
    const web = await run('proxy -r w -p 2 --keepalive 5 -q 10.0.0.0/8'.split(' '));
    assert.deepEqual(await of('web', '--keepalive', '5'), web);
    const other = await run('-r c -p 2 --keepalive 1 -q 10.0.0.0/8'.split(' '));
    assert.deepEqual(await of('p', '--without', 'remote', '--without', 'dns', '-r', 'c'), other);
  });

  const wrong: readonly (readonly [text: string, answer: RegExp])[] = [
    [`${BASE}    identiy: x\n`, /^FILE:5: there is no key "identiy" \| did you mean "identity"\?/],
    [`${BASE}    r: x\n`, /^FILE:5: there is no key "r" \| did you mean "remote"\?/],
    [`${BASE}    without: L\n`, /^FILE:5: without: .*"L" \| did you mean "local-forward"\?/],
    [
      `${BASE}    allow: no\n`,
      /allow: \S+\/no can't be read.* \| check the path and its permissions$/,
    ],
    [`${BASE}    dns: yes\n`, /^FILE:5: dns: expected true or false, not "yes"/],
    [`${BASE}    port: [1]\n`, /^FILE:5: port: expected one value, not a list/],
    [`${BASE}    port: 99999\n`, /^FILE:5: port/],
    [`${BASE}    allow: [a]\n`, /^FILE:5: allow: .*"allow-rule"/],
    [`${BASE}    allow-rule: []\n`, /^FILE:5: allow-rule: the list is empty/],
    [`${BASE}    exclude: *.x\n`, /^FILE:5: an alias .* in quotes/],
    [`${BASE}    remote: x\n`, /^FILE:5: "remote" is written twice, the first time in line 3/],
    [`${BASE}    extends: p\n`, /^FILE:5: extends: the profiles extend each other: p -> p/],
    [`${BASE}    extends: q\n`, /^FILE:5: extends: there is no profile "q"/],
    ['profile:\n', /^FILE:1: there is no key "profile" \| did you mean "profiles"\?/],
    ['profiles: [\n', /^FILE:\d: malformed YAML/],
    [`${'['.repeat(5000)}`, /nested more than/],
    [`${BASE}    command: exec\n`, /^FILE:5: command: the profile is for "tunnel exec"/],
  ];
  for (const [text, answer] of wrong) {
    it(`is refused: ${answer.source}`, async () => assert.match(await failure(text), answer));
  }

  it('has names of files from its own directory, also of sockets; the journal is no file', async () => {
    write(
      `${BASE}    flow-log: journal\n    metrics: ./metrics.sock\n    local-forward: ['./db.sock:db:1', '7:db:1']\n` +
        '  q:\n    remote: u@h\n    flow-log: flows\n    metrics: 127.0.0.1:9470\n    local-forward: sub/db.sock:db:1\n',
    );
    const line = ['-r', 'u@h', '10.0.0.0/8'];
    const at = (name: string) => join(directory, name);
    const forwards = ['-L', `${at('db.sock')}:db:1`, '-L', '7:db:1'];
    const same = ['--flow-log', 'journal', '--metrics', at('metrics.sock'), ...forwards];
    assert.deepEqual(
      await run(['--config', FILE, '--profile', 'p']),
      await run([...line, ...same]),
    );
    const other = ['--flow-log', at('flows'), '--metrics', '127.0.0.1:9470'];
    assert.deepEqual(
      await run(['--config', FILE, '--profile', 'q']),
      await run(['-r', 'u@h', ...other, '-L', `${at('sub/db.sock')}:db:1`]),
    );
    const saved = ['--flow-log', 'journal', '--metrics', './m.sock', '-L', './db.sock:db:1'];
    await run(['--config', FILE, '--save', 'r', ...line, ...saved]);
    assert.deepEqual(
      await run(['--config', FILE, '--profile', 'r']),
      await run([
        ...[...line, '--flow-log', 'journal', '--metrics', './m.sock'],
        ...['-L', `${join(process.cwd(), 'db.sock')}:db:1`],
      ]),
    );
  });

  it('is started by up, as by --profile', async () => {
    write(`${BASE}    command: proxy\n`);
    const up = await run(['up', '--foreground', '--config', FILE, '-v', 'p']);
    assert.equal(up.command, 'proxy');
    assert.deepEqual(up, await run(['--config', FILE, '--profile', 'p', '-v']));
    const background = await run(['up', '--config', FILE, 'p', '-v']);
    assert.deepEqual(background, await run(['--config', FILE, '--profile', 'p', '-vD']));
    await assert.rejects(run(['up']), /no profile is named/);
    await assert.rejects(
      run(['up', '--config', FILE, 'q']),
      /^UsageError: up: there is no profile/,
    );
  });

  it('refuses a file that others may write', async () => {
    write(BASE);
    chmodSync(FILE, 0o666);
    await assert.rejects(
      run(['--config', FILE, '--profile', 'p']),
      /can be written by other users/,
    );
    chmodSync(FILE, 0o600);
  });

  it('shows the others beside one that extends what there is not', async () => {
    const lines = ['  q:', '    remote: u@q', '  r:', '    extends: [q, none]', '    remote: u@r'];
    write(`${BASE}${lines.join('\n')}\n`);
    const text = (await run(['list', '--config', FILE])).out;
    const out = text.replaceAll(FILE, 'FILE');
    assert.match(out, /^q +- +connect +u@q .*\nr +- +connect +u@r /m);
    assert.match(out, /\nr can't be started: FILE:8: extends: there is no profile "none"\n$/);
    const listed = JSON.parse((await run(['list', '--config', FILE, '--json'])).out);
    assert.deepEqual(
      listed.map(({ name, problem }: { name: string; problem?: string }) => [
        name,
        problem === undefined,
      ]),
      [
        ['p', true],
        ['q', true],
        ['r', false],
      ],
    );
  });

  it('refuses a FIFO in the place of the file, which nobody may ever write to', async () => {
    const home = join(directory, 'xdg');
    mkdirSync(join(home, 'tunnel'), { recursive: true });
    execFileSync('mkfifo', ['-m', '600', join(home, 'tunnel/config.yaml')]);
    await assert.rejects(
      readConfigFiles(undefined, { env: { XDG_CONFIG_HOME: home }, system: directory }),
      /config\.yaml is not a regular file/,
    );
  });

  it('saves a line, keeps the rest of the file, and no secret', async () => {
    write(`# mine\n${BASE}    # note\n`);
    const save = [
      '--config',
      FILE,
      '--save',
      'new',
      '-r',
      'u@k',
      '-p',
      '22',
      '2001:db8::/32',
      '--dns',
    ];
    await run(save);
    const text = readFileSync(FILE, 'utf8');
    assert.match(text, /^# mine\n(.|\n)*# note\n/);
    assert.equal(statSync(FILE).mode & 0o777, 0o600);
    await assert.rejects(run(save), /there is a profile of this name already/);
    await run([...save, '--force']);
    const line = await run(['-r', 'u@k', '-p', '22', '2001:db8::/32', '--dns']);
    assert.deepEqual(await run(['--config', FILE, '--profile', 'new']), line);
    assert.equal((await run(['--config', FILE, '--profile', 'p'])).command, 'connect');
    await assert.rejects(
      run([...save, '--force', '-e', 'sshpass -p hidden ssh']),
      /looks like it has a secret/,
    );
    // As of a shell's <(...).
    const fd = openSync('/dev/null', 'r');
    await assert.rejects(
      run([...save, '--force', '-s', `/dev/fd/${fd}`]),
      /-s: "\/dev\/fd\/\d+" is another one each time/,
    );
    closeSync(fd);
    assert.match((await run(['list', '--config', FILE])).out, /^new +- +connect +u@k/m);
  });

  it('saves into a file that services read, and leaves it readable', async () => {
    write(BASE);
    chmodSync(FILE, 0o644);
    const group = process.getuid?.() === 0 ? 47_111 : statSync(FILE).gid;
    chownSync(FILE, process.getuid?.() ?? 0, group);
    try {
      await run(['--config', FILE, '--save', 'new', '-r', 'u@k', '10.0.0.0/8']);
      const { mode, gid } = statSync(FILE);
      assert.deepEqual([mode & 0o777, gid], [0o644, group]);
    } finally {
      rmSync(FILE);
    }
  });

  it('shows the outcome with where it is from, as a file that can be read', async () => {
    write(BASE);
    const { out } = await run(['--config', FILE, '--profile', 'p', '--print-config', '-p', '1']);
    assert.match(out, /remote:\n +- u@h {2}# .*config\.yaml:3/);
    assert.match(out, /port: 1 {2}# command line/);
    assert.match(out, /# keepalive: ssh_config, else 15 {2}\(default\)/);
    const line = await run(['-r', 'u@h', '-p', '1', '10.0.0.0/8']);
    write(out);
    assert.deepEqual(await run(['--config', FILE, '--profile', 'p']), line);
  });

  it('ships the current schema', () => {
    const shipped: unknown = JSON.parse(readFileSync(SCHEMA, 'utf8'));
    assert.deepEqual(shipped, configSchema(), 'node dist/scripts/configschema.js prints it');
  });
});
