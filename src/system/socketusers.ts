/**
 * Finds the users of this machine's own sockets (proc(5), /proc/net/udp and the like): of UDP by
 * address and port, of TCP by both ends of the connection. The kernel gives one port to several TCP
 * sockets if they connect to different peers, so the own end may be that of another user as well.
 *
 * The kernel writes the whole table for each look, so a look serves all who ask until it begins,
 * and it is taken only so often that it costs a tenth of a processor at the most (sockettables.ts).
 *
 * Limits: MAX_WAITING questions wait for a look. Any more are answered "unknown" at once, and
 * counted.
 */
import { isIP } from 'node:net';
import { type Destination, formatDestination } from '../net/destination.ts';
import { type Observer, silentObserver } from '../observe/observer.ts';
import {
  CONNECTING,
  type ListedSocket,
  Looks,
  listedSockets,
  machineAddresses,
  readSocketTable,
} from './sockettables.ts';

export const MAX_WAITING = 4096;
/** A tenth of a processor at the most. */
const PAUSES = { limit: MAX_WAITING, pauseFactor: 10, maxPauseMs: 1000 };

export interface SocketUsersOptions {
  /** The text of a table: `udp`, `udp6`, `tcp`, `tcp6`. Default: from /proc/net. */
  readonly table?: (name: string) => Promise<string>;
  /** This machine's own addresses, canonical. Default: those of its devices. */
  readonly addresses?: () => ReadonlySet<string>;
  readonly observer?: Observer;
}

interface Question {
  readonly socket: Destination;
  /** What a TCP socket is connected to; undefined: it is one of UDP. */
  readonly peer: Destination | undefined;
  readonly answer: (user: number | undefined) => void;
}

export class SocketUsers {
  readonly #table: (name: string) => Promise<string>;
  readonly #addresses: () => ReadonlySet<string>;
  readonly #observer: Observer;
  readonly #looks = new Looks<Question>({
    ...PAUSES,
    look: (asked) => this.#answer(asked),
    giveUp: ({ answer }) => answer(undefined),
  });

  constructor(options: SocketUsersOptions = {}) {
    const { table = readSocketTable, addresses = machineAddresses } = options;
    this.#table = table;
    this.#addresses = addresses;
    this.#observer = options.observer ?? silentObserver;
  }

  /**
   * The user that has the socket with this local address: the one of TCP that is connected to
   * `peer`, or without `peer` one of UDP. Both are canonical. Undefined: nobody here, or it can't
   * be found out. Never rejects.
   */
  userOf(socket: Destination, peer: Destination | undefined): Promise<number | undefined> {
    return new Promise((answer) => {
      if (this.#looks.ask({ socket, peer, answer })) return;
      this.#observer.count('tunnel_socket_owners_over_limit_total');
      answer(undefined);
    });
  }

  /** Rejects if this machine's addresses can't be listed, as without descriptors. */
  async #answer(questions: readonly Question[]): Promise<void> {
    const own = this.#addresses();
    for (const protocol of ['udp', 'tcp'] as const) {
      const asked = questions.filter(({ peer }) => (peer === undefined) === (protocol === 'udp'));
      if (asked.length === 0) continue;
      const ports = new Set(asked.map(({ socket }) => socket.port));
      const users = new Map<string, number>();
      for (const name of [protocol, `${protocol}6`]) {
        try {
          for (const listed of listedSockets(await this.#table(name), ports))
            users.set(keyOf(protocol, listed), listed.user);
        } catch {
          // There is no such table without IPv6, or where /proc is hidden: then nobody is found.
        }
      }
      for (const { socket, peer, answer } of asked) {
        const found = keysOf(socket, peer).find((key) => users.has(key));
        answer(own.has(socket.host) && found !== undefined ? users.get(found) : undefined);
      }
    }
  }
}

/** Only a TCP socket that is connected, or is connecting, can have asked. */
function keyOf(protocol: 'udp' | 'tcp', { local, peer, state }: ListedSocket): string {
  if (protocol === 'udp') return formatDestination(local);
  return CONNECTING.has(state) ? connectionOf(local, peer) : '';
}

/** What the socket is listed as, the most exact first: one of UDP may have any address. */
function keysOf(local: Destination, peer: Destination | undefined): readonly string[] {
  if (peer !== undefined) return [connectionOf(local, peer)];
  const any = isIP(local.host) === 6 ? ['::'] : ['0.0.0.0', '::'];
  return [local.host, ...any].map((host) => formatDestination({ host, port: local.port }));
}

function connectionOf(local: Destination, peer: Destination): string {
  return `${formatDestination(local)} ${formatDestination(peer)}`;
}
