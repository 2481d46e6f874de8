/** Ends a stream so that its peer sees a reset. */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/**
 * TCP sockets are reset (RST), other streams are destroyed with `cause`, Unix sockets among them. A
 * TCP socket whose FIN has been sent is closed normally, because libuv refuses to reset it (EINVAL)
 * and Node then never closes it. Its peer gets the FIN, and an RST for anything it still sends. May
 * be called more than once.
 */
export function resetStream(stream: Duplex, cause?: Error): void {
  if (stream.destroyed) return;
  const finishing = stream.writableEnded && !stream.writableFinished && stream.writableLength === 0;
  const isTcp = !(stream instanceof Socket) || stream.localFamily !== undefined;
  if (
    'resetAndDestroy' in stream &&
    typeof stream.resetAndDestroy === 'function' &&
    isTcp &&
    !finishing
  ) {
    stream.resetAndDestroy();
  } else {
    stream.destroy(cause);
  }
}
