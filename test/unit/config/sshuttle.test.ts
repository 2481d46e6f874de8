/** Each option of sshuttle is taken with its meaning, or answered with what to do instead. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { type Commands, runCommandLine } from '../../../src/cli/program.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { readPage } from '../../support/documents.ts';

/** What sshuttle's and this program's option have in common: `keeps`; else what the hint names. */
type Answer = { readonly keeps: true } | { readonly hint: RegExp };
const KEEPS: Answer = { keeps: true };

/**
 * All options of sshuttle 0.78 to 2.0 (options.py), each name with its answer; `value`: of those
 * that take one. -h and -V end the program in both.
 */
const OPTIONS: readonly (readonly [names: string, value: string | undefined, answer: Answer])[] = [
  ['-l', '0.0.0.0:0', { hint: /--listen/ }],
  ['--listen', '127.0.0.1:12300', KEEPS],
  ['-H --auto-hosts', undefined, { hint: /as targets, or use --dns/ }],
  ['-N --auto-nets', undefined, { hint: /name the networks/ }],
  ['--dns', undefined, KEEPS],
  ['--ns-hosts', '10.0.0.53,10.0.0.54', { hint: /--dns.*--dns-server/ }],
  ['--to-ns', '10.0.0.53:53', { hint: /--dns-server ADDRESS/ }],
  ['--method', 'nft', { hint: /leave the option out/ }],
  ['--python', 'python3', { hint: /leave the option out/ }],
  ['-r --remote', 'user@host', KEEPS],
  ['-x --exclude', '10.1.0.0/16', KEEPS],
  ['-X', '/dev/null', KEEPS],
  ['--exclude-from', '/dev/null', { hint: /-X/ }],
  ['-v --verbose', undefined, KEEPS],
  ['-e --ssh-cmd', 'ssh', KEEPS],
  ['--no-cmd-delimiter', undefined, { hint: /leave the option out/ }],
  ['--remote-shell', 'cmd', { hint: /leave the option out/ }],
  ['--seed-hosts', 'a,b', { hint: /as targets, or use --dns/ }],
  ['--no-latency-control', undefined, { hint: /leave the option out/ }],
  ['--latency-buffer-size', '32768', { hint: /leave the option out/ }],
  ['--wrap', '100', { hint: /leave the option out/ }],
  ['--disable-ipv6', undefined, { hint: /no IPv6 targets/ }],
  ['-D --daemon', undefined, KEEPS],
  ['-s', '/dev/null', KEEPS],
  ['--subnets', '/dev/null', { hint: /-s/ }],
  ['--syslog', undefined, KEEPS],
  ['--pidfile', './sshuttle.pid', KEEPS],
  ['--user', 'www-data', { hint: /tunnel exec/ }],
  ['--group', 'www-data', { hint: /tunnel exec/ }],
  ['--firewall', undefined, { hint: /leave the option out/ }],
  ['--hostwatch', undefined, { hint: /leave the option out/ }],
  ['--sudoers', undefined, { hint: /asks for root once/ }],
  ['--sudoers-no-modify', undefined, { hint: /asks for root once/ }],
  ['--sudoers-user', 'me', { hint: /leave the option out/ }],
  ['--sudoers-filename', 'x', { hint: /leave the option out/ }],
  ['--no-sudo-pythonpath', undefined, { hint: /leave the option out/ }],
  ['-t --tmark', '0x02', { hint: /leave the option out/ }],
  ['--namespace', 'blue', { hint: /ip netns exec/ }],
  ['--namespace-pid', '1234', { hint: /nsenter/ }],
];
const ROWS = OPTIONS.flatMap(([names, value, answer]) =>
  names.split(' ').map((name) => [name, value, answer] as const),
);

