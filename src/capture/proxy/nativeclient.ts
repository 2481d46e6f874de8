/**
 * A client whose socket belongs to the native part: while it negotiates (client.ts), and then as
 * its end of the flow (flow/conduit.ts). There is no stream, and nothing is kept for it that isn't
 * waiting to be written.
 *
 *   reading ── hold() ──► held ── open() ──► open
 *      │ endWith()         │ endWith()         │ both ended, abort(), lost
 *      ▼                   ▼                   ▼
 *   leaving ── its end, or FAREWELL_TIMEOUT_MS ──► closed
 *
 * | event           | reading           | held               | open                      |
 * |-----------------|-------------------|--------------------|---------------------------|
 * | readable        | listener.octets   | looked for its end | other.send, to HIGH_WATER |
 * | its end         | listener.end      | listener.end       | other.finish              |
 * | reset, an error | listener.end      | listener.end       | other.abort               |
 * | reset()         | RST, listener.end | RST, listener.end  | RST, other.abort          |
 *
 * If all that it has sent has been passed on, with its end, other.shut takes the place of
 * other.abort.
 *
 * The kernel tells each event once (epoll(7), EPOLLET). So `#readable` says whether there may be
 * something to read, until a read has found nothing more. A read that doesn't fill its memory has
 * emptied the socket, unless the end has been announced: that is found only by another read.
 *
 * shut(): as with every conduit, what it still sends leads to a reset once all has been written for
 * it, and so do FIN_WAIT_MS without an end.
 */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { both, type Conduit, type OverListener } from '../../flow/conduit.ts';
import { type Slab, SlabPool } from '../../flow/memory.ts';
import { PieceQueue } from '../../flow/piecequeue.ts';
import type { Addon } from '../../native/addon.ts';
import type { Destination } from '../../net/destination.ts';
import type { Admission, Place, Placed } from './admission.ts';
import { type ClientListener, FAREWELL_TIMEOUT_MS, type ProxyClient } from './client.ts';

/** EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP and EPOLLRDHUP of epoll_ctl(2). */
const CAN_READ = 0x1;
const CAN_WRITE = 0x4;
const GONE = 0x8 | 0x10;
const ENDING = 0x2000 | GONE;

/**
 * How many bytes may wait at the other end before nothing more is read, and how few before the
 * socket is read again.
 */
const HIGH_WATER = 256 * 1024;
const LOW_WATER = 128 * 1024;
const READ_BYTES = 64 * 1024;
/** What is shorter is copied, so that its slab can be used again at once. */
const SMALL_BYTES = 2048;
/** Reads in a row, between which others have their turn. */
const BURST = 4;
/** Pieces in one write. */
const MAX_PIECES = 16;
/** How long a client may stay open once the far side has gone (Linux: tcp_fin_timeout). */
const FIN_WAIT_MS = 60_000;
/** Memory that reads share: as many slabs as are spare for the next. */
const SPARE_SLABS = 16;
const pool = new SlabPool(READ_BYTES, SPARE_SLABS);

const NOTHING_WAITS = -constants.errno.EAGAIN;

/** Where a client's socket is watched (nativelistener.ts). */
export interface Watch {
  readonly native: Addon;
  readonly admission: Admission;
  /** Calls ready() from now on. Throws an Error with `errno`. */
  watch(fd: number): void;
  /** Whether ready() is also called when there is room to write. */
  awaitRoom(fd: number, waits: boolean): void;
  close(fd: number, resets: boolean): void;
  /** For somebody else. */
  release(fd: number, isWatched: boolean): void;
}

export interface AcceptedClient {
  readonly fd: number;
  readonly source: Destination;
  readonly proxyEnd: Destination;
}

type State = 'reading' | 'held' | 'open' | 'leaving' | 'closed';

