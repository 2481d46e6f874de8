/**
 * The timestamps of one connection (RFC 7323): ours, and the last of the application's, by which
 * old segments are told from new ones (PAWS, §5). Its clock can't come round unseen (§5.5):
 * keepalives have the application answer every few minutes.
 */
import type { FrameView } from './frame.ts';

export class Timestamps {
  /** The application has offered them. */
  readonly used: boolean;
  /** As int32: TS.Recent, and what is added to our clock. */
  recent: number;
  offset = 0;

  /** `frame` is the SYN. */
  constructor(frame: FrameView) {
    this.used = frame.hasTimestamps;
    this.recent = frame.timestamp;
  }

  /** What a segment that is sent now carries. */
  value(now: number): number {
    return (now + this.offset) | 0;
  }

  /** The segment is older than one that has come. RSTs are not asked. */
  outdates(frame: FrameView): boolean {
    return this.used && frame.hasTimestamps && ((frame.timestamp - this.recent) | 0) < 0;
  }

  /** The segment begins no later than what was last acknowledged (§4.3). */
  take(frame: FrameView): void {
    if (this.used && frame.hasTimestamps) this.recent = frame.timestamp;
  }

  /** How long the segment that is acknowledged took, in ms; undefined when it can't be told. */
  roundTrip(frame: FrameView, now: number): number | undefined {
    if (!this.used || !frame.hasTimestamps) return undefined;
    const milliseconds = (this.value(now) - frame.timestampEcho) | 0;
    return milliseconds < 0 ? undefined : milliseconds;
  }
}
