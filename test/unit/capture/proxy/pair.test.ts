import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createPair } from '../../../../src/capture/proxy/pair.ts';
import { pseudoRandomBytes } from '../../../support/bytes.ts';

describe('createPair', () => {
  it('hands over what is written, with the end', async () => {
    for (const [near, far] of [createPair(), createPair().reverse()]) {
      assert.ok(near !== undefined && far !== undefined);
      const chunks: Buffer[] = [];
      far.on('data', (chunk: Buffer) => chunks.push(chunk));
      const bytes = pseudoRandomBytes(1 << 20, 'pair');
      for (let at = 0; at < bytes.length; at += 10_000) near.write(bytes.subarray(at, at + 10_000));
      near.end();
      await once(far, 'end');
      assert.ok(Buffer.concat(chunks).equals(bytes));
    }
  });

  it('leaves the memory of what was written to the writer', async () => {
    const [near, far] = createPair();
    const memory = Buffer.from('as it was written');
    await new Promise((resolve) => near.write(memory, resolve));
    memory.fill('x');
    const [chunk] = await once(far, 'data');
    assert.equal(String(chunk), 'as it was written');
  });

  it('keeps the other direction of its second end, and of its first when asked to', async () => {
    const [first, second] = createPair();
    first.allowHalfOpen = true;
    first.resume();
    second.end();
    await once(first, 'end');
    first.end('still here');
    const [chunk] = await once(second, 'data');
    assert.equal(String(chunk), 'still here');
  });

  it('makes a writer wait for the reader', async () => {
    const [near, far] = createPair();
    let taken = 0;
    const fill = () => {
      do taken += 65536;
      while (near.write(Buffer.alloc(65536)));
    };
    near.on('drain', fill);
    fill();
    for (let n = 0; n < 100; n++) await turn();
    assert.ok(taken <= 4 * 65536, `${taken} bytes are held`);
    near.off('drain', fill);
    far.resume();
    await once(near, 'drain');
    far.destroy();
  });

  it('resets the other end of one that is destroyed', async () => {
    for (const [near, far] of [createPair(), createPair().reverse()]) {
      assert.ok(near !== undefined && far !== undefined);
      near.destroy();
      const [error] = await once(far, 'error');
      assert.equal(error.code, 'ECONNRESET');
    }
  });
});
