/**
 * The messages between the program and its privileged helper, as native/helper/protocol.h defines
 * them: C structs with fixed offsets, integers in this machine's byte order. A test compares the
 * sizes and offsets with those of the compiler.
 */
import { addressBytes, addressFromBytes } from '../../net/address.ts';
import type { RoutedPrefix } from '../../net/prefix.ts';
import { fieldText, HEADER_LAYOUT, LITTLE_ENDIAN, MessageFraming } from '../programs/framing.ts';

export const HELPER_MAGIC = 0x4c4e5554;
export const HELPER_VERSION = 4;
/** Prefixes in one ROUTES or UNREACHABLE message. */
export const HELPER_MAX_PREFIXES = 8192;

/** Where systemd listens for it (packaging/systemd). */
export const HELPER_SOCKET = '/run/tunnel/helper.sock';

/** Exit statuses of the helper before it serves. */
export const HELPER_EXIT_SETUP = 70;
export const HELPER_EXIT_NOT_ROOT = 77;

export const MESSAGE = {
  hello: 1,
  create: 2,
  created: 3,
  routes: 4,
  done: 5,
  failed: 6,
  unreachable: 16,
} as const;

/** The step at which a request failed (enum helper_step). */
export const STEP = {
  privileges: 1,
  openTun: 2,
  createTun: 3,
  address: 4,
  linkUp: 5,
  route: 6,
  request: 7,
  /** Sent at any time: somebody else removed the device, an address or a route. */
  lost: 8,
  /** The caller may not capture a prefix; once it is captured, at any time. */
  permit: 9,
  /** /etc/tunnel/helper.conf can't be trusted. */
  rules: 10,
} as const;

/** Sizes and offsets of the structs, in bytes. A ROUTES message's prefixes begin after `routes`. */
export const LAYOUT = {
  header: HEADER_LAYOUT,
  hello: { size: 112, pid: 12, removed: 16 },
  create: { size: 20, families: 12, mtu: 16 },
  created: { size: 52, ifindex: 12, name: 16, address4: 32, address6: 36 },
  prefix: { size: 20, family: 0, length: 1, flags: 2, address: 4 },
  routes: { size: 16, count: 12 },
  done: { size: 12 },
  failed: { size: 136, step: 12, error: 16, detail: 20 },
} as const;

const NAME_SIZE = 16;
const FAMILY_IPV4 = 1;
const FAMILY_IPV6 = 2;
const FLAG_PREFERRED = 1;
const FLAG_SHARED = 2;
const framing = new MessageFraming(HELPER_MAGIC, HELPER_VERSION);

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

export interface HelloMessage {
  readonly type: 'hello';
  readonly pid: number;
  /** Names of devices that killed helpers had left behind. */
  readonly removed: readonly string[];
}

export type HelperMessage =
  | HelloMessage
  | { readonly type: 'done' }
  | CreatedMessage
  | FailedMessage;

export function encodeCreate(request: CreateRequest): Uint8Array {
  const { bytes, view } = framing.begin(MESSAGE.create, LAYOUT.create.size);
  const families = (request.ipv4 ? FAMILY_IPV4 : 0) | (request.ipv6 ? FAMILY_IPV6 : 0);
  view.setUint32(LAYOUT.create.families, families, LITTLE_ENDIAN);
  view.setUint32(LAYOUT.create.mtu, request.mtu, LITTLE_ENDIAN);
  return bytes;
}

/** Throws RangeError if there are more than HELPER_MAX_PREFIXES. */
export function encodeRoutes(prefixes: readonly RoutedPrefix[]): Uint8Array {
  return encodePrefixes(MESSAGE.routes, prefixes);
}

/** As encodeRoutes. */
export function encodeUnreachable(prefixes: readonly RoutedPrefix[]): Uint8Array {
  return encodePrefixes(MESSAGE.unreachable, prefixes);
}

function encodePrefixes(type: number, prefixes: readonly RoutedPrefix[]): Uint8Array {
  if (prefixes.length > HELPER_MAX_PREFIXES) throw new RangeError(`${prefixes.length} prefixes`);
  const { bytes, view } = framing.begin(
    type,
    LAYOUT.routes.size + prefixes.length * LAYOUT.prefix.size,
  );
  view.setUint32(LAYOUT.routes.count, prefixes.length, LITTLE_ENDIAN);
  let at: number = LAYOUT.routes.size;
  for (const prefix of prefixes) {
    bytes[at + LAYOUT.prefix.family] = prefix.family;
    bytes[at + LAYOUT.prefix.length] = prefix.length;
    bytes[at + LAYOUT.prefix.flags] =
      (prefix.preferred === true ? FLAG_PREFERRED : 0) |
      (prefix.shared === true && type === MESSAGE.routes ? FLAG_SHARED : 0);
    bytes.set(addressBytes(prefix.address), at + LAYOUT.prefix.address);
    at += LAYOUT.prefix.size;
  }
  return bytes;
}

/** The version in a message's header; undefined if it isn't such a message. */
export function messageVersion(bytes: Uint8Array): number | undefined {
  return framing.version(bytes);
}

/** A message from the helper; undefined if it is malformed. */
export function decodeMessage(bytes: Uint8Array): HelperMessage | undefined {
  const message = framing.read(bytes);
  if (message === undefined) return undefined;
  const { type, view } = message;

  switch (type) {
    case MESSAGE.hello:
      if (bytes.length !== LAYOUT.hello.size) return undefined;
      return {
        type: 'hello',
        pid: view.getInt32(LAYOUT.hello.pid, LITTLE_ENDIAN),
        removed: fieldText(bytes.subarray(LAYOUT.hello.removed))
          .split(' ')
          .filter((name) => name !== ''),
      };
    case MESSAGE.created:
      if (bytes.length !== LAYOUT.created.size) return undefined;
      return {
        type: 'created',
        ifindex: view.getUint32(LAYOUT.created.ifindex, LITTLE_ENDIAN),
        name: fieldText(bytes.subarray(LAYOUT.created.name, LAYOUT.created.name + NAME_SIZE)),
        address4: address(bytes.subarray(LAYOUT.created.address4, LAYOUT.created.address4 + 4)),
        address6: address(bytes.subarray(LAYOUT.created.address6, LAYOUT.created.address6 + 16)),
      };
    case MESSAGE.done:
      return bytes.length === LAYOUT.done.size ? { type: 'done' } : undefined;
    case MESSAGE.failed:
      if (bytes.length !== LAYOUT.failed.size) return undefined;
      return {
        type: 'failed',
        step: view.getUint32(LAYOUT.failed.step, LITTLE_ENDIAN),
        errno: view.getInt32(LAYOUT.failed.error, LITTLE_ENDIAN),
        detail: fieldText(bytes.subarray(LAYOUT.failed.detail)),
      };
    default:
      return undefined;
  }
}

function address(field: Uint8Array): string | undefined {
  return field.some((octet) => octet !== 0) ? addressFromBytes(field) : undefined;
}
