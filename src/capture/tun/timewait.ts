/**
 * What remains for a while of a connection that this side ended first (RFC 9293 §3.3.2, TIME-WAIT).
 * The application's last FIN is acknowledged again if it is repeated. A new connection with the
 * same addresses and ports is accepted only with later numbers.
 */
import type { FrameView } from './frame.ts';
import type { TcpFlow } from './tcpflow.ts';
import type { Timestamps } from './timestamps.ts';
import { Tuple } from './tuple.ts';

/** Twice the maximum segment lifetime, as in Linux. */
export const TIME_WAIT_MS = 60_000;
/** Beyond it the oldest is forgotten. A late segment of it is then answered with RST. */
export const MAX_TIME_WAIT = 16_384;

export class TimeWait extends Tuple {
  readonly sequence: number;
  readonly receiveNext: number;
  readonly timestamps: Timestamps;
  readonly until: number;

  constructor(flow: TcpFlow, until: number) {
    super(flow, flow.hash);
    this.sequence = flow.out.nxt;
    this.receiveNext = flow.in.next;
    this.timestamps = flow.timestamps;
    this.until = until;
  }

  /** Whether a SYN may begin a new connection (RFC 9293 §3.10.7.4, RFC 6191 §2). */
  admits(frame: FrameView): boolean {
    if (this.timestamps.used && frame.hasTimestamps) {
      const newer = (frame.timestamp - this.timestamps.recent) | 0;
      if (newer !== 0) return newer > 0;
    }
    return ((frame.sequence - this.receiveNext) | 0) >= 0;
  }
}
