/** One end of a connection. */
export interface Destination {
  /** A canonical IP address (RFC 5952 for IPv6), or a name in lower case. */
  readonly host: string;
  /** 1-65535 */
  readonly port: number;
}
