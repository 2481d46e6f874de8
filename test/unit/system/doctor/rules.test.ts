import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import type { RouteEntry, RuleEntry } from '../../../../src/system/doctor/ip.ts';
import { lookAtRules, type RoutingTables } from '../../../../src/system/doctor/rules.ts';

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);

describe('lookAtRules', () => {
  const USUAL: readonly RuleEntry[] = [
    { priority: 0, src: 'all', table: 'local' },
    { priority: 32766, src: 'all', table: 'main' },
    { priority: 32767, src: 'all', table: 'default' },
  ];
  /** `route`: what the kernel answers for each address. */
  const tables = (
    rules: readonly RuleEntry[],
    route: RouteEntry = {},
    routes: readonly RouteEntry[] = [],
  ): RoutingTables => ({
    rules: async (family) => (family === 6 ? [...USUAL] : [...USUAL, ...rules]),
    routeTo: async () => route,
    routes: async (family) => (family === 4 ? routes : []),
  });
  const OTHER: RuleEntry = { priority: 5270, src: 'all', table: '52' };
  const look = (rules: readonly RuleEntry[], route?: RouteEntry, routes?: readonly RouteEntry[]) =>
    lookAtRules(prefixes('10.0.0.0/8'), tables(rules, route, routes));

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

  it('finds routes for a part of a target', async () => {
    const part = [{ dst: '10.1.0.0/16', dev: 'tailscale0' }];
    assert.equal(
      (await look([OTHER], {}, part)).detail,
      '10.1.0.0/16 goes by table 52 (dev tailscale0), which comes before the main table',
    );
    assert.equal((await look([OTHER], {}, [{ dst: '10.1.0.0/16', type: 'throw' }])).state, 'ok');
    assert.equal((await look([OTHER], {}, [{ dst: '100.64.0.0/10', dev: 'x' }])).state, 'ok');
    // Programs' packets have no mark.
    assert.equal((await look([{ ...OTHER, fwmark: '0x80000' }], {}, part)).state, 'ok');
    assert.equal((await look([{ ...OTHER, not: null, fwmark: '1' }], {}, part)).state, 'warning');
  });

  it('finds rules that refuse a target', async () => {
    const refusing = {
      priority: 100,
      src: 'all',
      dst: '10.1.0.0',
      dstlen: 16,
      action: 'blackhole',
    };
    assert.equal((await look([refusing])).detail, 'rule 100 (blackhole) applies to 10.0.0.0/8');
    const other = { ...refusing, dst: '192.0.2.0', dstlen: 24 };
    assert.equal(
      (await look([other])).detail,
      'IPv4 100: from all to 192.0.2.0/24 blackhole; none applies to a target',
    );
  });

  it('finds rules for some programs or ports, of which the kernel says nothing', async () => {
    const whole = [{ dst: 'default', dev: 'wg0' }];
    const found = await look([{ ...OTHER, ipproto: 'tcp', dport: 443 }], {}, whole);
    assert.match(found.detail, /^10\.0\.0\.0\/8 goes by table 52 for some programs \(dev wg0\)/);
    assert.equal((await look([{ ...OTHER, uid_start: 1000 }], {}, whole)).state, 'warning');
  });
});
