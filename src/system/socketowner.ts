/**
 * Whose process has the other end of a TCP connection that begins on this machine: the kernel says
 * it in the tables of proc(5), in this process's network namespace.
 *
 *   uidOf() -> the kernel is asked for the one connection (sock_diag(7)): some 15 us
 *           -> where it can't tell, a table whose reading begins after the call, shared by all
 *              who wait for one
 *
 * A table is read once for any number of questions that have come meanwhile, so many connections at
 * a time cost few readings. It is read by Node's threads: the kernel takes milliseconds for it. A
 * socket that no process has any more is nobody's: the kernel shows uid 0 for it.
 */
import { open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { addressBytes } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { askKernel } from './socketsources.ts';

/** The kernel gives a page of lines a read. */
const PIECE_BYTES = 4096;
/**
 * How often a table is read for a connection that isn't in it: while it is read, connections that
 * end can move others past the reader.
 */
const TRIES = 2;
const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
const WORD_BYTES = 4;

/** Lines by `local_address rem_address`. */
type Table = ReadonlyMap<string, string>;

export type TableName = 'tcp' | 'tcp6';

export class SocketOwners {
  readonly #tcp: SharedTable;
  readonly #tcp6: SharedTable;

  /** `read`: returns a table's lines. Default: those of the kernel. */
  constructor(read: (name: TableName) => Promise<string> = readTable) {
    this.#tcp = new SharedTable(() => read('tcp'));
    this.#tcp6 = new SharedTable(() => read('tcp6'));
  }

  /**
   * The uid of the socket whose own address is `local` and that is connected to `remote`; both
   * are canonical. undefined if no process of this machine has it. A promise where a table must be
   * read, which rejects if it can't be.
   */
  uidOf(local: Destination, remote: Destination): number | Promise<number | undefined> {
    return uidByKernel(local, remote) ?? this.#uidByTables(local, remote);
  }

  async #uidByTables(local: Destination, remote: Destination): Promise<number | undefined> {
    const plain = keyOf(local, remote, false);
    const mapped = keyOf(local, remote, true);
    for (let attempt = 0; attempt < TRIES; attempt++) {
      // An IPv6 socket may be connected to an IPv4 address.
      const uid =
        mapped === undefined
          ? await this.#tcp6.uidOf(plain)
          : ((await this.#tcp.uidOf(plain)) ?? (await this.#tcp6.uidOf(mapped)));
      if (uid !== undefined) return uid;
    }
    return undefined;
  }
}

/** undefined: it can't be told, or the connection isn't there any more. */
function uidByKernel(local: Destination, remote: Destination): number | undefined {
  try {
    const entry = askKernel(local, remote);
    return entry === undefined || entry.inode === '0' ? undefined : entry.user;
  } catch {
    return undefined; // no native part, or an old kernel
  }
}

class SharedTable {
  readonly #read: () => Promise<string>;
  /** The reading that goes on; it never rejects. */
  #running: Promise<unknown> = Promise.resolve();
  /** The next one, which has not begun. */
  #next: Promise<Table> | undefined;

  constructor(read: () => Promise<string>) {
    this.#read = read;
  }

  async uidOf(ends: string): Promise<number | undefined> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      const reading = this.#read().then(byEnds);
      this.#running = reading.catch(() => {}); // who waits for it is told
      return reading;
    });
    return uidOfLine((await this.#next).get(ends));
  }
}

/** Without IPv6 there is no second table. */
async function readTable(name: TableName): Promise<string> {
  const file = await open(`/proc/self/net/${name}`).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return '';
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    let text = '';
    for (let length = 1; length > 0; ) {
      length = (await file.read(piece)).bytesRead;
      text += piece.toString('latin1', 0, length);
    }
    return text;
  } finally {
    await file.close();
  }
}

/** `sl: local_address rem_address ...`. The heading gets a key that nobody asks for. */
function byEnds(tables: string): Table {
  const table = new Map<string, string>();
  for (const line of tables.split('\n')) {
    const begin = line.indexOf(': ') + 2;
    const end = line.indexOf(' ', line.indexOf(' ', begin) + 1);
    table.set(line.slice(begin, end), line);
  }
  return table;
}

/**
 * `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`;
 * the last three are decimal.
 */
function uidOfLine(line = ''): number | undefined {
  const [, , , , , , , uid, , inode = '0'] = line.trim().split(/ +/);
  return uid === undefined || inode === '0' ? undefined : Number(uid);
}

function keyOf(local: Destination, remote: Destination, mapped: false): string;
/** `mapped`: as IPv6 sockets have IPv4 addresses (RFC 4291 §2.5.5.2); undefined if it is none. */
function keyOf(local: Destination, remote: Destination, mapped: boolean): string | undefined;
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
