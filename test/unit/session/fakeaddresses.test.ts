/** Other programs in the ranges of virtual addresses. */
import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { describe, it } from 'node:test';
import {
  othersInRanges,
  tunnelsAmong,
  warnOfOthersInRanges,
} from '../../../src/session/fakeaddresses.ts';

function at(cidr: string): NetworkInterfaceInfo {
  const [address = ''] = cidr.split('/');
  const rest = { address, cidr, netmask: '', mac: '', internal: false };
  return address.includes(':')
    ? { ...rest, family: 'IPv6', scopeid: 0 }
    : { ...rest, family: 'IPv4' };
}

const NONE = { interfaces: {}, resolvers: [], moved: new Set<4 | 6>() };

describe('another program in the ranges of virtual addresses', () => {
  it('is named by its device and by its resolver, and a tunnel is not', () => {
    const interfaces = {
      lo: [at('127.0.0.1/8'), at('::1/128')],
      eth0: [at('192.168.1.7/24')],
      tun0: [at('198.18.0.1/24'), at('2001:2::1/64')],
      tun3: [at('198.18.3.1/24'), at('2001:2:0:3::1/64')],
      Meta: [at('198.18.0.1/30'), at('fdfe:dcba:9876::1/126')],
      utun: [at('198.18.0.1/16')],
      odd: [at('198.18.9.2/24')],
    };
    const ours = ['198.18.0.53', '198.18.3.53', '2001:2::35', '2001:2:0:3::35'];
    const resolvers = ['192.168.1.1', '198.18.0.2', ...ours, '2001:2::1:35'];
    assert.deepEqual(othersInRanges({ ...NONE, interfaces, resolvers }), [
      'Meta has 198.18.0.1/30',
      'utun has 198.18.0.1/16',
      'odd has 198.18.9.2/24',
      '198.18.0.2 is a resolver',
      '2001:2::1:35 is a resolver',
    ]);
    assert.deepEqual(
      othersInRanges({ interfaces, resolvers, moved: new Set<4 | 6>([4, 6]) }),
      [],
      'there is nothing to warn of once the own range has moved',
    );
  });

  it('is warned of with a way out', () => {
    const said: string[] = [];
    const observer = {
      log: (level: string, message: string, { hint = '' }: { hint?: string } = {}) =>
        void said.push(`${level} ${message} ${hint}`),
      count() {},
    };
    warnOfOthersInRanges(NONE, observer);
    assert.deepEqual(said, []);
    warnOfOthersInRanges({ ...NONE, interfaces: { Meta: [at('198.18.0.1/30')] } }, observer);
    assert.match(said.join(), /^warning .*Meta has 198\.18\.0\.1\/30.*mihomo.*--virtual-range/);
  });
});

describe('tunnelsAmong', () => {
  it('finds the devices of other tunnels, by their own addresses', () => {
    const of = (address: string, cidr: string) => ({
      ...{ address, cidr, netmask: '', mac: '', internal: false },
      family: address.includes(':') ? ('IPv6' as const) : ('IPv4' as const),
      ...(address.includes(':') ? { scopeid: 0 } : {}),
    });
    const interfaces = {
      tun0: [of('198.18.0.1', '198.18.0.1/24'), of('2001:2::1', '2001:2::1/64')],
      tun1: [of('2001:2:0:1::1', '2001:2:0:1::1/64'), of('198.18.1.1', '198.18.1.1/24')],
      tun2: [of('2001:2:0:2::1', '2001:2:0:2::1/64')],
      Meta: [of('198.18.0.1', '198.18.0.1/30')],
      eth0: [of('192.0.2.1', '192.0.2.1/24'), of('fe80::1', 'fe80::1/64')],
    } as Parameters<typeof tunnelsAmong>[0];
    const devices = ['eth0', 'tun2', 'tun0', 'tun1'].map((name, index) => ({ name, index }));
    assert.deepEqual(tunnelsAmong(interfaces, devices, 'tun0'), [
      { device: 'tun1', index: 3, address: '198.18.1.1' },
      { device: 'tun2', index: 1, address: '2001:2:0:2::1' },
    ]);
  });
});
