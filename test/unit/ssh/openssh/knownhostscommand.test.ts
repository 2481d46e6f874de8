/**
 * Our KnownHostsCommand beside the user's: run as ssh runs it, with the real tunnel-hostpin. ssh
 * itself runs it in test/interop/trustsettings.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { HOSTPIN_PATH } from '../../../../src/native/addon.ts';
import { splitCommand } from '../../../../src/ssh/config/syntax.ts';
import {
  type CommandParts,
  knownHostsCommand,
} from '../../../../src/ssh/openssh/knownhostscommand.ts';

const TOKENS: Readonly<Record<string, string>> = {
  '%': '%',
  f: 'SHA256:shown',
  H: '[a b\'$(id)`"]:22',
  t: 'ssh-ed25519',
  K: 'AAAA',
};

/** As ssh does it: words, then tokens in all but the first. */
function run(parts: Omit<CommandParts, 'hostpin'>): { status: number | null; stdout: string } {
  const [program = '', ...words] = splitCommand(
    knownHostsCommand({ hostpin: HOSTPIN_PATH, ...parts }),
    'test',
  );
  const args = words.map((word) =>
    word.replace(/%(.)/g, (_, token: string) => TOKENS[token] ?? 'unknown token'),
  );
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return { status, stdout };
}

const printing = (...lines: string[]): CommandParts['users'] => ({
  words: ['/usr/bin/printf', '%%s\\n', ...lines],
  fingerprintHash: 'sha256',
});
const OWN = `${TOKENS['H']} ssh-ed25519 AAAA`;

describe('KnownHostsCommand for ssh', () => {
  it('pins: only what the user revokes counts besides them', () => {
    const users = printing(
      'x ssh-ed25519 AAAA',
      '  @revoked * ssh-ed25519 BBBB',
      '@revoked\ty %t z',
    );
    const revoked = '@revoked * ssh-ed25519 BBBB\n@revoked\ty ssh-ed25519 z\n';
    const pinned = (...fingerprints: string[]) => run({ mode: 'only', fingerprints, users });
    assert.equal(pinned('SHA256:shown').stdout, `${revoked}${OWN}\n`);
    assert.equal(pinned('SHA256:a', 'SHA256:shown').stdout, `${revoked}${OWN}\n`);
    assert.equal(pinned('SHA256:other').stdout, revoked);
    assert.deepEqual(pinned(), { status: 0, stdout: revoked }, 'whole keys are in a file');
  });

  it('replicas: all that the user says counts, and other keys are revoked', () => {
    const users = printing('x ssh-ed25519 AAAA');
    const shown = (fingerprint: string) =>
      run({ mode: 'revoke-others', fingerprints: [fingerprint], users }).stdout;
    assert.equal(shown('SHA256:shown'), 'x ssh-ed25519 AAAA\n');
    assert.equal(shown('SHA256:other'), `x ssh-ed25519 AAAA\n@revoked ${OWN}\n`);
  });

  it("fails as the user's command does", () => {
    const users = {
      words: ['/bin/sh', '-c', 'echo x; exit 3'],
      fingerprintHash: 'sha256',
    } as const;
    for (const mode of ['only', 'revoke-others'] as const)
      assert.deepEqual(run({ mode, fingerprints: ['SHA256:shown'], users }), {
        status: 3,
        stdout: '',
      });
  });

  it('keeps words as they are', () => {
    const odd = ['a b', 'c"d', "e'f", 'g\\h', '$(id)', '*', '%%'];
    const users = printing(...odd.map((word) => `@revoked ${word}`));
    const { stdout } = run({ mode: 'only', fingerprints: [], users });
    assert.deepEqual(
      stdout.split('\n').slice(0, -1),
      odd.map((word) => `@revoked ${word.replace('%%', '%')}`.trim()),
    );
  });
});
