/**
 * The messages between the program and its privileged helper, as native/helper/protocol.h defines them: C structs with fixed
 * offsets, integers in this machine's byte order. A test compares sizes and offsets with the compiler's.
 */
import { endianness } from 'node:os';
import { addressBytes, addressFromBytes } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';

export const HELPER_MAGIC = 0x4c4e5554;
export const HELPER_VERSION = 1;
/** Prefixes in one ROUTES message. */
export const HELPER_MAX_PREFIXES = 8192;

/** Exit statuses of the helper until it serves. */
export const HELPER_EXIT_SETUP = 70;
export const HELPER_EXIT_NOT_ROOT = 77;

export const MESSAGE = { hello: 1, create: 2, created: 3, routes: 4, done: 5, failed: 6 } as const;

/** At which step a request failed (enum helper_step). */
export const STEP = {
  privileges: 1,
  openTun: 2,
  createTun: 3,
  address: 4,
  linkUp: 5,
  route: 6,
  request: 7,
  /** Unasked: the device, an address or a route was taken away. */
  lost: 8,
} as const;

/** Sizes and offsets of the structs, in bytes. `prefixes` is where a ROUTES message's prefixes begin. */
export const LAYOUT = {
  header: { size: 12, magic: 0, version: 4, type: 6, length: 8 },
  hello: { size: 16, pid: 12 },
  create: { size: 20, families: 12, mtu: 16 },
  created: { size: 52, ifindex: 12, name: 16, address4: 32, address6: 36 },
  prefix: { size: 20, family: 0, length: 1, address: 4 },
  routes: { size: 16, count: 12 },
  done: { size: 12 },
  failed: { size: 136, step: 12, error: 16, detail: 20 },
} as const;

const NAME_SIZE = 16;
const FAMILY_IPV4 = 1;
const FAMILY_IPV6 = 2;
const LITTLE = endianness() === 'LE';

export interface CreateRequest {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly mtu: number;
}

export interface CreatedMessage {
  readonly type: 'created';
  readonly ifindex: number;
  readonly name: string;
  readonly address4: string | undefined;
  readonly address6: string | undefined;
}

export interface FailedMessage {
  readonly type: 'failed';
  /** One of STEP; others may come from a newer helper. */
  readonly step: number;
  /** Positive. */
  readonly errno: number;
  readonly detail: string;
}

export type HelperMessage =
  | { readonly type: 'hello'; readonly pid: number }
  | { readonly type: 'done' }
  | CreatedMessage
  | FailedMessage;

function begin(type: number, length: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(LAYOUT.header.magic, HELPER_MAGIC, LITTLE);
  view.setUint16(LAYOUT.header.version, HELPER_VERSION, LITTLE);
  view.setUint16(LAYOUT.header.type, type, LITTLE);
  view.setUint32(LAYOUT.header.length, length, LITTLE);
  return { bytes, view };
}

export function encodeCreate(request: CreateRequest): Uint8Array {
  const { bytes, view } = begin(MESSAGE.create, LAYOUT.create.size);
  const families = (request.ipv4 ? FAMILY_IPV4 : 0) | (request.ipv6 ? FAMILY_IPV6 : 0);
  view.setUint32(LAYOUT.create.families, families, LITTLE);
  view.setUint32(LAYOUT.create.mtu, request.mtu, LITTLE);
  return bytes;
}

/** Throws RangeError beyond HELPER_MAX_PREFIXES. */
export function encodeRoutes(prefixes: readonly Prefix[]): Uint8Array {
  if (prefixes.length > HELPER_MAX_PREFIXES) throw new RangeError(`${prefixes.length} prefixes`);
  const { bytes, view } = begin(MESSAGE.routes, LAYOUT.routes.size + prefixes.length * LAYOUT.prefix.size);
  view.setUint32(LAYOUT.routes.count, prefixes.length, LITTLE);
  let at: number = LAYOUT.routes.size;
  for (const prefix of prefixes) {
    bytes[at + LAYOUT.prefix.family] = prefix.family;
    bytes[at + LAYOUT.prefix.length] = prefix.length;
    bytes.set(addressBytes(prefix.address), at + LAYOUT.prefix.address);
    at += LAYOUT.prefix.size;
  }
  return bytes;
}

/** The version in a message's header; undefined when it isn't one. */
export function messageVersion(bytes: Uint8Array): number | undefined {
  if (bytes.length < LAYOUT.header.size) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(LAYOUT.header.magic, LITTLE) !== HELPER_MAGIC) return undefined;
  return view.getUint16(LAYOUT.header.version, LITTLE);
}

/** A message of the helper's; undefined when it isn't well-formed. */
export function decodeMessage(bytes: Uint8Array): HelperMessage | undefined {
  if (messageVersion(bytes) !== HELPER_VERSION) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(LAYOUT.header.length, LITTLE) !== bytes.length) return undefined;

  switch (view.getUint16(LAYOUT.header.type, LITTLE)) {
    case MESSAGE.hello:
      if (bytes.length !== LAYOUT.hello.size) return undefined;
      return { type: 'hello', pid: view.getInt32(LAYOUT.hello.pid, LITTLE) };
    case MESSAGE.created:
      if (bytes.length !== LAYOUT.created.size) return undefined;
      return {
        type: 'created',
        ifindex: view.getUint32(LAYOUT.created.ifindex, LITTLE),
        name: text(bytes.subarray(LAYOUT.created.name, LAYOUT.created.name + NAME_SIZE)),
        address4: address(bytes.subarray(LAYOUT.created.address4, LAYOUT.created.address4 + 4)),
        address6: address(bytes.subarray(LAYOUT.created.address6, LAYOUT.created.address6 + 16)),
      };
    case MESSAGE.done:
      return bytes.length === LAYOUT.done.size ? { type: 'done' } : undefined;
    case MESSAGE.failed:
      if (bytes.length !== LAYOUT.failed.size) return undefined;
      return {
        type: 'failed',
        step: view.getUint32(LAYOUT.failed.step, LITTLE),
        errno: view.getInt32(LAYOUT.failed.error, LITTLE),
        detail: text(bytes.subarray(LAYOUT.failed.detail)),
      };
    default:
      return undefined;
  }
}

/** Text up to the first NUL. */
function text(field: Uint8Array): string {
  const end = field.indexOf(0);
  return Buffer.from(end === -1 ? field : field.subarray(0, end)).toString('latin1');
}

function address(field: Uint8Array): string | undefined {
  return field.some((octet) => octet !== 0) ? addressFromBytes(field) : undefined;
}
