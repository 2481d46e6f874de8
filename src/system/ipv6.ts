/** Whether this machine has IPv6. If it is switched off, a new device can't have an address. */
import { readFileSync } from 'node:fs';

/**
 * `file`: net.ipv6.conf.default.disable_ipv6, which new devices inherit (Linux,
 * networking/ip-sysctl).
 */
export function hasIPv6(file = '/proc/sys/net/ipv6/conf/default/disable_ipv6'): boolean {
  try {
    return readFileSync(file, 'latin1').trim() === '0';
  } catch {
    return false; // a kernel without IPv6
  }
}
