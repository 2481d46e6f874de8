/**
 * Behind a host firewall that admits only answers: whether the program starts there, and the rate
 * of one flow.
 */
import { mustRun } from '../../test/support/process.ts';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Run } from './measurement.ts';
import { DIRECTIONS, measureFlows, rateOf, ratio } from './oneflow.ts';
import { type Peer, sshForward, tunnel } from './peers.ts';
import { Stage } from './stage.ts';

const STARTS = 'starts';

/** What the rules of ufw, firewalld and NixOS amount to, in the client's namespace. */
const FIREWALL = `table inet firewall {
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
  }
}
`;

async function run(run: Run): Promise<void> {
  const stage = await Stage.create(run);
  const through = async (peer: Peer) => {
    let started = false;
    try {
      await stage.through(peer, async (path) => {
        started = true;
        run.record(STARTS, peer.name, 1);
        await measureFlows(stage, path, run);
      });
    } catch (error) {
      if (started) throw error;
      run.say(`${peer.name} doesn't start: ${String(error)}`);
      run.record(STARTS, peer.name, 0);
      for (const direction of DIRECTIONS) run.record(rateOf(direction), peer.name, 0);
    }
  };
  try {
    await mustRun(['ip', 'netns', 'exec', stage.lab.client.name, 'nft', '-f', '-'], {
      input: FIREWALL,
    });
    for (let round = 0; round < run.rounds; round++)
      for (const peer of contenders(round, run, [tunnel, sshForward])) await through(peer);
  } finally {
    await stage.close();
  }
}

export const firewall: Measurement = {
  name: 'firewall',
  title: 'Behind a firewall that admits nothing, local link',
  how: "The client drops all incoming packets, except on its loopback device and answers (ct state established,related). A peer that doesn't start counts as 0.",
  besideNoise: true,
  rounds: 9,
  checks: [
    {
      what: 'starts behind INPUT drop',
      target: { atLeast: 1 },
      value: (read) => read(STARTS, tunnel.name),
    },
    ...DIRECTIONS.map(
      (direction): Check => ({
        what: `one flow ${direction}, behind INPUT drop: tunnel / ssh -L`,
        target: { atLeast: { up: 1, down: 0.9 }[direction] },
        value: ratio(rateOf(direction), tunnel, sshForward),
      }),
    ),
  ],
  run,
};
