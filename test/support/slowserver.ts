/**
 * An SSH server (ssh2's) on the loopback device that takes its time: it holds logins and opens, has
 * a banner, and notes who logs in. Channels lead to real connections.
 */
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import type { AuthContext, Connection } from 'ssh2';
import ssh2 from './ssh2.ts';

export interface SlowServerOptions {
  readonly loginMs?: number;
  readonly openMs?: number;
  readonly banner?: string;
}

export class SlowServer {
  readonly port: number;
  /** The user names of the logins, in order. */
  readonly users: readonly string[];
  /** Session channels that were asked for. */
  readonly sessions: () => number;
  readonly #close: () => void;

  private constructor(
    port: number,
    { users, sessions, close }: Pick<SlowServer, 'users' | 'sessions'> & { close: () => void },
  ) {
    this.port = port;
    this.users = users;
    this.sessions = sessions;
    this.#close = close;
  }

  static async start({
    loginMs = 0,
    openMs = 0,
    banner,
  }: SlowServerOptions = {}): Promise<SlowServer> {
    const hostKey = generateKeyPairSync('rsa', { modulusLength: 2048 })
      .privateKey.export({ type: 'pkcs1', format: 'pem' })
      .toString();
    const users: string[] = [];
    const connections = new Set<Connection>();
    let sessions = 0;
    const hostKeys = [hostKey];
    const server = new ssh2.Server(banner === undefined ? { hostKeys } : { hostKeys, banner });
    server.on('connection', (connection) => {
      connections.add(connection);
      connection.on('error', () => {
        // The client has gone.
      });
      connection.on('close', () => connections.delete(connection));
      connection.on('authentication', (context: AuthContext) => {
        if (context.method !== 'publickey') return context.reject(['publickey']);
        if (context.signature === undefined) return context.accept();
        users.push(context.username);
        setTimeout(() => context.accept(), loginMs);
      });
      connection.on('session', (_accept, reject) => {
        sessions++;
        reject();
      });
      connection.on('tcpip', (accept, reject, { destIP, destPort }) => {
        const open = (): void => {
          const socket = connect(destPort, destIP);
          socket.on('error', () => reject());
          socket.once('connect', () => {
            const channel = accept();
            channel.on('error', () => socket.destroy());
            socket.on('error', () => channel.destroy());
            channel.pipe(socket).pipe(channel);
          });
        };
        setTimeout(open, openMs);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const close = (): void => {
      server.close();
      for (const connection of connections) connection.end();
    };
    return new SlowServer(port, { users, sessions: () => sessions, close });
  }

  close(): void {
    this.#close();
  }
}
