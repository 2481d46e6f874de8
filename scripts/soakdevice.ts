/**
 * Runs the whole program at full size in the lab: a million short connections whose tuples are
 * reused, 100,000 forged SYNs in ten seconds, 10 GB over 200 flows each way. Prints a table, and
 * exits with 1 when a bound is missed. With names of situations as arguments it runs only those.
 */
import {
  DeviceLoad,
  forgedSyns,
  roundTrips,
  shortConnections,
} from '../test/support/deviceload.ts';
import type { Finding } from '../test/support/load.ts';
import { runSituations } from './situations.ts';

const SITUATIONS: Readonly<Record<string, (load: DeviceLoad) => Promise<Finding[]>>> = {
  connections: (load) => shortConnections(load, { connections: 1_000_000, growth: 40e6 }),
  syns: (load) => forgedSyns(load, { syns: 100_000, seconds: 10 }),
  transfers: (load) => roundTrips(load, { bytes: 10e9, flows: 200 }),
};

await runSituations(SITUATIONS, async (situation) => {
  const load = await DeviceLoad.start();
  try {
    return await situation(load);
  } finally {
    await load.stop();
  }
});
