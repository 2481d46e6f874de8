/** UDP datagrams, as captures pass them on. */
import type { Destination } from '../net/destination.ts';

/** The largest payload that fits in an IPv4 packet, in bytes. */
export const MAX_DATAGRAM = 65_507;

export interface Datagram {
  readonly source: Destination;
  readonly destination: Destination;
  /** At most MAX_DATAGRAM bytes. */
  readonly payload: Uint8Array;
}
