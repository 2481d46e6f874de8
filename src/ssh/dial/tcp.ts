/** One TCP connection to a jump host, and what its failures are called. */
import { connect, type Socket } from 'node:net';
import { within } from '../../base/within.ts';
import type { ErrorCode } from '../../errors/codes.ts';
import { TunnelError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import { PORT_OF, type Role } from '../hops.ts';
import type { RemoteAddress } from './addresses.ts';

/**
 * Silence after which the kernel asks whether the peer is still there, for as long as nobody above
 * TCP does.
 */
const TCP_KEEPALIVE_MS = 15_000;

export interface TcpOptions {
  /** Seconds. */
  readonly timeout: number;
  /** Whose address it is, for hints. */
  readonly role: Role;
  readonly signal?: AbortSignal;
  /** Gets what is read, instead of the socket's 'data' events. */
  readonly reader?: TcpReader;
}

/** As net.Socket's `onread` wants it. */
export interface TcpReader {
  /** Where the next bytes go. */
  readonly space: () => Buffer;
  /** So many bytes have come; whether to read on. */
  readonly received: (length: number) => boolean;
}

/**
 * Resolves with a connected socket from which nothing is read before its `resume()` is called.
 * Rejects with TunnelError jumphost-refused, -timeout, -closed or -unreachable, or with the
 * signal's reason; the socket is destroyed then.
 */
export async function connectTcp(
  address: RemoteAddress,
  { timeout, role, signal, reader }: TcpOptions,
): Promise<Socket> {
  signal?.throwIfAborted();
  const { host, port, localAddress } = address;
  const at = formatDestination(address);
  const socket = connect({
    host,
    port,
    noDelay: true,
    ...(localAddress === undefined ? {} : { localAddress }),
    // The types know a buffer only; a function that gives one for each read is documented as well.
    ...(reader && {
      onread: { buffer: reader.space as unknown as Uint8Array, callback: reader.received },
    }),
  });
  socket.pause();
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  try {
    const late = (): TunnelError => timeoutError(at, timeout, 'TCP connection');
    const connected = (): Promise<void> =>
      new Promise((resolve, reject) => {
        socket.once('connect', resolve);
        // Stays: a reset may follow a connect before SSH has come to listen; it is then seen as an
        // early end.
        socket.on('error', (error: NodeJS.ErrnoException) =>
          reject(tcpError(at, role, localAddress, error)),
        );
      });
    await within({ signal, time: { milliseconds: timeout * 1000, late } }, connected);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

const TCP_CODES: Readonly<Record<string, { code: ErrorCode; text: string; hint: string }>> = {
  ETIMEDOUT: {
    code: 'jumphost-timeout',
    text: 'does not answer',
    hint: 'check the address, and that no firewall drops the connection',
  },
  ECONNRESET: {
    code: 'jumphost-closed',
    text: 'reset the connection',
    hint: 'try again later; the jump host may limit connections (MaxStartups, PerSourcePenalties)',
  },
};

function tcpError(
  at: string,
  role: Role,
  localAddress: string | undefined,
  cause: NodeJS.ErrnoException,
): TunnelError {
  if (cause.syscall === 'bind')
    return new TunnelError(
      'jumphost-unreachable',
      `${at} can't be reached from ${localAddress} (${cause.code})`,
      {
        hint: 'check BindAddress: it must be an address of this machine (ip address)',
        cause,
      },
    );
  if (cause.code === 'ECONNREFUSED')
    return new TunnelError('jumphost-refused', `${at} refused the connection`, {
      hint: `check ${PORT_OF[role]}, and that sshd runs there`,
      cause,
    });
  const known = TCP_CODES[cause.code ?? ''];
  if (known !== undefined)
    return new TunnelError(known.code, `${at} ${known.text}`, { hint: known.hint, cause });
  return new TunnelError(
    'jumphost-unreachable',
    `${at} can't be reached (${cause.code ?? cause.message})`,
    {
      hint: "check this machine's network and its route to the jump host",
      cause,
    },
  );
}

/** For a peer of which nothing was heard. `doing`: what did not come about. */
export function timeoutError(at: string, seconds: number, doing: string): TunnelError {
  return new TunnelError(
    'jumphost-timeout',
    `${at} does not answer: no ${doing} within ${seconds} s`,
    {
      hint: 'check the address and the firewalls on the way, or allow more time with --connect-timeout',
    },
  );
}

/** For a peer that has accepted the connection, and so has been given something to do. */
export function slowError(at: string, seconds: number, doing: string): TunnelError {
  return new TunnelError(
    'jumphost-slow',
    `${at} accepted the connection, but does not get on: no ${doing} within ${seconds} s`,
    {
      hint: 'the jump host may be overloaded: try again later, or allow more time with --connect-timeout',
    },
  );
}

/** Whether `error` may be gone with more time. */
export function isTimeout({ code }: TunnelError): boolean {
  return code === 'jumphost-timeout' || code === 'jumphost-slow';
}
