/**
 * /etc/hosts (hosts(5)): names that programs find there are never asked for, so a tunnel doesn't
 * get to answer them.
 */
import { canonicalAddress, isAddress } from '../../net/address.ts';
import { isCanonicalName } from '../../net/name.ts';

export const HOSTS_FILE = '/etc/hosts';
export const NSSWITCH = '/etc/nsswitch.conf';
/** Lists that block advertisements have some megabytes. */
export const MAX_HOSTS_FILE_BYTES = 16 * 1024 * 1024;

export interface HostsEntry {
  /** Canonical. */
  readonly name: string;
  /** Canonical. */
  readonly address: string;
}

/** isspace(3): a byte-order mark and a no-break space are part of a word. */
const WORD = /[^ \t\r\v\f]+/g;

/**
 * The names that the file gives addresses, in its order. What is malformed is left out.
 *
 * A name with a dot at its end is found by systemd-resolved without that dot. glibc compares the
 * texts (nss_files), so it finds it only for programs that write the dot as well. `asksResolved`:
 * whether programs ask systemd-resolved (detect.ts); else such names are left out.
 */
export function parseHosts(text: string, asksResolved = false): HostsEntry[] {
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').match(WORD) ?? [];
    if (!isAddress(address)) return [];
    return names
      .map((name) => name.toLowerCase())
      .map((name) => (asksResolved ? name.replace(/\.$/, '') : name))
      .filter(isCanonicalName)
      .map((name) => ({ name, address: canonicalAddress(address) }));
  });
}

/**
 * The services of the last line `hosts:` in nsswitch.conf(5), without what is done about their
 * answers. As glibc reads it: no blank is needed around `[...]`, and `#` begins a comment only at
 * the beginning of a line. undefined: there is no such line.
 */
export function hostsServices(nsswitch: string | undefined): readonly string[] | undefined {
  const [, services] = [...(nsswitch ?? '').matchAll(/^[ \t]*hosts:(.*)$/gm)].at(-1) ?? [];
  return (
    services?.replace(/\[[^\]]*\]/g, ' ').match(/\S+/g) ?? (services === undefined ? undefined : [])
  );
}

/**
 * Whether programs look into /etc/hosts before they ask a resolver, by nsswitch.conf(5). Also
 * systemd-resolved does (ReadEtcHosts), so `resolve` counts. That resolv.conf may name
 * systemd-resolved is not seen here. Without the file, or the line, the C library looks there
 * first. Programs with a resolver of their own mostly do so in any case.
 */
export function asksHostsFirst(nsswitch: string | undefined): boolean {
  const services = hostsServices(nsswitch);
  if (services === undefined) return true;
  const first = services.find((service) => ['files', 'dns', 'resolve'].includes(service));
  return first === 'files' || first === 'resolve';
}
