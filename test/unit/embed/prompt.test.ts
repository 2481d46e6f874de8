import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { prompterFor, type Question } from '../../../src/embed/prompt.ts';

describe('prompterFor', () => {
  it('asks nobody without a callback', async () => {
    const prompter = prompterFor(undefined);
    assert.equal(prompter.canAsk(), false);
    await assert.rejects(prompter.secret('password'), { code: 'no-terminal' });
  });

  it('passes questions on one after the other, without control characters', async () => {
    const questions: Question[] = [];
    let asking = 0;
    const prompter = prompterFor(async (question) => {
      questions.push(question);
      assert.equal(asking, 0);
      asking += 1;
      await Promise.resolve();
      asking -= 1;
      return 'answer';
    });
    const preamble = ['of the \u001b[2Jserver'];
    const answers = await Promise.all([
      prompter.secret('code\u0007:', { preamble }),
      prompter.line('name:'),
    ]);
    assert.deepEqual(answers, ['answer', 'answer']);
    assert.deepEqual(
      questions.map(({ kind }) => kind),
      ['secret', 'text'],
    );
    for (const { text, details } of questions)
      assert.doesNotMatch(text + details.join(''), /[\u0000-\u001f]/);
  });

  it('takes only a clear yes as consent', async () => {
    const alternative = { text: 'SHA256:abc', name: 'the fingerprint' };
    const given = [true, 'yes', 'YES ', 'SHA256:abc', false, 'no', '', 'y', undefined] as const;
    const agreed: boolean[] = [];
    for (const answer of given)
      agreed.push(await prompterFor(() => answer).confirm('Continue?', { alternative }));
    assert.deepEqual(agreed, [true, true, true, true, false, false, false, false, false]);
  });

  it('fails without an answer, and goes on after a callback that throws', async () => {
    await assert.rejects(prompterFor(() => undefined).secret('password'), {
      code: 'auth-cancelled',
    });
    let calls = 0;
    const prompter = prompterFor(() => {
      calls += 1;
      if (calls === 1) throw new Error('broken');
      return 'answer';
    });
    await assert.rejects(prompter.line('one'), /broken/);
    assert.equal(await prompter.line('two'), 'answer');
  });

  it('stops waiting when the answer is no longer wanted', async () => {
    const stop = new AbortController();
    const prompter = prompterFor(() => new Promise(() => {}));
    const answer = prompter.line('name', { signal: stop.signal });
    setImmediate(() => stop.abort(new Error('over')));
    await assert.rejects(answer, /over/);
  });
});
