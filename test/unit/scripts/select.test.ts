/**
 * What a run of ./scripts/test has and leaves out: scripts/lib/tests.sh and test/heavy. Which Go
 * programs it builds for that: scripts/lib/go.sh.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const ALL = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.test.ts'))
  .sort();

const TERRAFORM = 'terraform() { :; }';
const NO_TERRAFORM = `command() { [ "$*" != '-v terraform' ] && builtin command "$@"; }`;

function neededGoPrograms(args: readonly string[], machine = TERRAFORM): string[] {
  const script = `set -euo pipefail
    ${machine}
    source scripts/lib/setup.sh
    source scripts/lib/go.sh
    source scripts/lib/tests.sh
    select_tests "$@"
    needed_go_programs`;
  const argv = ['-c', script, 'scripts/test', ...args];
  const { stdout } = spawnSync('bash', argv, { cwd: ROOT, encoding: 'utf8' });
  return [...new Set(stdout.trim().split('\n'))].sort();
}

function select(...args: readonly string[]) {
  const script = `set -euo pipefail
    source scripts/lib/setup.sh
    source scripts/lib/tests.sh
    select_tests "$@"
    printf '%s\\n' "\${tests[@]}" -- \${left_out[@]+"\${left_out[@]}"}`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script, 'scripts/test', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const lines = stdout.trim().split('\n');
  const middle = lines.indexOf('--');
  return { status, stderr, tests: lines.slice(0, middle), leftOut: lines.slice(middle + 1) };
}

describe('the tests of a run', () => {
  const heavy = readFileSync(join(ROOT, 'test/heavy'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));

  it('lists what is heavy, with its seconds and why', () => {
    assert.ok(heavy.length > 0);
    for (const line of heavy) {
      assert.match(line, /^\S+ +\d+ s {2}\S.+$/, line);
      const [path = ''] = line.split(' ');
      assert.ok(
        ALL.some((file) => file.startsWith(path)),
        `${path} is no test`,
      );
    }
  });

  it('are all but the heavy ones', () => {
    const { tests, leftOut } = select();
    assert.ok(tests.includes('netns/connects.test.ts'));
    assert.ok(leftOut.includes('contract/scale.test.ts'));
    assert.ok(leftOut.some((file) => file.startsWith('openstack/')));
    assert.ok(!leftOut.some((file) => file.startsWith('unit/')));
    assert.deepEqual([...tests, ...leftOut].sort(), ALL);
    assert.equal(new Set([...tests, ...leftOut]).size, ALL.length);
  });

  it('are all with "all", and nothing is left out', () => {
    const { tests, leftOut } = select('all');
    assert.deepEqual([tests.toSorted(), leftOut], [ALL, []]);
  });

  it('are those that are named, heavy or not, by folder, beginning or file', () => {
    assert.deepEqual(select('contract/scale').tests, ['contract/scale.test.ts']);
    assert.deepEqual(select('test/contract/scale.test.ts').tests, ['contract/scale.test.ts']);
    const { tests } = select('unit/net', 'netns/exec-');
    assert.ok(tests.includes('unit/net/prefix.test.ts'));
    assert.ok(tests.includes('netns/exec-sanitized.test.ts'));
    assert.ok(!tests.includes('netns/exec.test.ts'));
  });

  it('are refused when a name leads nowhere, also beside one that does', () => {
    const { status, stderr } = select('unit', 'netns/nothing');
    assert.notEqual(status, 0);
    assert.match(stderr, /no test matches netns\/nothing\nhint: /);
  });
});

describe('the Go programs of a run', () => {
  const PROGRAMS = join(ROOT, 'test/support/go');

  it('are all with "all", but OpenTofu only in place of Terraform', () => {
    const all = readdirSync(PROGRAMS).sort();
    assert.deepEqual(neededGoPrograms(['all'], NO_TERRAFORM), all);
    assert.deepEqual(
      neededGoPrograms(['all']),
      all.filter((name) => name !== 'tofu'),
    );
  });

  it("are those of Terraform with Terraform's tests", () => {
    assert.deepEqual(neededGoPrograms(['interop/terraform']), ['terraform-provider-openstack']);
    assert.deepEqual(neededGoPrograms(['terraform']), [
      'terraform-provider-external',
      'terraform-provider-openstack',
      'tofu',
    ]);
  });

  it('are none in the short run', () => {
    assert.deepEqual(neededGoPrograms([]), ['']);
  });
});
