/** Lines for authorized_keys as text. What sshd makes of them: test/netns/jumphost-keys.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import {
  keyOptions,
  MAX_KEY_OPTIONS_BYTES,
  renderAuthorizedKey,
} from '../../../src/jumphost/authorizedkey.ts';
import { assertGolden } from '../../support/golden.ts';
import { planOf } from '../../support/jumphostplan.ts';

const LIST = ['api.example.com:443', '10.0.0.5:*', '[2001:db8::5]:8774'];
const KEYS = [
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBchIj5WNixlOqJCMkH2QPxJLXcYPPZDl8m4/2Vkm0St alice@laptop',
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJFA+UJddwaQqFhc9DsHRVnJ4RRvnNCJyTlUXdwlMt9r',
];

describe('lines for authorized_keys', () => {
  for (const [name, plan] of [
    ['default', planOf(LIST, { keys: KEYS })],
    [
      'from',
      planOf(LIST, {
        keys: KEYS,
        from: ['192.0.2.0/24', '2001:db8:1::/48', '!192.0.2.7'],
        user: 'gate',
        port: 2222,
      }),
    ],
  ] as const) {
    it(`${name}: as in test/golden/jumphost/authorized-key/${name}`, () => {
      const [file, ...others] = renderAuthorizedKey(plan);
      assert.deepEqual([file?.path, file?.mode, others], ['authorized_keys', 0o600, []]);
      assertGolden(`jumphost/authorized-key/${name}`, file?.text ?? '');
    });
  }

  it('have no from= unless it is asked for', () => {
    assert.doesNotMatch(keyOptions(planOf(LIST)), /from=/);
  });

  it('hold 4096 destinations, unless they are too long for one message of sshd', () => {
    const named = (length: number) =>
      Array.from({ length: 4096 }, (_, i) => `${String(i).padStart(length, 'x')}.example.com:443`);
    assert.ok(keyOptions(planOf(named(10))).length < MAX_KEY_OPTIONS_BYTES);
    assert.throws(
      () => keyOptions(planOf(named(40))),
      (error: unknown) =>
        error instanceof UsageError &&
        /too long for the options of a key: \d+ bytes/.test(error.message) &&
        /list fewer/.test(error.hint ?? ''),
    );
  });
});
