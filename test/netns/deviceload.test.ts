/**
 * Reused tuples and forged SYNs, at a size that fits here; scripts/soak runs them at full size.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { DeviceLoad, forgedSyns, roundTrips, shortConnections } from '../support/deviceload.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Finding } from '../support/load.ts';

function assertKept(findings: readonly Finding[]): void {
  for (const { what, value, bound, kept } of findings)
    assert.ok(kept, `${what}: ${value} (${bound})`);
}

describe('load on the device', { skip: labUnavailable('curl', 'ss'), timeout: 300_000 }, () => {
  let load: DeviceLoad;
  before(async () => {
    load = await DeviceLoad.start();
  });
  after(async () => {
    await load?.stop();
  });

  it('30,000 short connections over 4,000 ports: each gets its own bytes', async () => {
    // If no connection were freed, it would be 58 MB.
    assertKept(await shortConnections(load, { connections: 30_000, growth: 50e6 }));
    assertKept(await shortConnections(load, { connections: 2_000, ipv6: true, growth: 50e6 }));
  });

  it('10,000 forged SYNs in 2 s: flows go on, connects succeed, and nothing is left', async () => {
    assertKept(await forgedSyns(load, { syns: 10_000, seconds: 2, growth: 96 * 2 ** 20 }));
  });

  it('50 flows of 4 MB each way at once: sha256', async () => {
    assertKept(await roundTrips(load, { bytes: 400e6, flows: 50 }));
  });
});
