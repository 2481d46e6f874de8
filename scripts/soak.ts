/**
 * Runs the channel layer at full size against a real sshd on the loopback device: prints a table,
 * and exits with 1 when a bound is missed. With names of situations as arguments it runs only
 * those.
 */
import {
  type Finding,
  fairness,
  idleAndActive,
  Load,
  stalledReaders,
  transfers,
} from '../test/support/load.ts';
import { runSituations } from './situations.ts';

interface Situation {
  readonly config?: readonly string[];
  readonly run: (load: Load) => Promise<Finding[]>;
}

const SITUATIONS: Readonly<Record<string, Situation>> = {
  stalled: {
    run: (load) => stalledReaders(load, { stalled: 50, fast: 10, seconds: 10, least: 0.9 }),
  },
  idle: { run: (load) => idleAndActive(load, { idle: 5_000, active: 200, seconds: 10 }) },
  transfers: {
    config: ['RekeyLimit 16M'],
    run: (load) => transfers(load, { bytes: 10e9, flows: 200 }),
  },
  fairness: { run: (load) => fairness(load, { flows: 8, seconds: 20, least: 0.9 }) },
};

await runSituations(SITUATIONS, async ({ config, run }) => {
  const load = await Load.start(config);
  try {
    return await run(load);
  } finally {
    await load.stop();
  }
});
