/**
 * The only loader of the addon: its functions, typed. Wrappers with meaning live in capture/tun/
 * and system/.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { TunnelError } from '../errors/errors.ts';

/** A TUN device, as an opaque handle of the addon. */
export type DeviceHandle = object & { readonly __device: unique symbol };
/** A listening socket that waits for the helper, as an opaque handle of the addon. */
export type LinkHandle = object & { readonly __link: unique symbol };
/** What hears of changes of the network, as an opaque handle of the addon. */
export type NetwatchHandle = object & { readonly __netwatch: unique symbol };

/** The key of one direction of an SSH connection, as an opaque handle of the addon. */
export type GcmHandle = object & { readonly __gcm: unique symbol };

/** What the callbacks throw is an uncaught exception, as with any other event. */
export interface Addon {
  /**
   * Takes a TUN's descriptor over. `header` is where deviceWrite finds each frame's first bytes.
   * `onReadable` is called with 0 whenever frames wait, with an errno (> 0) once when the device is
   * gone. Doesn't keep the process. Throws an Error with `errno` (positive), and then has closed
   * the descriptor.
   */
  deviceOpen(fd: number, header: Uint8Array, onReadable: (errno: number) => void): DeviceHandle;
  /** Reads one frame: its length, 0 when none waits, a negative errno when the device is gone. */
  deviceRead(device: DeviceHandle, into: Uint8Array): number;
  /**
   * Writes one frame: the beginning of `header`, and up to four parts behind it. 0, or an errno
   * when it was not taken.
   */
  deviceWrite(device: DeviceHandle, headerLength: number, ...parts: Uint8Array[]): number;
  /** May be called more than once. */
  deviceClose(device: DeviceHandle): void;

  /**
   * AES-GCM for the packets of one direction (native/gcm.h); `seals`: it is ours. Null where Node
   * holds no OpenSSL. Throws an Error with `errno` (positive).
   */
  gcmCreate(key: Uint8Array, nonce: Uint8Array, seals: boolean): GcmHandle | null;
  /** Seals the packet that lies in `bytes` between `from` and `to`. False: it can't be. */
  gcmSeal(gcm: GcmHandle, bytes: Uint8Array, from: number, to: number): boolean;
  /**
   * Lays CHANNEL_DATA out in `bytes` between `from` and `to`, padded to fill it, and seals it.
   * False: it can't be.
   */
  gcmSealData(
    gcm: GcmHandle,
    bytes: Uint8Array,
    from: number,
    to: number,
    channel: number,
    data: Uint8Array,
  ): boolean;
  /** Opens a packet where it lies. Returns the length of its payload; negative: it is refused. */
  gcmOpen(gcm: GcmHandle, bytes: Uint8Array, from: number, to: number): number;

  /**
   * A TCP socket bound to a device (SO_BINDTODEVICE), not connected. Throws an Error with `errno`
   * (positive).
   */
  socketOnDevice(family: 4 | 6, device: string): number;
  /** The same for UDP. */
  datagramSocketOnDevice(family: 4 | 6, device: string): number;

  /**
   * TCP_USER_TIMEOUT (tcp(7), RFC 5482): sent data that stays unacknowledged for so long ends the
   * connection with ETIMEDOUT; 0: the system's default. Throws an Error with `errno` (positive).
   */
  setTcpUserTimeout(fd: number, milliseconds: number): void;
  /**
   * TCP_NOTSENT_LOWAT (tcp(7)): a socket takes no more while so many bytes of it have not been
   * sent. Throws an Error with `errno` (positive).
   */
  setTcpUnsentLimit(fd: number, bytes: number): void;
  /**
   * TCP_QUICKACK (tcp(7)): with 1, what has come and is not acknowledged yet is, now. Throws an
   * Error with `errno` (positive).
   */
  setTcpQuickAck(fd: number, on: number): void;

