/** Messages of the kernel: of this machine's own tables, and malformed ones. */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addon } from '../../../../src/native/addon.ts';
import { formatPrefix, prefixNotation } from '../../../../src/net/prefix.ts';
import { linuxRouting } from '../../../../src/system/routing/kernel.ts';
import {
  dumpBody,
  lookUpBody,
  RTM,
  readDeviceName,
  readNetworks,
  readRoutes,
  readRules,
  TABLE,
} from '../../../../src/system/routing/rtnetlink.ts';

const LIMIT = 1024 * 1024;

describe('linuxRouting', () => {
  it('knows the loopback, its addresses and the rules that are always there', () => {
    const local = linuxRouting
      .routes(4)
      .find(({ destination }) => formatPrefix(destination) === '127.0.0.1');
    assert.equal(local?.type, 2);
    assert.equal(linuxRouting.deviceName(local?.device ?? 0), 'lo');
    const answer = linuxRouting.lookUp({ address: '127.0.0.1', uid: 1000, port: 443 });
    assert.ok(typeof answer === 'object' && answer.type === 2);
    const tables = linuxRouting.rules(4).map(({ priority, table }) => [priority, table]);
    assert.deepEqual(tables[0], [0, TABLE.local]);
    assert.ok(tables.some(([, table]) => table === TABLE.main));
  });

  it('knows the networks that Node knows', () => {
    const known = new Set(linuxRouting.networks(4).map(({ prefix }) => prefixNotation(prefix)));
    const loopback = networkInterfaces()['lo']?.find(({ family }) => family === 'IPv4');
    assert.equal(loopback?.cidr, '127.0.0.1/8');
    assert.ok(known.has('127.0.0.0/8'));
  });

  it('has no name for a device that is not there', () => {
    assert.equal(linuxRouting.deviceName(0x7ffffff), undefined);
  });
});

describe('rtnetlinkAsk', () => {
  it('only asks', () => {
    const body = dumpBody('route', 4);
    for (const type of [16, 17, 19, 20, RTM.newRoute, 25, 27, 0, 2, 0x10022])
      assert.throws(() => addon().rtnetlinkAsk(type, false, body, LIMIT), TypeError, `${type}`);
    const long = new Uint8Array(257);
    assert.throws(() => addon().rtnetlinkAsk(RTM.getRoute, true, long, LIMIT), TypeError);
  });

  it('has a limit, and passes the kernel’s refusal on', () => {
    const ask = (limit: number) =>
      addon().rtnetlinkAsk(RTM.getRoute, true, dumpBody('route', 4), limit);
    assert.ok(ask(LIMIT).length > 64);
    assert.throws(() => ask(64), { errno: 90 });
    const malformed = lookUpBody({ address: '192.0.2.1' }).subarray(0, 4);
    assert.throws(() => addon().rtnetlinkAsk(RTM.getRoute, false, malformed, LIMIT), {
      errno: 22,
    });
  });
});

describe('the readers', () => {
  const readers = [readRoutes, readRules, readNetworks, readDeviceName];

  it('take anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of readers) read(bytes);
      }),
    );
  });

  it('take each part of a real answer, and what one octet makes of it', () => {
    const answers = addon().rtnetlinkAsk(RTM.getRoute, true, dumpBody('route', 4), LIMIT);
    const whole = answers.subarray(0, 400);
    const some = { min: 0, max: whole.length - 1 };
    fc.assert(
      fc.property(fc.integer(some), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const changed = Uint8Array.from(whole);
        changed[at] = value;
        for (const read of readers) {
          read(changed);
          read(whole.subarray(0, at));
          // Not aligned to anything, as a Buffer of a pool may be.
          read(whole.subarray(at));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
