/**
 * Finds the users of this machine's own sockets, by their address and port (proc(5), /proc/net/udp
 * and the like).
 *
 * The kernel writes the whole table for each look, so a look serves all who ask until it begins,
 * and it is taken only so often that it costs a tenth of a processor at the most (sockettables.ts).
 *
 * Limits: MAX_WAITING questions wait for a look. Any more are answered "unknown" at once.
 */
import type { Destination } from '../net/destination.ts';
import { Looks, listedSockets, machineAddresses, readSocketTable } from './sockettables.ts';

export const MAX_WAITING = 4096;
/** A tenth of a processor at the most. */
const PAUSES = { limit: MAX_WAITING, pauseFactor: 10, maxPauseMs: 1000 };

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
  readonly #looks = new Looks<Question>({
    ...PAUSES,
    look: (asked) => this.#answer(asked),
    giveUp: ({ answer }) => answer(undefined),
  });

  constructor({ table = readSocketTable, addresses = machineAddresses }: SocketUsersOptions = {}) {
    this.#table = table;
    this.#addresses = addresses;
  }

  /**
   * The user that has a socket with this local address, which is canonical. Undefined: nobody here,
   * or it can't be found out. Never rejects.
   */
  userOf(socket: Destination, protocol: Protocol): Promise<number | undefined> {
    return new Promise((answer) => {
      if (!this.#looks.ask({ socket, protocol, answer })) answer(undefined);
    });
  }

  /** Rejects if this machine's addresses can't be listed, as without descriptors. */
  async #answer(questions: readonly Question[]): Promise<void> {
    const own = this.#addresses();
    for (const protocol of ['udp', 'tcp'] as const) {
      const asked = questions.filter((question) => question.protocol === protocol);
      if (asked.length === 0) continue;
      const ports = new Set(asked.map(({ socket }) => socket.port));
      const users = new Map<string, number>();
      for (const name of [protocol, `${protocol}6`]) {
        try {
          for (const { local, user } of listedSockets(await this.#table(name), ports))
            users.set(textOf(local), user);
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

function textOf({ host, port }: Destination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
