/** Flows as streams, for tests that read and write streams. */
import type { Duplex } from 'node:stream';
import { streamOf } from '../../src/flow/conduitstream.ts';
import type { ConnectOptions, Connector } from '../../src/flow/connector.ts';
import type { Destination } from '../../src/net/destination.ts';

export async function connectStream(
  connector: Connector,
  destination: Destination,
  options?: ConnectOptions,
): Promise<Duplex> {
  return streamOf(await connector.connect(destination, options));
}
