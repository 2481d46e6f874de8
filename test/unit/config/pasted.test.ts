import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { type Commands, runCommandLine } from '../../../src/cli/program.ts';
import type { Configuration } from '../../../src/config/configuration.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { formatPrefix } from '../../../src/net/prefix.ts';
import { readPage } from '../../support/documents.ts';

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
  const names = ['connect', 'proxy', 'exec', 'nc', 'doctor', 'openstack', 'jumphost'] as const;
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
  ['ssh -L 8080:host:80 user@jump', 'tunnel -r user@jump -L 8080:host:80'],
  ['ssh -L 80:127.0.0.1:80 -L 1:h:2 user@jump', 'tunnel -r user@jump -L 80:127.0.0.1:80 -L 1:h:2'],
  ['ssh -L /run/a:b:80 user@jump', 'tunnel -r user@jump -L /run/a:b:80'],
  ['ssh -g -L 8080:host:80 user@jump', "tunnel -r user@jump -L 8080:host:80 -o 'GatewayPorts=yes'"],
  ['ssh -D 1080 user@jump -p 2222 -i key', 'tunnel proxy -r user@jump -p 2222 -i key --socks 1080'],
  ['/usr/bin/ssh -D 1080 user@jump', 'tunnel proxy -r user@jump --socks 1080'],
  [
    'autossh -M 0 -f -N -D 1080 user@jump',
    'tunnel proxy -r user@jump --daemon --socks 1080',
    /-M is left out: the tunnel notices a dead link/,
  ],
  [
    'sshpass -p secret ssh -D 1080 user@jump',
    'tunnel proxy -r user@jump --socks 1080',
    /; sshpass is left out: a password is asked for/,
  ],
  [
    'sudo sshpass -psecret -v sshuttle -r user@host 10/8',
    'tunnel -r user@host 10/8',
    /; sshpass is left out/,
  ],
  ['sudo ssh -D 1080 user@jump', 'tunnel proxy -r user@jump --socks 1080'],
  ['sudo sshuttle -r user@host 10/8', 'tunnel -r user@host 10/8'],
  [
    'ssh -fNT -D 127.0.0.1:1080 user@jump',
    'tunnel proxy -r user@jump --daemon --socks 127.0.0.1:1080',
    /; -N, -T are left out: no command or terminal is started on the jump host$/,
  ],
  [
    "ssh -ND '*:1080' user@jump",
    "tunnel proxy -r user@jump --socks '*:1080' --allow-remote-clients",
    /everybody who can connect/,
  ],
  [
    'ssh -gD 1080 user@jump',
    "tunnel proxy -r user@jump --socks '*:1080' --allow-remote-clients",
    /everybody who can connect/,
  ],
  [
    'ssh -p2222 -l user@session -NL 127.0.0.1:5432:db.internal:5432 -L 6:[2001:db8::1]:7 domain',
    "tunnel -r user@session@domain -p 2222 -L 127.0.0.1:5432:db.internal:5432 -L '6:[2001:db8::1]:7'",
    /-N is left out/,
  ],
  [
    "ssh -4 -A -J 'user@outer' -o ServerAliveInterval=5 -L 1:h:2 'DOMAIN\\user@jump'",
    "tunnel -r 'DOMAIN\\user@jump' -o 'AddressFamily=inet' -J user@outer -o 'ServerAliveInterval=5' -L 1:h:2",
    /-A is left out: nothing is run on the jump host/,
  ],
  [
    'ssh -D 1080 -L 8080:host:80 ssh://user@jump:2222',
    'tunnel proxy -r ssh://user@jump:2222 -L 8080:host:80 --socks 1080',
  ],
  ['ssh -W db.internal:5432 user@jump', 'tunnel nc -r user@jump db.internal 5432'],
  ['ssh -W [2001:db8::1]:22 -l user jump', 'tunnel nc -r user@jump 2001:db8::1 22'],
  [
    'ssh -fyW db:1 -D 1080 -L 1:a:2 -g jump',
    'tunnel nc -r jump db 1',
    /-D, -f, -y, -L are left out: "tunnel nc" has no such option; -g is left out/,
  ],
  ['ssh -yfL 1:a:2 jump', 'tunnel -r jump --syslog --daemon -L 1:a:2'],
  [
    'sshuttle -r user@host 10.0.0.0/8 -x 10.1.0.0/16',
    'tunnel -r user@host -x 10.1.0.0/16 10.0.0.0/8',
  ],
  [
    "sshuttle --dns -vr user@host:2222 0/0 --exclude=10/8 --method nft -e 'ssh -i key' --python=python3",
    "tunnel --dns -v -r user@host:2222 -x 10/8 -e 'ssh -i key' 0/0",
    /--method is left out: .*; --python is left out: the jump host needs no Python/,
  ],
  [
    'sshuttle -D --remote user:secret@host 10.0.0.0/8 --to-ns 10.0.0.53',
    'tunnel -D -r user@host --dns-server 10.0.0.53 10.0.0.0/8',
    /a password is asked for/,
  ],
  [
    'sshuttle --daemon --pidfile=/tmp/p --syslog -r user@host 10.0.0.0/8',
    'tunnel -D --pidfile /tmp/p --syslog -r user@host 10.0.0.0/8',
  ],
  ['user@session@domain -p 2222 10/8', 'tunnel -r user@session@domain -p 2222 10/8', /needs -r/],
  ['-p 2222 -v user@domain 10/8', 'tunnel -p 2222 -v -r user@domain 10/8'],
  ['proxy user@host -p 2222', 'tunnel proxy -r user@host -p 2222'],
  ['connect ssh://user@host:22 10/8', 'tunnel connect -r ssh://user@host:22 10/8'],
  ['openstack user@host', 'tunnel openstack -r user@host'],
  ['doctor user@host 10/8', 'tunnel doctor -r user@host 10/8'],
  ['doctor ssh -p 2222 user@host', 'tunnel doctor -r user@host -p 2222'],
  ['doctor sshuttle -r user@host 10/8', 'tunnel doctor -r user@host 10/8'],
  [
    'exec user@host 10/8 -- sh -c \'ssh "$1"\'',
    'tunnel exec -r user@host 10/8 -- sh -c \'ssh "$1"\'',
  ],
];

