import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import type { RouteEntry, RuleEntry } from '../../../../src/system/doctor/ip.ts';
import { lookAtKernel } from '../../../../src/system/doctor/machine.ts';
import {
  lookAtIPv6,
  lookAtMtu,
  lookAtResolver,
  lookAtRoutes,
  lookAtRules,
  type RoutingTables,
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

  it('says what it can not know', async () => {
    assert.equal((await lookAtRoutes([])).state, 'note');
    const unknown = await lookAtRoutes(prefixes('10.0.0.0/8'), {}, async () => undefined);
    assert.match(unknown.detail, /not known/);
  });
});

describe('lookAtRules', () => {
  const USUAL: readonly RuleEntry[] = [
    { priority: 0, src: 'all', table: 'local' },
    { priority: 32766, src: 'all', table: 'main' },
    { priority: 32767, src: 'all', table: 'default' },
  ];
  /** `route`: what the kernel answers for each address. */
  const tables = (rules: readonly RuleEntry[], route: RouteEntry = {}): RoutingTables => ({
    rules: async (family) => (family === 6 ? [...USUAL] : [...USUAL, ...rules]),
    routeTo: async () => route,
  });
  const OTHER: RuleEntry = { priority: 5270, src: 'all', table: '52' };
  const look = (rules: readonly RuleEntry[], route?: RouteEntry) =>
    lookAtRules(prefixes('10.0.0.0/8'), tables(rules, route));

  it('knows the usual ones', async () => {
    assert.equal((await look([])).state, 'ok');
  });

  it('warns of a table that wins, as the kernel has it', async () => {
    const found = await look([OTHER], { dev: 'wg0', table: '52' });
    assert.equal(found.state, 'warning');
    assert.equal(
      found.detail,
      '10.0.0.1 goes by table 52 (dev wg0), which comes before the main table',
    );
  });

  it('does not warn of rules that apply to no target', async () => {
    const found = await look([OTHER], { dev: 'eth0' });
    assert.equal(found.state, 'ok');
    assert.equal(found.detail, 'IPv4 5270: from all lookup 52; none applies to a target');
    const none = await lookAtRules([], tables([OTHER]));
    assert.equal(none.state, 'note');
  });

  it('knows that wg-quick has the main table asked before its own', async () => {
    const wireguard: readonly RuleEntry[] = [
      { priority: 32764, src: 'all', table: 'main', suppress_prefixlen: 0 },
      { priority: 32765, src: 'all', table: '51820', fwmark: '0xca6c' },
    ];
    assert.equal((await look(wireguard, { dev: 'wg0', table: '51820' })).state, 'ok');
    // Without that rule, the tunnel's route is never asked for.
    const alone = await look(wireguard.slice(1), { dev: 'wg0', table: '51820' });
    assert.equal(alone.state, 'warning');
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
      '10.0.0.53, 127.0.0.53 (systemd-resolved)',
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
});
