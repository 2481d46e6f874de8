/**
 * Runs a device and its endpoint on the event loop: reads frames in batches, keeps the timer,
 * carries datagrams.
 *
 *   device readable -> begin -> up to BATCH frames: read, input -> flush
 *   a deadline      -> expire
 *   something to send outside a batch -> flush at the end of this turn
 *
 * A frame is read and handled. If nobody keeps a part of it, the next frame is read into the same
 * memory, which stays in the processor's cache. The frames beyond a batch wait for the next turn,
 * so the SSH connection gets its turn too.
 */

import type { Clock, ClockTimer } from '../../base/clock.ts';
import type { Datagram } from '../../flow/datagram.ts';
import { SlabPool } from '../../flow/memory.ts';
import { nextFlowId } from '../../flow/request.ts';
import type { Refusal } from '../../net/refusal.ts';
import { addressFromWords, addressWords } from './addresses.ts';
import type { EndpointCounters } from './counters.ts';
import { HEADER_BYTES, type PacketDevice } from './device.ts';
import { Endpoint } from './endpoint.ts';
import { FRAME_BYTES, FrameView } from './frame.ts';
import type { TcpFlow } from './tcpflow.ts';
import { FrameWriter, UNREACHABLE, type Unreachable } from './writer.ts';

/** The most frames read in one turn. */
const BATCH = 64;
/** Unused frames that are kept for reuse. */
const SPARE_FRAMES = 16;

/** ICMP errors for datagrams; silence is no answer. */
const ANSWERS: Readonly<Record<Refusal, Unreachable | undefined>> = {
  unreachable: UNREACHABLE.host,
  'no-network': UNREACHABLE.network,
  prohibited: UNREACHABLE.prohibited,
  refused: UNREACHABLE.port,
  timeout: undefined,
};

export interface PacketStackOptions {
  readonly device: PacketDevice;
  readonly onFlow: (flow: TcpFlow) => void;
  /**
   * Takes UDP datagrams and may answer each of them. Without it, all are answered with "port
   * unreachable".
   */
  readonly onDatagram: ((datagram: Datagram) => void) | undefined;
  /** The device is gone, with this errno. */
  readonly onGone: (errno: number) => void;
  readonly families: ReadonlySet<4 | 6>;
  readonly clock: Clock;
  /** Canonical addresses that ICMP errors come from. */
  readonly router4: string | undefined;
  readonly router6: string | undefined;
}

export class PacketStack {
  readonly #device: PacketDevice;
  readonly #endpoint: Endpoint;
  readonly #frames = new SlabPool(FRAME_BYTES, SPARE_FRAMES);
  #slab = this.#frames.take();
  readonly #clock: Clock;
  #timer: ClockTimer | undefined;
  #flushing = false;
  #closed = false;

  constructor(options: PacketStackOptions) {
    const { device, router4, router6, onDatagram, clock } = options;
    this.#device = device;
    this.#clock = clock;
    this.#endpoint = new Endpoint({
      device,
      onFlow: options.onFlow,
      onDatagram: (frame) => {
        if (onDatagram === undefined) return false;
        onDatagram(datagramOf(frame));
        return true;
      },
      onPending: () => this.#flushSoon(),
      onDeadline: (at) => this.#expireAt(at),
      clock: () => clock.now(),
      families: options.families,
      nextFlowId,
      router4: router4 === undefined ? undefined : addressWords(router4),
      router6: router6 === undefined ? undefined : addressWords(router6),
    });
    device.start((errno) => {
      if (errno === 0) this.#read();
      else options.onGone(errno);
    });
  }

  get counters(): EndpointCounters {
    return this.#endpoint.counters;
  }

  /** Sends a datagram to the application at its destination. */
  sendDatagram(datagram: Datagram): void {
    if (!this.#closed) writeDatagram(this.#endpoint.writer, datagram);
  }

  /**
   * Answers an application's datagram with an ICMP error, or not at all if `refusal` means silence.
   */
  refuseDatagram(datagram: Datagram, refusal: Refusal): void {
    const why = ANSWERS[refusal];
    if (this.#closed || why === undefined) return;
    // The ICMP error quotes the datagram's frame, so build it again.
    const copy = new FrameCopy();
    writeDatagram(new FrameWriter(copy), datagram);
    const frame = new FrameView();
    frame.parse(copy, copy.bytes.length);
    this.#endpoint.unreachable(frame, why);
  }

  /** Canonical addresses that applications have connections to (TIME-WAIT included). */
  destinations(): ReadonlySet<string> {
    const hosts = new Set<string>();
    for (const { destination } of this.#endpoint.connections) hosts.add(destination.host);
    return hosts;
  }

  /** Resets all flows with `error`. New flows still go to `onFlow`, which refuses them. */
  reset(error: Error): void {
    this.#endpoint.close(error);
  }

  /** Answers the frames that still wait, and closes the device. May be called more than once. */
  close(): void {
    if (this.#closed) return;
    this.#read();
    this.#closed = true;
    this.#timer?.cancel();
    this.#device.close();
  }

  #read(): void {
    if (this.#closed) return;
    const endpoint = this.#endpoint;
    endpoint.begin();
    let more = true;
    for (let frame = 0; frame < BATCH; frame++) {
      const length = this.#device.read(this.#slab.bytes);
      more = length > 0;
      if (!more) break;
      endpoint.input(this.#slab, length);
      if (!this.#slab.shared) continue;
      this.#slab.release();
      this.#slab = this.#frames.take();
    }
    endpoint.endBatch(more);
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      if (this.#closed) return;
      this.#endpoint.begin();
      this.#endpoint.flush();
    });
  }

  #expireAt(at: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    const wait = Math.max(1, Math.ceil(at - this.#clock.now()));
    this.#timer = this.#clock.after(wait, () => this.#endpoint.expire());
  }
}

function writeDatagram(writer: FrameWriter, { source, destination, payload }: Datagram): void {
  const { buffer, byteOffset, byteLength } = payload;
  writer.datagram(
    source.host.includes(':') ? 6 : 4,
    addressWords(source.host),
    source.port,
    addressWords(destination.host),
    destination.port,
    Buffer.from(buffer, byteOffset, byteLength),
  );
}

function datagramOf(frame: FrameView): Datagram {
  const { family, source, destination, sourcePort, destinationPort, bytes, payload, end } = frame;
  return {
    source: { host: addressFromWords(family, source), port: sourcePort },
    destination: { host: addressFromWords(family, destination), port: destinationPort },
    payload: new Uint8Array(bytes.subarray(payload, end)),
  };
}

/** A device that keeps the last frame written to it. */
class FrameCopy implements PacketDevice {
  readonly mtu = FRAME_BYTES;
  readonly header = Buffer.alloc(HEADER_BYTES);
  bytes: Buffer = Buffer.alloc(0);
  view: DataView = new DataView(this.header.buffer);

  start(): void {}

  read(): number {
    return 0;
  }

  write(headerLength: number, payload: Buffer = Buffer.alloc(0)): void {
    this.bytes = Buffer.concat([this.header.subarray(0, headerLength), payload]);
    const { buffer, byteOffset, byteLength } = this.bytes;
    this.view = new DataView(buffer, byteOffset, byteLength);
  }

  close(): void {}
}
