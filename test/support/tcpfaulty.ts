/** A wrapper around a device that loses, duplicates and reorders frames both ways, from a seed. */
import type { PacketDevice } from '../../src/capture/tun/device.ts';
import { FRAME_BYTES } from '../../src/capture/tun/frame.ts';
import { SeededRandom } from './tcprandom.ts';

/** The most that a late frame waits for later ones. */
const LATE_MS = 3;

export interface FaultOptions {
  readonly seed: number;
  /** Probabilities for each frame in each direction. */
  readonly loss: number;
  readonly duplication: number;
  readonly reordering: number;
}

export class FaultyDevice implements PacketDevice {
  readonly mtu: number;
  readonly header: Buffer;
  readonly done = { lost: 0, duplicated: 0, reordered: 0 };
  readonly #inner: PacketDevice;
  readonly #random: SeededRandom;
  readonly #options: FaultOptions;
  readonly #scratch = Buffer.alloc(FRAME_BYTES);
  #onReadable: (errno: number) => void = () => {};
  /** Frames to read before any other, and frames to read or write after others. */
  #ready: Buffer[] = [];
  #lateIn: Buffer[] = [];
  #lateOut: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(inner: PacketDevice, options: FaultOptions) {
    this.#inner = inner;
    this.mtu = inner.mtu;
    this.header = inner.header;
    this.#random = new SeededRandom(options.seed);
    this.#options = options;
  }

  start(onReadable: (errno: number) => void): void {
    this.#onReadable = onReadable;
    this.#inner.start(onReadable);
  }

  read(into: Buffer): number {
    for (;;) {
      const ready = this.#ready.shift();
      if (ready !== undefined) return ready.copy(into);
      const length = this.#inner.read(this.#scratch);
      if (length === 0) return 0;
      const frame = this.#scratch.subarray(0, length);
      const fate = this.#fate();
      if (fate === 'lost') continue;
      if (fate === 'late') {
        this.#lateIn.push(Buffer.from(frame));
        this.#later();
        continue;
      }
      if (fate === 'twice') this.#ready.push(Buffer.from(frame));
      // Late frames follow this one.
      this.#ready.push(...this.#lateIn.splice(0));
      return frame.copy(into);
    }
  }

  write(headerLength: number, ...parts: (Buffer | undefined)[]): void {
    const fate = this.#fate();
    if (fate === 'lost') return;
    if (fate === 'late') {
      this.#lateOut.push(
        Buffer.concat([
          this.header.subarray(0, headerLength),
          ...parts.filter((part) => part !== undefined),
        ]),
      );
      this.#later();
      return;
    }
    const [a, b, c, d] = parts;
    this.#inner.write(headerLength, a, b, c, d);
    if (fate === 'twice') this.#inner.write(headerLength, a, b, c, d);
    this.#writeLate();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#inner.close();
  }

  #fate(): 'lost' | 'late' | 'twice' | 'as it is' {
    const { loss, duplication, reordering } = this.#options;
    const chance = this.#random.fraction();
    if (chance < loss) {
      this.done.lost++;
      return 'lost';
    }
    if (chance < loss + reordering) {
      this.done.reordered++;
      return 'late';
    }
    if (chance >= loss + reordering + duplication) return 'as it is';
    this.done.duplicated++;
    return 'twice';
  }

  #writeLate(): void {
    for (const frame of this.#lateOut.splice(0)) {
      const headerLength = Math.min(this.header.length, frame.length);
      frame.copy(this.header, 0, 0, headerLength);
      const rest = frame.subarray(headerLength);
      this.#inner.write(headerLength, rest.length === 0 ? undefined : rest);
    }
  }

  #later(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#closed) return;
      this.#writeLate();
      this.#ready.push(...this.#lateIn.splice(0));
      if (this.#ready.length > 0) this.#onReadable(0);
    }, LATE_MS);
  }
}
