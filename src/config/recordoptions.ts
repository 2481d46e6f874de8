/** The options about records of a run: --flow-log and --pcap, and how they are rotated. */
import { resolve } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace } from '../net/place.ts';
import {
  type GivenOptions,
  once,
  type Reader,
  readOptions,
  toggle,
  writtenFile,
} from './option.ts';

const HEADING = 'Records:';

/** For `--flow-log`: systemd's journal instead of a file. */
export const JOURNAL = 'journal';

export const DEFAULT_LOG_BYTES = 64 * 2 ** 20;
export const DEFAULT_LOGS_KEPT = 5;
const MOST_LOGS_KEPT = 1000;
const LEAST_BYTES = 64 * 2 ** 10;
/** A piece of packets with payloads fits several times. */
const LEAST_PCAP_BYTES = 4 * 2 ** 20;
const MOST_BYTES = 2 ** 40;
const BYTES_IN: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
};

export const FLOW_LOG_OPTIONS = {
  heading: HEADING,
  options: {
    flowLog: once(
      '--flow-log <file>',
      'write who opened what to this file, as lines of JSON; "journal": to systemd\'s journal',
      writtenFile('name a file; "tail -F FILE" passes on what is written to it'),
    ),
    flowLogSize: once(
      '--flow-log-size <size>',
      'begin a new file when it is larger (default: 64M)',
      size('--flow-log-size'),
    ),
    flowLogKeep: once(
      '--flow-log-keep <number>',
      `keep so many of the files before it (default: ${DEFAULT_LOGS_KEPT})`,
      readKept,
    ),
  },
} as const;

export const PCAP_OPTIONS = {
  heading: HEADING,
  options: {
    pcap: once(
      '--pcap <file>',
      'write the headers of captured packets to this file, for Wireshark (pcapng)',
      writtenFile(
        'name a file; "tail -c +1 -F FILE | wireshark -k -i -" shows packets as they are written',
      ),
    ),
    pcapSize: once(
      '--pcap-size <size>',
      'begin a new file when it is larger, and keep the one before (default: 64M)',
      size('--pcap-size', LEAST_PCAP_BYTES),
    ),
    pcapPayload: toggle('--pcap-payload', 'also what the packets carry'),
  },
} as const;

/** --pcap */
export interface PcapOptions {
  /** Absolute. */
  readonly path: string;
  /** Bytes after which a new file begins. */
  readonly size: number;
  readonly payload: boolean;
}

/** undefined: none. Throws UsageError. */
export function readPcapOptions(given: GivenOptions, command: string): PcapOptions | undefined {
  const { pcap, pcapSize, pcapPayload } = readOptions(PCAP_OPTIONS, given);
  const more = pcapSize?.place ?? pcapPayload;
  if (pcap === undefined && more !== undefined) {
    throw new UsageError(`${filePrefix(more)}there is no --pcap FILE`, {
      hint: `leave ${pcapSize === undefined ? '--pcap-payload' : '--pcap-size'} out, or name a file with --pcap`,
    });
  }
  if (pcap === undefined) return undefined;
  if (command === 'proxy') {
    throw new UsageError(
      `${filePrefix(pcap.place)}--pcap: a proxy has no device, so it sees no packets`,
      {
        hint: '--flow-log records its connections; --pcap is for "tunnel connect" and "tunnel exec"',
      },
    );
  }
  return {
    path: resolve(pcap.value),
    size: pcapSize?.value ?? DEFAULT_LOG_BYTES,
    payload: pcapPayload !== undefined,
  };
}

/** --flow-log */
export type FlowLogOptions =
  | { readonly kind: 'journal' }
  | {
      readonly kind: 'file';
      /** Absolute. */
      readonly path: string;
      /** Bytes after which a new file begins. */
      readonly size: number;
      /** How many files before it are kept. */
      readonly keep: number;
    };

/** undefined: there is none. Throws UsageError. */
export function readFlowLogOptions(given: GivenOptions): FlowLogOptions | undefined {
  const { flowLog, flowLogSize, flowLogKeep } = readOptions(FLOW_LOG_OPTIONS, given);
  const [rotates] = [flowLogSize, flowLogKeep].filter((it) => it !== undefined);
  const isFile = flowLog !== undefined && flowLog.value !== JOURNAL;
  if (rotates !== undefined && !isFile) {
    throw new UsageError(`${filePrefix(rotates.place)}there is no --flow-log FILE to rotate`, {
      hint: `leave ${flowLogSize === undefined ? '--flow-log-keep' : '--flow-log-size'} out, or name a file with --flow-log`,
    });
  }
  if (flowLog === undefined) return undefined;
  if (!isFile) return { kind: 'journal' };
  return {
    kind: 'file',
    path: resolve(flowLog.value),
    size: flowLogSize?.value ?? DEFAULT_LOG_BYTES,
    keep: flowLogKeep?.value ?? DEFAULT_LOGS_KEPT,
  };
}

/** A number of bytes, or of 2^10, 2^20, 2^30 with K, M, G. */
function size(option: string, least = LEAST_BYTES): Reader<number> {
  return (text, place) => {
    const [, count = '', unit = ''] = /^([0-9]+)([KMG]?)$/i.exec(text) ?? [];
    const bytes = Number(count) * (BYTES_IN[unit.toUpperCase()] ?? 0);
    if (bytes >= least && bytes <= MOST_BYTES) return bytes;
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} is not a size from ${least / 2 ** 10}K to 1024G`,
      {
        hint: `write bytes, or K, M or G after the number, as in: ${option} 64M`,
      },
    );
  };
}

function readKept(text: string, place: Parameters<Reader<number>>[1]): number {
  const number = Number(text);
  if (/^[0-9]+$/.test(text) && number >= 1 && number <= MOST_LOGS_KEPT) return number;
  throw new UsageError(
    `${formatPlace(place)}: ${quoted(text)} is not a number of files from 1 to ${MOST_LOGS_KEPT}`,
    { hint: 'write it as in: --flow-log-keep 5' },
  );
}
