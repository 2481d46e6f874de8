/**
 * The messages between the program and the launcher of `tunnel exec`, as native/launcher/protocol.h
 * defines them: C structs with fixed offsets, integers in this machine's byte order. A test
 * compares the sizes and offsets with those of the compiler.
 */
import { addressBytes } from '../../net/address.ts';
import { fieldText, HEADER_LAYOUT, LITTLE_ENDIAN, MessageFraming } from '../programs/framing.ts';

export const LAUNCHER_MAGIC = 0x434e4c54;
export const LAUNCHER_VERSION = 5;
/** In bytes. */
export const LAUNCHER_MAX_RESOLV_CONF = 8192;
/** Of the variables in GO, in bytes. */
export const LAUNCHER_MAX_VARIABLES = 65_536;

export const LAUNCHER_MESSAGE = { setup: 1, descriptor: 2, ready: 3, go: 4, failed: 5 } as const;

/** The step at which it failed (enum launcher_step). */
export const LAUNCHER_STEP = {
  request: 1,
  namespaces: 2,
  mapping: 3,
  openTun: 4,
  createTun: 5,
  network: 6,
  mount: 8,
  privileges: 9,
  execute: 10,
} as const;

/** Sizes and offsets of the structs, in bytes. */
export const LAUNCHER_LAYOUT = {
  header: HEADER_LAYOUT,
  setup: {
    size: 48,
    flags: 12,
    mtu: 16,
    address4: 20,
    address6: 24,
    descriptors: 40,
    resolvConfLength: 44,
  },
  descriptor: { size: 12 },
  ready: { size: 40, notes: 12, device: 16, uid: 32, gid: 36 },
  go: { size: 12 },
  failed: { size: 136, step: 12, error: 16, detail: 20 },
} as const;

const FLAG_ISOLATE = 1;
const FLAG_VERBATIM = 2;
const FLAG_IN_PLACE = 4;
const FLAG_AS_CALLER = 8;
const NOTE_NO_RESOLV_CONF = 1;
const NOTE_HAS_IPV6 = 2;
const framing = new MessageFraming(LAUNCHER_MAGIC, LAUNCHER_VERSION);

/** The settings of a command in any network. */
export interface CommandSetup {
  /**
   * The launcher copies the command and its environment from this process's own command line (which
   * must end with the command) and environment, because of bytes that aren't UTF-8. Default: it
   * uses its own arguments and environment.
   */
  readonly verbatim?: boolean;
  /** The command's soft limit on descriptors; undefined: this process's limit. */
  readonly descriptors: number | undefined;
}

/** The settings of a command in its own network. */
export interface LauncherSetup extends CommandSetup {
  /** The command must not use the host's services to resolve names. */
  readonly isolate: boolean;
  readonly mtu: number;
  /** The device's own addresses, in a /24 and a /64. */
  readonly address4: string;
  readonly address6: string;
  readonly resolvConf: string;
}

/** Changes to an environment; undefined removes the variable. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** The user that the command will run as. */
export interface CommandUser {
  readonly uid: number;
  readonly gid: number;
}

export interface LauncherFailed {
  readonly type: 'failed';
  /** One of LAUNCHER_STEP; others may come from a newer launcher. */
  readonly step: number;
  /** Positive. */
  readonly errno: number;
  readonly detail: string;
}

export type LauncherMessage =
  /** Carries the TUN's descriptor. */
  | { readonly type: 'descriptor' }
  | {
      readonly type: 'ready';
      /** Empty if the command runs in the host's network. */
      readonly device: string;
      readonly hasResolvConf: boolean;
      readonly hasIPv6: boolean;
      readonly user: CommandUser;
    }
  | LauncherFailed;

