import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  blockPrefixes,
  MAX_TUNNELS,
  MAX_WRITTEN_SHARE,
  MIN_AGE_MS,
  VirtualAddresses,
  virtualBlocks,
} from '../../../../src/dns/server/virtual.ts';
import { formatPrefix, parsePrefix, prefixContains } from '../../../../src/net/prefix.ts';
import { specialRangeOf } from '../../../../src/net/special.ts';
import { CountingObserver } from './support.ts';

function blocks(index = 0) {
  const found = virtualBlocks({
    address4: `198.18.${index}.1`,
    address6: index === 0 ? '2001:2::1' : `2001:2:0:${index.toString(16)}::1`,
  });
  if (found === undefined) throw new Error('no blocks');
  return found;
}

function addresses(slots?: number) {
  const clock = { now: 0 };
  const observer = new CountingObserver();
  const virtual = new VirtualAddresses({
    blocks: blocks(),
    observer,
    now: () => clock.now,
    ...(slots === undefined ? {} : { slots }),
  });
  return { virtual, clock, observer };
}

describe('the blocks of virtual addresses', () => {
  it('lie apart from each other and from the devices of as many tunnels', () => {
    const all = Array.from({ length: MAX_TUNNELS }, (_, index) =>
      blockPrefixes(blocks(index)),
    ).flat();
    for (const [i, prefix] of all.entries()) {
      assert.ok(specialRangeOf(prefix), `${formatPrefix(prefix)} is not among our own addresses`);
      for (const other of all.slice(i + 1))
        assert.ok(
          !prefixContains(prefix, other) && !prefixContains(other, prefix),
          formatPrefix(prefix),
        );
      for (let device = 0; device < MAX_TUNNELS; device++) {
        const own = { family: 4, address: `198.18.${device}.0`, length: 24 } as const;
        assert.ok(!prefixContains(prefix, own));
      }
    }
  });

  it('are those of the families that the device has', () => {
    assert.deepEqual(virtualBlocks({ address4: '198.18.3.1', address6: undefined }), {
      ipv4: { family: 4, address: '198.19.0.0', length: 18 },
      ipv6: undefined,
    });
    assert.deepEqual(virtualBlocks({ address4: undefined, address6: '2001:2:0:1::1' })?.ipv6, {
      family: 6,
      address: '2001:2:0:8001::',
      length: 96,
    });
  });

  it('are none for one tunnel more', () => {
    assert.equal(
      virtualBlocks({ address4: `198.18.${MAX_TUNNELS}.1`, address6: undefined }),
      undefined,
    );
    assert.equal(virtualBlocks({ address4: undefined, address6: '2001:2:0:7::1' }), undefined);
  });

  it('are in the ranges that are given instead, one for each tunnel if they are wide', () => {
    const of = (index: number, ...texts: string[]) => {
      const device = {
        address4: `198.18.${index}.1`,
        address6: `2001:2:0:${index.toString(16)}::1`,
      };
      const ranges = texts.map((text) => parsePrefix(text).prefix);
      const found = virtualBlocks(device, ranges);
      return found === undefined ? undefined : blockPrefixes(found).map(formatPrefix);
    };
    assert.deepEqual(of(0, '100.127.0.0/18'), ['100.127.0.0/18', '2001:2:0:8000::/96']);
    assert.deepEqual(of(200, '100.127.0.0/20'), ['100.127.0.0/20', '2001:2:0:80c8::/96']);
    assert.deepEqual(of(3, '100.126.0.0/15', 'fd00::/96'), ['100.126.192.0/18', 'fd00::/96']);
    assert.equal(of(200, 'fd00::/96'), undefined);
  });

  it('hold as many names as the smaller range has addresses', () => {
    const observer = new CountingObserver();
    const device = { address4: '198.18.0.1', address6: '2001:2::1' };
    const small = virtualBlocks(device, [
      parsePrefix('100.127.4.0/24').prefix,
      parsePrefix('fd00::/112').prefix,
    ]);
    if (small === undefined) throw new Error('no blocks');
    const virtual = new VirtualAddresses({ blocks: small, observer });
    const leases = Array.from({ length: 255 }, (_, i) => virtual.lease(`n${i}`));
    assert.equal(leases.filter((lease) => lease !== undefined).length, 254);
    for (const lease of leases) {
      if (lease === undefined) continue;
      assert.match(lease.ipv4 ?? '', /^100\.127\.4\./);
      assert.equal(virtual.nameOf(lease.ipv4 ?? ''), lease.name);
      assert.equal(virtual.nameOf(lease.ipv6 ?? ''), lease.name);
    }
  });
});