/** Options of ssh in a line of tunnel. */
const HABITS: readonly (readonly [line: string, answer: string, note?: RegExp])[] = [
  ['-D 1080 user@host', 'tunnel proxy -r user@host --socks 1080', /"user@host" needs -r/],
  ['-D 1080 -r host', 'tunnel proxy -r host --socks 1080', /^-D 1080 is an option of ssh$/],
  ['-D1080 -r host', 'tunnel proxy -r host --socks 1080'],
  ['-D 1080 host', 'tunnel proxy -r host --socks 1080', /"host" needs -r/],
  ['-D localhost:1080 -r host', 'tunnel proxy -r host --socks 1080'],
  ['-D 127.0.0.1:1080 -r host', 'tunnel proxy -r host --socks 127.0.0.1:1080'],
  ['-D 1080 -r host 10/8', 'tunnel -r host --socks 1080 10/8'],
  ['-fND 1080 user@host', 'tunnel proxy -r user@host --daemon --socks 1080', /-N is left out/],
  ['proxy -D 1080 user@host', 'tunnel proxy -r user@host --socks 1080'],
  ['-f -r host 10/8', 'tunnel --daemon -r host 10/8', /^-f is an option of ssh$/],
  ['-4 -r host 10/8', "tunnel -o 'AddressFamily=inet' -r host 10/8"],
  ['-r host 10/8 -6', "tunnel -r host -o 'AddressFamily=inet6' 10/8"],
  ['-l bob -r host 10/8', 'tunnel -r bob@host 10/8'],
  ['-lbob --remote=host 10/8', 'tunnel -r bob@host 10/8'],
  ['-NL 8080:a:80 host', 'tunnel -r host -L 8080:a:80', /-N is left out/],
  ['-L 8080:a:80 host', 'tunnel -L 8080:a:80 -r host', /"host" needs -r before it/],
  ['-L 80:10.0.0.5:443 user@host', 'tunnel -L 80:10.0.0.5:443 -r user@host'],
  ['user@host -L 8080:a:80', 'tunnel -r user@host -L 8080:a:80'],
  ['-J outer -f -D 1080 inner', 'tunnel proxy -r inner -J outer --daemon --socks 1080'],
  ['-W db:5432 -r host', 'tunnel nc -r host db 5432'],
  ['-vW db:5432 user@host', 'tunnel nc -r user@host -v db 5432'],
  ['-qTX -r host 10/8', 'tunnel -q -r host 10/8', /-T is left out.*; -X is left out/],
  ['-e none -r host 10/8', 'tunnel -r host 10/8', /-e is left out: there is no session/],
  ['doctor -N user@host', 'tunnel doctor -r user@host', /-N is left out/],
  ['nc -A -r host db 1', 'tunnel nc -r host db 1', /-A is left out/],
  ['exec -fA -r host 10/8 -- ssh -A b', 'tunnel exec -r host 10/8 -- ssh -A b', /-f is left out/],
  ['exec -D 1080 host -- ls', 'tunnel exec -r host -- ls', /-D is left out: "tunnel exec"/],
  ['-R 80:a:80 -r host -L 1:a:2', 'tunnel -r host -L 1:a:2', /-R has no counterpart: nothing/],
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
  ['ssh -L 80:/run/b user@jump', 'tunnel -r user@jump TARGET...', /leads to a socket of the jump/],
  ['ssh -NZ user@jump', 'tunnel -r user@jump TARGET...', /"-NZ" is left out: it is not known/],
  ['ssh', 'tunnel -r USER@HOST TARGET...', /TARGET is what to reach/],
  ['connect ssh -D 1080', 'tunnel proxy --socks 1080 -r USER@HOST', /"ssh" is not a command/],
  ['-ND 1080', 'tunnel proxy --socks 1080 -r USER@HOST', /-N, -D 1080 are options of ssh/],
  ['exec -A 10/8 x -- ls', 'tunnel exec 10/8 x -r USER@HOST -- ls', /-A is an option of ssh/],
  ['-A -r host', 'tunnel -r host TARGET...', /TARGET is what to reach/],
  [
    'sshuttle -r user@host -NH',
    'tunnel -r user@host TARGET...',
    /-N has no counterpart: .*; -H has/,
  ],
  ['sshuttle 10/8', 'tunnel 10/8 -r USER@HOST', /"sshuttle" is not a command/],
  ["sshuttle -r '' 10/8", 'tunnel 10/8 -r USER@HOST', /"sshuttle" is not a command/],
  ['sshuttle -r ssh://user@host:22 10/8', 'tunnel -r ssh://user@host:22 10/8', /not a command/],
  ['sshuttle -r ssh://user:secret@host 10/8', 'tunnel -r ssh://user@host 10/8', /a password is/],
  ['sshuttle -r host --auto-h --subn=f', 'tunnel -r host -s f', /--auto-hosts has no counterpart/],
  ['sshuttle -r host --no- 10/8', 'tunnel -r host 10/8', /"--no-" is left out: it is not known/],
];

