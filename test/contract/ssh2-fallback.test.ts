/**
 * Like ssh2-internals.test.ts, on a machine with neither ssh2's native ciphers nor OpenSSL's
 * functions.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { addon } from '../../src/native/addon.ts';
// Must be the first import: it keeps the next from loading the native ciphers.
import { bindingAvailable } from '../support/withoutbinding.ts';
import { exchangeContract } from './ssh2-exchange.ts';

it('the native ciphers are missing', () => assert.equal(bindingAvailable, false));

addon().gcmCreate = () => null;

exchangeContract('ssh2 with the ciphers of Node', {
  'aes128-gcm@openssh.com': 'AESGCMCipherNative',
  'chacha20-poly1305@openssh.com': 'ChaChaPolyCipherNative',
  'aes128-ctr': 'GenericCipherNative',
});
