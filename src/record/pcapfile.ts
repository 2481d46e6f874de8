/**
 * `--pcap FILE`: the packets of the capture's device, for Wireshark and tshark.
 *
 *   the device ─► a piece of memory ── full, or every FLUSH_MS ──► a queue ─► write(2)
 *                  (native/tap.h)                                     ▲
 *   asked() ─► names of addresses ────────────────────────────────────┘ before the packets
 *
 * No JavaScript runs for a packet. There are PIECES pieces of memory: if the disk is slower than
 * the packets and all are waiting for it, packets are left out and counted. The data path never
 * waits.
 *
 * Each file is complete, with its section, its interface and the names. When FILE has its size it
 * becomes FILE.1, in place of the one before, and a new FILE begins. An earlier FILE becomes FILE.1
 * at the start. If FILE has been removed, another tunnel may have made it again by then: that one
 * keeps its name, and this tunnel's packets are left out and counted.
 *
 * A write that fails (a full disk) is cut back to the end of a block, said once, and its packets
 * are counted. The next piece is the next try. The file ends in a whole block unless the machine
 * itself crashes. The last block says how many packets are missing. What a file begins with (its
 * section, its interface, the names) is written together with the first packets, or before them,
 * so no packets are in a file that lacks it.
 */
import { type FileHandle, rename, rm } from 'node:fs/promises';
import type { PacketTap } from '../capture/tun/device.ts';
import { writeReasonOf } from '../errors/reason.ts';
import type { Flow, FlowWatcher } from '../flow/flowwatch.ts';
import { isAddress } from '../net/address.ts';
import { hostPrefix, prefixContains } from '../net/prefix.ts';
import { OWN_RANGES } from '../net/special.ts';
import type { Observer } from '../observe/observer.ts';
import {
  countBlocks,
  interfaceBlock,
  namesBlock,
  SECTION_MAGIC,
  sectionBlock,
  statisticsBlock,
} from './pcapng.ts';
import { createPrivateFile, fileError, type OpenedFile, openPrivateFile } from './privatefile.ts';

const FLUSH_MS = 250;
/** How many pieces of memory there are. */
export const PIECES = 8;
/** Of headers alone; some 2,000 packets. */
const PIECE_BYTES = 256 * 1024;
/** With payloads: at least fifteen of the largest packets. */
const WHOLE_PIECE_BYTES = 1024 * 1024;
/** Addresses whose names are written. */
export const MAX_NAMES = 4096;

export interface PcapFileOptions {
  /** Absolute. */
  readonly path: string;
  /** Bytes after which another file begins. */
  readonly size: number;
  readonly payload: boolean;
  /** For the head of the file: `tunnel 1.0.0`. */
  readonly application: string;
  /** The names that an address was the answer for, the latest first. */
  readonly namesOf: (address: string) => readonly string[];
  readonly observer: Observer;
}

export class PcapFile implements PacketTap, FlowWatcher {
  readonly whole: boolean;
  readonly #options: PcapFileOptions;
  readonly #name: string;
  readonly #free: Buffer[] = [];
  #file: FileHandle;
  #identity: string;
  #size = 0;
  /** What is still to be written before any packets. */
  #head: readonly Buffer[];
  #interface: Buffer | undefined;
  #swap: ((memory: Uint8Array | null) => number) | undefined;
  /** What the device fills. */
  #piece: Buffer | undefined;
  readonly #full: { readonly piece: Buffer; readonly length: number }[] = [];
  readonly #names = new Map<string, string>();
  #newNames: [string, string][] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #failing = false;
  #lost = 0;

