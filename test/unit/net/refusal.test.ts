import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import { refusalOfErrno } from '../../../src/net/refusal.ts';

describe('the refusal that an errno stands for', () => {
  it('is the same for all who dial, and undefined for what says nothing about the peer', () => {
    const expected: Readonly<Record<string, string>> = {
      ECONNREFUSED: 'refused',
      ECONNRESET: 'refused',
      EHOSTUNREACH: 'unreachable',
      EHOSTDOWN: 'unreachable',
      ENETUNREACH: 'no-network',
      ENETDOWN: 'no-network',
      EADDRNOTAVAIL: 'no-network',
      EAFNOSUPPORT: 'no-network',
      EACCES: 'prohibited',
      EPERM: 'prohibited',
      ETIMEDOUT: 'timeout',
    };
    const names = [...Object.keys(constants.errno), 'EHOSTDOWN', 'ENOTFOUND'];
    for (const name of names) assert.equal(refusalOfErrno(name), expected[name], name);
    for (const name of Object.keys(expected)) assert.ok(names.includes(name), name);
    assert.equal(refusalOfErrno(undefined), undefined);
    assert.equal(refusalOfErrno('constructor'), undefined);
  });
});
