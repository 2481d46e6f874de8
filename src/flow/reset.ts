/** Ends a stream in the way that its peer sees as a reset. */
import type { Duplex } from 'node:stream';

/**
 * TCP sockets are reset (RST), other streams destroyed with `cause`. A socket whose FIN is on its
 * way is closed plainly: libuv refuses to reset it (EINVAL) and Node then leaves it open for good.
 * Its peer has been told the end, and whatever it still sends is answered with RST. May be
 * repeated.
 */
export function resetStream(stream: Duplex, cause?: Error): void {
  if (stream.destroyed) return;
  const finishing = stream.writableEnded && !stream.writableFinished && stream.writableLength === 0;
  if ('resetAndDestroy' in stream && typeof stream.resetAndDestroy === 'function' && !finishing) {
    stream.resetAndDestroy();
  } else {
    stream.destroy(cause);
  }
}
