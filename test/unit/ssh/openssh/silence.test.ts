/** How long ssh may say nothing while it starts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Phase } from '../../../../src/ssh/openssh/log.ts';
import {
  longestSilence,
  mayBeAsking,
  Patience,
  QUESTION_SECONDS,
} from '../../../../src/ssh/openssh/silence.ts';
import type { SshSettings } from '../../../../src/ssh/settings.ts';
import { authenticationSettings, testSettings } from '../../../support/settings.ts';

const PHASES: readonly Phase[] = ['identification', 'key exchange', 'authentication', 'up'];

function limits(
  mayAsk: boolean,
  batch: boolean,
  changes: Partial<SshSettings> = {},
): (number | undefined)[] {
  const settings = testSettings({
    hostName: 'jumphost',
    port: 22,
    connectTimeout: 7,
    authTimeout: 11,
    authentication: authenticationSettings([], { batch }),
    ...changes,
  });
  return PHASES.map((phase) => longestSilence({ phase, mayAsk }, settings));
}

describe("the silence of ssh's log", () => {
  it('may last as long as what is waited for', () => {
    const [identification, ...others] = limits(false, false);
    assert.ok(identification !== undefined && identification > 7);
    assert.deepEqual(others, [7, 11, undefined]);
  });

  it('may last longer where somebody may be asked, but not for ever', () => {
    assert.deepEqual(limits(true, false).slice(1), [
      QUESTION_SECONDS + 7,
      QUESTION_SECONDS + 11,
      undefined,
    ]);
    assert.deepEqual(limits(true, true), limits(false, false));
  });

  it('is bounded by ssh itself while hops may ask', () => {
    const proxy = { kind: 'command', command: 'nc' } as const;
    assert.equal(limits(false, false, { proxy })[0], undefined);
    assert.notEqual(limits(false, true, { proxy })[0], undefined);
  });

  it('is not begun again by lines that are no step, which a server can have written', () => {
    const settings = testSettings({ hostName: 'jumphost', port: 22 });
    const asking = { ...settings, authentication: authenticationSettings() };
    const patience = new Patience();
    const begins = (phase: Phase, mayAsk: boolean, line = 'debug1: Remote: wait') =>
      patience.restarts({ phase, mayAsk }, asking, line);
    assert.equal(begins('identification', false), true);
    assert.equal(begins('identification', false), false);
    assert.equal(
      begins('identification', false, 'debug1: Connecting to b [192.0.2.2] port 22.'),
      true,
    );
    assert.equal(begins('authentication', false), true);
    for (let time = 0; time < 3; time++) assert.equal(begins('authentication', false), false);
    assert.equal(begins('authentication', true), true, 'somebody is asked');
    assert.equal(begins('authentication', false), true, 'and has answered');
    assert.equal(begins('authentication', false, 'debug1: Connecting to c'), false);
  });

  it('while somebody may be asked, messages would appear within the question', () => {
    const authentication = authenticationSettings();
    const asks = (phase: Phase, mayAsk: boolean, changes: Partial<SshSettings> = {}) =>
      mayBeAsking(
        { phase, mayAsk },
        testSettings({ hostName: 'jumphost', port: 22, authentication, ...changes }),
      );
    const batch = { authentication: authenticationSettings([], { batch: true }) };
    const command = { proxy: { kind: 'command', command: 'x' } } as const;
    assert.equal(asks('authentication', true), true);
    assert.equal(asks('authentication', false), false);
    assert.equal(asks('authentication', true, batch), false);
    assert.equal(asks('identification', false), false);
    assert.equal(asks('identification', false, command), true, 'a hop, or the command');
    assert.equal(asks('identification', false, { ...command, ...batch }), false);
  });
});
