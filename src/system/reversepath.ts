/**
 * Whether the kernel drops IPv4 packets that come in by a device other than the one by which an
 * answer would leave (rp_filter=1, RFC 3704 §2.2; Linux, networking/ip-sysctl).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const STRICT = 1;

/** `root`: net.ipv4.conf. The higher of the device's own value and that for all counts. */
export function filtersReversePath(device: string, root = '/proc/sys/net/ipv4/conf'): boolean {
  return (
    Math.max(...['all', device].map((name) => valueIn(join(root, name, 'rp_filter')))) === STRICT
  );
}

/** 0 if the device has gone. */
function valueIn(file: string): number {
  try {
    return Number(readFileSync(file, 'latin1').trim());
  } catch {
    return 0;
  }
}

/**
 * Whether any device filters so, except loopback and TUN devices: of these may be our own. `root`
 * is put before each path: for tests.
 */
export function filtersAnywhere(root = '/'): boolean {
  const settings = join(root, 'proc/sys/net/ipv4/conf');
  let devices: string[];
  try {
    devices = readdirSync(settings).filter((name) => !['all', 'default', 'lo'].includes(name));
  } catch {
    return false; // no IPv4, or no /proc
  }
  return devices.some(
    (name) =>
      filtersReversePath(name, settings) &&
      !existsSync(join(root, 'sys/class/net', name, 'tun_flags')),
  );
}
