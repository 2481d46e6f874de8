/**
 * Devices that killed helpers have left behind (native/helper/mark.h), for `tunnel clean`. Each
 * start of a helper removes them as well.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import type { Observer } from '../../observe/observer.ts';
import { helperPath } from '../programs/path.ts';
import { type Elevation, elevation } from '../programs/privileges.ts';
import type { RecoveryReport } from '../resolver/recover.ts';

const MARK = /^tunnel-helper [0-9a-f]{16}$/;
/** linux/if_tun.h */
const IFF_PERSIST = 0x0800;

export interface LeftoverSources {
  /** Directories of the kernel's, one for each device. */
  readonly devices?: string;
  /** The kernel's list of Unix sockets. */
  readonly sockets?: string;
  /** Whether this process is root, who sees through a false socket. */
  readonly root?: boolean;
}

/**
 * The names of devices that may have been left behind. Unless this is root, those of which a helper
 * seems to be alive don't count: nobody is asked for a password because of them.
 */
export function markedDevices(sources: LeftoverSources = {}): string[] {
  const {
    devices = '/sys/class/net',
    sockets = '/proc/net/unix',
    root = process.geteuid?.() === 0,
  } = sources;
  const open = new Set((read(sockets) ?? '').split('\n').map((line) => line.split(' @')[1] ?? ''));
  return names(devices).filter((name) => {
    const mark = read(join(devices, name, 'ifalias'))?.trim() ?? '';
    if (!MARK.test(mark)) return false;
    const flags = Number(read(join(devices, name, 'tun_flags'))?.trim() ?? '0');
    return root || !open.has(mark) || (flags & IFF_PERSIST) !== 0;
  });
}

/**
 * Removes them, as root. Never rejects. `elevate` is how to become root; throws as elevation()
 * does.
 */
export async function removeLeftDevices(
  observer: Observer,
  sources: LeftoverSources = {},
  elevate: (path: string, args: readonly string[]) => Elevation = elevation,
): Promise<RecoveryReport> {
  const found = markedDevices(sources);
  if (found.length === 0) return { done: [], failed: [] };
  try {
    const { command, args, env, interactive, via } = elevate(helperPath(observer), ['--clean']);
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', interactive ? 'inherit' : 'ignore'],
      env,
    });
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const [status, signal] = await once(child, 'close');
    const removed = output.split('\n').filter((name) => name !== '');
    const done = removed.map((name) => `the device ${name} was removed, with its routes`);
    if (status === 0) return { done, failed: [] };
    const how = `${via} ended with ${status ?? signal}`;
    return { done, failed: [`the devices ${found.join(', ')} could not be looked at: ${how}`] };
  } catch (error) {
    return { done: [], failed: [reasonOf(error)] };
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // there is no /sys in this container, so nothing can be seen
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // a device that has gone, or is no TUN device
  }
}
