import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import {
  CIPHERTEXT_BYTES,
  kemKeys,
  libraryKem,
  nativeKem,
  PUBLIC_BYTES,
  prepareKem,
} from '../../../../../src/ssh/embedded/ssh2/mlkem.ts';

const native = nativeKem();

describe('ML-KEM-768', () => {
  it('there are no keys before it is loaded, and then different ones for each exchange', async () => {
    assert.throws(() => kemKeys(), /has not been loaded/);
    await Promise.all([prepareKem(), prepareKem()]);
    const keys = [kemKeys(), kemKeys(), kemKeys()].map(({ publicKey }) =>
      publicKey.toString('hex'),
    );
    assert.equal(new Set(keys).size, 3);
  });

  for (const [name, skip, make] of [
    ['the library', false, libraryKem],
    ['Node', native === undefined && 'this Node has no ML-KEM', async () => native],
  ] as const)
    it(`${name}: opens what was sealed for its key, and nothing else`, { skip }, async () => {
      const generate = await make();
      const keys = generate?.();
      assert.ok(keys);
      assert.equal(keys.publicKey.length, PUBLIC_BYTES);
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(keys.publicKey);
      assert.equal(cipherText.length, CIPHERTEXT_BYTES);
      assert.deepEqual(keys.open(Buffer.from(cipherText)), Buffer.from(sharedSecret));
      const other = generate?.();
      assert.notDeepEqual(other?.open(Buffer.from(cipherText)), Buffer.from(sharedSecret));
    });
});
