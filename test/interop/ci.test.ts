/** The jobs of docs/ci.md, by the schemas of GitHub and GitLab. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { blocksIn, readPage } from '../support/documents.ts';

/** As scripts/test installs it: the schemas are in the package. */
const CHECK = fileURLToPath(
  new URL('../../check-jsonschema/bin/check-jsonschema', import.meta.url),
);
const SCHEMAS = { github: 'vendor.github-workflows', gitlab: 'vendor.gitlab-ci' } as const;

const directory = mkdtempSync(join(tmpdir(), 'tunnel-ci-'));
after(() => rmSync(directory, { recursive: true }));

function check(service: keyof typeof SCHEMAS, text: string) {
  const file = join(directory, 'job.yml');
  writeFileSync(file, text);
  return spawnSync(CHECK, ['--builtin-schema', SCHEMAS[service], file], { encoding: 'utf8' });
}

describe('docs/ci.md', {
  skip: !existsSync(CHECK) && 'no check-jsonschema: scripts/test installs it with pip',
}, () => {
  const jobs = blocksIn(readPage('docs/ci.md'))
    .filter(({ language }) => language === 'yaml')
    .map(({ text }) => {
      const [, file = ''] = /^# (\S+\.yml)\n/.exec(text) ?? [];
      return { file, service: file.startsWith('.github/') ? 'github' : 'gitlab', text } as const;
    });

  it('has jobs for both services, each with the name of its file', () => {
    const named = jobs.map(({ file }) => file);
    assert.deepEqual(
      named.filter((file) => !/^(\.github\/workflows\/\w+|\.gitlab-ci)\.yml$/.test(file)),
      [],
    );
    assert.deepEqual(new Set(jobs.map(({ service }) => service)), new Set(Object.keys(SCHEMAS)));
  });

  for (const [index, { file, service, text }] of jobs.entries())
    it(`${index + 1}: ${file} is what the service takes`, () => {
      const { status, stdout, stderr } = check(service, text);
      assert.equal(status, 0, stdout + stderr);
    });

  it('would fail with a keyword that is misspelt', () => {
    for (const { service, text } of jobs) {
      const wrong = text.replace(/^( +)(- run|script):/m, '$1$2s:');
      assert.notEqual(wrong, text);
      assert.notEqual(check(service, wrong).status, 0);
    }
  });
});
