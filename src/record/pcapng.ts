/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), except those of the packets, which the device
 * writes itself (native/tap.h). All are in the machine's byte order, as the format permits.
 */
import { endianness } from 'node:os';
import { addressBytes } from '../net/address.ts';

const LITTLE = endianness() === 'LE';

/** The first four bytes of a file, in any byte order. */
export const SECTION_MAGIC = 0x0a0d0d0a;
const BLOCK = { section: SECTION_MAGIC, interface: 1, names: 4, statistics: 5 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** A packet begins with its IP header (LINKTYPE_RAW). */
const LINKTYPE_RAW = 101;
/** 10^-9 s */
const NANOSECONDS = 9;
const OPTION = { os: 3, application: 4, name: 2, resolution: 9, dropped: 5 } as const;
const NAME_RECORD = { 4: 1, 16: 2 } as const;
const MAX_NAME = 255;

/** The head of a file: who has written it. */
export function sectionBlock(application: string): Buffer {
  const body = Buffer.alloc(16);
  put32(body, 0, BYTE_ORDER_MAGIC);
  put16(body, 4, 1); // version 1.0
  body.fill(0xff, 8); // how long the section is, is not known
  const options = [textOption(OPTION.os, 'Linux'), textOption(OPTION.application, application)];
  return block(BLOCK.section, [body, ...options, END_OF_OPTIONS]);
}

/** The device, by its name. The packets of a file belong to the interface before them. */
export function interfaceBlock(name: string): Buffer {
  const body = Buffer.alloc(8); // no limit of what is kept of a packet
  put16(body, 0, LINKTYPE_RAW);
  const resolution = option(OPTION.resolution, Buffer.of(NANOSECONDS));
  return block(BLOCK.interface, [body, textOption(OPTION.name, name), resolution, END_OF_OPTIONS]);
}

/** Names of canonical addresses. */
export function namesBlock(names: Iterable<readonly [address: string, name: string]>): Buffer {
  const records: Buffer[] = [];
  for (const [address, name] of names) {
    const bytes = addressBytes(address);
    if (bytes === undefined) continue;
    const text = Buffer.from(`${name.slice(0, MAX_NAME)}\0`, 'latin1');
    const type = bytes.length === 4 ? NAME_RECORD[4] : NAME_RECORD[16];
    records.push(option(type, Buffer.concat([bytes, text])));
  }
  return block(BLOCK.names, [...records, END_OF_OPTIONS]);
}

/** The last block of a file. `time`: milliseconds since 1970. */
export function statisticsBlock(time: number, lost: number): Buffer {
  const body = Buffer.alloc(12);
  const nanoseconds = BigInt(Math.round(time)) * 1_000_000n;
  put32(body, 4, Number(nanoseconds >> 32n));
  put32(body, 8, Number(nanoseconds & 0xffffffffn));
  const dropped = Buffer.alloc(8);
  if (LITTLE) dropped.writeBigUInt64LE(BigInt(lost));
  else dropped.writeBigUInt64BE(BigInt(lost));
  return block(BLOCK.statistics, [body, option(OPTION.dropped, dropped), END_OF_OPTIONS]);
}

/** How many blocks there are in the first `length` bytes. */
export function countBlocks(bytes: Buffer, length: number): number {
  let count = 0;
  for (let at = 0; at + 8 <= length; count++) {
    const size = LITTLE ? bytes.readUInt32LE(at + 4) : bytes.readUInt32BE(at + 4);
    if (size === 0) break;
    at += size;
  }
  return count;
}

const END_OF_OPTIONS = Buffer.alloc(4);

function textOption(code: number, text: string): Buffer {
  return option(code, Buffer.from(text));
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + ((value.length + 3) & ~3));
  put16(bytes, 0, code);
  put16(bytes, 2, value.length);
  value.copy(bytes, 4);
  return bytes;
}

function block(type: number, parts: readonly Buffer[]): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(8), ...parts, Buffer.alloc(4)]);
  put32(bytes, 0, type);
  put32(bytes, 4, bytes.length);
  put32(bytes, bytes.length - 4, bytes.length);
  return bytes;
}

function put16(bytes: Buffer, at: number, value: number): void {
  if (LITTLE) bytes.writeUInt16LE(value, at);
  else bytes.writeUInt16BE(value, at);
}

function put32(bytes: Buffer, at: number, value: number): void {
  if (LITTLE) bytes.writeUInt32LE(value, at);
  else bytes.writeUInt32BE(value, at);
}