describe('names that are written out as targets', () => {
  function setUp(written: readonly string[]) {
    const observer = new CountingObserver();
    const clock = { now: 0 };
    const now = () => clock.now;
    const virtual = new VirtualAddresses({ blocks: blocks(), observer, now, written, slots: 8 });
    const flood = (round: number) => {
      for (let i = 0; i < 16; i++) virtual.lease(`n${i}-${round}.corp.example`);
    };
    return { virtual, clock, observer, flood };
  }

  it('have a lease of their own, however many others are asked for, and keep it', () => {
    const { virtual, clock, observer, flood } = setUp(['api.example.com', 'db.example.com']);
    flood(0);
    assert.ok(observer.of('tunnel_dns_leases_exhausted_total') > 0);
    const lease = virtual.lease('api.example.com');
    assert.ok(lease?.ipv4);
    const hold = virtual.hold(lease.ipv4);
    assert.equal(hold?.name, 'api.example.com');
    hold.release();
    for (let round = 1; round < 4; round++) {
      clock.now += MIN_AGE_MS + 1;
      flood(round);
    }
    assert.equal(virtual.nameOf(lease.ipv4), 'api.example.com');
    assert.deepEqual(virtual.lease('api.example.com'), lease);
    assert.ok(virtual.lease('db.example.com'));
  });

  it('have the same address whatever was asked for before', () => {
    const first = setUp(['api.example.com']).virtual.lease('api.example.com');
    const { virtual, flood } = setUp(['api.example.com']);
    flood(0);
    assert.deepEqual(virtual.lease('api.example.com'), first);
  });

  it('leave a quarter to all others when there are very many of them', () => {
    const { virtual } = setUp(Array.from({ length: 20 }, (_, i) => `w${i}.example`));
    assert.equal(8 * MAX_WRITTEN_SHARE, 6);
    assert.ok(virtual.lease('a.corp.example') && virtual.lease('w19.example'));
    assert.equal(virtual.lease('b.corp.example'), undefined);
    assert.ok(virtual.lease('w5.example'));
  });
});

