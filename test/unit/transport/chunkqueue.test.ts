import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ChunkQueue } from '../../../src/transport/ssh2/chunkqueue.ts';

const MAX_BLOCK = 32 * 1024;

const action = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 40_000 }) },
  { weight: 3, arbitrary: fc.constant('shift' as const) },
);

describe('ChunkQueue', () => {
  it('gives back what was put in, in order, and takes no more memory than that and a block', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const queue = new ChunkQueue();
        const shared = Buffer.alloc(40_000);
        let [put, got, unused] = [0, 0, 0];
        /** Bytes count up, so that order and place can be seen. */
        const take = (): boolean => {
          const chunk = queue.shift();
          if (chunk === undefined) return false;
          assert.ok(chunk.length > 0);
          chunk.forEach((byte, index) => {
            if (byte !== ((got + index) & 0xff)) assert.fail(`byte ${got + index} is ${byte}`);
          });
          got += chunk.length;
          unused += chunk.buffer.byteLength - chunk.length;
          return true;
        };
        for (const each of actions) {
          const { empty } = queue;
          if (each === 'shift') {
            assert.equal(take(), !empty);
          } else {
            for (let index = 0; index < each; index++) shared[index] = (put + index) & 0xff;
            queue.append(shared.subarray(0, each));
            // What is appended is a view of memory that is used again.
            shared.fill(0xee, 0, each);
            put += each;
          }
          assert.equal(queue.empty, put === got);
        }
        // All blocks that are there at once: only the last of them has room left.
        unused = 0;
        while (take());
        assert.equal(got, put);
        assert.ok(unused <= MAX_BLOCK, `${unused} bytes unused`);
      }),
      { numRuns: 300 },
    );
  });
});
