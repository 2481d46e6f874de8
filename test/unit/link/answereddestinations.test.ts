import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ANSWERED_MS,
  AnsweredDestinations,
  MAX_ANSWERED,
} from '../../../src/link/answereddestinations.ts';

describe('AnsweredDestinations', () => {
  it('counts answers until there was none for a time, or one open was silent', () => {
    const answered = new AnsweredDestinations(() => assert.fail());
    assert.equal(answered.lately('a:1', 0), 0);
    answered.opened('a:1', 0);
    answered.opened('a:1', ANSWERED_MS - 1);
    assert.equal(answered.lately('a:1', ANSWERED_MS), 2);
    assert.equal(answered.lately('a:2', ANSWERED_MS), 0, 'another port');
    assert.equal(answered.lately('a:1', 2 * ANSWERED_MS - 1), 0);
    answered.opened('a:1', 2 * ANSWERED_MS);
    assert.equal(answered.lately('a:1', 2 * ANSWERED_MS), 1);
    answered.silent('a:1');
    assert.equal(answered.lately('a:1', 2 * ANSWERED_MS), 0);
  });

  it('forgets the one that answered longest ago, and says so', () => {
    let forgotten = 0;
    const answered = new AnsweredDestinations(() => forgotten++);
    for (let i = 0; i < MAX_ANSWERED; i++) answered.opened(`a:${i}`, 0);
    answered.opened('a:0', 1);
    answered.opened('b:1', 1);
    assert.equal(forgotten, 1);
    assert.equal(answered.lately('a:0', 1), 2);
    assert.equal(answered.lately('a:1', 1), 0);
  });
});
