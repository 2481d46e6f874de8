/**
 * Finds the users of this machine's own sockets, by their address and port (proc(5), /proc/net/udp
 * and the like).
 *
 * The kernel writes the whole table for each look, so a look serves all who ask until it begins,
 * and it is taken only so often that it costs a tenth of a processor at the most.
 *
 * Limits: MAX_WAITING questions wait for a look. Any more are answered "unknown" at once.
 */
import { readFile } from 'node:fs/promises';
import { endianness, networkInterfaces } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { addressFromBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';

export const MAX_WAITING = 4096;
/** Between two looks, and as a multiple of the time that the last one took. */
const PAUSE_MS = 10;
const PAUSE_FACTOR = 10;
const MAX_PAUSE_MS = 1000;

export type Protocol = 'udp' | 'tcp';

export interface SocketUsersOptions {
  /** The text of a table: `udp`, `udp6`, `tcp`, `tcp6`. Default: from /proc/net. */
  readonly table?: (name: string) => Promise<string>;
  /** This machine's own addresses, canonical. Default: those of its devices. */
  readonly addresses?: () => ReadonlySet<string>;
}

interface Question {
  readonly socket: Destination;
  readonly protocol: Protocol;
  readonly answer: (user: number | undefined) => void;
}

export class SocketUsers {
  readonly #table: (name: string) => Promise<string>;
  readonly #addresses: () => ReadonlySet<string>;
  #waiting: Question[] = [];
  #looking = false;

  constructor({ table = readTable, addresses = ownAddresses }: SocketUsersOptions = {}) {
    this.#table = table;
    this.#addresses = addresses;
  }

  /**
   * The user that has a socket with this local address, which is canonical. Undefined: nobody here,
   * or it can't be found out. Never rejects.
   */
  userOf(socket: Destination, protocol: Protocol): Promise<number | undefined> {
    if (this.#waiting.length >= MAX_WAITING) return Promise.resolve(undefined);
    return new Promise((answer) => {
      this.#waiting.push({ socket, protocol, answer });
      if (!this.#looking) void this.#look();
    });
  }

  /** Until nobody waits. Never rejects. */
  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#waiting.length > 0) {
      const questions = this.#waiting;
      this.#waiting = [];
      const began = performance.now();
      await this.#answer(questions);
      const pause = PAUSE_MS + PAUSE_FACTOR * (performance.now() - began);
      await delay(Math.min(pause, MAX_PAUSE_MS));
    }
    this.#looking = false;
  }

  async #answer(questions: readonly Question[]): Promise<void> {
    const own = this.#addresses();
    for (const protocol of ['udp', 'tcp'] as const) {
      const asked = questions.filter((question) => question.protocol === protocol);
      if (asked.length === 0) continue;
      const ports = new Set(asked.map(({ socket }) => socket.port));
      const users = new Map<string, number>();
      for (const name of [protocol, `${protocol}6`]) {
        try {
          readUsers(await this.#table(name), ports, users);
        } catch {
          // There is no such table without IPv6, or where /proc is hidden: then nobody is found.
        }
      }
      for (const { socket, answer } of asked) {
        const { host, port } = socket;
        const any = host.includes(':') ? [`[::]:${port}`] : [`0.0.0.0:${port}`, `[::]:${port}`];
        const found = [textOf(socket), ...any].find((text) => users.has(text));
        answer(own.has(host) && found !== undefined ? users.get(found) : undefined);
      }
    }
  }
}

/**
 * Adds the users of sockets with these ports: `sl local_address rem_address st queues timer
 * retrnsmt uid ...`, addresses in hexadecimal.
 */
function readUsers(table: string, ports: ReadonlySet<number>, users: Map<string, number>): void {
  const line = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) \S+ \S+ \S+ \S+ \S+ +(\d+)/gm;
  for (const [, address = '', hex = '', user = ''] of table.matchAll(line)) {
    const port = Number.parseInt(hex, 16);
    if (ports.has(port)) users.set(textOf({ host: hostOf(address), port }), Number(user));
  }
}

/** The kernel writes each four octets as one number of the machine. */
function hostOf(hex: string): string {
  const octets = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') octets.swap32();
  const mapped = octets.length === 16 && octets.toString('hex', 0, 12) === `${'00'.repeat(10)}ffff`;
  return addressFromBytes(mapped ? octets.subarray(12) : octets);
}

function textOf({ host, port }: Destination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function readTable(name: string): Promise<string> {
  return readFile(`/proc/net/${name}`, 'latin1');
}

function ownAddresses(): ReadonlySet<string> {
  const devices = Object.values(networkInterfaces());
  return new Set(devices.flatMap((addresses = []) => addresses.map(({ address }) => address)));
}