describe('virtual addresses', () => {
  it('stand for one name in both families, and are found again', () => {
    const { virtual, observer } = addresses();
    const lease = virtual.lease('api.example.com');
    assert.ok(lease?.ipv4 && lease.ipv6);
    assert.deepEqual(virtual.lease('api.example.com'), lease);
    for (const address of [lease.ipv4, lease.ipv6]) {
      assert.ok(virtual.contains(address));
      assert.equal(virtual.nameOf(address), 'api.example.com');
    }
    assert.equal(observer.of('tunnel_dns_leases_total'), 1);
  });

  it('are the same after a restart, whatever else was asked for before', () => {
    const names = Array.from({ length: 50 }, (_, i) => `host${i}.corp.example`);
    const first = addresses().virtual;
    const second = addresses().virtual;
    const before = names.map((name) => first.lease(name)?.ipv4);
    const after = [...names].reverse().map((name) => second.lease(name)?.ipv4);
    assert.deepEqual(after.reverse(), before);
  });

  it('are 10,000 different ones for 10,000 names, none of them .0 or .255', () => {
    const { virtual } = addresses();
    const seen = new Set<string>();
    for (let i = 0; i < 10_000; i++) {
      const lease = virtual.lease(`n${i}.corp.example`);
      assert.ok(lease?.ipv4 && lease.ipv6);
      assert.doesNotMatch(lease.ipv4, /\.(0|255)$/);
      assert.equal(virtual.nameOf(lease.ipv4), lease.name);
      assert.equal(virtual.nameOf(lease.ipv6), lease.name);
      seen.add(lease.ipv4);
    }
    assert.equal(seen.size, 10_000);
  });

  it('are not there for a name more than there are slots, until one is old', () => {
    const { virtual, clock, observer } = addresses(3);
    const [a] = ['a', 'b', 'c'].map((name) => virtual.lease(name));
    assert.equal(virtual.lease('d'), undefined);
    assert.equal(observer.of('tunnel_dns_leases_exhausted_total'), 1);
    assert.ok(virtual.lease('a'), 'a name that has one keeps it');

    clock.now = MIN_AGE_MS - 1;
    virtual.lease('b');
    assert.equal(virtual.lease('d'), undefined);
    clock.now = MIN_AGE_MS;
    const d = virtual.lease('d');
    assert.ok(d?.ipv4);
    assert.equal(virtual.nameOf(d.ipv4), 'd');
    assert.ok(virtual.nameOf(a?.ipv4 ?? ''), 'a was asked for after c, so c has lost its slot');
    assert.equal(observer.of('tunnel_dns_leases_reclaimed_total'), 1);
  });

  it('stay with their name while a flow lives, and for the whole time after it', () => {
    const { virtual, clock } = addresses(1);
    const address = virtual.lease('a')?.ipv4 ?? '';
    const first = virtual.hold(address);
    const second = virtual.hold(address);
    assert.equal(virtual.lease('a')?.ipv4, address, 'it is asked for again meanwhile');
    clock.now = 10 * MIN_AGE_MS;
    assert.equal(virtual.lease('b'), undefined);
    first?.release();
    first?.release(); // a second time is nothing
    assert.equal(virtual.lease('b'), undefined, 'the second flow still holds it');
    second?.release();
    assert.equal(virtual.lease('b'), undefined, 'programs may still have the address');
    clock.now += MIN_AGE_MS;
    assert.ok(virtual.lease('b'));
    assert.equal(virtual.nameOf(address), 'b');
  });

  it('that stand for nothing are known as such', () => {
    const { virtual } = addresses();
    for (const address of [
      '198.18.64.0',
      '198.18.64.1',
      '198.18.64.255',
      '2001:2:0:8000::1',
      '2001:2:0:8000::ffff:1',
    ]) {
      assert.ok(virtual.contains(address));
      assert.equal(virtual.nameOf(address), undefined);
      assert.equal(virtual.hold(address), undefined);
    }
    for (const address of ['198.18.0.1', '10.0.0.1', '2001:2::1'])
      assert.ok(!virtual.contains(address));
  });

  it('never pass to another name too early, in whatever order things happen', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('lease' as const),
        name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      }),
      fc.record({
        kind: fc.constant('hold' as const),
        name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      }),
      fc.record({ kind: fc.constant('release' as const), nth: fc.nat(5) }),
      fc.record({
        kind: fc.constant('wait' as const),
        ms: fc.integer({ min: 1, max: MIN_AGE_MS }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { virtual, clock } = addresses(3);
        /** What programs believe: address to name, since when, and by how many flows. */
        const believed = new Map<string, { name: string; at: number; flows: number }>();
        const holds: { release(): void; address: string }[] = [];
        for (const now of steps) {
          if (now.kind === 'wait') clock.now += now.ms;
          else if (now.kind === 'release') {
            const [hold] = holds.splice(now.nth, 1);
            hold?.release();
            const belief = believed.get(hold?.address ?? '');
            if (belief) Object.assign(belief, { at: clock.now, flows: belief.flows - 1 });
          } else {
            const address = virtual.lease(now.name)?.ipv4;
            if (address === undefined) continue;
            const old = believed.get(address);
            if (old !== undefined && old.name !== now.name)
              assert.ok(
                old.flows === 0 && clock.now - old.at >= MIN_AGE_MS,
                `${address} passed too early`,
              );
            const flows = old?.name === now.name ? old.flows : 0;
            const hold = now.kind === 'hold' ? virtual.hold(address) : undefined;
            if (hold) holds.push({ release: () => hold.release(), address });
            believed.set(address, { name: now.name, at: clock.now, flows: flows + (hold ? 1 : 0) });
          }
          assert.ok(believed.size <= 3);
        }
      }),
    );
  });
});
