/**
 * Takes queries to the server from datagrams and from streams of length-prefixed messages (RFC
 * 7766).
 *
 *   answerDatagram   one query from the TUN; its answer goes back into the TUN
 *   serveStream      a captured TCP connection; each answer is sent as soon as it is there
 *                    (RFC 7766 §6.2.1.1)
 *
 * Limits of a stream: while MAX_PIPELINED queries wait, it isn't read. It is closed after
 * STREAM_IDLE_MS without a query, with an unfinished query, or with answers that the client doesn't
 * read.
 */
import type { Duplex } from 'node:stream';
import { framed } from '../wire/message.ts';
import type { DnsClient, DnsServer } from './server.ts';

export const MAX_PIPELINED = 128;
export const STREAM_IDLE_MS = 10_000;

/** Answers a query from an address and a port. Undefined: it gets no answer. Never rejects. */
export function answerDatagram(
  server: DnsServer,
  payload: Uint8Array,
  client: string,
  port?: number,
  ofTunnel = false,
): Promise<Uint8Array | undefined> {
  return server.answer(payload, { key: client, port, stream: false, ofTunnel });
}

/** Answers the queries on a stream until it ends. Resolves when it has closed; never rejects. */
export function serveStream(
  server: DnsServer,
  stream: Duplex,
  client: Omit<DnsClient, 'stream'>,
): Promise<void> {
  const asker = { ...client, stream: true };
  return new Promise((resolve) => {
    let received: Buffer = Buffer.alloc(0);
    let waiting = 0;
    let ended = false;
    const idleTimer = setTimeout(() => {
      // Waiting for an upstream is not the client's fault; not reading its answers is.
      if (waiting > 0 && !stream.writableNeedDrain) idleTimer.refresh();
      else stream.destroy();
    }, STREAM_IDLE_MS).unref();
    const reply = (answer: Uint8Array | undefined) => {
      waiting -= 1;
      if (stream.destroyed) return;
      if (answer !== undefined) stream.write(framed(answer), () => idleTimer.refresh());
      proceed();
    };
    const proceed = () => {
      while (waiting < MAX_PIPELINED && received.length >= 2) {
        const end = 2 + received.readUInt16BE(0);
        if (received.length < end) break;
        const message = received.subarray(2, end);
        received = received.subarray(end);
        waiting += 1;
        idleTimer.refresh();
        void server.answer(message, asker).then(reply);
      }
      // A client that doesn't read its answers isn't read either.
      if (waiting >= MAX_PIPELINED || stream.writableNeedDrain) stream.pause();
      else if (stream.isPaused()) stream.resume();
      if (ended && waiting === 0) stream.end();
    };
    stream.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]); // a copy: the stream may only lend its chunks
      proceed();
    });
    stream.on('drain', proceed);
    stream.on('end', () => {
      ended = true;
      proceed();
    });
    stream.on('error', () => {}); // 'close' follows and is enough
    stream.on('close', () => {
      clearTimeout(idleTimer);
      resolve();
    });
    if (stream.destroyed) resolve();
    // Captures hand over their connections paused.
    else proceed();
  });
}
