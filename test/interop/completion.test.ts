/**
 * Completion in the real shells, at a terminal: keys are typed as a person would, and the screen is
 * read. Names of hosts come from files in which others have written what must never be run.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Tmux } from '../support/tmux.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfRbMlrFq9RtrJ5eWB1Bk7Z5MY0mKqvS3LQJ5aVwU3n';
/** A real shell may be slow to start on a busy machine. */
const TIMEOUT_MS = 30_000;

const home = mkdtempSync(join(tmpdir(), 'tunnel-completion-'));
after(() => rmSync(home, { recursive: true }));
for (const name of ['bin', '.ssh', '.config', '.config/openstack', 'work'])
  mkdirSync(join(home, name));
chmodSync(join(home, '.ssh'), 0o700);
const write = (name: string, text: string, mode = 0o600) => {
  writeFileSync(join(home, name), text);
  chmodSync(join(home, name), mode);
};
const RUNS = `touch ${home}/pwned`;
/** The same as one word. */
const RUNS_TOO = `{touch,${home}/pwned}`;
write('bin/tunnel', `#!/bin/sh\nexec ${ROOT}tunnel "$@"\n`, 0o755);
write('.ssh/config', `Host alias-one *.pattern !no "$(${RUNS})"\nInclude more\n`);
write('.ssh/more', 'Host included-two\n');
write(
  '.ssh/known_hosts',
  [
    `known-three ${KEY}`,
    `[ported-four]:2222 ${KEY}`,
    `|1|c2FsdHNhbHRzYWx0c2FsdHNhbHQ=|aGFzaGhhc2hoYXNoaGFzaGhhc2g= ${KEY}`,
    `known-\`${RUNS_TOO}\` ${KEY}`,
    `known-$(${RUNS_TOO}) ${KEY}`,
    `known-\u001b[31mred ${KEY}`,
    `known-;${RUNS_TOO} ${KEY}`,
    `@revoked known-revoked ${KEY}`,
    '',
  ].join('\n'),
);
write(
  '.config/openstack/clouds.yaml',
  `clouds:\n  sky: {}\n  "blue heaven": {}\n  "evil$(${RUNS})": {}\n`,
);
write('work/targets.txt', '10.0.0.0/8\n');
write('work/two words.txt', '');

const ENV = {
  HOME: home,
  PATH: `${home}/bin:${process.env['PATH'] ?? ''}`,
  XDG_CONFIG_HOME: join(home, '.config'),
};

function ask(...words: readonly string[]) {
  const { stdout, stderr, status } = spawnSync(join(home, 'bin/tunnel'), ['__complete', ...words], {
    env: ENV,
    cwd: join(home, 'work'),
    encoding: 'utf8',
  });
  assert.deepEqual([status, stderr], [0, '']);
  return stdout.trimEnd().split('\n').slice(1);
}

