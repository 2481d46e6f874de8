import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AuthReport } from '../../../../../src/ssh/embedded/auth/report.ts';

describe('the report of a login', () => {
  it('says what the server has to decide about, and what it has accepted before', () => {
    const report = new AuthReport('user', 'the jump host', ['publickey', 'keyboard-interactive']);
    assert.equal(report.underWay, undefined);
    report.offered('ssh-ed25519 SHA256:x');
    assert.equal(report.underWay, 'ssh-ed25519 SHA256:x');
    report.accepted();
    assert.equal(report.underWay, 'a further factor, after ssh-ed25519 SHA256:x was accepted');
    report.tried('keyboard-interactive');
    assert.equal(
      report.underWay,
      'a further factor, keyboard-interactive, after ssh-ed25519 SHA256:x was accepted',
    );
  });
});
