/**
 * A connection that this side has ended first, for a while after its end (RFC 9293 §3.3.2,
 * TIME-WAIT): the application's last FIN is acknowledged again, and a new connection of the same
 * addresses and ports begins only with later numbers.
 */
import type { FrameView } from './frame.ts';
import type { TcpFlow } from './tcpflow.ts';
import type { Timestamps } from './timestamps.ts';
import { Tuple } from './tuple.ts';

/** Twice the longest life of a segment, as Linux has it. */
export const TIME_WAIT_MS = 60_000;
/** Beyond, the oldest is forgotten: a late segment is then answered with RST. */
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

  /** Whether a SYN begins a new connection (RFC 9293 §3.10.7.4, RFC 6191 §2). */
  admits(frame: FrameView): boolean {
    if (this.timestamps.used && frame.hasTimestamps) {
      const newer = (frame.timestamp - this.timestamps.recent) | 0;
      if (newer !== 0) return newer > 0;
    }
    return ((frame.sequence - this.receiveNext) | 0) >= 0;
  }
}
