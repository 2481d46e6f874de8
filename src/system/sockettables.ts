/**
 * The kernel's tables of this network's sockets (proc(5), /proc/net/tcp and the like), for those
 * who look at them for many questions at a time.
 *
 * The kernel writes the whole table for each look. So a look serves all who ask until it begins
 * (`Looks`), and after it there is a pause, a multiple of the time that it took.
 */
import { readFile } from 'node:fs/promises';
import { endianness, networkInterfaces } from 'node:os';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { addressFromBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';

/** The shortest pause between two looks. */
const PAUSE_MS = 10;

/** States of a TCP socket that may ask for a connection: established, and SYN sent. */
export const CONNECTING: ReadonlySet<string> = new Set(['01', '02']);

/** A line of a table. */
export interface ListedSocket {
  /** Its own address, canonical; of an IPv4 address in an IPv6 socket, the IPv4 address. */
  readonly local: Destination;
  /** What it is connected, or connecting, to; likewise. Of a listening socket, zeros. */
  readonly peer: Destination;
  /** As the kernel numbers them: `01` is established, `02` has sent its SYN. */
  readonly state: string;
  readonly user: number;
  /** `0`: no process has it any more. */
  readonly inode: string;
}

/**
 * The sockets of a table whose own port is one of these: `sl local_address rem_address st queues
 * timer retrnsmt uid timeout inode ...`, addresses in hexadecimal. What is malformed is left out.
 */
export function* listedSockets(
  table: string,
  ports: ReadonlySet<number>,
): Generator<ListedSocket, void> {
  const line = /^\s*\d+: (\S+) (\S+) ([0-9A-F]{2}) \S+ \S+ \S+ +(\d+) +\d+ (\d+)/gm;
  for (const [, own = '', other = '', state = '', user = '', inode = '0'] of table.matchAll(line)) {
    if (!ports.has(portOf(own))) continue;
    yield { local: endOf(own), peer: endOf(other), state, user: Number(user), inode };
  }
}

/** `ADDRESS:PORT`, in hexadecimal. */
function endOf(text: string): Destination {
  return { host: hostOf(text.slice(0, text.indexOf(':'))), port: portOf(text) };
}

function portOf(text: string): number {
  return Number.parseInt(text.slice(text.indexOf(':') + 1), 16);
}

/** The kernel writes each four octets as one number of the machine. */
function hostOf(hex: string): string {
  const octets = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') octets.swap32();
  const mapped = octets.length === 16 && octets.toString('hex', 0, 12) === `${'00'.repeat(10)}ffff`;
  return addressFromBytes(mapped ? octets.subarray(12) : octets);
}

/** The text of `tcp`, `tcp6`, `udp` or `udp6`. Rejects with the file system's error. */
export function readSocketTable(name: string): Promise<string> {
  return readFile(`/proc/net/${name}`, 'latin1');
}

/** This machine's own addresses, canonical. */
export function machineAddresses(): ReadonlySet<string> {
  const devices = Object.values(networkInterfaces());
  return new Set(devices.flatMap((addresses = []) => addresses.map(({ address }) => address)));
}

export interface LooksOptions<Question> {
  /** The most questions that wait. */
  readonly limit: number;
  /** The pause after a look, as a multiple of its time, and the longest one in ms. */
  readonly pauseFactor: number;
  readonly maxPauseMs: number;
  /** Takes one look, and answers all of them. It may reject, as without descriptors. */
  readonly look: (questions: readonly Question[]) => Promise<void>;
  /** Answers a question whose look has rejected, if it isn't answered. Never throws. */
  readonly giveUp: (question: Question) => void;
}

/** Collects questions, answers many in one look, and pauses between two looks. */
export class Looks<Question> {
  readonly #options: LooksOptions<Question>;
  #waiting: Question[] = [];
  #looking = false;

  constructor(options: LooksOptions<Question>) {
    this.#options = options;
  }

  /** Too many wait for another one. */
  get isFull(): boolean {
    return this.#waiting.length >= this.#options.limit;
  }

  /** Returns false if too many wait. */
  ask(question: Question): boolean {
    if (this.isFull) return false;
    this.#waiting.push(question);
    if (!this.#looking) void this.#look();
    return true;
  }

  /** Until nobody waits. Never rejects. */
  async #look(): Promise<void> {
    const { look, giveUp, pauseFactor, maxPauseMs } = this.#options;
    this.#looking = true;
    // All that are asked in this turn come with the first one.
    await turn();
    while (this.#waiting.length > 0) {
      const questions = this.#waiting;
      this.#waiting = [];
      const began = performance.now();
      try {
        await look(questions);
      } catch {
        for (const question of questions) giveUp(question); // the next look may succeed
      }
      const pause = PAUSE_MS + pauseFactor * (performance.now() - began);
      await delay(Math.min(pause, maxPauseMs));
    }
    this.#looking = false;
  }
}
