/**
 * The path to the jump host: how long it is, what that and the windows bound, and whether silence
 * would be noticed. Only a few requests of some octets are sent.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Established } from '../ssh/established.ts';
import { isProbing, type Transport } from '../ssh/transport.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';

const ROUNDS = 3;
/** For one answer, in milliseconds. */
const ANSWER_MS = 2_000;
/** Timers may fire early by as much: then nothing has come. */
const TIMER_SLACK_MS = 2;
const MIB = 2 ** 20;

/**
 * The median of a few round trips, in milliseconds. undefined: the server does not answer, or this
 * transport can't be asked. Must be the only one that waits for the server.
 */
export async function measureRoundTrip(transport: Transport): Promise<number | undefined> {
  if (!isProbing(transport)) return undefined;
  const took: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    const alive = await transport.probe(ANSWER_MS);
    const milliseconds = performance.now() - began;
    if (!alive || milliseconds >= ANSWER_MS - TIMER_SLACK_MS) break;
    took.push(milliseconds);
  }
  return took.sort((a, b) => a - b)[Math.floor(took.length / 2)];
}

/** How much longer the answer is waited for once it is late. */
const LOSS_PATIENCES = 2;
/** More than one packet of an Ethernet holds. */
const FULL_PACKET_OCTETS = 4_000;
/** For the server's last words about the connections that were tried, in milliseconds. */
const SETTLE_MS = 100;

/**
 * Whether full packets arrive as small ones do: a network that drops what is too large for it and
 * doesn't say so (RFC 2923 §2.1) lets a login through, and nothing that needs more. The connection
 * is of no use after that. undefined: they do, or that can't be seen. The last check of all.
 */
export async function tryFullPackets(
  transport: Transport,
  roundTrip: number | undefined,
): Promise<Finding | undefined> {
  if (roundTrip === undefined || !isProbing(transport)) return undefined;
  const patience = ANSWER_MS + 4 * roundTrip;
  // A server that waits for a silent destination answers nothing, whatever the size.
  if (!(await transport.probe(patience)))
    return {
      name: 'mtu',
      state: 'note',
      detail: `not known whether full packets arrive: the jump host has stopped answering small ones, too`,
      hint: 'it may be waiting for a destination that is silent: leave that out, and try again',
    };
  // Anything that comes counts as an answer, so what is still on its way must have come.
  await delay(2 * roundTrip + SETTLE_MS);
  if (await transport.probe(patience, FULL_PACKET_OCTETS)) return undefined;
  // A network that loses packets gets them through at last: TCP sends them again.
  if (await transport.probe(LOSS_PATIENCES * patience)) return undefined;
  return {
    name: 'mtu',
    state: 'failed',
    detail: `full packets do not arrive at the jump host, although small ones do: ${FULL_PACKET_OCTETS} octets were not answered within ${Math.round((1 + LOSS_PATIENCES) * patience) / 1000} s`,
    hint: 'a network on the way has a smaller MTU and does not say so: lower it here, as in ip link set DEVICE mtu 1400, or have the MSS clamped there',
  };
}

/** Largest buffers that the kernel gives one TCP connection, in bytes (tcp(7)). */
export interface TcpBuffers {
  readonly receive: number;
  readonly send: number;
}

/** undefined: the kernel does not say. */
export function tcpBuffers(
  read: (path: string) => string = (path) => readFileSync(path, 'latin1'),
): TcpBuffers | undefined {
  const largest = (name: string): number =>
    Number(read(`/proc/sys/net/ipv4/${name}`).trim().split(/\s+/)[2]);
  try {
    const [receive, send] = [largest('tcp_rmem'), largest('tcp_wmem')];
    return receive > 0 && send > 0 ? { receive, send } : undefined;
  } catch {
    return undefined;
  }
}

/** Latency, bounds of throughput, and keepalives. `roundTrip` in milliseconds. */
export function describePath(
  established: Established,
  roundTrip: number | undefined,
  buffers: TcpBuffers | undefined,
): Finding[] {
  return [
    latency(established, roundTrip),
    throughput(established, roundTrip, buffers),
    keepalive(established),
  ];
}

function latency({ client }: Established, roundTrip: number | undefined): Finding {
  const name = 'latency';
  if (roundTrip !== undefined)
    return { name, state: 'ok', detail: `${formatTime(roundTrip)} to the jump host and back` };
  const why =
    client === 'the embedded client' ? 'the jump host does not answer' : `${client} does not tell`;
  return { name, state: 'note', detail: `not measured: ${why}` };
}

/**
 * A window can be sent once in a round trip. About half of a receive buffer is a window
 * (tcp_adv_win_scale, tcp(7)). What the jump host's kernel buffers can't be seen from here.
 */
function throughput(
  { sendWindow, receiveWindow }: Established,
  roundTrip: number | undefined,
  buffers: TcpBuffers | undefined,
): Finding {
  const name = 'throughput';
  if (roundTrip === undefined || roundTrip <= 0)
    return { name, state: 'note', detail: 'its bounds are not known: no round trip was measured' };
  const rate = (bytes: number): string => formatRate((bytes * 1000) / roundTrip);
  const down = least(receiveWindow, buffers && buffers.receive / 2);
  const up = least(sendWindow, buffers?.send);
  const bounds = [
    ...(down === undefined ? [] : [`${rate(down.bytes)} down (${formatBytes(down.bytes)})`]),
    ...(up === undefined ? [] : [`${rate(up.bytes)} up (${formatBytes(up.bytes)})`]),
  ];
  if (bounds.length === 0) return { name, state: 'note', detail: 'its bounds are not known' };
  const untested = sendWindow === undefined ? "; the server's window is not known" : '';
  return {
    name,
    state: 'ok',
    detail: `bounds of one connection by windows and round trip: ${bounds.join(', ')}${untested}; computed, nothing was sent`,
  };
}

function least(...values: readonly (number | undefined)[]): { bytes: number } | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : { bytes: Math.min(...known) };
}

function keepalive({ answersRequests, client }: Established): Finding {
  const name = 'keepalive';
  if (answersRequests === true)
    return {
      name,
      state: 'ok',
      detail: 'the jump host answers: a dead connection is noticed by its silence',
    };
  if (answersRequests === undefined)
    return { name, state: 'note', detail: `not known: ${client} asks for itself` };
  return {
    name,
    state: 'note',
    detail:
      'the jump host does not answer: a dead connection is noticed by TCP, when nothing is acknowledged',
    hint: 'nothing to switch on; it may take longer than with a server that answers',
  };
}

function formatTime(milliseconds: number): string {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

function formatRate(bytesPerSecond: number): string {
  const megabytes = bytesPerSecond / 1e6;
  return `${megabytes < 10 ? megabytes.toFixed(1) : Math.round(megabytes)} MB/s`;
}

function formatBytes(bytes: number): string {
  const mib = bytes / MIB;
  return mib < 1 ? `${Math.round(bytes / 1024)} KiB` : `${Number(mib.toFixed(1))} MiB`;
}
