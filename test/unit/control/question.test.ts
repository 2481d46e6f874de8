import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  MAX_PREAMBLE_LINES,
  MAX_TEXT_LENGTH,
  questionFrom,
} from '../../../src/control/question.ts';

const asker = { name: 'lab', user: 'alice', pid: 4711 };

describe('a question of another tunnel', () => {
  it('stands below a line that only this program writes', () => {
    const { kind, question, preamble, alternative } = questionFrom(
      {
        kind: 'confirm',
        question: 'Go on?',
        preamble: ['one'],
        alternative: { text: 'SHA256:x', name: 'the fingerprint' },
      },
      asker,
    );
    assert.deepEqual([kind, question], ['confirm', '| Go on?']);
    assert.deepEqual(preamble, [`alice's tunnel "lab" (pid 4711) asks:`, '| one']);
    assert.deepEqual(alternative, { text: 'SHA256:x', name: 'the fingerprint' });
    const unknown = questionFrom(
      { kind: 'line', question: 'x' },
      { ...asker, user: undefined, name: 'a\x1b[2Jb\n' },
    );
    assert.deepEqual(unknown.preamble, ['the tunnel "ab" (pid 4711) asks:']);
  });

  it('keeps the blanks that an askpass program may know it by', () => {
    const { question } = questionFrom({ kind: 'secret', question: 'Enter PIN for "k": ' }, asker);
    assert.equal(question, '| Enter PIN for "k": ');
  });

  it('may be a notice, which says something', () => {
    const { kind, preamble } = questionFrom({ kind: 'notice', question: 'Touch your key' }, asker);
    assert.deepEqual([kind, preamble], ['notice', [`alice's tunnel "lab" (pid 4711) says:`]]);
  });

  it('is bounded, and has no control characters', () => {
    const long = 'x'.repeat(1_000_000);
    const { question, preamble } = questionFrom(
      { kind: 'secret', question: `\x1b[2J${long}\r\n`, preamble: Array(1000).fill(long) },
      { ...asker, name: long },
    );
    for (const line of [question, ...preamble]) {
      assert.ok(line.length <= MAX_TEXT_LENGTH + 8, `${line.length}`);
      assert.doesNotMatch(line, /\p{Cc}/u);
    }
    assert.equal(preamble.length, MAX_PREAMBLE_LINES + 2);
    assert.equal(preamble.at(-1), 'and 960 more lines, which are left out');
  });

  it('is none if it is anything else', () => {
    for (const value of [null, 7, 'x', {}, { kind: 'line' }, { kind: 'shell', question: 'x' }])
      assert.throws(() => questionFrom(value, asker), /not understood/);
    const odd = { kind: 'line', question: 'x', preamble: 'y', alternative: 7 };
    assert.deepEqual(questionFrom(odd, asker).alternative, undefined);
  });
});
