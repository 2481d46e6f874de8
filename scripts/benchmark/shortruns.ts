/**
 * Runs that are over at once, as pipelines make them by the hundred: what `tunnel exec` adds to a
 * command, compared with a login by ssh that runs nothing.
 */
import { join } from 'node:path';
import { packageRoot } from '../../src/native/files.ts';
import { PRIVATE4 } from '../../test/support/addresses.ts';
import { REMOTE } from '../../test/support/tunnel.ts';
import type { Measurement, Run } from './measurement.ts';
import { sshCommand } from './peers.ts';
import { Stage } from './stage.ts';

const LINKS = [
  { name: 'local link', rtt: 0 },
  { name: '50 ms', rtt: 50 },
] as const;
/** What users start, and not the modules that the other measurements run. */
const TUNNEL = join(packageRoot(), 'tunnel');
const ALLOWED_MS = 150;
const ALLOWED_VERSION_MS = 60;
const IN_A_ROW = 100;
/** A round of them takes a minute. */
const ROUNDS_IN_A_ROW = 2;
const TIMEOUT_MS = 300_000;
const LOOP = `i=0; while [ $i -lt ${IN_A_ROW} ]; do "$@" || exit; i=$((i + 1)); done`;

const NODE = 'node -e 0';
const VERSION = 'tunnel --version';
const SSH = 'ssh host true';
const EXEC = 'tunnel exec -- true';
const NO_LINK = 'without a link, ms';
const ROW = `each of ${IN_A_ROW} in a row, local link, ms`;
const figure = (link: string) => `${link}, ms`;

async function run(run: Run): Promise<void> {
  const { rounds, record } = run;
  for (const { name, rtt } of LINKS) {
    const stage = await Stage.create(run, { rtt });
    const { client } = stage.lab;
    const milliseconds = async (command: readonly string[]): Promise<number> => {
      const begin = performance.now();
      const { status, stderr } = await client.exec([...command], { timeout: TIMEOUT_MS });
      const taken = performance.now() - begin;
      if (status === 0) return taken;
      throw new Error(`${command.join(' ')}: ${stderr}`);
    };
    const peers = [
      { peer: SSH, command: [...sshCommand(stage.lab), REMOTE, 'true'] },
      { peer: EXEC, command: [TUNNEL, 'exec', '-r', REMOTE, PRIVATE4, '--', 'true'] },
    ];
    try {
      for (let round = 0; round < rounds; round++) {
        if (rtt === 0) {
          record(NO_LINK, NODE, await milliseconds([process.execPath, '-e', '0']));
          record(NO_LINK, VERSION, await milliseconds([TUNNEL, '--version']));
        }
        for (const { peer, command } of peers)
          record(figure(name), peer, await milliseconds(command));
        if (rtt > 0 || round >= ROUNDS_IN_A_ROW) continue;
        for (const { peer, command } of peers) {
          const taken = await milliseconds(['sh', '-c', LOOP, 'sh', ...command]);
          record(ROW, peer, taken / IN_A_ROW);
        }
      }
    } finally {
      await stage.close();
    }
  }
}

export const shortRuns: Measurement = {
  name: 'runs',
  title: 'Short runs',
  how: `From the start of each program to its end. "tunnel" is the command as users start it. ${IN_A_ROW} in a row are one loop of a shell.`,
  besideNoise: false,
  rounds: 12,
  checks: [
    {
      what: `${VERSION} / (${NODE} + ${ALLOWED_VERSION_MS} ms)`,
      target: { atMost: 1 },
      value: (read) => read(NO_LINK, VERSION) / (read(NO_LINK, NODE) + ALLOWED_VERSION_MS),
    },
    ...[...LINKS.map(({ name }) => figure(name)), ROW].map((one) => ({
      what: `${one.replace(/, ms$/, '')}: ${EXEC} / (${SSH} + ${ALLOWED_MS} ms)`,
      target: { atMost: 1 },
      value: (read: (figure: string, series: string) => number) =>
        read(one, EXEC) / (read(one, SSH) + ALLOWED_MS),
    })),
  ],
  run,
};
