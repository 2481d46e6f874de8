/** For tests of how opens are shared: a transport that answers when told to, sources by port. */
import { Duplex } from 'node:stream';
import type { Connector } from '../../src/flow/connector.ts';
import { StreamConduit } from '../../src/flow/streamconduit.ts';
import { OpenQueue } from '../../src/link/openqueue.ts';
import type { SourceFinder } from '../../src/link/opensources.ts';
import type { Found } from '../../src/link/ownersearch.ts';
import type { Destination } from '../../src/net/destination.ts';
import { ManualClock } from './manualclock.ts';
import { Recorder } from './supervised.ts';

export interface Asked {
  readonly destination: Destination;
  /** Default: opens. */
  answer(result?: Error | Duplex): void;
}

/** Answers when it is told to. */
export class HeldTransport implements Connector {
  readonly asked: Asked[] = [];
  /** Those that are answered at once. */
  good: (destination: Destination) => boolean = () => false;

  connect(destination: Destination): Promise<StreamConduit> {
    return new Promise((resolve, reject) => {
      const answer = (result: Error | Duplex = new Duplex({ read() {}, write() {} })): void =>
        result instanceof Error ? reject(result) : resolve(new StreamConduit(result));
      if (this.good(destination)) answer();
      else this.asked.push({ destination, answer });
    });
  }
}

export const HERE = '198.18.0.2';

/** Whose a socket of this machine is, by its port. */
export type Owners = (port: number) => Found;

/** A queue with a clock by hand. Without `owners`, nobody is asked for. */
export function heldQueue(owners?: Owners) {
  const held = new HeldTransport();
  const clock = new ManualClock();
  const observer = new Recorder();
  const finder: SourceFinder | undefined = owners && {
    isHere: (address) => address === HERE || address.startsWith('127.'),
    sourceOf: ({ port }) => owners(port),
  };
  const opens = new OpenQueue({ connector: held, observer, clock, finder });
  return { held, clock, observer, opens };
}
