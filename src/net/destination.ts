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

/** Both ends of a connection: `10.0.0.1:50000 -> 10.1.2.3:443`. */
export function formatEnds(ends: {
  readonly source: Destination;
  readonly destination: Destination;
}): string {
  return `${formatDestination(ends.source)} -> ${formatDestination(ends.destination)}`;
}
