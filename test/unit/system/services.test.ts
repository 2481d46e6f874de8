import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { tcpServicePort } from '../../../src/system/services.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-services-'));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, 'services');
writeFileSync(
  path,
  [
    '# discard 9/tcp',
    'tftp\t69/udp',
    'gate 2222/tcp door  entry # portal',
    'gate 2223/tcp',
    'both 7/udp',
    'both 8/tcp',
    'odd x/tcp',
    'ssh 22/tcp # alone',
  ].join('\n'),
);

describe('tcpServicePort', () => {
  for (const [name, port] of [
    ['gate', 2222],
    ['entry', 2222],
    ['portal', undefined],
    ['both', 8],
    ['tftp', undefined],
    ['SSH', undefined],
    ['ssh', 22],
    ['odd', undefined],
    ['discard', undefined],
    ['', undefined],
  ] as const)
    it(`${name}: ${port}`, () => assert.equal(tcpServicePort(name, path), port));

  it('knows nothing where there is no such file', () =>
    assert.equal(tcpServicePort('ssh', join(directory, 'none')), undefined));

  it('agrees with getservbyname(3)', (t) => {
    const names = ['ssh', 'http', 'www', 'domain', 'imap2', 'tftp', 'HTTP', 'no-such', 'sunrpc'];
    for (const name of names) {
      const { status, stdout, error } = spawnSync('getent', ['services', `${name}/tcp`], {
        encoding: 'utf8',
      });
      if (error !== undefined) return t.skip(`getent is missing: ${error.message}`);
      const port = status === 0 ? Number(/ ([0-9]+)\/tcp/.exec(stdout)?.[1]) : undefined;
      assert.equal(tcpServicePort(name), port, name);
    }
  });
});
