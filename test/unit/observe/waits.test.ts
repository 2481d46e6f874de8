import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Waits } from '../../../src/observe/waits.ts';

describe('what a run waits for', () => {
  it('is known until it ends, and who follows it is told at once', () => {
    const waits = new Waits();
    let told = 0;
    waits.onChange(() => told++);
    let text: string | undefined = '1 s for one';
    let asking = true;
    const [one, two] = [
      waits.begin({ what: () => text, mayAsk: () => asking }),
      waits.begin({ what: () => '2 s for two' }),
    ];
    assert.deepEqual([waits.texts, waits.mayAsk], [['1 s for one', '2 s for two'], true]);
    asking = false;
    text = undefined;
    assert.deepEqual([waits.texts, waits.mayAsk], [['2 s for two'], false]);
    two();
    two();
    assert.deepEqual(waits.texts, []);
    one();
    assert.equal(told, 4);
  });
});
