/**
 * What a running process may do and has open, as /proc shows it (proc(5)): one row of the table
 * "Processes and their privileges" in docs/security.md.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { processEntry } from './processtable.ts';
import { statusOf } from './sudolab.ts';

/** In the environment of whoever starts the program. */
export const MARK = 'TUNNEL_TEST_MARK';

/** The words of one row. */
export interface Privileges {
  /** Of whom all four uids, all four gids and the supplementary groups are. */
  readonly user: string;
  /** Of the permitted, effective, inheritable and ambient set. */
  readonly capabilities: string;
  readonly boundingSet: string;
  readonly noNewPrivileges: string;
  readonly filter: string;
  /** Who may read its memory and trace it, besides root. */
  readonly memory: string;
  readonly core: string;
  /** Without the standard descriptors, and without what Node makes for itself. */
  readonly open: string;
  readonly environment: string;
}

const CAP_NET_ADMIN = 1n << 12n;
const ACCEPTING = 0x10000;
const LISTENING = '0A';
/** Of Node in any process: its loops, its wake-ups, its pipes between threads. */
const NODES_OWN = /^(anon_inode:\[(eventpoll|eventfd|io_uring|signalfd)\]|pipe:|\/dev\/null$)/;

/** The distinct values in the threads of a process; one, unless they differ. */
function field(pid: number, name: string): string {
  return [...new Set(statusOf(pid, name))].join(' / ');
}

function sets(pid: number, name: string): bigint[] {
  return [...new Set(statusOf(pid, name))].map((digits) => BigInt(`0x${digits}`));
}

function nameOfSet(set: bigint, full: bigint): string {
  if (set === 0n) return 'none';
  if (set === CAP_NET_ADMIN) return '`CAP_NET_ADMIN`';
  // In a user namespace a set has more bits than here, for that namespace alone.
  return (set & full) === full ? 'all' : `0x${set.toString(16)}`;
}

function capabilities(pid: number, full: bigint): string {
  const held = new Set([...sets(pid, 'CapPrm'), ...sets(pid, 'CapEff')]);
  const passedOn = [...sets(pid, 'CapInh'), ...sets(pid, 'CapAmb')].filter((set) => set !== 0n);
  const words = [...held].map((set) => nameOfSet(set, full));
  return [...words, ...passedOn.map((set) => `passes on 0x${set.toString(16)}`)].join(' / ');
}

/** The sockets of the network that a process is in: what each is, by inode. */
function socketsOf(pid: number): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const rows = (name: string): string[][] => {
    try {
      const lines = readFileSync(`/proc/${pid}/net/${name}`, 'latin1').trim().split('\n').slice(1);
      return lines.map((line) => line.trim().split(/\s+/));
    } catch {
      return []; // the kernel has no such sockets
    }
  };
  for (const name of ['tcp', 'tcp6'])
    for (const words of rows(name))
      found.set(words[9] ?? '', words[3] === LISTENING ? 'listening TCP socket' : 'TCP connection');
  for (const name of ['udp', 'udp6', 'raw', 'raw6'])
    for (const words of rows(name)) found.set(words[9] ?? '', `${name.slice(0, 3)} socket`);
  for (const words of rows('packet')) found.set(words[8] ?? '', 'packet socket');
  for (const words of rows('netlink')) found.set(words[9] ?? '', 'netlink');
  for (const words of rows('unix'))
    found.set(
      words[6] ?? '',
      (Number(`0x${words[3]}`) & ACCEPTING) === 0 ? 'Unix socket' : 'listening Unix socket',
    );
  return found;
}

function open(pid: number): string {
  const isNode = basename(readlinkSync(`/proc/${pid}/exe`)) === 'node';
  // One that it has inherited may be of its parent's network.
  const parent = processEntry(pid)?.parent ?? pid;
  const sockets = new Map([...socketsOf(parent), ...socketsOf(pid)]);
  const kinds = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    let to: string;
    try {
      to = readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      continue; // closed while it was read
    }
    const [, inode] = /^socket:\[(\d+)\]$/.exec(to) ?? [];
    if (Number(fd) <= 2 || (isNode && NODES_OWN.test(to))) continue;
    if (inode !== undefined) kinds.add(sockets.get(inode) ?? 'socket of another network');
    else if (to === '/dev/net/tun') kinds.add('TUN');
    else if (/\/log$/.test(to)) kinds.add('log (FIFO)');
    else kinds.add(to.replace(/^anon_inode:\[?(\w+)\]?$/, '$1').replace(/^pipe:.*/, 'pipe'));
  }
  return kinds.size === 0 ? '-' : [...kinds].sort().join(', ');
}

/** The names in the environment that the process was started with. */
export function variablesOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/environ`, 'latin1');
  return text
    .split('\0')
    .filter((it) => it !== '')
    .map((it) => it.split('=', 1)[0] ?? '');
}

function environment(pid: number): string {
  const names = variablesOf(pid);
  if (names.length === 0) return 'empty';
  if (names.includes(MARK)) return "the caller's";
  return names.length > 3 ? 'of sudo, doas' : names.map((name) => `\`${name}\``).join(', ');
}

function yesOrNo(value: string, yes: string): string {
  if (value === '0') return 'no';
  return value === yes ? 'yes' : value;
}

/** `uid`: of the user; `full`: all capabilities that this machine's root has. */
export function privilegesOf(pid: number, uid: number, full: bigint): Privileges {
  const name = (id: string) => (id === '0' ? 'root' : id === String(uid) ? 'user' : id);
  const ids = [...field(pid, 'Uid').split(/\s+/), ...field(pid, 'Gid').split(/\s+/)];
  const users = [...new Set(ids)].map(name).join(' / ');
  const groups = field(pid, 'Groups') === '' ? [] : field(pid, 'Groups').split(' ');
  const others = groups.map(name).filter((group) => group !== users);
  const [, soft, hard] =
    /^Max core file size\s+(\S+)\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'latin1')) ??
    [];
  return {
    user: others.length === 0 ? users : `${users}, groups ${others.join(' ')}`,
    capabilities: capabilities(pid, full),
    boundingSet: sets(pid, 'CapBnd')
      .map((set) => nameOfSet(set, full))
      .join(' / '),
    noNewPrivileges: yesOrNo(field(pid, 'NoNewPrivs'), '1'),
    filter: yesOrNo(field(pid, 'Seccomp'), '2'),
    memory: statSync(`/proc/${pid}/mem`).uid === uid ? 'user' : 'root',
    core: soft === '0' && hard === '0' ? 'none' : 'inherited',
    open: open(pid),
    environment: environment(pid),
  };
}
