/**
 * A device that frames are read from and written to. Implementations: the TUN of this machine or of
 * a command's namespace (linuxtun.ts), and in-memory devices for tests.
 *
 *   onReadable -> read() until it returns 0; if the reader stops earlier, onReadable comes again
 *   header is filled in -> write(headerLength, parts...): one frame
 *
 * Memory: `read` fills the caller's buffer. When `write` returns, it has copied all that it needs.
 */
export interface PacketDevice {
  /** The largest IP packet that fits, in bytes. */
  readonly mtu: number;
  /** Where the next frame's headers are built; at least HEADER_BYTES long. */
  readonly header: Buffer;
  /**
   * From now on `onReadable` is called with 0 when frames wait, or once with an errno when the
   * device is gone.
   */
  start(onReadable: (errno: number) => void): void;
  /**
   * Reads one frame into `into` (FRAME_BYTES). Returns its length, or 0 if no frame waits or the
   * device is gone.
   */
  read(into: Buffer): number;
  /**
   * Writes the first bytes of `header`, followed by up to four parts. A frame that the device can't
   * take is lost.
   */
  write(headerLength: number, a?: Buffer, b?: Buffer, c?: Buffer, d?: Buffer): void;
  /** May be called more than once. */
  close(): void;
}

/**
 * Gets a record of each frame, in large pieces of memory. The device fills it without calling this
 * program (native/tap.h).
 */
export interface PacketTap {
  /** Payloads are recorded as well as headers. */
  readonly whole: boolean;
  /**
   * Called once. `swap` records in other memory from then on, and returns how much of the one
   * before is filled; null: no more is recorded. Returns the first memory.
   */
  attach(swap: (memory: Uint8Array | null) => number): Uint8Array;
  /** A frame doesn't fit: unless the memory is swapped now, it is not recorded. Never throws. */
  full(): void;
  /** The device is closed after this. */
  detach(): void;
}

/** Enough for the headers of any frame, and for an ICMP error with the packet that it quotes. */
export const HEADER_BYTES = 2048;
/** The most parts that one frame may have. */
export const MAX_PARTS = 4;
