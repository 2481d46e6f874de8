/**
 * What a jump host's network has to let out: rules of a security group or of a firewall, from the
 * list of what it admits. A rule has a prefix and a range of ports, where sshd has a line for each.
 *
 *   10.0.0.4:80, 10.0.0.5:80   -> 80 to 10.0.0.4/31
 *   10.0.0.5:8000 ... :8002    -> 8000-8002 to 10.0.0.5/32
 *   10.0.0.5:*                 -> 1-65535 to 10.0.0.5/32
 *   api.example.com:443        -> 443 to everywhere: rules know no names
 */
import { isAddress } from '../net/address.ts';
import { MAX_PORT, mergePorts, type PortRange } from '../net/ports.ts';
import { hostPrefix, prefixNotation } from '../net/prefix.ts';
import { mergePrefixes } from '../net/prefixset.ts';
import type { PermittedDestination } from './permitted.ts';

/** Over TCP. */
export interface EgressRule {
  readonly ports: PortRange;
  /** Prefixes with their lengths, IPv4 first. */
  readonly to: readonly string[];
  /** The names that are the reason for a rule to everywhere. Empty for addresses. */
  readonly names: readonly string[];
}

export const EVERYWHERE: readonly string[] = ['0.0.0.0/0', '::/0'];
export const ALL_PORTS: PortRange = { first: 1, last: MAX_PORT };

/** A host, and all the ports of it that are listed. Empty: every port. */
export interface PermittedHost {
  readonly host: string;
  readonly ports: readonly PortRange[];
}

/** The list by hosts, in its order. */
export function permittedHosts(permitted: readonly PermittedDestination[]): PermittedHost[] {
  const hosts = new Map<string, PortRange[]>();
  for (const { host, port } of permitted) {
    const ports = hosts.get(host) ?? [];
    hosts.set(host, ports);
    ports.push(port === '*' ? ALL_PORTS : { first: port, last: port });
  }
  return [...hosts].map(([host, ports]) => {
    const merged = mergePorts(ports);
    const all = merged.some(({ first, last }) => first === ALL_PORTS.first && last === MAX_PORT);
    return { host, ports: all ? [] : merged };
  });
}

/** Rules for names first, then by ports. */
export function egressRules(permitted: readonly PermittedDestination[]): EgressRule[] {
  const byPorts = new Map<string, { ports: PortRange; names: string[]; addresses: string[] }>();
  for (const { host, ports } of permittedHosts(permitted)) {
    for (const range of ports.length === 0 ? [ALL_PORTS] : ports) {
      const key = `${range.first}-${range.last}`;
      const entry = byPorts.get(key) ?? { ports: range, names: [], addresses: [] };
      byPorts.set(key, entry);
      (isAddress(host) ? entry.addresses : entry.names).push(host);
    }
  }
  const entries = [...byPorts.values()].sort(
    (a, b) => a.ports.first - b.ports.first || a.ports.last - b.ports.last,
  );
  const named = entries.filter(({ names }) => names.length > 0);
  const addressed = entries.filter(({ addresses }) => addresses.length > 0);
  return [
    ...named.map(({ ports, names }) => ({ ports, to: EVERYWHERE, names })),
    ...addressed.map(({ ports, addresses }) => ({
      ports,
      to: mergePrefixes(addresses.map(hostPrefix)).map(prefixNotation),
      names: [],
    })),
  ];
}
