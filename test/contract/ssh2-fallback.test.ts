/**
 * As ssh2-internals.test.ts, on a machine where neither ssh2's native ciphers nor OpenSSL's
 * functions are to be had.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { addon } from '../../src/native/addon.ts';
// The first: it keeps the next from loading them.
import { bindingAvailable } from '../support/withoutbinding.ts';
import { exchangeContract } from './ssh2-exchange.ts';

it('the native ciphers are not there', () => assert.equal(bindingAvailable, false));

addon().gcmCreate = () => null;

exchangeContract('ssh2 with the ciphers of Node', {
  'aes128-gcm@openssh.com': 'AESGCMCipherNative',
  'chacha20-poly1305@openssh.com': 'ChaChaPolyCipherNative',
  'aes128-ctr': 'GenericCipherNative',
});