describe('tunnel __complete', () => {
  it('knows the hosts of ssh_config and known_hosts that are names', () => {
    const hosts = ask('bash', 'tunnel -r ', '');
    for (const host of ['alias-one', 'included-two', 'known-three', 'ported-four:2222'])
      assert.ok(hosts.includes(host), host);
    assert.doesNotMatch(hosts.join('\n'), /revoked|pattern|touch|red|\|1\||!no|[`;]/);
  });

  it('keeps quiet about files that are broken', () => {
    write('.config/openstack/clouds.yaml.bad', 'clouds: [');
    const env = { ...ENV, OS_CLIENT_CONFIG_FILE: join(home, '.config/openstack/clouds.yaml.bad') };
    const { stdout, stderr } = spawnSync(
      join(home, 'bin/tunnel'),
      ['__complete', 'bash', 'tunnel --os-cloud ', ''],
      { env, encoding: 'utf8' },
    );
    assert.deepEqual([stdout, stderr], ['words 0\nenvvars\n', '']);
  });
});

describe('tunnel __complete, where a file never opens', () => {
  it('gives up', () => {
    const other = mkdtempSync(join(home, 'fifo-'));
    mkdirSync(join(other, '.ssh'));
    execFileSync('mkfifo', [join(other, '.ssh/config')]);
    const { status, stdout, stderr } = spawnSync(
      join(home, 'bin/tunnel'),
      ['__complete', 'bash', 'tunnel -r ', ''],
      { env: { ...ENV, HOME: other }, encoding: 'utf8', timeout: TIMEOUT_MS },
    );
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
  });
});

interface ShellCase {
  readonly name: string;
  /** What is typed into bash to be in the shell, with `$ ` as its prompt. */
  readonly start: string;
  /** How the shell writes the cloud with a space. */
  readonly cloud: RegExp;
}

const SHELLS: readonly ShellCase[] = [
  {
    name: 'bash without bash-completion',
    start: 'source <(tunnel completion bash)',
    cloud: /--os-cloud blue\\ heaven/,
  },
  {
    name: 'bash with bash-completion',
    start: 'source /usr/share/bash-completion/bash_completion; source <(tunnel completion bash)',
    cloud: /--os-cloud blue\\ heaven/,
  },
  {
    name: 'zsh',
    start: 'exec zsh -i',
    cloud: /--os-cloud blue\\ heaven/,
  },
  { name: 'fish', start: 'exec fish', cloud: /--os-cloud (blue\\ heaven|'blue heaven')/ },
];
write(
  '.zshrc',
  "PS1='$ '; autoload -Uz compinit; compinit -u -D; source <(tunnel completion zsh); LISTMAX=0\n",
);
mkdirSync(join(home, '.config/fish'));
// So that fish doesn't begin to read all manual pages.
mkdirSync(join(home, '.local/share/fish/generated_completions'), { recursive: true });
write(
  '.config/fish/config.fish',
  "function fish_prompt; echo -n '$ '; end\nset -g fish_greeting\nset -g fish_autosuggestion_enabled 0\ntunnel completion fish | source\n",
);

for (const { name, start, cloud } of SHELLS) {
  const [program = ''] = name.split(' ');
  const missing = spawnSync(program, ['--version']).error !== undefined;
  describe(name, { skip: missing ? `${program} is not installed` : false }, () => {
    it('completes as a person expects', { timeout: 300_000 }, async () => {
      const directory = mkdtempSync(join(tmpdir(), 'tunnel-shell-'));
      const tmux = await Tmux.start(directory, (argv) => argv, ENV);
      try {
        await tmux.type(`cd ${home}/work; clear; ${start}`, 'Enter');
        await tmux.type('clear; echo begun', 'Enter');
        await tmux.waitFor(/^begun\n\$ /m, TIMEOUT_MS);
        const cases: readonly (readonly [typed: string, shown: RegExp])[] = [
          ['tunnel jumph', /\$ tunnel jumphost/],
          ['tunnel --reconn', /tunnel --reconnect-hold/],
          ['tunnel -r ali', /tunnel -r alias-one/],
          ['tunnel -r user@incl', /tunnel -r user@included-two/],
          ['tunnel -r user@a@known-t', /user@a@known-three/],
          ['tunnel -r known-', /-r known-three/],
          ['tunnel -r ported', /-r ported-four:2222/],
          ['tunnel -r ported-four:2', /-r ported-four:2222/],
          ['tunnel --remote=user@al', /--remote=user@alias-one/],
          ['tunnel -J alias-one,incl', /-J alias-one,included-two/],
          ['tunnel --transport=op', /--transport=openssh/],
          ['tunnel --transport ss', /--transport ssh2/],
          ['tunnel openstack --format perm', /--format permitopen/],
          ['tunnel --os-cloud sk', /--os-cloud sky/],
          ['tunnel --os-cloud bl', cloud],
          ['tunnel -s targ', /-s targets\.txt/],
          ['tunnel --targets-from=targ', /--targets-from=targets\.txt/],
          ['tunnel -o StrictHostK', /-o StrictHostKeyChecking=/],
          ['tunnel completion zs', /completion zsh/],
          ['tunnel jumphost kuber', /jumphost kubernetes/],
          ['tunnel exec -r alias-one -- sha256s', /-- sha256sum/],
          ['tunnel exec -r alias-one -- cat targ', /-- cat targets\.txt/],
          ['tunnel -r "ali', /-r "?alias-one/],
        ];
        for (const [typed, shown] of cases) {
          await tmux.type(typed, 'Tab');
          await tmux.waitFor(shown, TIMEOUT_MS);
          await tmux.type('', 'C-c');
          await tmux.type('clear; echo again', 'Enter');
          await tmux.waitFor(/^again\n\$ *$/m, TIMEOUT_MS);
        }
        await tmux.type('tunnel --os-cloud evil', 'Tab', 'Enter');
        await tmux.waitFor(/touch/, TIMEOUT_MS);
        assert.ok(!existsSync(join(home, 'pwned')));
      } finally {
        await tmux.close();
        rmSync(directory, { recursive: true });
      }
    });
  });
}
