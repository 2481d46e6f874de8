import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { type Commands, runCommandLine } from '../../../src/cli/program.ts';
import type { Configuration } from '../../../src/config/configuration.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { formatPrefix } from '../../../src/net/prefix.ts';

interface Ran {
  readonly command: keyof Commands;
  readonly configuration: unknown;
}

/** What a command line comes to. */
async function run(args: readonly string[]): Promise<Ran | UsageError> {
  let ran: Ran | undefined;
  const note = (command: keyof Commands) => async (configuration?: unknown) => {
    ran = { command, configuration };
  };
  const names = ['connect', 'proxy', 'exec', 'doctor', 'openstack', 'jumphost', 'clean'] as const;
  const commands = Object.fromEntries(names.map((name) => [name, note(name)]));
  try {
    await runCommandLine(args, commands as unknown as Commands, { output() {}, columns: 80 });
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  assert.ok(ran !== undefined);
  return ran;
}

/** Splits a line as a shell does. */
const shellWords = (line: string): string[] =>
  execFileSync('sh', ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);

async function refused(args: readonly string[]): Promise<UsageError> {
  const error = await run(args);
  assert.ok(error instanceof UsageError, args.join(' '));
  assert.equal(error.code, 'usage');
  return error;
}

/** The pasted line, its answer, and what its message says besides. */
const COMPLETE: readonly (readonly [pasted: string, line: string, note?: RegExp])[] = [
  [
    'ssh -L 8080:host:80 user@jump',
    'tunnel -r user@jump host:80',
    /host:80 itself, in place of localhost:8080/,
  ],
  ['ssh -L 8080:localhost:80 user@jump', 'tunnel -r user@jump -L 8080:localhost:80'],
  ['ssh -L 80:127.0.0.1:80 -L 1:h:2 user@jump', 'tunnel -r user@jump -L 80:127.0.0.1:80 h:2'],
  ['ssh -D 1080 user@jump -p 2222 -i key', 'tunnel proxy --socks 1080 -r user@jump -p 2222 -i key'],
  ['sudo ssh -D 1080 user@jump', 'tunnel proxy --socks 1080 -r user@jump'],
  ['sudo sshuttle -r user@host 10/8', 'tunnel -r user@host 10/8'],
  ['ssh -fNT -D 127.0.0.1:1080 user@jump', 'tunnel proxy --socks 127.0.0.1:1080 -r user@jump'],
  [
    "ssh -ND '*:1080' user@jump",
    "tunnel proxy --socks '*:1080' -r user@jump --allow-remote-clients",
    /everybody who can connect/,
  ],
  [
    'ssh -p2222 -l user@session -NL 127.0.0.1:5432:db.internal:5432 -L 6:[2001:db8::1]:7 domain',
    "tunnel -r user@session@domain -p 2222 db.internal:5432 '[2001:db8::1]:7'",
    /db\.internal:5432 itself, in place of localhost:5432; .*\[2001:db8::1\]:7 itself/,
  ],
  [
    "ssh -4 -A -J 'user:target@outer' -o ServerAliveInterval=5 -L 1:h:2 'DOMAIN\\user@jump'",
    "tunnel -r 'DOMAIN\\user@jump' -o 'AddressFamily=inet' -J user:target@outer -o 'ServerAliveInterval=5' h:2",
  ],
  [
    'ssh -D 1080 -L 8080:host:80 ssh://user@jump:2222',
    'tunnel proxy --socks 1080 -r ssh://user@jump:2222',
    /host:80 is reached through the proxy/,
  ],
  [
    'sshuttle -r user@host 10.0.0.0/8 -x 10.1.0.0/16',
    'tunnel -r user@host -x 10.1.0.0/16 10.0.0.0/8',
  ],
  [
    "sshuttle --dns -vr user@host:2222 0/0 --exclude=10/8 --method nft -e 'ssh -i key' --python=python3",
    "tunnel --dns -v -r user@host:2222 -x 10/8 -e 'ssh -i key' 0/0",
  ],
  [
    'sshuttle -D --remote user:secret@host 10.0.0.0/8 --to-ns 10.0.0.53',
    'tunnel -r user@host --dns-server 10.0.0.53 10.0.0.0/8',
    /a password is asked for/,
  ],
  ['user@session@domain -p 2222 10/8', 'tunnel -r user@session@domain -p 2222 10/8', /needs -r/],
  ['-p 2222 -v user:target@domain 10/8', 'tunnel -p 2222 -v -r user:target@domain 10/8'],
  ['proxy user@host -p 2222', 'tunnel proxy -r user@host -p 2222'],
  ['connect ssh://user@host:22 10/8', 'tunnel connect -r ssh://user@host:22 10/8'],
  ['openstack user@host', 'tunnel openstack -r user@host'],
  ['doctor user@host 10/8', 'tunnel doctor -r user@host 10/8'],
  ['doctor ssh -p 2222 -N user@host', 'tunnel doctor -r user@host -p 2222'],
  ['doctor sshuttle -r user@host 10/8', 'tunnel doctor -r user@host 10/8'],
  ['-D 1080 user@host', 'tunnel proxy --socks 1080 -r user@host'],
  ['-fND 1080 user@host', 'tunnel proxy --socks 1080 -r user@host'],
  ['-L 80:10.0.0.5:443 user@host', 'tunnel -r user@host 10.0.0.5:443', /itself, in place of/],
  ['proxy -D 1080 user@host', 'tunnel proxy --socks 1080 -r user@host'],
  ['doctor -N user@host', 'tunnel doctor -r user@host'],
  [
    'exec user@host 10/8 -- sh -c \'ssh "$1"\'',
    'tunnel exec -r user@host 10/8 -- sh -c \'ssh "$1"\'',
  ],
];

const INCOMPLETE: readonly (readonly [pasted: string, line: string, note: RegExp])[] = [
  [
    'user@session@domain -p 2222',
    'tunnel -r user@session@domain -p 2222 TARGET...',
    /TARGET is what to reach/,
  ],
  ['ssh user@jump', 'tunnel -r user@jump TARGET...', /TARGET is what to reach/],
  ['ssh user@jump -p 22 ls -la', 'tunnel -r user@jump -p 22 TARGET...', /"ls -la" is left out/],
  ['ssh -R 1:a:2 user@jump', 'tunnel -r user@jump TARGET...', /-R has no counterpart/],
  ['ssh -L /run/a:b user@jump', 'tunnel -r user@jump TARGET...', /-L \/run\/a:b is left out/],
  ['ssh -NZ user@jump', 'tunnel -r user@jump TARGET...', /"-NZ" is left out: it is not known/],
  ['ssh', 'tunnel -r USER@HOST TARGET...', /TARGET is what to reach/],
  ['connect ssh -D 1080', 'tunnel proxy --socks 1080 -r USER@HOST', /"ssh" is not a command/],
  [
    'sshuttle -r user@host -NH',
    'tunnel -r user@host TARGET...',
    /-N has no counterpart: .*; -H has/,
  ],
  ['sshuttle 10/8', 'tunnel 10/8 -r USER@HOST', /"sshuttle" is not a command/],
];

describe('a pasted line', () => {
  for (const [pasted, line, note] of COMPLETE)
    it(`${pasted} is answered with a line that runs`, async () => {
      const { hint, message } = await refused(shellWords(pasted));
      assert.equal(hint, `write: ${line}`);
      if (note !== undefined) assert.match(message, note);
      assert.doesNotMatch(message, /left out|no counterpart|secret/);
      const ran = await run(shellWords(line).slice(1));
      assert.ok(!(ran instanceof UsageError), `${ran}`);
    });

  for (const [pasted, line, note] of INCOMPLETE)
    it(`${pasted} is answered with what was understood`, async () => {
      const { hint, message } = await refused(shellWords(pasted));
      assert.equal(hint, `write: ${line}`);
      assert.match(message, note);
    });

  it('means the same as before', async () => {
    const { hint = '' } = await refused(
      shellWords('sshuttle -r user@host 10.0.0.0/8 -x 10.1.0.0/16'),
    );
    const ran = await run(shellWords(hint.replace('write: ', '')).slice(1));
    assert.ok(!(ran instanceof UsageError));
    const { ssh, targets, exclusions } = ran.configuration as Configuration;
    assert.equal(ran.command, 'connect');
    assert.equal(ssh.remotes[0].user, 'user');
    assert.deepEqual(
      targets.map(({ prefix }) => formatPrefix(prefix)),
      ['10.0.0.0/8'],
    );
    assert.deepEqual(
      exclusions.map(({ prefix }) => formatPrefix(prefix)),
      ['10.1.0.0/16'],
    );
  });

  it('is not seen in the command of exec, in an @FILE, or where -r names a jump host', async () => {
    for (const args of [
      ['exec', '-r', 'user@host', '--', 'ssh', 'user@other'],
      ['-vr', 'user@host', '10/8'],
      ['--remote=user@host', '10/8'],
      ['-r', 'user@host', '-i', 'user@key', '10/8'],
    ])
      assert.ok(!((await run(args)) instanceof UsageError), args.join(' '));
  });
});

describe('no target', () => {
  it('is answered with the given jump host', async () => {
    const { message, hint } = await refused(['-r', 'user:a b@host']);
    assert.equal(message, 'no target is given');
    assert.match(hint ?? '', /as in: tunnel -r 'user:a b@host' 10\.0\.0\.0\/8 /);
    assert.match(hint ?? '', /"tunnel proxy -r 'user:a b@host'" needs none/);
  });
});
