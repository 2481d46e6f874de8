/**
 * Loads the addon; the only file that does. The parts that use its functions are in capture/tun/,
 * system/ and elsewhere.
 */
import { createRequire } from 'node:module';
import { requireLinux } from '../base/platform.ts';
import { TunnelError } from '../errors/errors.ts';
import { addonFile, nativeFault, nativeFile, refuseTruncated } from './files.ts';

/** A TUN device, as an opaque handle of the addon. */
export type DeviceHandle = object & { readonly __device: unique symbol };
/** The connection to the helper or the launcher, as an opaque handle of the addon. */
export type LinkHandle = object & { readonly __link: unique symbol };
/** A watch for network changes, as an opaque handle of the addon. */
export type NetwatchHandle = object & { readonly __netwatch: unique symbol };

/** The key of one direction of an SSH connection, as an opaque handle of the addon. */
export type GcmHandle = object & { readonly __gcm: unique symbol };
/** Listening sockets and their clients, as an opaque handle of the addon. */
export type ClientsHandle = object & { readonly __clients: unique symbol };

/** An exception in a callback is an uncaught exception, as with any other event. */
export interface Addon {
  /**
   * Takes over a TUN's descriptor. deviceWrite reads each frame's first bytes from `header`.
   * `onReadable` is called with 0 whenever frames wait, and once with an errno (> 0) when the
   * device is gone. Doesn't keep the process running. Throws an Error with `errno` (positive); the
   * descriptor is then closed.
   */
  deviceOpen(fd: number, header: Uint8Array, onReadable: (errno: number) => void): DeviceHandle;
  /**
   * Reads one frame. Returns its length, 0 if none waits, or a negative errno if the device is
   * gone.
   */
  deviceRead(device: DeviceHandle, into: Uint8Array): number;
  /**
   * Writes one frame: the first bytes of `header`, then up to four parts. Returns 0, or an errno if
   * the device didn't accept it.
   */
  deviceWrite(device: DeviceHandle, headerLength: number, ...parts: Uint8Array[]): number;
  /**
   * From now on each frame that is read or written is recorded in `memory` (native/tap.h); whole,
   * or only its headers. `onFull` is called when one doesn't fit: it may swap the memory, or else
   * that frame is not recorded.
   */
  deviceTap(device: DeviceHandle, memory: Uint8Array, whole: boolean, onFull: () => void): void;
  /**
   * Records in other memory from now on; null: no more. Returns how much of the memory before is
   * filled.
   */
  deviceTapSwap(device: DeviceHandle, memory: Uint8Array | null): number;
  /** May be called more than once. */
  deviceClose(device: DeviceHandle): void;

  /**
   * AES-GCM for the packets of one direction (native/gcm.h). `seals`: whether it is ours. Null if
   * Node has no OpenSSL. Throws an Error with `errno` (positive).
   */
  gcmCreate(key: Uint8Array, nonce: Uint8Array, seals: boolean): GcmHandle | null;
  /** Seals the packet in `bytes` from `from` to `to`, in place. False: it can't be sealed. */
  gcmSeal(gcm: GcmHandle, bytes: Uint8Array, from: number, to: number): boolean;
  /**
   * Writes CHANNEL_DATA to `bytes` from `from` to `to`, padded to fill that space, and seals it.
   * False: it can't be sealed.
   */
  gcmSealData(
    gcm: GcmHandle,
    bytes: Uint8Array,
    from: number,
    to: number,
    channel: number,
    data: Uint8Array,
  ): boolean;
  /**
   * Opens a packet in place. Returns the length of its payload; negative: the packet is refused.
   */
  gcmOpen(gcm: GcmHandle, bytes: Uint8Array, from: number, to: number): number;

  /**
   * A TCP socket bound to a device (SO_BINDTODEVICE), not connected. Throws an Error with `errno`
   * (positive).
   */
  socketOnDevice(family: 4 | 6, device: string): number;
  /** The same for UDP. */
  datagramSocketOnDevice(family: 4 | 6, device: string): number;

  /**
   * A datagram socket that is connected to the Unix socket at `path`, for writeNow(). Throws an
   * Error with `errno` (positive).
   */
  datagramSocketTo(path: string): number;

