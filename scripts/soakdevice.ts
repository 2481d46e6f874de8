/**
 * The whole program at full size in the lab: a million short connections whose tuples are used
 * again, 100,000 forged SYNs in ten seconds, 10 GB over 200 flows each way. Prints a table, and
 * ends with 1 when a bound is missed. Names of situations as arguments run only those.
 */
import { DeviceLoad, forgedSyns, roundTrips, shortConnections } from '../test/support/deviceload.ts';
import type { Finding } from '../test/support/load.ts';

const SITUATIONS: Readonly<Record<string, (load: DeviceLoad) => Promise<Finding[]>>> = {
  connections: (load) => shortConnections(load, { connections: 1_000_000, growth: 40e6 }),
  syns: (load) => forgedSyns(load, { syns: 100_000, seconds: 10, growth: 200e6 }),
  transfers: (load) => roundTrips(load, { bytes: 10e9, flows: 200 }),
};

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(SITUATIONS);
const lines = ['| what | value | bound | kept |', '|---|---|---|---|'];
for (const name of names) {
  const situation = SITUATIONS[name];
  if (situation === undefined) {
    process.stderr.write(`no such situation: ${name} (there are ${Object.keys(SITUATIONS).join(', ')})\n`);
    process.exit(2);
  }
  const load = await DeviceLoad.start();
  try {
    for (const { what, value, bound, kept } of await situation(load)) {
      lines.push(`| ${what} | ${value} | ${bound} | ${kept ? 'yes' : 'NO'} |`);
      if (!kept) process.exitCode = 1;
    }
  } finally {
    await load.stop();
  }
}
process.stdout.write(`${lines.join('\n')}\n`);
process.exit();
