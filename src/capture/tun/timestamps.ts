/**
 * The timestamps of one connection (RFC 7323): ours, and the application's last one, which tells
 * old segments from new ones (PAWS, §5). The application's clock can't wrap around unnoticed
 * (§5.5): keepalives make the application answer every few minutes.
 */
import type { FrameView } from './frame.ts';

export class Timestamps {
  /** The application has offered timestamps. */
  readonly used: boolean;
  /** TS.Recent, and the offset added to our clock. Both as int32. */
  recent: number;
  offset = 0;

  /** `frame` is the SYN. */
  constructor(frame: FrameView) {
    this.used = frame.hasTimestamps;
    this.recent = frame.timestamp;
  }

  /** The timestamp of a segment that is sent now. */
  value(now: number): number {
    return (now + this.offset) | 0;
  }

  /** Whether the segment is older than one that has already arrived. Not for RSTs. */
  isOutdated(frame: FrameView): boolean {
    return this.used && frame.hasTimestamps && ((frame.timestamp - this.recent) | 0) < 0;
  }

  /** Call with a segment that begins no later than the last acknowledged number (§4.3). */
  update(frame: FrameView): void {
    if (this.used && frame.hasTimestamps) this.recent = frame.timestamp;
  }

  /** The round-trip time of the acknowledged segment in ms, or undefined if it isn't known. */
  roundTrip(frame: FrameView, now: number): number | undefined {
    if (!this.used || !frame.hasTimestamps) return undefined;
    const milliseconds = (this.value(now) - frame.timestampEcho) | 0;
    return milliseconds < 0 ? undefined : milliseconds;
  }
}
