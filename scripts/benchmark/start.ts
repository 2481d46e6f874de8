/**
 * How long it takes until traffic flows, compared with how long ssh takes to log in and run
 * nothing.
 */
import type { Child } from '../../test/support/process.ts';
import { REMOTE } from '../../test/support/tunnel.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshCommand, tunnel } from './peers.ts';
import { Stage } from './stage.ts';

const LINKS = [
  { name: 'local link', rtt: 0 },
  { name: '50 ms', rtt: 50 },
] as const;
const ALLOWED_FACTOR = 1.2;
const ALLOWED_MS = 100;
const SSH = 'ssh host true';

const figure = (link: string) => `${link}, ms`;

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

async function run(run: Run): Promise<void> {
  const { rounds, record } = run;
  for (const { name, rtt } of LINKS) {
    const stage = await Stage.create(run, { rtt });
    try {
      for (let start = 0; start < rounds; start++) {
        const ssh = [...sshCommand(stage.lab), REMOTE, 'true'];
        const login = await milliseconds(async () => {
          const { status, stderr } = await stage.lab.client.exec(ssh);
          if (status !== 0) throw new Error(`${SSH}: ${stderr}`);
        });
        record(figure(name), SSH, login);
        let running: Child | undefined;
        const ready = await milliseconds(async () => {
          running = await tunnel.start(stage.lab);
        });
        record(figure(name), tunnel.name, ready);
        await running?.stop('SIGTERM');
      }
    } finally {
      await stage.close();
    }
  }
}

export const start: Measurement = {
  name: 'start',
  title: 'Start',
  how: `From the program's start to "tunnel: ready", and from ssh's start to its end.`,
  besideNoise: true,
  rounds: 12,
  checks: LINKS.map(({ name }) => ({
    what: `start, ${name}: tunnel / (${ALLOWED_FACTOR} × ssh + ${ALLOWED_MS} ms)`,
    target: { atMost: 1 },
    value: (read) =>
      read(figure(name), tunnel.name) / (ALLOWED_FACTOR * read(figure(name), SSH) + ALLOWED_MS),
  })),
  run,
};
