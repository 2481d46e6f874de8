/**
 * Whose process has the other end of a TCP connection that begins on this machine: the kernel says
 * it in the tables of proc(5), in this process's network namespace.
 *
 *   uidOf() -> a table whose reading begins after the call, shared by all who wait for one
 *
 * A table is read once for any number of questions that have come meanwhile, so many connections at
 * a time cost no more than a few readings. A socket that no process has any more is nobody's: the
 * kernel shows uid 0 for it.
 */
import { readFile } from 'node:fs/promises';
import { endianness } from 'node:os';
import { addressBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';

const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'] as const;
/**
 * How often a table is read for a connection that isn't in it: while it is read, connections that
 * end can move others past the reader.
 */
const TRIES = 3;
const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
const WORD_BYTES = 4;

export class SocketOwners {
  readonly #read: () => Promise<string>;
  /** The reading that goes on; it never rejects. */
  #running: Promise<unknown> = Promise.resolve();
  /** The next one, which has not begun. */
  #next: Promise<ReadonlyMap<string, number>> | undefined;

  /** `read`: returns the lines of both tables. Default: those of the kernel. */
  constructor(read: () => Promise<string> = readTables) {
    this.#read = read;
  }

  /**
   * The uid of the socket whose own address is `local` and that is connected to `remote`; both
   * are canonical. undefined if no process of this machine has it. Rejects if the tables can't be
   * read.
   */
  async uidOf(local: Destination, remote: Destination): Promise<number | undefined> {
    const keys = [keyOf(local, remote, false), keyOf(local, remote, true)];
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const owners = await this.#table();
      for (const key of keys) {
        const uid = key === undefined ? undefined : owners.get(key);
        if (uid !== undefined) return uid;
      }
    }
    return undefined;
  }

  #table(): Promise<ReadonlyMap<string, number>> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      const reading = this.#read().then(parse);
      this.#running = reading.catch(() => {}); // who waits for it is told
      return reading;
    });
    return this.#next;
  }
}

/** Without IPv6 there is no second table. */
async function readTables(): Promise<string> {
  const [tcp, tcp6] = TABLES;
  return (await readFile(tcp, 'latin1')) + (await readFile(tcp6, 'latin1').catch(() => ''));
}

/**
 * Lines of `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout
 * inode`; the last three are decimal.
 */
function parse(tables: string): ReadonlyMap<string, number> {
  const owners = new Map<string, number>();
  for (const line of tables.split('\n')) {
    const fields = line.trim().split(/ +/);
    const [, local, remote, , , , , uid = '', , inode] = fields;
    // The heading has no such numbers.
    if (!/^\d+$/.test(uid) || inode === undefined || inode === '0') continue;
    owners.set(`${local} ${remote}`, Number(uid));
  }
  return owners;
}

/** `mapped`: as IPv6 sockets have IPv4 addresses (RFC 4291 §2.5.5.2); undefined if it is none. */
function keyOf(local: Destination, remote: Destination, mapped: boolean): string | undefined {
  const [from, to] = [local, remote].map(({ host, port }) => {
    const bytes = addressBytes(host);
    if (mapped && bytes.length !== WORD_BYTES) return undefined;
    const shown = mapped ? Buffer.concat([MAPPED_PREFIX, bytes]) : bytes;
    return `${wordsOf(shown)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  });
  return from === undefined || to === undefined ? undefined : `${from} ${to}`;
}

/** The kernel prints an address as words of 32 bits in the machine's own order. */
function wordsOf(bytes: Uint8Array): string {
  const words = Buffer.from(bytes);
  if (endianness() === 'LE') words.swap32();
  return words.toString('hex').toUpperCase();
}
