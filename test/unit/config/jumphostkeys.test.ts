/**
 * --key, --keys-from, --from and --mfa of `tunnel jumphost`: what is taken, and what is refused.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readKeyFile } from '../../../src/config/keyfile.ts';
import { readFromPattern, readKeySource } from '../../../src/config/keysource.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { publicKeyLine } from '../../support/keyscript.ts';
import { MAIN } from '../../support/tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-jumphostkeys-'));
after(() => rmSync(directory, { recursive: true }));

function file(name: string, ...lines: readonly string[]): string {
  const path = join(directory, name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

function jumphost(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, 'jumphost', ...args, '10.0.0.5:443'],
    { encoding: 'utf8', timeout: 30_000, env: { ...process.env, SSH_AUTH_SOCK: '', ...env } },
  );
  return { status, stdout, stderr };
}

const place = { kind: 'option', name: '--x' } as const;
const ALICE = publicKeyLine('alice');
const BOB = publicKeyLine('bob');

describe('public keys of --key', () => {
  it('are read from files, one a line, each once', () => {
    const first = file('first.pub', '# who', '', `  ${ALICE}  `, BOB);
    const second = file('second.pub', BOB.replace('bob', 'bob again'));
    const { stdout } = jumphost(['authorized-key', '--key', first, '--key', second]);
    const keys = stdout.split('\n').filter((line) => line.startsWith('restrict,'));
    assert.deepEqual(
      keys.map((line) => line.replace(/^\S+ /, '')),
      [ALICE, BOB],
    );
  });

  it('have comments that stay on their line, whatever is in them', () => {
    const [key = ''] = ALICE.split(' alice');
    const comment = `"$(id)" \`id\` {{ x }} \${y} # \u2028\x1b[2J\u202e`;
    assert.deepEqual(readKeyFile(file('odd.pub', `${key} ${comment}`), place), [
      `${key} "$(id)" \`id\` {{ x }} \${y} # ?[2J?`,
    ]);
  });

  for (const [what, line, message] of [
    ['options', `command="/bin/sh" ${ALICE}`, /:1: this is no public key/],
    ['half a key', ALICE.slice(0, 70), /:1: this is no public key/],
    ['a certificate', certificate(), /sshd takes no key of type "ssh-ed25519-cert/],
    ['nothing', '# empty', /holds no key/],
  ] as const) {
    it(`are refused: ${what}`, () => {
      assert.throws(() => readKeyFile(file('bad.pub', line), place), { message });
    });
  }

  it('of an agent: without one the hint says what to do', () => {
    const { status, stderr } = jumphost(['authorized-key', '--key', 'agent']);
    assert.equal(status, 2);
    assert.match(stderr, /--key agent: SSH_AUTH_SOCK is not set\n.*hint: start ssh-agent/);
  });

  it('of an agent: all that sshd takes, after those of files, on a line each', () => {
    const script = `set -e
      cd "$1"; ssh-keygen -q -t ed25519 -N '' -f in-agent -C "$(printf 'a\\nssh-ed25519 AAAA b')"
      ssh-keygen -q -s in-agent -I x -n x in-agent.pub
      ssh-add -q in-agent; shift; exec "$@"`;
    const agent = ['ssh-agent', 'sh', '-c', script, 'sh', directory];
    const args = ['authorized-key', '--key', 'agent', '--key', file('a.pub', ALICE)];
    const { stdout, stderr } = spawnSync(
      agent[0] ?? '',
      [...agent.slice(1), process.execPath, MAIN, 'jumphost', ...args, '10.0.0.5:443'],
      { encoding: 'utf8', timeout: 30_000 },
    );
    const keys = stdout.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.equal(keys.length, 2, stdout + stderr);
    assert.ok(keys[0]?.endsWith(ALICE));
    assert.match(keys[1] ?? '', /^restrict,\S+ ssh-ed25519 \S+ a\?ssh-ed25519 AAAA b$/);
    assert.match(stderr, /left out: sshd takes no "ssh-ed25519-cert-v01@openssh\.com"/);
  });
});

describe('options of keys, used wrongly', () => {
  const pub = file('key.pub', ALICE);
  const table: readonly (readonly [args: readonly string[], message: RegExp, hint: RegExp])[] = [
    [['authorized-key'], /no key is given/, /--key agent/],
    [['keys-command'], /no source of keys is given/, /--keys-from https:/],
    [['authorized-key', '--key', pub, '--mfa'], /--mfa changes nothing in authorized-key/, /sshd/],
    [
      ['keys-command', '--user', 'x'],
      /--user changes nothing in keys-command/,
      /render sshd, authorized-key, cloud-init, terraform or kubernetes$/,
    ],
    [
      ['sshd', '--from', '192.0.2.1'],
      /changes nothing in sshd without --keys-from/,
      /authorized-key/,
    ],
    [['sshd', '--mfa-module', 'oath'], /--mfa-module changes nothing without --mfa/, /both/],
    [['sshd', '--mfa', '--mfa-module', 'totp'], /"totp" is none of google-auth.*, oath/, /oath/],
    [
      ['authorized-key', '--key', pub, '--from', '192.0.2.1', '--behind-proxy'],
      /--from is given with --behind-proxy/,
      /at the proxy/,
    ],
    [
      ['authorized-key', '--key', pub, '--from', '!192.0.2.1'],
      /only leaves addresses out/,
      /--from "\*"/,
    ],
  ];
  for (const [args, message, hint] of table) {
    it(`jumphost ${args.filter((word) => word !== pub).join(' ')}`, () => {
      const { status, stdout, stderr } = jumphost(args);
      assert.deepEqual([status, stdout], [2, '']);
      const [first = '', second = '', ...rest] = stderr.split('\n');
      assert.match(first, message);
      assert.match(second, hint);
      assert.deepEqual(rest, ['']);
    });
  }

  it('warns where users could read the metadata of the jump host', () => {
    const { status, stderr } = jumphost(['sshd', '169.254.169.254:80']);
    assert.equal(status, 0);
    assert.match(
      stderr,
      /^tunnel: warning: 169\.254\.169\.254:80: users can read the metadata of the jump host/m,
    );
    assert.doesNotMatch(jumphost(['sshd']).stderr, /metadata/);
  });

  it('a source without TLS: a warning', () => {
    assert.match(
      jumphost(['keys-command', '--keys-from', 'http://k.example/a']).stderr,
      /warning: --keys-from http:\/\/k\.example\/a: whoever is on the way there can add keys/,
    );
    assert.equal(jumphost(['keys-command', '--keys-from', 'https://k.example/a']).stderr, '');
  });
});

describe('patterns of --from', () => {
  for (const [text, read] of [
    ['192.0.2.7', '192.0.2.7'],
    ['10/8', '10.0.0.0/8'],
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['!2001:DB8::1', '!2001:db8::1'],
    ['2001:db8:0:0::/48', '2001:db8::/48'],
    ['192.0.2.*', '192.0.2.*'],
    ['*', '*'],
  ] as const) {
    it(`${text} is ${read}`, () => assert.equal(readFromPattern(text, place), read));
  }
  for (const text of [
    '',
    '!',
    'office.example.com',
    '*.example.com',
    '10.0.0.0/33',
    '10.0.0.1,10.0.0.2',
    '10.0.0.1"',
    '10.0.0.1 ',
    '* ',
    '*",command="/bin/sh',
    '10.0.0.1\n',
  ]) {
    it(`${JSON.stringify(text)} is refused`, () => {
      assert.throws(() => readFromPattern(text, place), UsageError);
    });
  }
});

describe('sources of --keys-from', () => {
  for (const [text, read] of [
    ['https://Keys.Example.com/a?b=c&d', 'https://keys.example.com/a?b=c&d'],
    ['HTTP://[2001:db8::1]:8080/x;y{z}', 'http://[2001:db8::1]:8080/x;y%7Bz%7D'],
  ] as const) {
    it(`${text} is an address`, () =>
      assert.deepEqual(readKeySource(text, place), { kind: 'url', url: read }));
  }
  it('a line for sh that begins with a path is a command', () => {
    const command = `/usr/bin/list --team 'a b' | sort $x "y" \`z\``;
    assert.deepEqual(readKeySource(command, place), { kind: 'command', command });
  });
  for (const text of [
    '',
    'list-keys',
    'https://',
    'https:keys',
    'ftp://keys.example.com/',
    'https://user:secret@keys.example.com/',
    'https://keys.example.com/#part',
    "https://keys.example.com/'; id; '",
    'https://keys.example.com/$(id)',
    'https://keys.example.com/a b',
    '/bin/list\n/bin/id',
    '/bin/list\0',
    '/bin/list\r',
  ]) {
    it(`${JSON.stringify(text)} is refused`, () => {
      assert.throws(() => readKeySource(text, place), UsageError);
    });
  }
});

function certificate(): string {
  const name = 'ssh-ed25519-cert-v01@openssh.com';
  const head = Buffer.alloc(4);
  head.writeUInt32BE(name.length);
  const blob = Buffer.concat([head, Buffer.from(name), Buffer.alloc(300)]);
  return `${name} ${blob.toString('base64')}`;
}
