/** Profiles: each kind of option in one, what they inherit, and what is wrong with them. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type Commands, runCommandLine } from '../../../src/cli/program.ts';
import { configSchema } from '../../../src/config/profiles/schema.ts';
import { TunnelError } from '../../../src/errors/errors.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-profiles-'));
after(() => rmSync(directory, { recursive: true }));
const FILE = join(directory, 'config.yaml');
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

function withoutPlaces(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (key, inner) => (key === 'place' ? undefined : inner)));
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
  const values: readonly (readonly [
    key: string,
    yaml: string,
    words: readonly string[],
    command?: string,
  ])[] = [
    ['port', '2222', ['--port', '2222']],
    ['identity', '[/a, /b]', ['--identity', '/a', '--identity', '/b']],
    ['jump', 'a,b', ['--jump', 'a,b']],
    ['ssh-config', 'none', ['--ssh-config', 'none']],
    ['ssh-option', 'Compression=yes', ['--ssh-option', 'Compression=yes']],
    ['exclude', '10.1.0.0/16', ['--exclude', '10.1.0.0/16']],
    ['dns', 'true', ['--dns']],
    ['dns-server', '10.0.0.53', ['--dns-server', '10.0.0.53']],
    ['keepalive', '7', ['--keepalive', '7']],
    ['max-window', '8M', ['--max-window', '8M']],
    ['on-demand', 'true', ['--on-demand']],
    ['allow-rule', '[10.0.0.1:443]', ['--allow-rule', '10.0.0.1:443']],
    ['dry-run', 'true', ['--dry-run']],
    ['capture-local', 'true', ['--capture-local']],
    ['socks', '1080', ['--socks', '1080']],
    ['only-targets', 'true', ['--only-targets'], 'proxy'],
    ['isolate', 'true', ['--isolate'], 'exec'],
    ['proxy-shared', 'true', ['--proxy-shared'], 'exec'],
    ['verbose', '2', ['-vv']],
    ['quiet', 'true', ['-q']],
  ];
  for (const [key, yaml, words, command = 'connect'] of values) {
    it(`${key}: ${yaml} is ${words.join(' ')}`, async () => {
      write(`${BASE}    ${key}: ${yaml}\n`);
      const rest = command === 'exec' ? ['--', 'true'] : [];
      const profile = await run([command, '--config', FILE, '--profile', 'p', ...rest]);
      const line = await run([command, '-r', 'u@h', '10.0.0.0/8', ...words, ...rest]);
      assert.ok(line.built !== undefined);
      assert.deepEqual(profile, line);
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

  it('refuses a file that others may write', async () => {
    write(BASE);
    chmodSync(FILE, 0o666);
    await assert.rejects(
      run(['--config', FILE, '--profile', 'p']),
      /can be written by other users/,
    );
    chmodSync(FILE, 0o600);
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
    assert.match((await run(['list', '--config', FILE])).out, /^new +connect +u@k/m);
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
