/**
 * Whose the sockets are that records of connections tell of: the user of each, and of our own
 * user's the process where it is found in time.
 *
 *   find() -> the kernel is asked for all of them at once (sock_diag(7)) -> user
 *          -> where that isn't possible, or not now (kernelpatience.ts), the kernel's tables tell
 *             (socketsources.ts), later
 *          -> of our own user: the latest MAX_WANTED wait for a search (socketprocesses.ts), which
 *             sets the process
 *
 * A search takes milliseconds, so thousands of short connections in a second must not cause one
 * each. It is paid from a budget: SHARE of a processor, of which BURST_MS may have been saved up. A
 * few connections are looked for at once, and in a storm those that are open when the budget
 * permits. Connections that are over meanwhile are not looked for.
 */
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { addon } from '../native/addon.ts';
import { addressBytes, isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import { KernelPatience } from './kernelpatience.ts';
import { SocketProcesses } from './socketprocesses.ts';
import { SocketSources } from './socketsources.ts';

/** Connections whose processes are looked for at a time; the latest. */
export const MAX_WANTED = 64;
/** Of one processor: the search for processes. */
export const SHARE = 1 / 500;
export const BURST_MS = 200;
/** In a burst: a tenth of a processor. */
const PAUSE_FACTOR = 9;
const LEAST_PAUSE_MS = 10;

/** As socketOwners() of the native part wants them. */
const MOST_AT_ONCE = 32;
const QUESTION_BYTES = 40;
const [PORT_AT, PEER_PORT_AT, ADDRESS_AT, PEER_AT] = [2, 4, 8, 24];

/** A connection, and what has become known of it. */
export interface Owned {
  readonly source: Destination;
  /** What the socket is connected to. */
  readonly socketPeer: Destination;
  user: number | undefined;
  process: string | undefined;
  /** It has ended. */
  readonly over: boolean;
}

/** As socketOwners() of the native part. */
export type AskForOwners = (questions: Buffer, count: number, owners: Uint8Array) => void;

export interface RecordOwnersOptions {
  /** Tells whose a socket is where the kernel can't be asked. Default: of this machine. */
  readonly sources?: Pick<SocketSources, 'isHere' | 'sourceOf'>;
  /** Default: of this network. Null: only `sources` tells. */
  readonly ask?: AskForOwners | null;
  readonly processes?: Pick<SocketProcesses, 'search'>;
  /** Whose processes are looked at. Default: this process's user. */
  readonly user?: number;
  readonly observer?: Observer;
}

interface Wanted {
  readonly inode: string | number;
  readonly owned: Owned;
}

export class RecordOwners {
  readonly #sources: Pick<SocketSources, 'isHere' | 'sourceOf'>;
  readonly #processes: Pick<SocketProcesses, 'search'>;
  readonly #user: number | undefined;
  readonly #ask: AskForOwners | null;
  readonly #patience: KernelPatience;
  readonly #observer: Observer;
  readonly #questions = Buffer.alloc(MOST_AT_ONCE * QUESTION_BYTES);
  readonly #owners = new Uint32Array(2 * MOST_AT_ONCE);
  readonly #ownerOctets = new Uint8Array(this.#owners.buffer);
  #asked: Owned[] = [];
  /** Those whose processes are looked for. The oldest is overwritten. */
  #wanted: Wanted[] = [];
  #oldest = 0;
  #searching = false;
  /** Milliseconds of processor time that may be used, and when that was so. */
  #credit = BURST_MS;
  #creditAt = performance.now();

  constructor(options: RecordOwnersOptions = {}) {
    const { sources, ask = askKernel, processes, user, observer = silentObserver } = options;
    this.#sources = sources ?? new SocketSources({ findsProcesses: false, observer });
    this.#ask = ask;
    this.#patience = new KernelPatience(observer);
    this.#observer = observer;
    this.#processes = processes ?? new SocketProcesses();
    this.#user = user ?? process.getuid?.();
  }

  /** Sets `user` of each that is this machine's own, now or later. Never throws. */
  find(all: readonly Owned[]): void {
    for (const owned of all) {
      if (!isAddress(owned.socketPeer.host) || !this.#sources.isHere(owned.source.host)) continue;
      if (this.#ask === null || !this.#put(owned)) this.#askSources(owned);
      else if (this.#asked.push(owned) === MOST_AT_ONCE) this.#askKernel();
    }
    if (this.#asked.length > 0) this.#askKernel();
  }

  /** False: it can't be asked for, as with addresses of two families. */
  #put({ source, socketPeer }: Owned): boolean {
    const [own, peer] = [addressBytes(source.host), addressBytes(socketPeer.host)];
    if (own.length !== peer.length) return false;
    const questions = this.#questions;
    const at = this.#asked.length * QUESTION_BYTES;
    questions[at] = own.length;
    questions.writeUInt16BE(source.port, at + PORT_AT);
    questions.writeUInt16BE(socketPeer.port, at + PEER_PORT_AT);
    questions.set(own, at + ADDRESS_AT);
    questions.set(peer, at + PEER_AT);
    return true;
  }

  #askKernel(): void {
    const asked = this.#asked;
    this.#asked = [];
    if (!this.#answers(asked.length)) {
      for (const owned of asked) this.#askSources(owned);
      return;
    }
    for (const [index, owned] of asked.entries()) {
      const [user, inode] = [this.#owners[2 * index], this.#owners[2 * index + 1]];
      // The kernel shows inode 0 for what its process has closed.
      if (user === undefined || inode === undefined || inode === 0) continue;
      owned.user = user;
      if (user === this.#user) this.#want({ inode, owned });
    }
  }

  /** Whether the kernel has answered what has been put. */
  #answers(count: number): boolean {
    while (this.#ask !== null && this.#patience.mayAsk()) {
      try {
        this.#ask(this.#questions, count, this.#ownerOctets);
        this.#patience.answered();
        return true;
      } catch (error) {
        this.#patience.failed(error);
      }
    }
    return false;
  }

  #askSources(owned: Owned): void {
    const found = this.#sources.sourceOf(owned.source, owned.socketPeer);
    void Promise.resolve(found).then((source) => {
      if (source === undefined) return;
      owned.user = source.user;
      if (source.inode !== undefined && source.user === this.#user)
        this.#want({ inode: source.inode, owned });
    });
  }

  #want(wanted: Wanted): void {
    if (this.#wanted.length < MAX_WANTED) this.#wanted.push(wanted);
    else {
      this.#observer.count('tunnel_socket_owners_over_limit_total');
      this.#wanted[this.#oldest] = wanted;
      this.#oldest = (this.#oldest + 1) % MAX_WANTED;
    }
    if (!this.#searching) void this.#search();
  }

  /** Until nobody's process is wanted. Never rejects. */
  async #search(): Promise<void> {
    this.#searching = true;
    await turn(); // all that are asked in this turn come with the first one
    while (this.#wanted.length > 0) {
      const debt = -this.#refill();
      if (debt > 0) await delay(debt / SHARE, undefined, { ref: false });
      const open = this.#wanted.filter(({ owned }) => !owned.over);
      this.#wanted = [];
      this.#oldest = 0;
      if (open.length === 0) break;
      const spent = await this.#searchFor(open);
      this.#credit -= spent;
      const pause = Math.max(LEAST_PAUSE_MS, PAUSE_FACTOR * spent);
      await delay(pause, undefined, { ref: false });
    }
    this.#searching = false;
  }

  async #searchFor(open: readonly Wanted[]): Promise<number> {
    try {
      return await this.#processes.search(
        open.map(({ inode, owned }) => [String(inode), owned] as const),
        (owned, process) => {
          owned.process = process;
        },
      );
    } catch {
      return 0; // there are no descriptors; these records are without a process
    }
  }

  /** What may be used now. */
  #refill(): number {
    const now = performance.now();
    this.#credit = Math.min(BURST_MS, this.#credit + (now - this.#creditAt) * SHARE);
    this.#creditAt = now;
    return this.#credit;
  }
}

function askKernel(questions: Buffer, count: number, owners: Uint8Array): void {
  addon().socketOwners(questions, count, owners);
}
