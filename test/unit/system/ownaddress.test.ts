import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { describe, it } from 'node:test';
import { isOwnAddress } from '../../../src/system/ownaddress.ts';

describe('isOwnAddress', () => {
  it('knows the addresses of all devices, and no others', () => {
    const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
    assert.ok(own.length > 0);
    for (const { address } of own) assert.equal(isOwnAddress(address), true, address);
    for (const other of ['203.0.113.77', '127.99.0.1', '2001:db8::77'])
      assert.equal(isOwnAddress(other), false, other);
  });

  it('takes any address for one of them while they can’t be listed', () => {
    const none = () => {
      throw new Error('uv_interface_addresses returned EMFILE');
    };
    assert.equal(isOwnAddress('203.0.113.77', none), true);
  });
});
