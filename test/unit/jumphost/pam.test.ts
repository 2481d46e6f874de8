/** The PAM file of --mfa as text. Logins with codes: test/netns/jumphost-codes.test.ts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renderPam } from '../../../src/jumphost/pam.ts';
import { MFA_MODULES } from '../../../src/jumphost/plan.ts';
import { renderSshd } from '../../../src/jumphost/sshd.ts';
import { assertGolden } from '../../support/golden.ts';
import { planOf } from '../../support/jumphostplan.ts';

describe('the PAM file of --mfa', () => {
  for (const mfa of MFA_MODULES) {
    it(`${mfa}: as in test/golden/jumphost/mfa/${mfa}`, () => {
      const [file, ...others] = renderPam(mfa, { user: 'tunnel' });
      assert.deepEqual([file?.path, file?.mode, others], ['tunnel-mfa', 0o644, []]);
      assertGolden(`jumphost/mfa/${mfa}`, file?.text ?? '');
    });
  }

  it('comes with the drop-in, which asks PAM after the key', () => {
    const files = renderSshd(planOf(['10.0.0.5:443'], { mfa: 'oath' }));
    assert.deepEqual(
      files.map(({ path }) => path),
      ['10-tunnel.conf', 'tunnel-mfa'],
    );
    const [dropIn, pam] = files.map(({ text }) => text);
    assert.match(dropIn ?? '', /\nUsePAM yes\n/);
    assert.match(
      dropIn ?? '',
      /\nMatch Group tunnel\n[\s\S]*AuthenticationMethods publickey,keyboard-interactive:pam\n/,
    );
    assert.match(pam ?? '', /pam_oath\.so/);
  });

  it('does not come without --mfa', () => {
    const files = renderSshd(planOf(['10.0.0.5:443']));
    assert.equal(files.length, 1);
    assert.doesNotMatch(files[0]?.text ?? '', /UsePAM|keyboard-interactive/);
  });
});
