/** Whether this machine has IPv6: a new device is given no address where it is switched off. */
import { readFileSync } from 'node:fs';

/**
 * `file`: net.ipv6.conf.default.disable_ipv6, which new devices take over (Linux,
 * networking/ip-sysctl).
 */
export function hasIPv6(file = '/proc/sys/net/ipv6/conf/default/disable_ipv6'): boolean {
  try {
    return readFileSync(file, 'latin1').trim() === '0';
  } catch {
    return false; // a kernel without IPv6
  }
}
