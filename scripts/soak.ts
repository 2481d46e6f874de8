/**
 * The channel layer at full size against a real sshd on the loopback: prints a table, and ends with 1 when a bound is missed.
 * Names of situations as arguments run only those.
 */
import {
  type Finding,
  fairness,
  idleAndActive,
  Load,
  stalledReaders,
  transfers,
} from '../test/support/load.ts';

interface Situation {
  readonly config?: readonly string[];
  readonly run: (load: Load) => Promise<Finding[]>;
}

const SITUATIONS: Readonly<Record<string, Situation>> = {
  stalled: { run: (load) => stalledReaders(load, { stalled: 50, fast: 10, seconds: 10, least: 0.9 }) },
  idle: { run: (load) => idleAndActive(load, { idle: 5_000, active: 200, seconds: 10 }) },
  transfers: {
    config: ['RekeyLimit 16M'],
    run: (load) => transfers(load, { bytes: 10e9, flows: 200 }),
  },
  fairness: { run: (load) => fairness(load, { flows: 8, seconds: 20, least: 0.9 }) },
};

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(SITUATIONS);
const lines = ['| what | value | bound | kept |', '|---|---|---|---|'];
for (const name of names) {
  const situation = SITUATIONS[name];
  if (situation === undefined) {
    process.stderr.write(`no such situation: ${name} (there are ${Object.keys(SITUATIONS).join(', ')})\n`);
    process.exit(2);
  }
  const load = await Load.start(situation.config);
  try {
    for (const { what, value, bound, kept } of await situation.run(load)) {
      lines.push(`| ${what} | ${value} | ${bound} | ${kept ? 'yes' : 'NO'} |`);
      if (!kept) process.exitCode = 1;
    }
  } finally {
    await load.stop();
  }
}
process.stdout.write(`${lines.join('\n')}\n`);
process.exit();
