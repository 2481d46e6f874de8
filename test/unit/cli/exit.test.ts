import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execExitCodeOf, exitCodeOf } from '../../../src/cli/exit.ts';
import { EXIT } from '../../../src/errors/codes.ts';
import { TunnelError, UsageError } from '../../../src/errors/errors.ts';
import { ConnectError } from '../../../src/flow/connector.ts';

const HELP = fileURLToPath(new URL('../../../../src/cli/connect.ts', import.meta.url));

describe('exitCodeOf', () => {
  const table = [
    ['usage', 2],
    ['auth-failed', 3],
    ['auth-cancelled', 3],
    ['no-terminal', 3],
    ['host-key-unknown', 4],
    ['host-key-changed', 4],
    ['jumphost-unreachable', 5],
    ['link-lost', 5],
    ['capture-no-tun', 6],
    ['helper-lost', 6],
    ['dns-resolved', 6],
    ['journal', 6],
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
    ['known-hosts-unwritable', 1],
  ] as const;
  for (const [code, exit] of table) {
    it(`${code} is ${exit}`, () => assert.equal(exitCodeOf(new TunnelError(code, 'x')), exit));
  }

  it('takes the code of subclasses, and 1 for what is foreign', () => {
    assert.equal(exitCodeOf(new UsageError('x', { hint: 'y' })), 2);
    assert.equal(exitCodeOf(new ConnectError('refused', 'x')), 1);
    assert.equal(exitCodeOf(Object.assign(new Error('x'), { code: 'usage' })), 1);
    assert.equal(exitCodeOf(undefined), 1);
  });

  it('--help tells of each status', () => {
    const [, told = ''] = readFileSync(HELP, 'utf8').split('Exit codes:');
    const statuses = [...told.matchAll(/ {2,}(\d) {2}\w/g)].map(([, status]) => Number(status));
    assert.deepEqual(statuses.sort(), Object.values(EXIT).sort());
  });
});

describe('execExitCodeOf', () => {
  it('tells a command that is not there from one that can not be run, and both from the tunnel', () => {
    assert.equal(execExitCodeOf(new TunnelError('command-not-found', 'x')), 127);
    assert.equal(execExitCodeOf(new TunnelError('command-not-executable', 'x')), 126);
    assert.equal(execExitCodeOf(new TunnelError('auth-failed', 'x')), 125);
    assert.equal(execExitCodeOf(new Error('x')), 125);
  });
});