  /**
   * TCP_USER_TIMEOUT (tcp(7), RFC 5482): if sent data stays unacknowledged for this long, the
   * connection ends with ETIMEDOUT. 0: the system's default. Throws an Error with `errno`
   * (positive).
   */
  setTcpUserTimeout(fd: number, milliseconds: number): void;
  /**
   * TCP_NOTSENT_LOWAT (tcp(7)): the socket accepts no more data while this many bytes are unsent.
   * Throws an Error with `errno` (positive).
   */
  setTcpUnsentLimit(fd: number, bytes: number): void;
  /**
   * TCP_QUICKACK (tcp(7)): 1 acknowledges at once all that has arrived. Throws an Error with
   * `errno` (positive).
   */
  setTcpQuickAck(fd: number, on: number): void;
  /**
   * Ends what is sent on a socket of any kind (shutdown(2), SHUT_WR); receiving goes on. Throws an
   * Error with `errno` (positive).
   */
  shutdownOutput(fd: number): void;
  /**
   * How many sent bytes the peer's kernel has acknowledged (tcpi_bytes_acked of TCP_INFO). Throws
   * an Error with `errno` (positive).
   */
  tcpAcknowledged(fd: number): number;

  /**
   * The user and the process that have listened at the other end of a connected Unix socket
   * (SO_PEERCRED, unix(7)). 0 for a process of another container. Throws an Error with `errno`
   * (positive).
   */
  socketPeer(fd: number): [user: number, process: number];

  /**
   * Listens on a SOCK_SEQPACKET Unix socket at `path` for one helper that runs as root. `onMessage`
   * gets each message and its descriptor (-1: none); at the end, once, null and an errno (0: the
   * other side closed).
   */
  linkListen(
    path: string,
    onMessage: (message: Uint8Array | null, fd: number, errno: number) => void,
  ): LinkHandle;
  /**
   * Connects to a SOCK_SEQPACKET Unix socket at `path` where root listens. Throws an Error with
   * `errno` (positive): EPERM if it is somebody else.
   */
  linkConnect(
    path: string,
    onMessage: (message: Uint8Array | null, fd: number, errno: number) => void,
  ): LinkHandle;
  /**
   * A link with one end of a new socket pair. `fd` is the other end, for a child process; the
   * caller must close it.
   */
  linkPair(onMessage: (message: Uint8Array | null, fd: number, errno: number) => void): {
    link: LinkHandle;
    fd: number;
  };
  /**
   * A link with a socket that this process has inherited, whose other end is root's. Takes it over.
   * Throws an Error with `errno` (positive) if it isn't one.
   */
  linkAdopt(
    socket: number,
    onMessage: (message: Uint8Array | null, fd: number, errno: number) => void,
  ): LinkHandle;
  /** Throws an Error with `errno` (positive) if it can't be sent. */
  linkSend(link: LinkHandle, message: Uint8Array): void;
  /**
   * Ends the requests: the helper undoes what it did and closes. Throws an Error with `errno`
   * (positive).
   */
  linkShutdown(link: LinkHandle): void;
  /** Closes the link; `onMessage` is no longer called. May be called more than once. */
  linkClose(link: LinkHandle): void;

  /**
   * Passes on to `pid` each signal (HUP INT QUIT USR1 USR2 ALRM TERM CONT TSTP WINCH) that another
   * process sends to this one, and ignores those that the kernel sends to the whole process group.
   * 0: restores the old handlers.
   */
  forwardSignals(pid: number): void;
  /** The number of the signal that stopped the child `pid`. Each stop is returned once; 0: none. */
  childStopped(pid: number): number;
  /**
   * The number of the signal that ended the child of `forwardSignals`; 0: it runs, or has exited.
   */
  commandEndedBy(): number;
  /** Stops this process with TSTP, STOP, TTIN or TTOU; returns when it is continued. */
  stopSelf(signal: number): void;
  /**
   * Ends the process with `status` at once, and leaves the terminal as it is (Node would reset it).
   */
  leave(status: number): never;

  /**
   * Writes what fits at once to a descriptor of any kind. Returns the number of octets written, 0
   * if it would block. Doesn't stop a background job (native/addon_write.c). Throws an Error with
   * `errno` (positive) if nobody will read any more.
   */
  writeNow(fd: number, octets: Uint8Array): number;

  /**
   * Reads what waits at a descriptor of any kind into `into`, and never waits
   * (native/addon_transfer.c). Returns the number of octets; 0: it has ended; -1: nothing waits, or
   * it can't be read in this way. Then a read that may wait tells which. Throws an Error with
   * `errno` (positive) for a socket's error, such as ECONNRESET: the next read would see an end.
   */
  readWaiting(fd: number, into: Uint8Array): number;
  /**
   * The same for writing up to 32 `parts`, one after the other. Returns how much was taken. Throws
   * an Error with `errno` (positive) for a socket's error.
   */
  writeFitting(fd: number, ...parts: Uint8Array[]): number;