export class NativeClient implements ProxyClient, Conduit, Placed {
  received = 0;
  readonly source: Destination;
  readonly proxyEnd: Destination;
  readonly place: Place;
  readonly #fd: number;
  readonly #watch: Watch;
  #state: State = 'reading';
  #listener: ClientListener | undefined;
  #paused = false;
  /** There may be something to read. */
  #readable = false;
  /** An end, or an error, has been announced. */
  #ending = false;
  #isReading = false;
  #isWatched = false;
  /** Something is to be written when there is room. */
  #wantsRoom = false;
  /** Read behind the request. */
  #early: Buffer | undefined;
  #other: Conduit | undefined;
  #onOver: OverListener | undefined;
  #error: Error | undefined;
  #outstanding = 0;
  #inputEnded = false;
  /** Nothing more will be written. */
  #finished = false;
  /** All has been written, and the end as well. */
  #outputEnded = false;
  /** The other end takes no more data. */
  #shut = false;
  /** It has sent data since. */
  #refused = false;
  /** What doesn't fit into the socket; undefined: nothing has ever waited. */
  #queue: PieceQueue | undefined;
  /** How many of the first bytes in the queue are the proxy's own. */
  #own = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ fd, source, proxyEnd }: AcceptedClient, watch: Watch, place: Place) {
    this.#fd = fd;
    this.source = source;
    this.proxyEnd = proxyEnd;
    this.#watch = watch;
    this.place = place;
    place.client = this;
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  /** Reads what has come by now, and has it watched. */
  begin(): void {
    this.#readable = true;
    this.#read();
    if (this.closed) return;
    try {
      this.#watch.watch(this.#fd);
      this.#isWatched = true;
      if (this.#wantsRoom) this.#awaitRoom(true);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** What epoll(7) says of its socket. */
  ready(events: number): void {
    if ((events & (CAN_READ | ENDING)) !== 0) {
      this.#readable = true;
      if ((events & ENDING) !== 0) this.#ending = true;
      if (this.#state === 'held') this.#lookForEnd(events);
      else if (this.#inputEnded) this.#lookForLoss(events);
      else this.#read();
    }
    if ((events & (CAN_WRITE | GONE)) !== 0 && this.#waiting > 0) this.#flush();
  }

  follow(listener: ClientListener): void {
    this.#listener = listener;
  }

  write(octets: Buffer): void {
    if (this.#state === 'closed' || this.#finished) return;
    if (this.#waiting > 0) this.#own += octets.length;
    this.#put(octets, undefined, true);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    if (this.#readable) process.nextTick(() => this.#read());
  }

  hold(octets: Buffer): void {
    this.#state = 'held';
    if (octets.length > 0) this.#early = Buffer.from(octets);
    // Whoever answers at once comes first.
    if (this.#readable && this.#ending) setImmediate(() => this.#lookForEnd(0));
  }

  open(reply: Buffer): Conduit | undefined {
    if (this.#state !== 'held') return undefined;
    this.#listener = undefined;
    this.write(reply);
    if (this.closed) return undefined;
    this.#state = 'open';
    return this;
  }

  endWith(last: Buffer): void {
    if (this.closed) return;
    this.#listener = undefined;
    this.#paused = false;
    this.#state = 'leaving';
    this.#timer = setTimeout(() => this.destroy(), FAREWELL_TIMEOUT_MS).unref();
    this.write(last);
    this.finish();
    if (this.#readable) this.#read();
  }

  destroy(): void {
    this.#close(false);
  }

  /** Without a word to the listener: for who takes the socket's descriptor, with its place. */
  release(): number {
    this.#state = 'closed';
    this.#listener = undefined;
    this.#watch.release(this.#fd, this.#isWatched);
    return this.#fd;
  }

  reset(): void {
    if (this.closed) return;
    this.#close(true);
    this.#tellLoss(undefined);
  }

  join(other: Conduit): void {
    this.#other = other;
    if (this.closed) {
      other.abort(this.#error);
      return;
    }
    // The other end may not have been joined yet.
    if (this.#readable || this.#early !== undefined) process.nextTick(() => this.#passEarly());
  }

  whenOver(listener: OverListener): void {
    if (this.closed) listener(this.#error);
    else this.#onOver = both(this.#onOver, listener);
  }

  send(data: Buffer, memory: Slab | undefined): void {
    if (this.closed || this.#finished) this.#other?.taken(data.length);
    else this.#put(data, memory, false);
  }

  finish(): void {
    if (this.closed || this.#finished) return;
    this.#finished = true;
    if (this.#waiting === 0) this.#endOutput();
  }

  taken(bytes: number): void {
    this.#outstanding -= bytes;
    if (this.#readable && this.#outstanding <= LOW_WATER) this.#read();
  }

  shut(): void {
    if (this.#shut || this.closed) return;
    this.#shut = true;
    this.#outstanding = 0;
    if (this.#outputEnded) this.#awaitEnd();
    this.#read();
  }

  abort(error: Error | undefined): void {
    if (this.closed) return;
    this.#error = error;
    this.#close(true);
    this.#tellOver();
  }

  get #waiting(): number {
    return this.#queue?.bytes ?? 0;
  }

  #passEarly(): void {
    const early = this.#early;
    this.#early = undefined;
    if (this.closed) return;
    if (early !== undefined) this.#pass(early, undefined);
    this.#read();
  }

  #read(): void {
    if (this.#isReading) return;
    // Until the burst is over, `taken` starts no other.
    this.#isReading = true;
    for (let left = BURST; left > 0 && this.#wantsOctets; left--) this.#readOnce();
    if (this.#wantsOctets) setImmediate(() => this.#readOn());
    else this.#isReading = false;
  }

  #readOn(): void {
    this.#isReading = false;
    this.#read();
  }

  get #wantsOctets(): boolean {
    if (!this.#readable || this.#paused || this.#inputEnded) return false;
    return this.#state === 'open'
      ? this.#early === undefined && (this.#shut || this.#outstanding < HIGH_WATER)
      : this.#state === 'reading' || this.#state === 'leaving';
  }

  #readOnce(): void {
    const slab = pool.take();
    const { bytes } = slab;
    let length: number;
    try {
      length = this.#watch.native.readWaiting(this.#fd, bytes);
    } catch (error) {
      slab.release();
      this.#lose(error);
      return;
    }
    if (length < bytes.length && !this.#ending) this.#readable = false;
    if (length <= 0) {
      this.#readable = false;
      slab.release();
      if (length === 0) this.#ended();
      return;
    }
    const octets = bytes.subarray(0, length);
    if (this.#state === 'reading') this.#listener?.octets(octets);
    else if (this.#state === 'open' && length < SMALL_BYTES)
      this.#pass(Buffer.from(octets), undefined);
    else if (this.#state === 'open') this.#pass(octets, slab);
    slab.release();
  }

  #pass(octets: Buffer, memory: Slab | undefined): void {
    this.received += octets.length;
    if (this.#shut) {
      this.#refused = true;
      if (this.#outputEnded) this.reset();
      return;
    }
    this.#outstanding += octets.length;
    this.#other?.send(octets, memory);
  }

  /** What it sends has ended. */
  #ended(): void {
    if (this.#state === 'reading') {
      this.#leave();
    } else if (this.#state === 'leaving') {
      this.destroy();
    } else {
      this.#inputEnded = true;
      this.#other?.finish();
      this.#endIfOver();
    }
  }

  /** Nobody may read what it has sent, but whether it has left can be seen all the same. */
  #lookForEnd(events: number): void {
    if (this.#state !== 'held') return;
    if ((events & GONE) === 0 && this.#early !== undefined) return;
    const found = this.#watch.native.socketPeek(this.#fd);
    const waits = found === NOTHING_WAITS || found > 0;
    if (waits && (events & GONE) === 0) return;
    if (found < 0) this.#watch.admission.failed(codeOf(-found));
    this.#leave();
  }

  /** Behind an end only another look finds a reset. */
  #lookForLoss(events: number): void {
    if ((events & GONE) === 0) return;
    const errno = Math.max(0, -this.#watch.native.socketPeek(this.#fd));
    this.#lose(Object.assign(new Error('lost'), { errno }));
  }

  /** It has left before it was answered. */
  #leave(): void {
    const listener = this.#listener;
    this.#listener = undefined;
    if (listener === undefined) this.destroy();
    else listener.end();
  }

  /** `own`: the proxy's own words, which the other end doesn't hear of. */
  #put(octets: Buffer, memory: Slab | undefined, own: boolean): void {
    let rest = octets;
    if (this.#waiting === 0) {
      const written = this.#transmit([octets]);
      if (written === undefined) return;
      if (!own) this.#other?.taken(written);
      if (written === octets.length) return;
      rest = octets.subarray(written);
      if (own) this.#own = rest.length;
      this.#awaitRoom(true);
    }
    this.#queue ??= new PieceQueue();
    this.#queue.push(rest, memory);
  }

  #flush(): void {
    const queue = this.#queue;
    const parts: (Buffer | undefined)[] = new Array(MAX_PIECES);
    while (queue !== undefined && queue.bytes > 0) {
      queue.gather(0, queue.bytes, parts);
      const pieces = parts.filter((part) => part !== undefined);
      const written = this.#transmit(pieces);
      if (written === undefined) return;
      if (written === 0) return;
      queue.drop(written);
      const own = Math.min(written, this.#own);
      this.#own -= own;
      if (written > own) this.#other?.taken(written - own);
    }
    if (this.closed) return;
    this.#awaitRoom(false);
    if (this.#finished) this.#endOutput();
  }

  #awaitRoom(waits: boolean): void {
    this.#wantsRoom = waits;
    if (this.#isWatched) this.#watch.awaitRoom(this.#fd, waits);
  }

  /** Returns how much was written; undefined: the client is lost. */
  #transmit(parts: readonly Buffer[]): number | undefined {
    try {
      return Math.max(0, this.#watch.native.writeFitting(this.#fd, ...parts));
    } catch (error) {
      this.#lose(error);
      return undefined;
    }
  }

  #endOutput(): void {
    this.#outputEnded = true;
    // Where nothing more comes either, close(2) sends the FIN.
    if (!this.#inputEnded) {
      try {
        this.#watch.native.shutdownOutput(this.#fd);
      } catch (error) {
        this.#lose(error);
        return;
      }
    }
    if (this.#refused) this.reset();
    else if (this.#shut) this.#awaitEnd();
    this.#endIfOver();
  }

  #awaitEnd(): void {
    this.#timer ??= setTimeout(() => this.reset(), FIN_WAIT_MS).unref();
  }

  #endIfOver(): void {
    if (this.closed || !this.#inputEnded || !this.#outputEnded) return;
    this.#close(false);
    this.#tellOver();
  }

  /** `cause`: of a system call, with its `errno`. */
  #lose(cause: unknown): void {
    if (this.closed) return;
    const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
    const code = codeOf(errno);
    this.#watch.admission.failed(code);
    this.#close(false);
    this.#tellLoss(Object.assign(new Error(`the client's connection: ${code}`), { code }));
  }

  /** After it was closed in the middle of something. */
  #tellLoss(error: Error | undefined): void {
    this.#error = error;
    const listener = this.#listener;
    this.#listener = undefined;
    listener?.end();
    // All that it has sent has been passed on. It just takes no more.
    if (this.#inputEnded) this.#other?.shut();
    else this.#other?.abort(error);
    this.#tellOver();
  }

  #tellOver(): void {
    const over = this.#onOver;
    this.#onOver = undefined;
    over?.(this.#error);
  }

  #close(resets: boolean): void {
    if (this.closed) return;
    this.#state = 'closed';
    clearTimeout(this.#timer);
    this.#watch.close(this.#fd, resets);
    this.#queue?.clear();
    this.#watch.admission.leave(this.place);
  }
}

function codeOf(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : 'lost';
}
