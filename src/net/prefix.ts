/** PLACEHOLDER shape, see docs */
export interface Prefix {
  readonly family: 4 | 6;
  /** The network address, canonical (RFC 5952 for IPv6). */
  readonly address: string;
  /** 0-32 or 0-128 */
  readonly length: number;
}
