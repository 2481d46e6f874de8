/**
 * Why a connection can't be had: the one vocabulary in which transports, the policy and the
 * captures speak of it.
 *
 * | refusal       | the far side's word                        | IPv4 answer     | IPv6 answer |
 * |---------------|--------------------------------------------|-----------------|-------------|
 * | `refused`     | connection refused, or our own limit       | TCP RST         | TCP RST     |
 * | `unreachable` | no route to host, host down                | ICMP 3/1        | ICMPv6 1/3  |
 * | `no-network`  | network unreachable                        | ICMP 3/0        | ICMPv6 1/0  |
 * | `prohibited`  | the server's or the local policy says no   | ICMP 3/13       | ICMPv6 1/1  |
 * | `timeout`     | silence                                    | silence         | silence     |
 */
export const REFUSALS = ['refused', 'unreachable', 'no-network', 'prohibited', 'timeout'] as const;
export type Refusal = (typeof REFUSALS)[number];

/**
 * What the kernel says about a peer, or about the way to it, of a connection or a connected socket
 * of this machine's (connect(2), ip(7), udp(7)).
 */
const REFUSAL_OF_ERRNO: ReadonlyMap<string, Refusal> = new Map<string, Refusal>([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'refused'],
  ['EHOSTUNREACH', 'unreachable'],
  ['EHOSTDOWN', 'unreachable'],
  ['ENETUNREACH', 'no-network'],
  ['ENETDOWN', 'no-network'],
  ['EADDRNOTAVAIL', 'no-network'],
  ['EAFNOSUPPORT', 'no-network'],
  ['EACCES', 'prohibited'],
  ['EPERM', 'prohibited'],
  ['ETIMEDOUT', 'timeout'],
]);

/** undefined: an error's name (`code`) that says nothing about the way to the peer. */
export function refusalOfErrno(code: string | undefined): Refusal | undefined {
  return REFUSAL_OF_ERRNO.get(code ?? '');
}