/** The error of a command line; undefined: the command would run. */
async function refusal(args: readonly string[]): Promise<UsageError | undefined> {
  const run = async () => {};
  const names = ['connect', 'proxy', 'exec', 'doctor', 'openstack', 'jumphost', 'clean'];
  const commands = Object.fromEntries(names.map((name) => [name, run])) as unknown as Commands;
  try {
    await runCommandLine(args, commands, { output() {}, columns: 80 });
    return undefined;
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
}

describe("sshuttle's options", () => {
  for (const [name, value, answer] of ROWS) {
    const given = value === undefined ? [name] : [name, value];
    if ('keeps' in answer) {
      it(`${name} is taken`, async () => {
        const remote = name === '-r' || name === '--remote' ? [] : ['-r', 'user@host'];
        assert.equal(await refusal([...remote, ...given, '10/8']), undefined);
      });
      continue;
    }
    const forms = [given];
    if (value !== undefined && name.startsWith('--')) forms.push([`${name}=${value}`]);
    if (value !== undefined && !name.startsWith('--')) forms.push([`${name}${value}`]);
    it(`${name} is answered with what to do instead`, async () => {
      for (const form of forms)
        for (const command of [[], ['connect'], ['proxy'], ['exec'], ['doctor']]) {
          const end = command[0] === 'exec' ? ['--', 'true'] : [];
          const line = [...command, '-r', 'user@host', ...form, '10/8', ...end];
          const error = await refusal(line);
          assert.ok(error !== undefined, line.join(' '));
          const names = new RegExp(`(^|/)${name}(/| is|$)`);
          const said = `${error.message.split(' is an option of sshuttle ')[0]} is`;
          assert.match(said, names, error.message);
          assert.match(error.message, /is an option of sshuttle that doesn't exist here: ./);
          assert.match(error.hint ?? '', answer.hint);
        }
    });
  }

  it('are said to be of other commands where tunnel has them', async () => {
    const error = await refusal(['exec', '-r', 'user@host', '-D', '--', 'true']);
    assert.match(error?.message ?? '', /^-D\/--daemon is not an option of this command: it ends /);
  });

  it('are all known in a line that is pasted', async () => {
    for (const [name, value] of ROWS) {
      const given = value === undefined ? [name] : [name, value];
      const remote = name === '-r' || name === '--remote' ? [] : ['-r', 'user@host'];
      const error = await refusal(['sshuttle', ...remote, ...given, '10/8']);
      assert.ok(error !== undefined, name);
      assert.doesNotMatch(error.message, /not known/, name);
      assert.match(error.hint ?? '', /^write: tunnel /);
    }
  });

  it('are answered in a pasted line with what is said of them alone', async () => {
    for (const [name, value, answer] of ROWS) {
      if ('keeps' in answer) continue;
      const given = value === undefined ? [name] : [name, value];
      const alone = await refusal(['-r', 'user@host', ...given, '10/8']);
      const { message = '' } = (await refusal(['sshuttle', '-r', 'user@host', ...given])) ?? {};
      const [, said] = /^[^;]*; (.*?); TARGET is/.exec(message) ?? [];
      if (said === undefined || !said.includes(name)) continue; // it becomes an option of tunnel
      const why = said.replace(/^.*? (is left out|has no counterpart): /, '');
      assert.ok(`${alone?.message} ${alone?.hint}`.includes(why), `${name}: ${said}`);
    }
  });

  it('stand in docs/migration.md, each in one row', () => {
    const page = readPage('docs/migration.md');
    const [section = ''] = /(?<=^### Each option\n).*?(?=^##)/ms.exec(page) ?? [];
    const rows = [...section.matchAll(/^\| (`-[^|]*) \| (.*) \|$/gm)].flatMap(
      ([, names = '', here = '']) =>
        [...names.matchAll(/`(-[^`]+)`/g)].map(([, name = '']) => [name, here] as const),
    );
    assert.deepEqual(rows.map(([name]) => name).sort(), ROWS.map(([name]) => name).sort());
    for (const [name, here] of rows) {
      const answer = ROWS.find(([known]) => known === name)?.[2];
      const same = /^(the same|is a proxy here)/.test(here);
      assert.equal(same, answer !== undefined && 'keeps' in answer, name);
    }
  });

  const script = `import sys; sys.path.insert(0, "/usr/lib/python3/dist-packages")
from sshuttle.options import parser
for action in parser._actions:
    for name in action.option_strings: print(name, action.nargs == 0)`;
  const local = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  const skip = local.status === 0 ? false : 'sshuttle is missing (package sshuttle)';
  it('are those of the sshuttle that is installed', { skip }, () => {
    const ends = ['-h', '--help', '-V', '--version'];
    for (const line of local.stdout.trim().split('\n')) {
      const [name = '', alone] = line.split(' ');
      if (ends.includes(name)) continue;
      const row = ROWS.find(([known]) => known === name);
      assert.ok(row !== undefined, name);
      assert.equal(row[1] === undefined, alone === 'True', name);
    }
  });
});
