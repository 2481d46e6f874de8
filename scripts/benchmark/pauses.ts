/** 50 ms away: downloads with pauses between them, as people make them, over an open link. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Measurement, Run } from './measurement.ts';
import { type Peer, sshForward, tunnel } from './peers.ts';
import { singBox } from './singbox.ts';
import { type Path, Stage } from './stage.ts';

const RTT_MS = 50;
const DOWNLOADS = 20;
const BYTES = 20e6;
const MAX_PAUSE_SECONDS = 10;
/** A download that takes longer is given up. */
const TIMEOUT_SECONDS = 60;

const each = `download of ${BYTES / 1e6} MB, s`;
const slowest = `slowest of ${DOWNLOADS}, s`;
const slowestPair = 'slowest in terms of its pair';

/** Seconds before each download; the same for the same seed (mulberry32). */
export function pauses(seed: number, count: number = DOWNLOADS): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * MAX_PAUSE_SECONDS;
  });
}

/** All peers stay connected; they download one after the other, and take turns at going first. */
async function downloads(
  stage: Stage,
  peers: readonly Peer[],
  seed: number,
): Promise<Map<string, number[]>> {
  const times = new Map<string, number[]>(peers.map(({ name }) => [name, []]));
  const download = async (path: Path) => {
    const { milliseconds } = await stage.fetch(path, BYTES, TIMEOUT_SECONDS);
    const [time = TIMEOUT_SECONDS * 1000] = milliseconds;
    times.get(path.peer)?.push(time / 1000);
  };
  await stage.throughAll(peers, async (paths) => {
    for (const [i, pause] of pauses(seed).entries()) {
      await sleep(pause * 1000);
      for (const path of i % 2 === 0 ? paths : paths.toReversed()) await download(path);
    }
  });
  return times;
}

async function run({ rounds, record, profiler, noise, ...rest }: Run): Promise<void> {
  const stage = await Stage.create({ noise, profiler, ...rest }, { rtt: RTT_MS });
  // Two peers that capture the same network can't be connected at the same time.
  const groups =
    profiler !== undefined
      ? [[tunnel]]
      : [[tunnel, sshForward], ...(noise ? [] : singBox().map((peer) => [peer]))];
  try {
    for (let round = 0; round < rounds; round++) {
      for (const peers of groups) {
        const times = await downloads(stage, peers, round + 1);
        for (const [peer, seconds] of times) {
          for (const time of seconds) record(each, peer, time);
          record(slowest, peer, Math.max(...seconds));
        }
        const [own, other] = [tunnel, sshForward].map(({ name }) => times.get(name));
        const pairs = own?.map((time, i) => time / (other?.[i] ?? Number.NaN)) ?? [];
        if (other !== undefined) record(slowestPair, tunnel.name, Math.max(...pairs));
      }
    }
  } finally {
    await stage.close();
  }
}

export const pausesMeasurement: Measurement = {
  name: 'pauses',
  title: `Downloads with pauses, ${RTT_MS} ms round trip`,
  how: `${DOWNLOADS} downloads of ${BYTES / 1e6} MB with pauses of 0 to ${MAX_PAUSE_SECONDS} s, the same for each peer; both peers stay connected and download one after the other. Times begin with the connect.`,
  besideNoise: true,
  // Each round is twenty pairs.
  rounds: 1,
  checks: [
    {
      what: `slowest of ${DOWNLOADS} downloads with pauses, ${RTT_MS} ms: tunnel / ssh -L`,
      target: { atMost: 1.1 },
      value: (read) => read(slowest, tunnel.name) / read(slowest, sshForward.name),
    },
    {
      what: `each download with pauses, ${RTT_MS} ms: tunnel / ssh -L`,
      target: { atMost: 1.1 },
      value: (read) => read(each, tunnel.name) / read(each, sshForward.name),
    },
  ],
  run,
};
