import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import type { RouteEntry } from '../../../../src/system/doctor/ip.ts';
import { lookAtKernel } from '../../../../src/system/doctor/machine.ts';
import {
  lookAtIPv6,
  lookAtMtu,
  lookAtResolver,
  lookAtRoutes,
} from '../../../../src/system/doctor/routing.ts';

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);

describe('lookAtRoutes', () => {
  const ROUTES: readonly RouteEntry[] = [
    { dst: 'default', dev: 'eth0' },
    { dst: '10.0.0.0/8', dev: 'wg0' },
    { dst: '10.1.2.3', dev: 'wg0' },
    { dst: '10.2.0.0/16', dev: 'tun0', protocol: '116' },
    { dst: '192.0.2.0/24', dev: 'eth0', protocol: 'kernel' },
  ];
  const look = (...targets: readonly string[]) =>
    lookAtRoutes(prefixes(...targets), {}, async (family) =>
      family === 4 ? [...ROUTES] : [{ dst: '2001:db8::/64', dev: 'eth0' }],
    );

  it('names those that are as long as a target, or longer', async () => {
    assert.deepEqual((await look('203.0.113.0/24')).state, 'ok');
    assert.equal(
      (await look('10.0.0.0/9')).detail,
      '10.1.2.3 dev wg0 wins over 10.0.0.0/9; 10.2.0.0/16 dev tun0 belongs to another tunnel',
    );
    assert.match((await look('10.0.0.0/8')).detail, /^10\.0\.0\.0\/8 dev wg0 is there already; /);
    assert.equal((await look('192.0.2.7')).state, 'ok');
    assert.equal(
      (await look('2001:db8::/32')).detail,
      '2001:db8::/64 dev eth0 wins over 2001:db8::/32',
    );
    assert.doesNotMatch((await look('0.0.0.0/0')).detail, /0\.0\.0\.0\/0 dev eth0/);
  });

  it('leaves out what is excluded, and what everybody expects of 0/0', async () => {
    const exclusions = prefixes('10.0.0.0/8');
    const found = await lookAtRoutes(prefixes('0.0.0.0/0'), { exclusions }, async (family) =>
      family === 4 ? [...ROUTES] : [],
    );
    assert.equal(found.state, 'ok');
    assert.match((await look('192.0.0.0/8')).detail, /192\.0\.2\.0\/24 dev eth0 wins/);
  });

  const onlyWith = (route: RouteEntry, target: string) =>
    lookAtRoutes(prefixes(target), {}, async () => [route]);

  it('knows that the tunnel wins over the same prefix with a metric', async () => {
    const weak = { dst: '10.0.0.0/8', dev: 'wg0', metric: 50 };
    assert.equal((await onlyWith(weak, '10.0.0.0/8')).state, 'ok');
    assert.equal((await onlyWith({ ...weak, metric: 0 }, '10.0.0.0/8')).state, 'warning');
    assert.equal((await onlyWith(weak, '10.0.0.0/7')).state, 'warning');
    const ipv6 = { dst: '2001:db8::/32', dev: 'wg0', metric: 1024 };
    assert.equal((await onlyWith(ipv6, '2001:db8::/32')).state, 'warning');
    assert.equal((await onlyWith({ ...ipv6, metric: 1025 }, '2001:db8::/32')).state, 'ok');
  });

  it('names routes that lead nowhere by what they are', async () => {
    const route = { type: 'blackhole', dst: '10.77.0.0/24' };
    const { detail } = await onlyWith(route, '10.0.0.0/8');
    assert.equal(detail, '10.77.0.0/24 blackhole wins over 10.0.0.0/8');
  });

  it('counts what is on the link among the networks that nobody wants in 0/0', async () => {
    const route = { dst: '169.254.0.0/16', dev: 'eth0', protocol: 'boot', scope: 'link' };
    assert.equal((await onlyWith(route, '0.0.0.0/0')).state, 'ok');
    assert.equal((await onlyWith(route, '169.0.0.0/8')).state, 'warning');
  });

  it('says what it can not know', async () => {
    assert.equal((await lookAtRoutes([])).state, 'note');
    const unknown = await lookAtRoutes(prefixes('10.0.0.0/8'), {}, async () => undefined);
    assert.match(unknown.detail, /not known/);
  });
});

describe('lookAtIPv6', () => {
  let exclusions = prefixes();
  const look = (targets: readonly string[], inUse: boolean) =>
    lookAtIPv6(prefixes(...targets), exclusions, async () => inUse);

  it('warns where all of IPv4 is a target and IPv6 is in use', async () => {
    assert.equal((await look(['0.0.0.0/0'], true)).state, 'warning');
    assert.equal((await look(['0.0.0.0/1', '128.0.0.0/1'], true)).state, 'warning');
    assert.equal((await look(['0.0.0.0/0'], false)).state, 'ok');
    assert.equal((await look(['0.0.0.0/0', '::/0'], true)).state, 'ok');
    assert.equal((await look(['10.0.0.0/8'], true)).state, 'ok');
    exclusions = prefixes('::/0');
    assert.equal((await look(['0.0.0.0/0'], true)).state, 'ok');
  });
});

describe('lookAtMtu', () => {
  const look = (mtu: number, learned?: number) =>
    lookAtMtu(
      '192.0.2.1',
      async <T>(...args: readonly string[]) =>
        (args[0] === 'route'
          ? [{ dev: 'eth0', ...(learned !== undefined && { metrics: [{ mtu: learned }] }) }]
          : [{ ifname: 'eth0', mtu }]) as T[],
    );

  it('takes the least of the device and what was learned about the path', async () => {
    assert.equal((await look(1500)).detail, '1500 octets to 192.0.2.1, by eth0');
    assert.equal((await look(1500, 1400)).detail, '1400 octets to 192.0.2.1, by eth0');
    assert.equal((await look(1500, 1200)).state, 'warning');
    assert.equal((await look(1000)).state, 'warning');
    assert.equal((await lookAtMtu(undefined)).state, 'note');
    assert.equal((await lookAtMtu('192.0.2.1', async () => undefined)).state, 'note');
  });
});

describe('lookAtResolver', () => {
  it('warns of resolvers that are targets', () => {
    const configuration = { resolvers: ['10.0.0.53', '127.0.0.53'], lines: [] };
    assert.equal(
      lookAtResolver(prefixes('192.0.2.0/24'), configuration).detail,
      'this machine asks 10.0.0.53, 127.0.0.53 (systemd-resolved), which was not tried',
    );
    assert.match(
      lookAtResolver(prefixes('10.0.0.0/8'), configuration).hint ?? '',
      /--dns.*-x 10\.0\.0\.53$/,
    );
  });
});

describe('lookAtKernel', () => {
  it('knows from when on sockets can be bound without privileges', () => {
    assert.equal(lookAtKernel('5.7.0-1-amd64').state, 'ok');
    assert.equal(lookAtKernel('6.1.0').state, 'ok');
    assert.equal(lookAtKernel('5.4.0-200-generic').state, 'warning');
  });

  it('asks with the device of a link-local address', async () => {
    const asked: string[] = [];
    const { detail } = await lookAtMtu('fe80::1%eth0', async <T>(...args: readonly string[]) => {
      asked.push(args.join(' '));
      return (args[0] === 'route' ? [{ dev: 'eth0' }] : [{ ifname: 'eth0', mtu: 1500 }]) as T[];
    });
    assert.equal(detail, '1500 octets to fe80::1%eth0, by eth0');
    assert.equal(asked[0], 'route get fe80::1 oif eth0');
  });
});
