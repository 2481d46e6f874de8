/**
 * Connections per second: connect, a byte there and back, close. The byte shows that the far side
 * was reached.
 */
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { type Peer, sshSocks, sshuttle, tunnel, tunnelSocks } from './peers.ts';
import { singBox } from './singbox.ts';
import { Stage } from './stage.ts';

const AT_ONCE = 50;
/** The first connections warm up everything that is created lazily, in peers and in the kernel. */
const WARM_UP_SECONDS = 0.3;

const many = `${AT_ONCE} at once, connects/s`;
const single = 'one at a time, connects/s';

function check(figure: string, own: Peer, peer: Peer, atLeast: number): Check {
  return {
    what: `connects, ${figure.split(',')[0]}: ${own.name} / ${peer.name}`,
    target: { atLeast },
    value: (read) => read(figure, own.name) / read(figure, peer.name),
  };
}

async function run(run: Run): Promise<void> {
  const { rounds, seconds, record } = run;
  const stage = await Stage.create(run);
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peer of contenders(
        round,
        run,
        [tunnel, sshSocks, tunnelSocks],
        [sshuttle, ...singBox()],
      )) {
        await stage.through(peer, async (path) => {
          for (const [figure, flows] of [
            [many, AT_ONCE],
            [single, 1],
          ] as const) {
            await stage.figures(path, 'connect', flows, WARM_UP_SECONDS);
            const result = await stage.figures(path, 'connect', flows, seconds);
            record(figure, peer.name, result.milliseconds.length / result.seconds);
            if (result.failures > 0)
              record(`${figure.split(',')[0]}, failed`, peer.name, result.failures);
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const connects: Measurement = {
  name: 'connects',
  title: 'Connections per second, local link',
  how: 'Each connects, sends a byte, waits for its echo and closes; "tunnel proxy" and "ssh -D" use SOCKS5.',
  besideNoise: true,
  rounds: 9,
  checks: [
    check(many, tunnel, sshuttle, 3),
    check(many, tunnel, sshSocks, 1),
    check(single, tunnel, sshSocks, 0.9),
    check(many, tunnelSocks, sshSocks, 1),
    check(single, tunnelSocks, sshSocks, 1),
  ],
  run,
};
