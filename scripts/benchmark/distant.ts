/**
 * 50 ms away: one flow beside ssh -L, and eight flows, which share one SSH connection, beside one
 * raw TCP connection.
 *
 * One TCP connection carries at most its send buffer (tcp_wmem) in a round trip. How much it
 * carries depends on how the buffer is filled: the kernel calls a socket writable only when a third
 * of its buffer is free. A writer that then writes as much as is free keeps it nearly full (raw TCP
 * here, like iperf3); one that polls before each small write, as sshd does, keeps it 2/3 full. "raw
 * TCP, polled" is raw TCP written as sshd does, for comparison. On the second link the line limits
 * everybody, not the buffer.
 */
import type { LineOptions } from '../../test/support/topology.ts';
import { contenders } from './contenders.ts';
import type { Check, Measurement, Reading, Run } from './measurement.ts';
import { type Peer, rawTcp, sshForward, tunnel } from './peers.ts';
import { singBox } from './singbox.ts';
import { DISTANT_WARM_UP_MS, type Load, Stage } from './stage.ts';

const RTT_MS = 50;
const FLOWS = 8;
const NARROW_BYTES_A_SECOND = 40e6;
const DIRECTIONS = ['up', 'down'] as const;
/**
 * The part of iperf3's rate that a sender reaches which polls before each small write, as sshd
 * does.
 */
const POLLED_BOUND = 0.78;
const POLLED = `${rawTcp.name}, polled`;

const one = (direction: string) => `1 flow ${direction}, MB/s`;
const many = (direction: string) => `${FLOWS} flows ${direction}, MB/s`;
const sharedOverRaw = (direction: string) => (read: Reading) =>
  read(many(direction), 'tunnel') / read(one(direction), rawTcp.name);

interface Case {
  readonly peer: Peer;
  readonly load: Load;
  readonly figure: string;
  readonly series?: string;
}

const single = (peer: Peer): Case[] =>
  DIRECTIONS.map((verb) => ({ peer, load: { verb, flows: 1 }, figure: one(verb) }));
const shared = (peer: Peer): Case[] =>
  DIRECTIONS.map((verb) => ({ peer, load: { verb, flows: FLOWS }, figure: many(verb) }));
const polled: Case = {
  peer: rawTcp,
  load: { verb: 'polite', flows: 1 },
  figure: one('down'),
  series: POLLED,
};

async function measure(
  run: Run,
  line: LineOptions,
  cases: readonly Case[],
  others: readonly Case[] = [],
): Promise<void> {
  const stage = await Stage.create(run, line);
  const peers = (of: readonly Case[]) => [...new Set(of.map((each) => each.peer))];
  try {
    for (let round = 0; round < run.rounds; round++) {
      const all = contenders(round, run, peers(cases), peers(others));
      // A peer that has cases of both kinds is started once.
      const inAll = all.length > peers(cases).length ? [...cases, ...others] : cases;
      for (const peer of new Set(all)) {
        await stage.through(peer, async (path) => {
          for (const { load, figure, series } of inAll.filter((each) => each.peer === peer)) {
            const rate = await stage.rate(path, load, run.seconds, DISTANT_WARM_UP_MS);
            run.record(figure, series ?? peer.name, rate.bytesPerSecond / 1e6);
          }
        });
      }
    }
  } finally {
    await stage.close();
  }
}

export const distant: Measurement = {
  name: 'distant',
  title: `${RTT_MS} ms round trip`,
  how: 'All eight flows share one SSH connection; raw TCP is one connection to the jump host, written to as iperf3 does, or (polled) as sshd does.',
  besideNoise: true,
  rounds: 9,
  checks: [
    {
      what: `${FLOWS} flows up, ${RTT_MS} ms: tunnel / raw TCP`,
      target: { atLeast: 0.95 },
      value: sharedOverRaw('up'),
    },
    {
      what: `${FLOWS} flows down, ${RTT_MS} ms: tunnel / raw TCP`,
      target: { atLeast: POLLED_BOUND },
      value: sharedOverRaw('down'),
    },
    {
      what: `one download, ${RTT_MS} ms: tunnel / ssh -L`,
      target: { atLeast: 1.3 },
      value: (read) => read(one('down'), tunnel.name) / read(one('down'), sshForward.name),
    },
  ],
  run: (run) =>
    measure(
      run,
      { rtt: RTT_MS },
      [...single(tunnel), ...shared(tunnel), ...single(sshForward), ...single(rawTcp)],
      [
        ...shared(sshForward),
        polled,
        ...singBox().flatMap((peer) => [...single(peer), ...shared(peer)]),
      ],
    ),
};

export const narrow: Measurement = {
  name: 'narrow',
  title: `${RTT_MS} ms round trip, ${NARROW_BYTES_A_SECOND / 1e6} MB/s`,
  how: 'The same on a line that is slower than one full send buffer per round trip.',
  besideNoise: true,
  // The line limits everybody: so far rounds have differed by 1 %.
  rounds: 6,
  checks: DIRECTIONS.map(
    (direction): Check => ({
      what: `${FLOWS} flows ${direction}, ${RTT_MS} ms and ${NARROW_BYTES_A_SECOND / 1e6} MB/s: tunnel / raw TCP`,
      target: { atLeast: 0.95 },
      value: sharedOverRaw(direction),
    }),
  ),
  run: (run) =>
    measure(
      run,
      { rtt: RTT_MS, bandwidth: NARROW_BYTES_A_SECOND },
      [...shared(tunnel), ...single(rawTcp)],
      shared(sshForward),
    ),
};
