/**
 * Why a connection was refused: the one vocabulary that transports, the policy and the captures
 * share.
 *
 * | refusal       | what the far side says                     | IPv4 answer     | IPv6 answer |
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
 * Errors that the kernel reports about a peer or the route to it, for a connection or a connected
 * socket of this machine (connect(2), ip(7), udp(7)).
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

/**
 * The refusal for an error's `code`; undefined if it says nothing about the peer or the route to
 * it.
 */
export function refusalOfErrno(code: string | undefined): Refusal | undefined {
  return REFUSAL_OF_ERRNO.get(code ?? '');
}
