import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { silentObserver } from '../../../src/observe/observer.ts';
import { Waits } from '../../../src/observe/waits.ts';
import { progressOf, tellProgress } from '../../../src/ssh/startprogress.ts';

describe('the progress of a start', () => {
  it('is what is waited for, until it stops', () => {
    const waits = new Waits();
    const observer = { ...silentObserver, waiting: waits.begin.bind(waits) };
    const state = { at: '192.0.2.1:22', accepted: true };
    let phase: 'identification' | 'authentication' = 'identification';
    let login: string | undefined;
    const progress = tellProgress({
      observer,
      what: () => progressOf({ ...state, phase, login }),
      mayAsk: () => phase === 'identification',
    });
    assert.deepEqual(waits.texts, [
      '0 s for 192.0.2.1:22 to say anything about SSH; it has accepted the connection',
    ]);
    assert.equal(waits.mayAsk, true);
    phase = 'authentication';
    login = 'a further factor, keyboard-interactive, after ssh-ed25519 SHA256:x was accepted';
    assert.deepEqual(waits.texts, [`0 s for 192.0.2.1:22 to decide about the login: ${login}`]);
    assert.equal(waits.mayAsk, false);
    progress.stop();
    progress.stop();
    assert.deepEqual(waits.texts, []);
  });
});
