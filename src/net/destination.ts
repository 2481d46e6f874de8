/** One end of a connection. */
export interface Destination {
  /** A canonical IP address (RFC 5952 for IPv6), or a name in lower case. */
  readonly host: string;
  /** 1-65535 */
  readonly port: number;
}

/** `10.0.0.1:443`, `[2001:db8::1]:443`, `api.example.com:443`. */
export function formatDestination({ host, port }: Destination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
