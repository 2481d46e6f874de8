import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import { lookAtKernel } from '../../../../src/system/doctor/machine.ts';
import {
  lookAtResolver,
  lookAtRoutes,
  lookAtRules,
  type RouteEntry,
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
    lookAtRoutes(prefixes(...targets), (family) =>
      family === 4 ? [...ROUTES] : [{ dst: '2001:db8::/64', dev: 'eth0' }],
    );

  it('names those that are as long as a target, or longer', () => {
    assert.deepEqual(look('203.0.113.0/24').state, 'ok');
    assert.equal(
      look('10.0.0.0/9').detail,
      '10.1.2.3 dev wg0 wins over 10.0.0.0/9; 10.2.0.0/16 dev tun0 belongs to another tunnel',
    );
    assert.match(look('10.0.0.0/8').detail, /^10\.0\.0\.0\/8 dev wg0 is there already; /);
    assert.equal(look('192.0.2.7').state, 'ok');
    assert.equal(look('2001:db8::/32').detail, '2001:db8::/64 dev eth0 wins over 2001:db8::/32');
    assert.doesNotMatch(look('0.0.0.0/0').detail, /0\.0\.0\.0\/0 dev eth0/);
  });

  it('says what it can not know', () => {
    assert.equal(lookAtRoutes([]).state, 'note');
    assert.match(lookAtRoutes(prefixes('10.0.0.0/8'), () => undefined).detail, /not known/);
  });
});

describe('lookAtRules', () => {
  it('names those that come before the main table', () => {
    const usual = [
      { priority: 0, src: 'all', table: 'local' },
      { priority: 32766, src: 'all', table: 'main' },
      { priority: 32767, src: 'all', table: 'default' },
    ];
    assert.equal(lookAtRules(() => usual).state, 'ok');
    const found = lookAtRules((family) =>
      family === 6 ? usual : [...usual, { priority: 5270, src: 'all', table: '52' }],
    );
    assert.equal(found.state, 'warning');
    assert.equal(found.detail, 'IPv4 5270: from all lookup 52');
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
