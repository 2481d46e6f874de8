import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AuthReport } from '../../../../../src/ssh/embedded/auth/report.ts';

const about = {
  user: 'user',
  server: 'the jump host',
  enabled: ['publickey', 'keyboard-interactive'],
  mayAsk: true,
  answeredBefore: false,
} as const;

describe('the report of a login', () => {
  it('tells a refusal from an answer that is missing', () => {
    const secondFactor = (more: { readonly answeredBefore?: boolean } = {}) => {
      const report = new AuthReport({ ...about, ...more });
      report.permits(['publickey', 'keyboard-interactive']);
      report.offered('a key');
      return report;
    };
    const refused = secondFactor();
    refused.leftOut('keyboard-interactive', true);
    assert.equal(refused.failure().code, 'auth-failed', 'the key was refused');
    const expected = secondFactor({ answeredBefore: true });
    expected.leftOut('keyboard-interactive', true);
    assert.equal(expected.failure().code, 'no-terminal', 'as before the login that was answered');
    const further = secondFactor();
    further.accepted();
    further.permits(['keyboard-interactive']);
    further.leftOut('keyboard-interactive', true);
    assert.equal(further.failure().code, 'no-terminal');
    for (const code of ['no-terminal', 'auth-cancelled'] as const) {
      const locked = secondFactor();
      locked.leftOut('a key', code === 'no-terminal');
      locked.unanswered(code, true);
      assert.equal(locked.failure().code, code, 'the server would have taken the key');
      locked.offered('another key');
      assert.equal(locked.failure().code, 'auth-failed');
    }
    const elsewhere = secondFactor();
    elsewhere.leftOut('an encrypted key', true);
    elsewhere.accepted();
    elsewhere.permits(['hostbased']);
    assert.equal(elsewhere.failure().code, 'auth-failed', 'that key would not help');
  });

  it('says where a password is asked for, if one may be in the name of the user', () => {
    const hintFor = (user: string) => {
      const report = new AuthReport({ ...about, user });
      report.permits(['publickey']);
      report.offered('a key');
      return report.failure().hint ?? '';
    };
    assert.match(hintFor('user:target'), /ssh-copy-id\); all that is before .* is the user/);
    assert.doesNotMatch(hintFor('user@target'), /all that is before/);
  });

  it('says what the server has to decide about, and what it has accepted before', () => {
    const report = new AuthReport(about);
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
