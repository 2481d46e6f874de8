/** Reads the TCP connections of a process from proc(5). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const ESTABLISHED = 0x01;

/**
 * Whether the process's connections to `port` send data again because nothing of them was
 * acknowledged. undefined: it has no such connection, or it is another user's.
 */
export function retransmits(pid: number, port: number): boolean | undefined {
  try {
    const inodes = socketsOf(pid);
    const lines = ['tcp', 'tcp6'].flatMap((table) => tableOf(pid, table));
    const found = lines.map(connectionOf).filter(({ state, remotePort, inode }) => {
      return state === ESTABLISHED && remotePort === port && inodes.has(inode);
    });
    if (found.length === 0) return undefined;
    return found.some(({ waiting, again }) => waiting > 0 && again > 0);
  } catch {
    return undefined;
  }
}

function socketsOf(pid: number): ReadonlySet<string> {
  const directory = `/proc/${pid}/fd`;
  const inodes = new Set<string>();
  for (const fd of readdirSync(directory)) {
    const [, inode] = /^socket:\[(\d+)\]$/.exec(linkOf(`${directory}/${fd}`)) ?? [];
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // it has just been closed
  }
}

/** In the process's own network namespace. Without IPv6 there is no second table. */
function tableOf(pid: number, table: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/net/${table}`, 'latin1').trim().split('\n').slice(1);
  } catch {
    return [];
  }
}

/**
 * `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode`, the
 * numbers in hexadecimal except the last three.
 */
function connectionOf(line: string) {
  const [, , remote = '', state = '', queues = '', , again = '', , , inode = ''] = line
    .trim()
    .split(/\s+/);
  return {
    remotePort: Number.parseInt(remote.slice(remote.lastIndexOf(':') + 1), 16),
    state: Number.parseInt(state, 16),
    /** Bytes that are not acknowledged. */
    waiting: Number.parseInt(queues, 16),
    /** How often in a row they were sent again. */
    again: Number.parseInt(again, 16),
    inode,
  };
}
