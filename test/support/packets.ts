/** Runs tcpdump during a test: what passed through a device, one entry a packet. */
import { LabError } from './laberror.ts';
import type { Namespace } from './namespace.ts';

/**
 * tcpdump reads its ring with at most this delay (immediate mode), and the last packets should be
 * counted.
 */
const SETTLE_MS = 60;

export interface Packet {
  /** Seconds since 1970. */
  readonly time: number;
  /** tcpdump's name for it: `IP`, `IP6`, `ARP`, ... */
  readonly protocol: string;
  /** `ADDRESS` or `ADDRESS.PORT`; empty if the protocol has none. */
  readonly source: string;
  readonly destination: string;
  /** The rest of the line: `Flags [S], seq 1, win 64240, length 0`. */
  readonly summary: string;
}

export interface PacketCapture {
  /** The packets so far. */
  packets(): Packet[];
  /** Ends the capture and returns all packets. */
  stop(): Promise<Packet[]>;
}

export function parsePackets(text: string): Packet[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const match = line.match(/^(\d+\.\d+) (\w+),? (?:(\S+) > (\S+): )?(.*)$/);
      if (match === null) throw new LabError('capture-line', `not a line of tcpdump: ${line}`);
      const [, time, protocol = '', source = '', destination = '', summary = ''] = match;
      return { time: Number(time), protocol, source, destination, summary };
    });
}

export async function startCapture(
  namespace: Namespace,
  device: string,
  filter: string,
): Promise<PacketCapture> {
  const tcpdump = await namespace.spawn([
    ...['tcpdump', '-i', device, '-n', '-tt', '-l', '--immediate-mode'],
    ...(filter === '' ? [] : [filter]),
  ]);
  await tcpdump.waitForLine(/listening on .*\n/);
  /** Without an unfinished last line. */
  const packets = () => parsePackets(tcpdump.stdout.slice(0, tcpdump.stdout.lastIndexOf('\n') + 1));
  return {
    packets,
    async stop() {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      await tcpdump.stop('SIGINT');
      return packets();
    },
  };
}
