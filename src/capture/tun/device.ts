/**
 * What frames are read from and written to. Implementations: the TUN of this machine or of a
 * command's namespace (linuxtun.ts), and devices in memory for tests.
 *
 *   onReadable -> read() until it gives 0, or the reader has had enough: then it comes again
 *   header is filled in -> write(headerLength, parts...): one frame
 *
 * Who owns memory: `read` fills the caller's, `write` has copied all that it needs when it returns.
 */
export interface PacketDevice {
  /** Bytes of an IP packet that fit. */
  readonly mtu: number;
  /** Where the next frame's headers are laid out; at least HEADER_BYTES. */
  readonly header: Buffer;
  /**
   * From now on `onReadable` is called when frames wait: with 0, or once with an errno when the
   * device is gone.
   */
  start(onReadable: (errno: number) => void): void;
  /**
   * Reads one frame into `into` (FRAME_BYTES). Its length; 0 when none waits, or when the device is
   * gone.
   */
  read(into: Buffer): number;
  /**
   * Writes the first bytes of `header`, and behind it up to four parts. What the device can't take
   * is lost.
   */
  write(headerLength: number, a?: Buffer, b?: Buffer, c?: Buffer, d?: Buffer): void;
  /** May be called more than once. */
  close(): void;
}

/** Room for the headers of any frame, and for an ICMP error with what it quotes. */
export const HEADER_BYTES = 2048;
/** Parts that one frame may have. */
export const MAX_PARTS = 4;