  /**
   * A set of sockets, watched on Node's own event loop (native/addon_clients.c). `onReady` is
   * called with how many are ready: each then has its descriptor and what epoll(7) says of it in
   * `events`, a pair of 32-bit numbers for each of up to 64. Throws an Error with `errno`
   * (positive).
   */
  clientsOpen(events: Uint8Array, onReady: (count: number) => void): ClientsHandle;
  /**
   * A listening TCP socket in the set, of an address of 4 or 16 octets. The connections that it
   * accepts have its options (Linux): TCP_NODELAY, and keepalives after `idle` seconds of silence,
   * `interval` seconds apart, `probes` in all. Returns its descriptor and its port. Throws an Error
   * with `errno` (positive).
   */
  clientsListen(
    clients: ClientsHandle,
    address: Uint8Array,
    port: number,
    backlog: number,
    idle: number,
    interval: number,
    probes: number,
  ): [fd: number, port: number];
  /**
   * Accepts up to 32 connections. Returns how many, or a negative errno: none waits (EAGAIN), or
   * none can be accepted. `accepted` gets 52
   * octets for each, in numbers as the machine writes them: 32 bits each for its descriptor, the
   * length of its addresses, whether it is known whose it is, and the user; 16 bits each for the
   * peer's port and its own; 16 octets each for the peer's address and its own. `asks`: the kernel
   * is asked whose they are, as socketOwners() does.
   */
  clientsAccept(
    clients: ClientsHandle,
    listener: number,
    asks: boolean,
    accepted: Uint8Array,
  ): number;
  /**
   * Takes an accepted socket into the set, where each event of its is told once. Throws an Error
   * with `errno` (positive).
   */
  clientsWatch(clients: ClientsHandle, fd: number): void;
  /** Whether it is told when there is room to write to an accepted socket. */
  clientsAwaitRoom(clients: ClientsHandle, fd: number, waits: boolean): void;
  /** Takes a socket out of the set, and leaves it open. */
  clientsRelease(clients: ClientsHandle, fd: number): void;
  /** Ends the watch, and leaves the sockets open. May be called more than once. */
  clientsClose(clients: ClientsHandle): void;
  /**
   * Looks whether a socket has something to read, and reads nothing. 1: it has; 0: it has ended;
   * negative: an errno, EAGAIN if nothing waits. A socket's error is told once.
   */
  socketPeek(fd: number): number;
  /** Closes a socket. With `resets` the peer of a TCP connection sees a reset. */
  socketClose(fd: number, resets: boolean): void;

  /**
   * The size of the terminal that is open as `fd`, and whether this process may draw on it: it is
   * in the foreground, and nobody has switched the echo or the line mode off. Undefined: it is no
   * terminal.
   */
  terminalView(fd: number): [columns: number, rows: number, mayDraw: boolean] | undefined;

  /**
   * From here on only root may read this process's memory, and no core is written
   * (native/addon_memory.c). A program that it starts is not concerned, except that it writes no
   * core either. Throws an Error with `errno` (positive).
   */
  hideMemory(): void;

  /**
   * no_new_privs for all threads: neither this process nor a program that it starts can become root
   * again. Calls that only root of the machine could use fail with EPERM (seccomp(2)). Throws an
   * Error with `errno` (positive).
   */
  lockPrivileges(): void;

  /**
   * The user's supplementary groups (initgroups(3)), with `group`; of a user whom the user database
   * doesn't have, `group` alone. These four are for all threads (nptl(7)), and throw an Error with
   * `errno` (positive).
   */
  initGroups(user: number, group: number): void;
  /** The octets of numbers of 32 bits, in the machine's own order (setgroups(2)). */
  setGroups(groups: Uint8Array): void;
  /** setgid(2) and setuid(2): for good. */
  setUser(user: number, group: number): void;
  /** setegid(2) and seteuid(2), from root to a user and back. */
  setEffectiveUser(user: number, group: number): void;

