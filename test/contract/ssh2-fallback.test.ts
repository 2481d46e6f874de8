/** As ssh2-internals.test.ts, on a machine where ssh2's native ciphers could not be built. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
// The first: it keeps the next from loading them.
import { bindingAvailable } from '../support/withoutbinding.ts';
import { exchangeContract } from './ssh2-exchange.ts';

it('the native ciphers are not there', () => assert.equal(bindingAvailable, false));

exchangeContract('ssh2 with the ciphers of Node', {
  'aes128-gcm@openssh.com': 'AESGCMCipherNative',
  'chacha20-poly1305@openssh.com': 'ChaChaPolyCipherNative',
  'aes128-ctr': 'GenericCipherNative',
});
