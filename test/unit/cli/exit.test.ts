import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { exitCodeOf } from '../../../src/cli/exit.ts';
import { TunnelError, UsageError } from '../../../src/errors/errors.ts';
import { ConnectError } from '../../../src/flow/connector.ts';

describe('exitCodeOf', () => {
  const table: readonly (readonly [code: string, exit: number])[] = [
    ['usage', 2],
    ['auth-failed', 3],
    ['auth-cancelled', 3],
    ['no-terminal', 3],
    ['host-key-unknown', 4],
    ['host-key-changed', 4],
    ['jumphost-unreachable', 5],
    ['link-lost', 5],
    ['capture-no-device', 6],
    ['helper-denied', 6],
    ['native-missing', 6],
    ['already-running', 7],
    ['algorithms-unknown', 2],
    ['ssh-config-timeout', 2],
    ['openssh-configuration', 2],
    ['openssh-not-found', 2],
    ['openssh-unusable', 2],
    ['transport-unfit', 2],
    ['openstack-config', 2],
    ['openstack-cloud', 2],
    ['openstack-credentials', 2],
    ['openstack-auth-failed', 3],
    ['openstack-unreachable', 1],
    ['openssh-failed', 5],
    ['openssh-directory', 1],
    // Only whole codes, or whole families.
    ['authority', 1],
    ['usage-x', 1],
    ['native-missing-x', 1],
    ['something-else', 1],
  ];
  for (const [code, exit] of table) {
    it(`${code} is ${exit}`, () => assert.equal(exitCodeOf(new TunnelError(code, 'x')), exit));
  }

  it('takes the code of subclasses, and 1 for what is foreign', () => {
    assert.equal(exitCodeOf(new UsageError('x', { hint: 'y' })), 2);
    assert.equal(exitCodeOf(new ConnectError('refused', 'x')), 1);
    assert.equal(exitCodeOf(Object.assign(new Error('x'), { code: 'usage' })), 1);
    assert.equal(exitCodeOf(undefined), 1);
  });
});
