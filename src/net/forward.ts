/**
 * Fixed forwards as text: `-L` of ssh(1) and LocalForward of ssh_config(5).
 *
 *   [bind_address:]port:host:hostport     a port of this machine
 *   socket:host:hostport                  a Unix socket of this machine, by its path
 *
 * Fields are separated as in ssh (misc.c, parse_forward): at colons, except in brackets, which hold
 * an IPv6 address, and after a backslash. A field with a slash is the path of a socket. A socket at
 * the jump host's end is refused: connections are carried as direct-tcpip alone.
 */
import { canonicalAddress, isAddress, isZoned } from './address.ts';
import { type Destination, formatDestination } from './destination.ts';
import { canonicalHost, canonicalName } from './name.ts';
import { NotationError, quoted } from './notation.ts';
import { MAX_PORT } from './ports.ts';

/** sun_path of unix(7), less the NUL at its end. */
const MAX_SOCKET_PATH_BYTES = 107;

export type ForwardListen =
  | {
      readonly kind: 'port';
      /**
       * `*`: all addresses; `localhost`: loopback, of both families; an address, or a name of this
       * machine. undefined: not given, so loopback, or all addresses with GatewayPorts.
       */
      readonly host: string | undefined;
      /** 0: any free one. */
      readonly port: number;
    }
  | { readonly kind: 'socket'; readonly path: string };

export interface Forward {
  readonly listen: ForwardListen;
  /** A name is resolved at the jump host. */
  readonly destination: Destination;
  /** As it was written, for messages. */
  readonly text: string;
}

/** The number of a TCP service that this machine knows by name. */
export type ServicePort = (name: string) => number | undefined;

const FORM = 'write [bind_address:]port:host:hostport, as in: 8080:db.internal:5432';

/** A socket at the jump host. `parseForward` throws it for text that ssh would take. */
export class RemoteSocketError extends NotationError {}

/** Throws NotationError. */
export function parseForward(text: string, servicePort: ServicePort = () => undefined): Forward {
  const fields = fieldsOf(text);
  const listens = fields.slice(0, -2);
  const [host, hostPort] = fields.slice(-2);
  if (isRemoteSocket(fields)) {
    throw new RemoteSocketError(
      `${quoted(text)} leads to a socket of the jump host, which can't be carried`,
      'name a host and a port, as in: 8080:localhost:5432',
    );
  }
  if (host === undefined || hostPort === undefined || listens.length === 0) {
    throw new NotationError(`${quoted(text)} is not a port, a host and its port`, FORM);
  }
  return {
    listen: listenOf(listens, text, servicePort),
    destination: {
      host: hostOf(host.text, text),
      port: portOf(hostPort.text, 1, servicePort),
    },
    text,
  };
}

/**
 * `[bind_address:]port` or the path of a socket: where DynamicForward and RemoteForward listen.
 * Throws NotationError.
 */
export function parseListen(
  text: string,
  servicePort: ServicePort = () => undefined,
): ForwardListen {
  return listenOf(fieldsOf(text), text, servicePort);
}

/** `127.0.0.1:8080`, `*:8080`, `8080`, `/run/user/1000/db.sock`. */
export function formatListen(listen: ForwardListen): string {
  if (listen.kind === 'socket') return listen.path;
  const { host, port } = listen;
  return host === undefined ? String(port) : formatDestination({ host, port });
}

/** The same for all ways to write one forward: `localhost:8080 -> db.internal:5432`. */
export function formatForward({ listen, destination }: Forward): string {
  return `${formatListen(listen)} -> ${formatDestination(destination)}`;
}

interface Field {
  readonly text: string;
  /** Has a slash. */
  readonly isPath: boolean;
}

/** Throws NotationError. */
function fieldsOf(text: string): Field[] {
  if (/[\p{Cc}]/u.test(text)) throw new NotationError(`${quoted(text)} has control characters`);
  const fields: Field[] = [];
  let index = 0;
  do {
    if (text.charAt(index) === '[') {
      const end = text.indexOf(']', index);
      if (end === -1 || !/^(:|$)/.test(text.slice(end + 1)))
        throw new NotationError(
          `${quoted(text)}: a bracket isn't closed at the end of a field`,
          'write an IPv6 address in brackets, as in: [::1]:8080:[2001:db8::5]:80',
        );
      const inside = text.slice(index + 1, end);
      fields.push({ text: inside, isPath: inside.includes('/') });
      index = end + 2;
    } else {
      const [whole = '', escaped = ''] = /^((?:\\.|[^:\\])*)(?::|$)/s.exec(text.slice(index)) ?? [];
      if (whole === '' && index < text.length && text.charAt(index) !== ':')
        throw new NotationError(`${quoted(text)} ends in a backslash`, FORM);
      const plain = escaped.replace(/\\(.)/gs, '$1');
      fields.push({ text: plain, isPath: plain.includes('/') });
      index += escaped.length + 1;
    }
  } while (index <= text.length && text !== '');
  return fields;
}

function isRemoteSocket(fields: readonly Field[]): boolean {
  const [first, second, third] = fields;
  if (fields.length === 2) return second?.isPath === true && first?.text !== '';
  return fields.length === 3 && third?.isPath === true;
}

/** The fields before the destination. Throws NotationError. */
function listenOf(fields: readonly Field[], text: string, servicePort: ServicePort): ForwardListen {
  const [first, second, ...others] = fields;
  if (first === undefined || others.length > 0) {
    throw new NotationError(
      `${quoted(text)} has too many colons`,
      'write an IPv6 address in brackets, as in: [::1]:8080:[2001:db8::5]:80',
    );
  }
  if (second === undefined) {
    if (first.isPath) return { kind: 'socket', path: socketPath(first.text) };
    return { kind: 'port', host: undefined, port: portOf(first.text, 0, servicePort) };
  }
  const port = portOf(second.text, 0, servicePort);
  return { kind: 'port', host: bindHostOf(first.text), port };
}

/** Throws NotationError. */
function socketPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  throw new NotationError(
    `the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes, ${quoted(path)} has more`,
    'name a socket in a directory with a shorter path',
  );
}

/** Throws NotationError. */
function bindHostOf(text: string): string {
  if (text === '' || text === '*') return '*';
  if (isZoned(text)) return text.toLowerCase();
  try {
    return isAddress(text) ? canonicalAddress(text) : canonicalName(text);
  } catch (error) {
    if (!(error instanceof NotationError)) throw error;
    throw new NotationError(
      `${quoted(text)} is not an address to listen on`,
      'write an address of this machine, "localhost", or "*" for all addresses',
    );
  }
}

/** Throws NotationError. */
function hostOf(host: string, text: string): string {
  if (host === '')
    throw new NotationError(`${quoted(text)} names no host`, 'for the jump host: localhost');
  return canonicalHost(host);
}

/** Throws NotationError. */
function portOf(text: string, least: 0 | 1, servicePort: ServicePort): number {
  const port = /^[0-9]+$/.test(text) ? Number(text) : servicePort(text);
  if (port === undefined) throw new NotationError(`${quoted(text)} is not a port`, FORM);
  if (port < least || port > MAX_PORT) {
    const range = least === 0 ? `1 to ${MAX_PORT}, or 0 for any free one` : `1 to ${MAX_PORT}`;
    throw new NotationError(`${text} is not a port`, `ports are ${range}`);
  }
  return port;
}