/** Of the manual: letters without a value, then those with one. */
const SSH_FLAGS = '46AaCfGgKkMNnqsTtVvXxYy';
const SSH_VALUES: Readonly<Record<string, string>> = {
  ...{ B: 'eth0', b: '192.0.2.1', c: 'aes256-gcm@openssh.com', D: '1080', E: 'log', e: 'none' },
  ...{ F: 'none', I: '/p11.so', i: 'key', J: 'outer', L: '1:a:2', l: 'user', m: 'hmac-sha2-256' },
  ...{ O: 'exit', o: 'User=a', P: 'tag', p: '22', Q: 'cipher', R: '1:a:2', S: 'none' },
  ...{ W: 'a:1', w: '0' },
};
const SSHUTTLE_FLAGS = `-H --auto-hosts -N --auto-nets --dns -v --verbose -V --version -h --help
  --no-latency-control --disable-ipv6 -D --daemon --syslog --firewall --hostwatch --sudoers
  --sudoers-no-modify --no-sudo-pythonpath --no-cmd-delimiter`.split(/\s+/);
const SSHUTTLE_VALUES: Readonly<Record<string, string>> = {
  ...{ '-l': '0.0.0.0:80', '--listen': '0', '--ns-hosts': '10.0.0.1', '--to-ns': '10.0.0.53' },
  ...{ '--method': 'nft', '--python': 'p', '-x': '10.1.0.0/16', '--exclude': '10.1.0.0/16' },
  ...{ '-X': 'f', '--exclude-from': 'f', '-e': 'ssh', '--ssh-cmd': 'ssh', '--seed-hosts': 'a' },
  ...{ '--latency-buffer-size': '1', '--wrap': '1', '-s': 'f', '--subnets': 'f', '--pidfile': 'p' },
  ...{ '--user': 'a', '--group': 'a', '--sudoers-user': 'a', '--sudoers-filename': 'a' },
  ...{ '-t': '0x01', '--tmark': '0x01', '--namespace': 'a', '--namespace-pid': '1' },
  ...{ '--remote-shell': 'sh' },
};

