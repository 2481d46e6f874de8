/**
 * The lab's addresses and ports, in one place for the tests. Addresses are from the documentation
 * ranges (RFC 5737, RFC 3849) and, for the private network, from RFC 1918; none of them exists
 * outside the lab's namespaces.
 */

/** Where tests and people find the jump host from the client. */
export const JUMPHOST4 = '198.51.100.10';
export const JUMPHOST6 = '2001:db8:2::10';
/** A name that the jump host's own /etc/hosts doesn't know. */
export const UNKNOWN_NAME = 'missing.lab.example';

/** The client and its uplink, where uplinkserver.ts runs. */
export const CLIENT4 = '192.0.2.2';
/**
 * Nobody has it on the client's link; packets to it wait some seconds while the kernel asks for its
 * owner.
 */
export const SILENT4 = '192.0.2.77';
export const CLIENT6 = '2001:db8:1::2';
export const UPLINK4 = '192.0.2.1';
export const UPLINK6 = '2001:db8:1::1';
export const UplinkPort = { dns: 53, echo: 7, closed: 8, peer: 8080 } as const;

/** The private networks behind the jump host. */
export const PRIVATE4 = '10.77.0.0/16';
export const PRIVATE6 = '2001:db8:77::/64';
/** The jump host on the private network: the address that the API hosts see. */
export const JUMPHOST_PRIVATE4 = '10.77.0.1';
export const JUMPHOST_PRIVATE6 = '2001:db8:77::1';

export const API1 = '10.77.0.11';
export const API1_6 = '2001:db8:77::11';
export const API2 = '10.77.0.12';
export const API2_6 = '2001:db8:77::12';
/** The API hosts' names, which only the jump host's /etc/hosts knows. */
export const API1_NAME = 'api1.lab.example';
export const API2_NAME = 'api2.lab.example';

/**
 * Further addresses of each API host, for scans and for many destinations: 10.77.1.1 ... 10.77.1.20
 * and so on.
 */
export const EXTRA_ADDRESSES = 20;
export function extraAddress4(host: 1 | 2, index: number): string {
  return `10.77.${host}.${index}`;
}
export function extraAddress6(host: 1 | 2, index: number): string {
  return `2001:db8:77:0:${host}::${index.toString(16)}`;
}

/** An address of api1 that answers nothing to TCP: its SYNs are dropped. */
export const BLACKHOLE4 = '10.77.0.66';
export const BLACKHOLE6 = '2001:db8:77::66';
/** No such host: the jump host's neighbour discovery fails after about 3 s (v4 and v6), with
 * EHOSTUNREACH.
 */
export const ABSENT4 = '10.77.0.99';
export const ABSENT6 = '2001:db8:77::99';
/** The jump host has an unreachable route for these: EHOSTUNREACH at once. */
export const UNREACHABLE4 = '10.77.99.1';
export const UNREACHABLE6 = '2001:db8:77:0:99::1';
export const UNREACHABLE_PREFIX4 = '10.77.99.0/24';
export const UNREACHABLE_PREFIX6 = '2001:db8:77:0:99::/80';

/** What the API hosts listen on, each on all their addresses of both families (apiserver.ts). */
export const Port = {
  /**
   * Echoes; when the peer ends its side, it sends `bye N bytes` with the number received, and ends
   * too.
   */
  echo: 7,
  /** Reads and throws away; ends its side when the peer does. */
  discard: 9,
  /** Sends lines of RFC 864 until the peer ends or closes; throws away what it receives. */
  chargen: 19,
  http: 80,
  iperf: 5201,
  /** Resets the connection when it has received RESET_AFTER_BYTES. */
  reset: 7001,
  /** Accepts and never reads or writes. */
  stall: 7002,
  /** Sends without end and never reads. */
  flood: 7003,
  /**
   * Sends `half ID`, ends its side at once and goes on reading; `GET /half/ID` reports what it got.
   */
  half: 7004,
  /** Dropped by a packet filter on all addresses: no answer to a SYN. */
  blackhole: 7005,
  /** Nobody listens: the kernel answers RST. */
  closed: 7006,
  /**
   * Reads a number of milliseconds and the peer's end; that long after the end it sends `late` and
   * ends too.
   */
  late: 7007,
} as const;

export const RESET_AFTER_BYTES = 1000;

/**
 * What the `hardened` sshd permits by default; a closed port is included, so that tests can
 * distinguish refused from prohibited.
 */
export const HARDENED_PERMIT_OPEN: readonly string[] = [
  ...[API1, API2, `[${API1_6}]`, `[${API2_6}]`].flatMap((host) => [
    `${host}:${Port.http}`,
    `${host}:${Port.echo}`,
    `${host}:${Port.iperf}`,
    `${host}:${Port.closed}`,
  ]),
];