  /**
   * Leaves the session and the terminal (setsid(2)), and has /dev/null as standard input, output
   * and error from here on. Throws an Error with `errno` (positive): EPERM for the leader of a
   * process group.
   */
  detach(): void;
  /**
   * Locks an open file for this process (flock(2)), until it is closed or the process ends. False:
   * another one has it locked. Throws an Error with `errno` (positive).
   */
  lockFile(fd: number): boolean;
  /**
   * Claims a file that is open for writing, until it is closed (F_OFD_SETLK of fcntl(2)). False:
   * somebody else has claimed it, by another open(2). A file system without locks says true.
   */
  claimFile(fd: number): boolean;
  /**
   * Sends a datagram to the Unix socket at `path`, which begins with a zero if it is an abstract
   * name. Never waits. Returns 0, or an errno: EAGAIN if the receiver's queue is full. Throws an
   * Error with `errno` (positive) if the path is too long.
   */
  sendDatagram(path: Uint8Array, octets: Uint8Array): number;

  /**
   * Asks the kernel about routes, rules, addresses or devices (rtnetlink(7)): a request of type
   * RTM_GET*, for one thing or for all (`dump`), with what follows the netlink header as its body.
   * Returns the answers with their headers, each padded to 4 octets. Throws an Error with `errno`
   * (positive): the kernel's answer, or EMSGSIZE if it is longer than `limit` octets. Changes
   * nothing.
   */
  rtnetlinkAsk(type: number, dump: boolean, body: Uint8Array, limit: number): Uint8Array;

  /**
   * The user and the inode of the TCP socket that has this address (4 or 16 octets) and port and is
   * connected, or connecting, to that peer (sock_diag(7)). An IPv4 socket may be one of IPv6.
   * Undefined: this network has no such socket. Throws an Error with `errno` (positive).
   */
  socketOwner(
    address: Uint8Array,
    port: number,
    peerAddress: Uint8Array,
    peerPort: number,
  ): [user: number, inode: number] | undefined;

  /**
   * The same for `count` sockets, at most 32, with two system calls. Each question has 40 octets:
   * the length of its addresses (4 or 16); at 2 the port, at 4 the peer's, both in network order;
   * at 8 the address, at 24 the peer's. `owners` gets two numbers for each as the machine writes
   * them, the user and the inode: two zeros if there is no such socket. Both arrays begin at a
   * multiple of 4. Throws an Error with `errno` (positive); `owners` then says nothing.
   */
  socketOwners(questions: Uint8Array, count: number, owners: Uint8Array): void;

  /**
   * Calls `onChange` with 0 after devices, addresses, routes or rules have changed, except those of
   * `ignoredDevice`; once for changes that come together (native/netwatch.h). Calls it once with an
   * errno (> 0) when no more changes can be read. Doesn't keep the process running. Throws an Error
   * with `errno` (positive).
   */
  netwatchStart(ignoredDevice: string, onChange: (errno: number) => void): NetwatchHandle;
  /** Ends the watch; `onChange` is no longer called. May be called more than once. */
  netwatchStop(watch: NetwatchHandle): void;
}

let loaded: Addon | undefined;

/** Undefined where there is none: for what does without it, or says so elsewhere. */
export function addonIfAny(): Addon | undefined {
  try {
    return addon();
  } catch {
    return undefined;
  }
}

/**
 * Throws TunnelError `native-missing` if there is no addon for this machine, and `needs-linux` on
 * another system.
 */
export function addon(): Addon {
  if (loaded === undefined) {
    requireLinux('this');
    const path = addonFile();
    try {
      refuseTruncated(path);
      loaded = createRequire(import.meta.url)(path) as Addon;
    } catch (cause) {
      const { reason, hint } = nativeFault(path, cause);
      throw new TunnelError(
        'native-missing',
        `the native part can't be loaded from ${path}: ${reason}`,
        { hint, cause },
      );
    }
  }
  return loaded;
}

/**
 * The privileged helper that belongs to this program; system/programs/path.ts prefers an installed
 * one.
 */
export const HELPER_PATH = nativeFile('tunnel-helper');

/**
 * The launcher of `tunnel exec` that belongs to this program; system/launcher/launcher.ts prefers
 * an installed one.
 */
export const LAUNCHER_PATH = nativeFile('tunnel-launcher');

/** Starts a program that can't outlive this one (native/launch.c). */
export const LAUNCH_PATH = nativeFile('tunnel-launch');
/** Compares a host key's fingerprint for ssh (native/hostpin.c). */
export const HOSTPIN_PATH = nativeFile('tunnel-hostpin');
/** Ends an ssh when the tunnel ends, if the kernel doesn't (native/guard.c). */
export const GUARD_PATH = nativeFile('tunnel-guard');
/** Dials for ssh with a socket that is bound to a device (native/dial.c). */
export const DIAL_PATH = nativeFile('tunnel-dial');
/** Passes questions of ssh on to this program (native/askpass.c). */
export const ASKPASS_PATH = nativeFile('tunnel-askpass');
