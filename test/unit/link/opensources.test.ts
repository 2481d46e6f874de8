import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  formatPrefix,
  formatSource,
  groupsOf,
  groupsOfUser,
  type SourceFinder,
} from '../../../src/link/opensources.ts';

const FINDER: SourceFinder = { isHere: (host) => host === '192.0.2.2', sourceOf: () => undefined };
const TO = { host: '10.77.5.9', port: 443 };
const from = (host: string) => groupsOf(TO, { host, port: 1 }, FINDER);

describe('the source of an open', () => {
  it('is this machine, another one, or the program itself', () => {
    assert.equal(formatSource(from('192.0.2.2')), 'this machine');
    assert.equal(formatSource(from('192.0.2.9')), '192.0.2.9');
    assert.equal(formatSource(groupsOf(TO, undefined, FINDER)), 'this program');
  });

  it('is a /64, of whose addresses a host may choose', () => {
    assert.deepEqual(from('2001:db8:0:7::1'), from('2001:db8:0:7:ffff::2'));
    assert.notDeepEqual(from('2001:db8:0:7::1'), from('2001:db8:0:8::1'));
    assert.equal(formatSource(from('2001:db8:0:7::1')), '2001:0db8:0000:0007::/64');
    assert.equal(formatSource(from('fe80::1%eth0')), 'fe80:0000:0000:0000::/64');
  });

  it('is a user, and a process of his', () => {
    assert.equal(formatSource(groupsOfUser(TO, 1000, undefined)), 'user 1000');
    const browser = groupsOfUser(TO, 1000, '4711 (browser)');
    assert.equal(formatSource(browser), 'user 1000, process 4711 (browser)');
    assert.equal(browser[0], groupsOfUser(TO, 1000, '815 (ssh)')[0]);
    assert.notEqual(browser[1], groupsOfUser(TO, 1000, '815 (ssh)')[1]);
    assert.equal(formatSource(groupsOfUser(TO, undefined, undefined)), 'sockets that are closed');
  });

  it('asks for a host in a prefix', () => {
    const prefixOf = (host: string) => formatPrefix(groupsOfUser({ host, port: 1 }, 1, undefined));
    assert.equal(prefixOf('10.77.5.9'), '10.77.5.0/24');
    assert.equal(prefixOf('2001:db8::9'), '2001:0db8:0000:0000::/64');
    assert.equal(prefixOf('www.corp.example'), '*.corp.example');
    assert.equal(prefixOf('localhost'), 'localhost');
  });
});
