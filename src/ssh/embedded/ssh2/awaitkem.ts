/**
 * Keeps what the server sends until there are keys of ML-KEM. They are needed when the server's
 * KEXINIT has come, and making the first takes longer than a server nearby. Our identification goes
 * out at once, so the server works meanwhile.
 */
import type { Client } from 'ssh2';
import { protocolOf } from './internals.ts';
import { isKemReady, prepareKem } from './mlkem.ts';

/** Must be called before anything is read. If no keys can be made, the client emits the error. */
export function awaitKem(client: Client): void {
  const ready = prepareKem();
  if (isKemReady()) return;
  const protocol = protocolOf(client);
  const parse = protocol.parse;
  const kept: Buffer[] = [];
  const keep = (chunk: Buffer, start: number, end: number): void => {
    kept.push(Buffer.from(chunk.subarray(start, end)));
  };
  protocol.parse = keep;
  ready
    .then(() => {
      // Otherwise the connection has failed meanwhile.
      if (protocol.parse !== keep) return;
      protocol.parse = parse;
      for (const chunk of kept) protocol.parse(chunk, 0, chunk.length);
    })
    .catch((error: unknown) =>
      client.emit('error', error instanceof Error ? error : new Error(String(error))),
    );
}
