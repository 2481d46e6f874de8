import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Acknowledger } from '../../../../../src/ssh/embedded/channels/acknowledger.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function acknowledger(possible = true) {
  let calls = 0;
  const subject = new Acknowledger(() => {
    calls++;
    return possible;
  });
  return { subject, calls: () => calls };
}

describe('Acknowledger', () => {
  it('acknowledges small reads, once a turn', async () => {
    const { subject, calls } = acknowledger();
    for (let read = 0; read < 3; read++) subject.received(100);
    assert.equal(calls(), 0, 'not before what they cause has been sent');
    await turn();
    assert.equal(calls(), 1);
    subject.received(100);
    await turn();
    assert.equal(calls(), 2);
    await turn();
    assert.equal(calls(), 2);
  });

  it('does nothing if something is sent that carries the acknowledgement', async () => {
    const { subject, calls } = acknowledger();
    subject.received(100);
    subject.sent();
    await turn();
    assert.equal(calls(), 0);
    subject.sent();
    subject.received(100);
    await turn();
    assert.equal(calls(), 1, 'what was sent before doesn’t count');
  });

  it('leaves large reads to the kernel', async () => {
    const { subject, calls } = acknowledger();
    subject.received(64 * 1024);
    await turn();
    assert.equal(calls(), 0);
  });

  it('tries only once if it can’t be done', async () => {
    const { subject, calls } = acknowledger(false);
    for (let read = 0; read < 3; read++) {
      subject.received(100);
      await turn();
    }
    assert.equal(calls(), 1);
  });
});