/** Whether an option is in the answer in some form, or in what is said besides. */
async function isAnswered(name: string, line: readonly string[], without: string): Promise<void> {
  const { message, hint = '' } = await refused(line);
  assert.doesNotMatch(message, /not known|unknown/, name);
  const said = new RegExp(`(^|[ ,;])${name}( [^;]*)?(,| is| are| has)`).test(
    message.replace(/^[^;]*(; |$)/, ''),
  );
  assert.ok(said || hint !== without, `${name} is dropped in silence: ${message}, ${hint}`);
  assert.notEqual(hint, '', name);
}

describe('a pasted line', () => {
  for (const [pasted, line, note] of [...COMPLETE, ...HABITS])
    it(`${pasted} is answered with a line that runs`, async () => {
      const { hint, message } = await refused(shellWords(pasted));
      assert.equal(hint, `write: ${line}`);
      if (note === undefined) assert.doesNotMatch(message, /left out|no counterpart/);
      else assert.match(message, note);
      assert.doesNotMatch(message, /secret/);
      const ran = await run(shellWords(line).slice(1));
      assert.ok(!(ran instanceof UsageError), `${ran}`);
    });

  it('is answered as docs/migration.md shows it', async () => {
    const examples = readPage('docs/migration.md').matchAll(
      /^\$ tunnel (.*)\ntunnel: error \[usage\]: (.*)\ntunnel: hint: (.*)$/gm,
    );
    let count = 0;
    for (const [, pasted = '', message, hint] of examples) {
      const error = await refused(shellWords(pasted));
      assert.deepEqual([error.message, error.hint], [message, hint]);
      count += 1;
    }
    assert.equal(count, 2);
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

describe('each option', () => {
  for (const letter of [...SSH_FLAGS, ...Object.keys(SSH_VALUES)]) {
    const option = [
      `-${letter}`,
      ...(SSH_VALUES[letter] === undefined ? [] : [SSH_VALUES[letter]]),
    ];
    it(`${option.join(' ')} of ssh is in the answer, or something is said about it`, async () => {
      const line = ['ssh', ...option, 'host'];
      await isAnswered(`-${letter}`, line, 'write: tunnel -r host TARGET...');
    });
  }

  it('of the ssh that is installed is among them', (t) => {
    const { error, stderr } = spawnSync('ssh', [], { encoding: 'utf8' });
    if (error !== undefined) {
      t.skip('ssh is not installed');
      return;
    }
    const [, flags = ''] = /\[-([A-Za-z0-9]+)\]/.exec(stderr) ?? [];
    const valued = [...stderr.matchAll(/\[-([A-Za-z]) /g)].map(([, letter = '']) => letter);
    assert.ok(flags.length > 10 && valued.length > 10, stderr);
    assert.deepEqual(
      [...flags].filter((letter) => !SSH_FLAGS.includes(letter)),
      [],
    );
    assert.deepEqual(
      valued.filter((letter) => !(letter in SSH_VALUES)),
      [],
    );
  });

  for (const name of [...SSHUTTLE_FLAGS, ...Object.keys(SSHUTTLE_VALUES)]) {
    const value = SSHUTTLE_VALUES[name];
    it(`${name} of sshuttle is in the answer, or something is said about it`, async () => {
      const option = value === undefined ? [name] : [name, value];
      const line = ['sshuttle', '-r', 'host', ...option, '10/8'];
      await isAnswered(name, line, 'write: tunnel -r host 10/8');
    });
  }

  // Letters that tunnel has as well, with the same meaning, or that ask about ssh itself.
  for (const letter of [...SSH_FLAGS, ...Object.keys(SSH_VALUES)].filter(
    (own) => !'vqpiJFoLVN'.includes(own),
  )) {
    const value = SSH_VALUES[letter];
    it(`-${letter} of ssh is answered in a line of tunnel`, async () => {
      const line = [`-${letter}`, ...(value === undefined ? [] : [value]), '-r', 'host', '10/8'];
      const { message, hint = '' } = await refused(line);
      assert.match(message, new RegExp(`^-${letter}.* is an option of ssh`));
      assert.match(hint, /^write: tunnel (nc |-)/);
      const ran = await run(shellWords(hint.replace('write: ', '')).slice(1));
      assert.ok(!(ran instanceof UsageError), `${ran}`);
    });
  }

  it("that is tunnel's stays tunnel's", async () => {
    for (const line of [
      '-D -r host 10/8',
      '-D -r host 10',
      '-vqD -r h 1.2.3.4:443',
      '-Dr h 10/8',
    ]) {
      const ran = await run(shellWords(line));
      assert.doesNotMatch(`${ran}`, /of ssh/, line);
    }
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