  /**
   * Listens on a SOCK_SEQPACKET Unix socket at `path` for one helper that runs as root. `onMessage`
   * gets each message and the descriptor that came with it (-1: none); null and an errno (0: closed
   * by the other side) once, at the end.
   */
  linkListen(
    path: string,
    onMessage: (message: Uint8Array | null, fd: number, errno: number) => void,
  ): LinkHandle;
  /**
   * A link with one end of a new socket pair; `fd` is the other end, for a child process, and the
   * caller's to close.
   */
  linkPair(onMessage: (message: Uint8Array | null, fd: number, errno: number) => void): {
    link: LinkHandle;
    fd: number;
  };
  /** Throws an Error with `errno` (positive) when it can't be sent. */
  linkSend(link: LinkHandle, message: Uint8Array): void;
  /**
   * Nothing more will be sent: the helper undoes what it did and closes. Throws an Error with
   * `errno`.
   */
  linkShutdown(link: LinkHandle): void;
  /** `onMessage` isn't called any more. May be called more than once. */
  linkClose(link: LinkHandle): void;

  /**
   * Passes on to `pid` each signal (HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP WINCH) that another
   * process sends to this one, and ignores those that the kernel sends to the whole process group.
   * 0: the handlers before are back.
   */
  forwardSignals(pid: number): void;
  /**
   * The number of the signal by which the child `pid` has been stopped; 0 if it hasn't, or if that
   * has been said already.
   */
  childStopped(pid: number): number;
  /**
   * The number of the signal that has ended the child of `forwardSignals`; 0: it runs, or has
   * exited.
   */
  commandEndedBy(): number;
  /** Stops this process by TSTP, STOP, TTIN or TTOU; returns when it has been continued. */
  stopSelf(signal: number): void;
  /**
   * Ends the process with `status` at once, and leaves the terminal as it is (Node would set it
   * back).
   */
  leave(status: number): never;

  /**
   * Writes what fits at once, whatever the descriptor is: returns the number of octets taken, 0
   * when there is no room. As a background job it is not stopped (native/addon_write.c). Throws an
   * Error with `errno` (positive) when nobody will read any more.
   */
  writeNow(fd: number, octets: Uint8Array): number;

  /**
   * The device by which packets to `address` (4 or 16 octets) would leave if `excludeDevice`
   * weren't there: longest match in the main table, then lowest metric. Null when there is no
   * route. Throws an Error with `errno` (positive).
   */
  uplinkFor(address: Uint8Array, excludeDevice: string): string | null;

  /**
   * Calls `onChange` with 0 after devices, addresses or routes have changed, those of
   * `ignoredDevice` excepted, once for what comes together (native/netwatch.h); with an errno (> 0)
   * once, when nothing more can be heard. Doesn't keep the process. Throws an Error with `errno`
   * (positive).
   */
  netwatchStart(ignoredDevice: string, onChange: (errno: number) => void): NetwatchHandle;
  /** `onChange` isn't called any more. May be called more than once. */
  netwatchStop(watch: NetwatchHandle): void;
}

let loaded: Addon | undefined;

/**
 * Throws `TunnelError` with code `native-missing` when the addon has not been built for this
 * machine.
 */
export function addon(): Addon {
  if (loaded === undefined) {
    const path = fileURLToPath(new URL('../../native/tunnel.node', import.meta.url));
    try {
      loaded = createRequire(import.meta.url)(path) as Addon;
    } catch (cause) {
      throw new TunnelError('native-missing', `the native part can't be loaded from ${path}`, {
        hint: 'build it with "npm run build:native" (needs a C compiler and make)',
        cause,
      });
    }
  }
  return loaded;
}

/**
 * The privileged helper as it was built for this program; system/programs/path.ts prefers an
 * installed one.
 */
export const HELPER_PATH = fileURLToPath(new URL('../../native/tunnel-helper', import.meta.url));

/**
 * The launcher of `tunnel exec` as it was built for this program; system/launcher/launcher.ts
 * prefers an installed one.
 */
export const LAUNCHER_PATH = fileURLToPath(
  new URL('../../native/tunnel-launcher', import.meta.url),
);

/** Starts a program that can't outlive this one (native/launch.c). */
export const LAUNCH_PATH = fileURLToPath(new URL('../../native/tunnel-launch', import.meta.url));
/** Compares a host key's fingerprint for ssh (native/hostpin.c). */
export const HOSTPIN_PATH = fileURLToPath(new URL('../../native/tunnel-hostpin', import.meta.url));
/** Ends an ssh with the tunnel that the kernel doesn't (native/guard.c). */
export const GUARD_PATH = fileURLToPath(new URL('../../native/tunnel-guard', import.meta.url));