/** Throws RangeError if resolv.conf is longer than LAUNCHER_MAX_RESOLV_CONF. */
export function encodeSetup(setup: LauncherSetup): Uint8Array {
  const { setup: at } = LAUNCHER_LAYOUT;
  const text = Buffer.from(setup.resolvConf, 'latin1');
  if (text.length > LAUNCHER_MAX_RESOLV_CONF)
    throw new RangeError(`a resolv.conf of ${text.length} bytes`);
  const { bytes, view } = framing.begin(LAUNCHER_MESSAGE.setup, at.size + text.length);
  view.setUint32(at.flags, (setup.isolate ? FLAG_ISOLATE : 0) | commandFlags(setup), LITTLE_ENDIAN);
  view.setUint32(at.mtu, setup.mtu, LITTLE_ENDIAN);
  bytes.set(addressBytes(setup.address4), at.address4);
  bytes.set(addressBytes(setup.address6), at.address6);
  view.setUint32(at.descriptors, setup.descriptors ?? 0, LITTLE_ENDIAN);
  view.setUint32(at.resolvConfLength, text.length, LITTLE_ENDIAN);
  bytes.set(text, at.size);
  return bytes;
}

/**
 * For a command in the host's network. `asCaller`: it is the program itself, for the caller of sudo
 * or doas.
 */
export function encodeSetupInPlace(setup: CommandSetup, asCaller = false): Uint8Array {
  const { setup: at } = LAUNCHER_LAYOUT;
  const { bytes, view } = framing.begin(LAUNCHER_MESSAGE.setup, at.size);
  const flags = FLAG_IN_PLACE | (asCaller ? FLAG_AS_CALLER : 0) | commandFlags(setup);
  view.setUint32(at.flags, flags, LITTLE_ENDIAN);
  view.setUint32(at.descriptors, setup.descriptors ?? 0, LITTLE_ENDIAN);
  return bytes;
}

function commandFlags({ verbatim }: CommandSetup): number {
  return verbatim === true ? FLAG_VERBATIM : 0;
}

/** Throws RangeError beyond LAUNCHER_MAX_VARIABLES, and for invalid environment variables. */
export function encodeGo(variables: Variables = {}): Uint8Array {
  const { size } = LAUNCHER_LAYOUT.go;
  const words = Object.entries(variables).map(([name, value]) => {
    if (name === '' || /[=\0]/.test(name) || value?.includes('\0') === true)
      throw new RangeError(`${name} can't be in an environment`);
    return value === undefined ? `${name}\0` : `${name}=${value}\0`;
  });
  const text = Buffer.from(words.join(''));
  if (text.length > LAUNCHER_MAX_VARIABLES)
    throw new RangeError(`variables of ${text.length} bytes`);
  const { bytes } = framing.begin(LAUNCHER_MESSAGE.go, size + text.length);
  bytes.set(text, size);
  return bytes;
}

/** The version in a message's header; undefined if it isn't such a message. */
export function launcherVersion(bytes: Uint8Array): number | undefined {
  return framing.version(bytes);
}

/** A message from the launcher; undefined if it is malformed. */
export function decodeLauncherMessage(bytes: Uint8Array): LauncherMessage | undefined {
  const { descriptor, ready, failed } = LAUNCHER_LAYOUT;
  const message = framing.read(bytes);
  if (message === undefined) return undefined;
  const { type, view } = message;

  switch (type) {
    case LAUNCHER_MESSAGE.descriptor:
      return bytes.length === descriptor.size ? { type: 'descriptor' } : undefined;
    case LAUNCHER_MESSAGE.ready:
      if (bytes.length !== ready.size) return undefined;
      return {
        type: 'ready',
        device: fieldText(bytes.subarray(ready.device)),
        user: {
          uid: view.getUint32(ready.uid, LITTLE_ENDIAN),
          gid: view.getUint32(ready.gid, LITTLE_ENDIAN),
        },
        hasResolvConf: (view.getUint32(ready.notes, LITTLE_ENDIAN) & NOTE_NO_RESOLV_CONF) === 0,
        hasIPv6: (view.getUint32(ready.notes, LITTLE_ENDIAN) & NOTE_HAS_IPV6) !== 0,
      };
    case LAUNCHER_MESSAGE.failed:
      if (bytes.length !== failed.size) return undefined;
      return {
        type: 'failed',
        step: view.getUint32(failed.step, LITTLE_ENDIAN),
        errno: view.getInt32(failed.error, LITTLE_ENDIAN),
        detail: fieldText(bytes.subarray(failed.detail)),
      };
    default:
      return undefined;
  }
}
