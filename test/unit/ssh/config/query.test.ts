/** Asking ssh: the real one, and scripts in place of those that can't answer. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TunnelError, UsageError } from '../../../../src/errors/errors.ts';
import { type Query, queryConfig } from '../../../../src/ssh/config/query.ts';
import { LACKING } from '../../../support/sshconfiglab.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-query-'));
after(() => rmSync(directory, { recursive: true }));

const ask = (query: Partial<Query>) =>
  queryConfig({
    program: 'ssh',
    args: ['-F', 'none'],
    host: 'a',
    environment: process.env,
    ...query,
  });

function script(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o700 });
  return path;
}

describe('queryConfig', () => {
  it('gives keywords in lower case, repeated ones in order, each file by itself', {
    skip: LACKING,
  }, async () => {
    const args = [
      '-F',
      'none',
      '-o',
      'UserKnownHostsFile="/a b" /c',
      '-o',
      'IdentityFile=/2',
      '-o',
      'IdentityFile=/1',
    ];
    const values = await ask({ args });
    assert.deepEqual(values?.get('userknownhostsfile'), ['/a b', '/c']);
    assert.deepEqual(values.get('identityfile'), ['/2', '/1']);
    assert.deepEqual(values.get('canonicalizepermittedcnames'), ['none']);
  });

  it('takes a host that looks like an option for a host', { skip: LACKING }, async () => {
    const wanted = join(directory, 'injected');
    await assert.rejects(ask({ host: `-oProxyCommand=touch ${wanted}` }), UsageError);
  });

  for (const [name, program] of [
    ['is not there', join(directory, 'missing')],
    ['may not be run', directory],
    ['is too old', script('old', 'echo "unknown option -- G" >&2; exit 255')],
    [
      'does not know the user',
      script('nobody', 'echo "No user exists for uid 1234" >&2; exit 255'),
    ],
  ] as const) {
    it(`has no answer of an ssh that ${name}`, async () => {
      assert.equal(await ask({ program }), undefined);
    });
  }

  it('strips what ssh complains about of control characters', async () => {
    const program = script('angry', "printf 'bad \\033[31mthing\\r\\n' >&2; exit 255");
    await assert.rejects(ask({ program }), {
      code: 'usage',
      message: 'ssh refuses its configuration for a: bad thing',
    });
  });

  it('tells a name that is not found from a wrong configuration', async () => {
    const program = script('lost', `echo 'ssh: Could not resolve host "a"' >&2; exit 255`);
    await assert.rejects(ask({ program }), {
      code: 'jumphost-dns',
      message: /CanonicalizeFallback/,
    });
  });

  it('ends an ssh that does not answer, with what it has started', async () => {
    const program = script('slow', 'sleep 30 & wait');
    const started = Date.now();
    await assert.rejects(ask({ program, timeoutMs: 200 }), (error) => {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'ssh-config-timeout');
      assert.match(error.message, /has not answered within 0\.2 s/);
      return true;
    });
    // Its output would stay open as long as the child that inherited it.
    assert.ok(Date.now() - started < 10_000);
  });

  it('ends an ssh that answers without end', async () => {
    await assert.rejects(ask({ program: script('flood', 'yes') }), UsageError);
  });
});
