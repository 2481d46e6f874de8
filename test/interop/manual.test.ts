/** The manual pages, as two programs for manual pages read them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { manualPages } from '../../scripts/man.ts';
import { COMMANDS, NAMES } from '../../src/cli/commands.ts';

const PAGES = [...manualPages()];
const directory = mkdtempSync(join(tmpdir(), 'tunnel-manual-'));
after(() => rmSync(directory, { recursive: true }));
for (const section of ['man1', 'man5']) mkdirSync(join(directory, section));
const pathOf = (name: string) => join(directory, `man${name.at(-1)}`, name);
for (const [name, text] of PAGES) writeFileSync(pathOf(name), text);

function run(program: string, ...args: readonly string[]) {
  return spawnSync(program, args, {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', MANWIDTH: '80', MANPATH: directory },
  });
}

const missing = (program: string) =>
  run(program, '-h').error !== undefined && `${program} is not installed`;

describe('manual pages', () => {
  it('are there for each command', () => {
    const names = NAMES.map((name) => `tunnel-${name}.1`);
    for (const name of ['tunnel.1', ...names])
      assert.ok(
        PAGES.some(([page]) => page === name),
        name,
      );
  });

  for (const [name] of PAGES) {
    it(`${name}: man has no warning`, { skip: missing('man') }, () => {
      const { stderr, status } = run('man', '--warnings', '-E', 'UTF-8', '-l', pathOf(name));
      assert.deepEqual([status, stderr], [0, '']);
    });

    it(`${name}: mandoc has nothing to say`, { skip: missing('mandoc') }, () => {
      const { stdout, status } = run('mandoc', '-T', 'lint', pathOf(name));
      assert.deepEqual([status, stdout], [0, '']);
    });
  }

  for (const { name, groups, examples } of Object.values(COMMANDS)) {
    it(`${name}: all its options and examples can be read`, { skip: missing('man') }, () => {
      const page = name === 'connect' ? 'tunnel' : `tunnel-${name}`;
      const { stdout } = run('man', '-E', 'UTF-8', page);
      for (const { flags } of groups.flatMap(({ options }) => Object.values(options)))
        assert.ok(stdout.includes(`       ${flags.replace(/[<>]/g, '')}`), flags);
      for (const line of examples?.split('\n').slice(1, 3) ?? [])
        assert.ok(stdout.includes(line), line);
      assert.match(stdout, /^SEE ALSO\n(.*\n)*?.*ssh_config\(5\)/m);
    });
  }

  it('tunnel.1 has what stands in the documents', { skip: missing('man') }, () => {
    const { stdout } = run('man', '-E', 'UTF-8', 'tunnel');
    for (const heading of ['TARGETS', 'NAMES', 'EXIT STATUS', 'ENVIRONMENT', 'FILES', 'ERRORS'])
      assert.match(stdout, new RegExp(`^${heading}$`, 'm'));
    assert.match(stdout, /^ {7}host-key-unknown, /m);
    assert.match(stdout, /^ {7}4 +host key rejected$/m);
    assert.doesNotMatch(stdout, /\]\(|&(lt|gt|quot|amp|#39);/);
  });
});
