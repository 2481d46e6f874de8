/**
 * Who is connected to this machine from outside: the peer of the login in which the program runs,
 * the peers of connections that have come in, and the ports that are passed on elsewhere
 * (published by containers, DNAT).
 *
 * All of it is read from proc(5), and the firewall's rules by their own programs
 * (passedonports.ts), as far as this user may read it. The kernel walks its whole table of TCP
 * sockets for each of /proc/net/tcp and tcp6, which takes it 20 ms and more even if there are few.
 * So they are read only where they are needed, and beside the main thread.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { endianness } from 'node:os';
import { addressFromBytes, canonicalAddress, isAddress } from '../net/address.ts';
import type { PortRange } from '../net/ports.ts';
import { ownAddresses } from './ownaddress.ts';
import { passedOnPorts } from './passedonports.ts';
import { processStat } from './process.ts';

/** How many generations of processes are looked at for the login. */
const MAX_ANCESTORS = 32;
/** Each takes up to 32 routes of IPv4, 128 of IPv6. */
export const MAX_LOGIN_PEERS = 16;
const PORT = /^[\dA-F]{4}$/;
const STATE = /^[\dA-F]{2}$/;
const ESTABLISHED = 0x01;
const LISTENING = 0x0a;
const MAPPED = `${'00'.repeat(10)}ffff`;

/** A connection that somebody else has opened to a port of this machine. */
export interface IncomingConnection {
  /** Canonical. */
  readonly peer: string;
  readonly port: number;
}

export interface Incoming {
  /**
   * The peer of the SSH login in which this program runs, canonical; empty if it is none, or not
   * known. In tmux or screen the login may be an earlier one that has ended: then the peers of
   * all that are connected to the same port come as well. Never rejects.
   */
  loginPeers(): Promise<readonly string[]>;
  /**
   * Those that are established, except from this machine's own addresses. Empty if the tables can't
   * be read. Never rejects.
   */
  connections(): Promise<readonly IncomingConnection[]>;
  /** Ports that are passed on to other addresses, merged. Never rejects. */
  passedOnPorts(): Promise<readonly PortRange[]>;
}

export const linuxIncoming: Incoming = {
  async loginPeers() {
    const login = findLogin();
    return login === undefined ? [] : loginPeers(login, await linuxIncoming.connections());
  },
  async connections() {
    const own = ownAddresses();
    return incomingConnections(await readTables()).filter(({ peer }) => !own.has(peer));
  },
  passedOnPorts,
};

/** Of this process's network namespace. Never rejects. */
export async function readTables(): Promise<string> {
  const tables = ['tcp', 'tcp6'].map((name) =>
    readFile(`/proc/self/net/${name}`, 'latin1').catch(() => ''),
  );
  return (await Promise.all(tables)).join('\n');
}

/** What sshd says of a login. */
export interface Login {
  readonly peer: string;
  /** Of this machine. */
  readonly port: number;
}

export function loginPeers(
  login: Login,
  connections: readonly IncomingConnection[],
): readonly string[] {
  const same = connections.filter(({ port }) => port === login.port).map(({ peer }) => peer);
  if (same.includes(login.peer)) return [login.peer];
  return [...new Set([login.peer, ...same])].slice(0, MAX_LOGIN_PEERS);
}

/**
 * sshd tells it in SSH_CONNECTION. sudo and su drop that, but the login's shell is an ancestor of
 * this process, and still has it. `of`: the environment of a process, empty if it can't be read.
 */
export function findLogin(
  own: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
  of: (pid: number) => string = (one) => textOf(`/proc/${one}/environ`),
): Login | undefined {
  const told = readLogin(own['SSH_CONNECTION']);
  if (told !== undefined) return told;
  let ancestor = processStat(pid)?.parent ?? 0;
  for (let generation = 0; ancestor > 1 && generation < MAX_ANCESTORS; generation++) {
    const [, connection] = /(?:^|\0)SSH_CONNECTION=([^\0]*)/.exec(of(ancestor)) ?? [];
    const login = readLogin(connection);
    if (login !== undefined) return login;
    ancestor = processStat(ancestor)?.parent ?? 0;
  }
  return undefined;
}

/** `203.0.113.7 50022 192.0.2.2 22`: the peer's address and port, and those of this machine. */
function readLogin(connection: string | undefined): Login | undefined {
  const [peer = '', , , port] = connection?.split(' ') ?? [];
  // A link-local address comes with a zone. It is never captured.
  return isAddress(peer)
    ? { peer: unmapped(canonicalAddress(peer)), port: Number(port) }
    : undefined;
}

function unmapped(address: string): string {
  const [, embedded] = /^::ffff:([\d.]+)$/.exec(address) ?? [];
  return embedded ?? address;
}

/**
 * `tables`: lines of /proc/net/tcp and tcp6, `sl local_address rem_address st ...`, addresses and
 * ports in hexadecimal. A connection has come in if its own port is one that something listens at.
 */
export function incomingConnections(tables: string): IncomingConnection[] {
  const lines = tables.split('\n').flatMap((line) => {
    const [, local = '', remote = '', state = ''] = line.trim().split(/\s+/);
    const [, port = ''] = local.split(':');
    if (!PORT.test(port) || !STATE.test(state)) return [];
    return [{ port: Number.parseInt(port, 16), remote, state: Number.parseInt(state, 16) }];
  });
  const listening = new Set(
    lines.filter(({ state }) => state === LISTENING).map(({ port }) => port),
  );
  const found = new Map<string, IncomingConnection>();
  for (const { port, remote, state } of lines) {
    if (state !== ESTABLISHED || !listening.has(port)) continue;
    const peer = addressOf(remote.split(':')[0] ?? '');
    if (peer !== undefined) found.set(`${peer} ${port}`, { peer, port });
  }
  return [...found.values()];
}

/** The kernel prints an address as words of 32 bits in the machine's own order. */
function addressOf(hex: string): string | undefined {
  const octets = Buffer.from(hex, 'hex');
  if (octets.length !== 4 && octets.length !== 16) return undefined;
  if (endianness() === 'LE') octets.swap32();
  // An IPv6 socket may be connected to an IPv4 address.
  const mapped = octets.length === 16 && octets.toString('hex', 0, 12) === MAPPED;
  return addressFromBytes(mapped ? octets.subarray(12) : octets);
}

/** Empty if it can't be read: the process has gone, or is another user's. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