  private constructor(options: PcapFileOptions, { handle, identity }: OpenedFile) {
    this.whole = options.payload;
    this.#options = options;
    this.#name = `--pcap ${options.path}`;
    this.#file = handle;
    this.#identity = identity;
    this.#head = [sectionBlock(options.application)];
    const bytes = options.payload ? WHOLE_PIECE_BYTES : PIECE_BYTES;
    for (let i = 0; i < PIECES; i++) this.#free.push(Buffer.allocUnsafeSlow(bytes));
    options.observer.addCounters?.(() => [['tunnel_pcap_lost_total', this.#lost]]);
  }

  /** Makes the file. Throws TunnelError `record-file`. */
  static async open(options: PcapFileOptions): Promise<PcapFile> {
    const { path } = options;
    await putAside(path);
    const opened = await createPrivateFile(path, '--pcap');
    const file = new PcapFile(options, opened);
    try {
      await file.#append([]);
    } catch (cause) {
      await opened.handle.close();
      const hint = 'make room on its file system, or name a file on another one';
      throw fileError(
        `${file.#name}: it can't be written to: ${writeReasonOf(cause)}`,
        hint,
        cause,
      );
    }
    return file;
  }

  /** Before attach(): the name of the device. */
  setDevice(name: string): void {
    this.#interface = interfaceBlock(name);
    this.#head = [...this.#head, this.#interface];
  }

  // PacketTap

  attach(swap: (memory: Uint8Array | null) => number): Uint8Array {
    this.#swap = swap;
    this.#piece = this.#free.pop() ?? Buffer.alloc(PIECE_BYTES);
    this.#timer = setInterval(() => this.#flush(), FLUSH_MS).unref();
    return this.#piece;
  }

  full(): void {
    if (this.#flush()) return;
    this.#lost++;
  }

  detach(): void {
    clearInterval(this.#timer);
    const piece = this.#piece;
    const length = this.#swap?.(null) ?? 0;
    this.#swap = undefined;
    if (piece !== undefined && length > 0) this.#full.push({ piece, length });
    this.#piece = undefined;
    this.#writeSoon();
  }

  // FlowWatcher

  /** A name of a flow's address is written before its packets. */
  asked({ destination, peer }: Flow): void {
    const { host } = destination;
    if (isAddress(host)) {
      const [name] = this.#options.namesOf(host);
      if (name !== undefined) this.#learn(host, name);
    } else if (peer !== undefined && standsForName(peer.host)) {
      this.#learn(peer.host, host);
    }
  }

  /** After the device has been closed. Resolves also if the last packets can't be written. */
  async close(): Promise<void> {
    if (this.#swap !== undefined) this.detach();
    await this.#writing;
    try {
      if (this.#interface !== undefined)
        await this.#append([statisticsBlock(Date.now(), this.#lost)]);
    } catch {
      // That the disk is full has been said.
    }
    if (this.#lost > 0)
      this.#options.observer.log('warning', `${this.#name}: ${this.#lost} packets are missing`);
    await this.#file.close();
  }

  #learn(address: string, name: string): void {
    if (this.#names.get(address) === name) return;
    if (this.#names.size >= MAX_NAMES && !this.#names.has(address)) return;
    this.#names.set(address, name);
    this.#newNames.push([address, name]);
  }

  /** Hands the device's piece over, if there is another one for it. False: there is none. */
  #flush(): boolean {
    const next = this.#free.at(-1);
    if (next === undefined || this.#swap === undefined || this.#piece === undefined) return false;
    const length = this.#swap(next);
    this.#free.pop();
    if (length > 0) this.#full.push({ piece: this.#piece, length });
    else this.#free.push(this.#piece);
    this.#piece = next;
    this.#writeSoon();
    return true;
  }

  #writeSoon(): void {
    if (this.#full.length === 0 || this.#writing !== undefined) return;
    this.#writing = this.#writeAll().then(() => {
      this.#writing = undefined;
    });
  }

  /** Never rejects. */
  async #writeAll(): Promise<void> {
    for (let first = this.#full.shift(); first !== undefined; first = this.#full.shift()) {
      const { piece, length } = first;
      const packets = piece.subarray(0, length);
      const names = this.#newNames;
      this.#newNames = [];
      try {
        if (this.#size + length > this.#options.size) await this.#rotate();
        await this.#append(names.length > 0 ? [namesBlock(names), packets] : [packets]);
        if (this.#failing) this.#options.observer.log('notice', `${this.#name} is written again`);
        this.#failing = false;
      } catch (error) {
        this.#newNames.unshift(...names);
        this.#lost += countBlocks(piece, length);
        this.#failed(error);
      }
      this.#free.push(piece);
    }
  }

  #failed(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#options.observer.log(
      'warning',
      `${this.#name} can't be written to: ${writeReasonOf(error)}; the tunnel goes on, and tries again`,
    );
  }

  /** All of it, after the head if that is still to be written, or nothing. */
  async #append(blocks: readonly Buffer[]): Promise<void> {
    const head = this.#head;
    const parts = [...head, ...blocks];
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const { bytesWritten } = await this.#file.writev(parts);
    if (bytesWritten === length) {
      this.#size += length;
      this.#head = this.#head.slice(head.length);
      return;
    }
    await this.#file.truncate(this.#size);
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  }

  async #rotate(): Promise<void> {
    const { path, application } = this.#options;
    await this.#append([statisticsBlock(Date.now(), this.#lost)]).catch(() => {}); // a full disk
    await putAside(path, this.#identity);
    const { handle, identity } = await createPrivateFile(path, '--pcap');
    await this.#file.close();
    this.#file = handle;
    this.#identity = identity;
    this.#size = 0;
    const names = this.#names.size > 0 ? [namesBlock(this.#names)] : [];
    const section = sectionBlock(application);
    this.#head = [section, ...(this.#interface === undefined ? [] : [this.#interface]), ...names];
  }
}

function standsForName(address: string): boolean {
  return isAddress(address) && OWN_RANGES.some((it) => prefixContains(it, hostPrefix(address)));
}

/**
 * A file of packets becomes FILE.1, unless another tunnel writes to it. `ours`: the identity of the
 * one that this tunnel writes to. Throws TunnelError `record-file`.
 */
async function putAside(path: string, ours?: string): Promise<void> {
  const { handle, size } = await openPrivateFile(path, '--pcap', ours);
  if (size === 0) {
    await handle.close();
    await rm(path);
    return;
  }
  try {
    const head = Buffer.alloc(4);
    await handle.read(head, 0, 4, 0);
    if (head.readUInt32LE() !== SECTION_MAGIC) {
      throw fileError(
        `--pcap ${path}: it holds something else than packets`,
        'name a file that is not there yet, or an earlier one of --pcap',
      );
    }
  } finally {
    await handle.close();
  }
  try {
    await rename(path, `${path}.1`);
  } catch (cause) {
    const hint = 'its directory must be writable';
    throw fileError(`--pcap ${path}: it can't be renamed: ${writeReasonOf(cause)}`, hint, cause);
  }
}
