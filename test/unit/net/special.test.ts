import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { specialRangeOf } from '../../../src/net/special.ts';

describe('specialRangeOf', () => {
  const table: readonly (readonly [text: string, reason: RegExp | undefined])[] = [
    ['127.0.0.1', /loopback/],
    ['127.0.0.0/8', /loopback/],
    ['0.0.0.10', /this network/],
    ['224.0.0.251', /multicast/],
    ['239.0.0.0/8', /multicast/],
    ['255.255.255.255', /limited broadcast/],
    ['169.254.169.254', /link-local/],
    ['198.19.0.0/16', /program's own/],
    ['::1', /loopback/],
    ['::', /unspecified/],
    ['2001:2::5', /program's own/],
    ['fe80::1', /link-local/],
    ['ff02::1', /multicast/],
    // Wider than the range, or outside
    ['0.0.0.0/0', undefined],
    ['126.0.0.0/7', undefined],
    ['::/0', undefined],
    ['10.0.0.0/8', undefined],
    ['198.20.0.0/16', undefined],
    ['240.0.0.1', undefined],
    ['64:ff9b::1', undefined],
    ['fd00::/8', undefined],
    ['2001:2:1::1', undefined],
  ];
  for (const [text, reason] of table) {
    it(`${text}: ${reason?.source ?? 'not special'}`, () => {
      const found = specialRangeOf(parsePrefix(text).prefix);
      if (reason === undefined) assert.equal(found, undefined);
      else assert.match(found?.reason ?? '', reason);
    });
  }

  it('only IPv4 link-local addresses can be asked for', () => {
    for (const text of ['127.0.0.1', '169.254.169.254', 'fe80::1', 'ff02::1', '198.18.0.1']) {
      assert.equal(
        specialRangeOf(parsePrefix(text).prefix)?.onRequest,
        text === '169.254.169.254',
        text,
      );
    }
  });
});
