/**
 * Who is connected to this machine from outside: the peer of the login in which the program runs,
 * the peers of connections that have come in, and the ports that are passed on elsewhere
 * (published by containers, DNAT).
 *
 * All of it is read from proc(5), the firewall's rules by their own programs, and only as far as
 * this user may read it.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { addressFromBytes, canonicalAddress, isAddress } from '../net/address.ts';
import { processStat } from './process.ts';

/** How many generations of processes are looked at for the login. */
const MAX_ANCESTORS = 32;
const ESTABLISHED = 0x01;
const LISTENING = 0x0a;
const RULES_TIMEOUT_MS = 5_000;
const MAX_RULES_BYTES = 64 * 2 ** 20;
/** Not the user's PATH: these are run as root. */
const ADMINISTRATION_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const MAPPED = `${'00'.repeat(10)}ffff`;

/** A connection that somebody else has opened to a port of this machine. */
export interface IncomingConnection {
  /** Canonical. */
  readonly peer: string;
  readonly port: number;
}

export interface Incoming {
  /** The peer of the SSH login in which this program runs. undefined: it is none, or not known. */
  loginPeer(): string | undefined;
  /** Those that are established. Empty if the tables can't be read. */
  connections(): readonly IncomingConnection[];
  /** Ports that are passed on to other addresses, ascending. Never rejects. */
  passedOnPorts(): Promise<readonly number[]>;
}

export const linuxIncoming: Incoming = {
  loginPeer: () => loginPeer(),
  connections: () =>
    incomingConnections(['tcp', 'tcp6'].map((name) => textOf(`/proc/self/net/${name}`)).join('\n')),
  passedOnPorts,
};

/**
 * sshd tells it in SSH_CONNECTION. sudo and su drop that, but the login's shell is an ancestor of
 * this process, and still has it. `of`: the environment of a process, undefined if it is not to be
 * read.
 */
export function loginPeer(
  own: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
  of: (pid: number) => string = (one) => textOf(`/proc/${one}/environ`),
): string | undefined {
  const told = peerOf(own['SSH_CONNECTION']);
  if (told !== undefined) return told;
  let ancestor = processStat(pid)?.parent ?? 0;
  for (let generation = 0; ancestor > 1 && generation < MAX_ANCESTORS; generation++) {
    const [, connection] = /(?:^|\0)SSH_CONNECTION=([^\0]*)/.exec(of(ancestor)) ?? [];
    const peer = peerOf(connection);
    if (peer !== undefined) return peer;
    ancestor = processStat(ancestor)?.parent ?? 0;
  }
  return undefined;
}

/** `203.0.113.7 50022 192.0.2.2 22`: the peer's address and port, and those of this machine. */
function peerOf(connection: string | undefined): string | undefined {
  const [peer = ''] = connection?.split(' ') ?? [];
  // A link-local address comes with a zone. It is never captured.
  return isAddress(peer) ? unmapped(canonicalAddress(peer)) : undefined;
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
    const [, port] = local.split(':');
    if (port === undefined || !/^[\dA-F]+$/.test(state)) return [];
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

async function passedOnPorts(): Promise<readonly number[]> {
  const root = process.geteuid?.() === 0;
  const [nft, iptables] = root
    ? await Promise.all([
        outputOf('nft', ['-j', 'list', 'ruleset']),
        outputOf('iptables-save', ['-t', 'nat']),
      ])
    : ['', ''];
  const ports = [
    ...portsOfRuleset(nft),
    ...portsOfIptables(iptables),
    ...dockerProxies().flatMap(portsOfDockerProxy),
  ];
  return [...new Set(ports)].sort((a, b) => a - b);
}

/** Of libnftables-json(5): rules with a `dnat` or `redirect`, and the port that they match. */
export function portsOfRuleset(json: string): number[] {
  let listed: unknown;
  try {
    listed = JSON.parse(json === '' ? '{}' : json);
  } catch {
    return []; // cut off, or not what nft prints
  }
  const { nftables } = record(listed);
  if (!Array.isArray(nftables)) return [];
  return nftables.flatMap((item: unknown) => {
    const { expr } = record(record(item)['rule']);
    if (!Array.isArray(expr) || !expr.some((part) => 'dnat' in record(part))) return [];
    return expr.flatMap((part: unknown) => {
      const { left, right } = record(record(part)['match']);
      const { field } = record(record(left)['payload']);
      return field === 'dport' && typeof right === 'number' ? [right] : [];
    });
  });
}

/** Of iptables-save(8): `-A DOCKER ... -p tcp -m tcp --dport 8080 -j DNAT --to-destination ...` */
export function portsOfIptables(saved: string): number[] {
  return saved.split('\n').flatMap((line) => {
    if (!/ -j DNAT( |$)/.test(line)) return [];
    const [, port] = / --dport (\d+)( |$)/.exec(line) ?? [];
    return port === undefined ? [] : [Number(port)];
  });
}

/** Docker runs one of these for each port that a container publishes. Its arguments say which. */
export function portsOfDockerProxy(words: readonly string[]): number[] {
  if (!/(^|\/)docker-proxy$/.test(words[0] ?? '')) return [];
  const port = Number(words[words.indexOf('-host-port') + 1]);
  return words.includes('-host-port') && Number.isInteger(port) ? [port] : [];
}

/** The words of all processes, as far as they can be seen. */
function dockerProxies(): string[][] {
  try {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map((pid) => textOf(`/proc/${pid}/cmdline`).split('\0'));
  } catch {
    return []; // no /proc
  }
}

/** Empty if the program isn't there, or can't say it. */
function outputOf(program: string, args: readonly string[]): Promise<string> {
  const options = {
    timeout: RULES_TIMEOUT_MS,
    maxBuffer: MAX_RULES_BYTES,
    env: { PATH: ADMINISTRATION_PATH, LANG: 'C' },
  };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout) => resolve(error === null ? stdout : ''));
  });
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** Empty if it can't be read: the process has gone, or is another user's. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
