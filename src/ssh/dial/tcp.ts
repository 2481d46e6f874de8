/** One TCP connection to a jump host, and the errors for its failures. */
import { isIPv6, Socket, type SocketConstructorOpts } from 'node:net';
import { within } from '../../base/within.ts';
import { TunnelError } from '../../errors/errors.ts';
import { addon } from '../../native/addon.ts';
import { formatDestination } from '../../net/destination.ts';
import { PORT_OF, type Role } from '../hops.ts';
import type { RemoteAddress } from './addresses.ts';
import { type DialDevice, noWayError } from './device.ts';
import { closedUnidentified } from './notssh.ts';

/**
 * After this much silence the kernel sends keepalives. They matter until SSH sends its own.
 */
const TCP_KEEPALIVE_MS = 15_000;

export interface TcpOptions {
  /** Seconds. */
  readonly timeout: number;
  /** Whose address it is, for hints. */
  readonly role: Role;
  readonly signal?: AbortSignal;
  /** Receives the data, instead of the socket's 'data' events. */
  readonly reader?: TcpReader;
  /** The device to bind the socket to. Default: the routes decide. */
  readonly deviceFor?: DialDevice | undefined;
}

/** The callbacks for net.Socket's `onread`. */
export interface TcpReader {
  /** Returns the buffer for the next bytes. */
  readonly space: () => Buffer;
  /** Called when `length` bytes have been read. Returns whether to read on. */
  readonly received: (length: number) => boolean;
}

/**
 * Resolves with a connected socket that reads nothing until `resume()` is called. Rejects with
 * TunnelError jumphost-refused, -timeout, -no-identification or -unreachable, or with the signal's
 * reason. The socket is then destroyed.
 */
export async function connectTcp(
  address: RemoteAddress,
  { timeout, role, signal, reader, deviceFor }: TcpOptions,
): Promise<Socket> {
  signal?.throwIfAborted();
  const { host, port, localAddress } = address;
  const at = formatDestination(address);
  const socket = new Socket({
    ...boundSocket(address, role, deviceFor),
    noDelay: true,
    // The types allow only a buffer. A function that returns one for each read is documented too.
    ...(reader && {
      onread: { buffer: reader.space as unknown as Uint8Array, callback: reader.received },
    }),
  } as SocketConstructorOpts);
  socket.connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
  socket.pause();
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  try {
    const late = (): TunnelError => timeoutError(at, timeout, 'TCP connection');
    const connected = (): Promise<void> =>
      new Promise((resolve, reject) => {
        socket.once('connect', resolve);
        // This listener stays: a reset may come after the connect and before SSH listens. SSH then
        // sees an early end.
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

/** What a Socket is made of that is bound to a device. Throws TunnelError if it can't be. */
function boundSocket(
  address: RemoteAddress,
  role: Role,
  deviceFor: DialDevice | undefined,
): SocketConstructorOpts {
  const device = deviceFor?.(address);
  if (device === undefined) return {};
  if (device === null) throw noWayError(address);
  try {
    const fd = addon().socketOnDevice(isIPv6(address.host) ? 6 : 4, device);
    return { fd, readable: true, writable: true };
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    // The device may have gone since it was found.
    const cause: NodeJS.ErrnoException = error instanceof Error ? error : new Error(String(error));
    throw tcpError(formatDestination(address), role, undefined, cause);
  }
}

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
  if (cause.code === 'ECONNRESET') return closedUnidentified(at, cause);
  if (cause.code === 'ETIMEDOUT')
    return new TunnelError('jumphost-timeout', `${at} does not answer`, {
      hint: 'check the address, and that no firewall drops the connection',
      cause,
    });
  return new TunnelError(
    'jumphost-unreachable',
    `${at} can't be reached (${cause.code ?? cause.message})`,
    {
      hint: "check this machine's network and its route to the jump host",
      cause,
    },
  );
}

/** The error for a peer that has sent nothing. `missing`: the step that did not happen. */
export function timeoutError(at: string, seconds: number, missing: string): TunnelError {
  return new TunnelError(
    'jumphost-timeout',
    `${at} does not answer: no ${missing} within ${seconds} s`,
    {
      hint: 'check the address and the firewalls on the way, or allow more time with --connect-timeout',
    },
  );
}

/**
 * The error for a peer that has accepted the connection, but then made no progress. A post-quantum
 * key has over 1,000 octets, so the key exchange has the first full packets. A path that drops them
 * and doesn't say so stops there (RFC 2923 §2.1).
 */
export function slowError(at: string, seconds: number, missing: string): TunnelError {
  return new TunnelError(
    'jumphost-slow',
    `${at} accepted the connection, but is too slow: no ${missing} within ${seconds} s`,
    {
      hint:
        missing === 'key exchange'
          ? 'the jump host may be overloaded: try again later, or allow more time with --connect-timeout; or a network on the way drops full packets: try "ip link set DEVICE mtu 1280"'
          : 'the jump host may be overloaded: try again later, or allow more time with --connect-timeout',
    },
  );
}

/** Whether more time may help. */
export function isTimeout({ code }: TunnelError): boolean {
  return code === 'jumphost-timeout' || code === 'jumphost-slow';
}
