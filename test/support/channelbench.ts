/**
 * The multiplexer over a server that the test controls (fakeprotocol.ts), with channels in any
 * state.
 */
import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { Channel } from '../../src/ssh/embedded/channels/channel.ts';
import type { Inbox } from '../../src/ssh/embedded/channels/inbox.ts';
import { Multiplexer, type OpenFailure } from '../../src/ssh/embedded/channels/multiplexer.ts';
import { Outbox } from '../../src/ssh/embedded/channels/outbox.ts';
import { ReceiveWindows } from '../../src/ssh/embedded/channels/receivewindow.ts';
import { FakeProtocol, type Told } from './fakeprotocol.ts';

/** A window adjustment with AES-GCM. */
const ADJUST_BYTES = 36;
const ADDRESSES = { srcIP: '127.0.0.1', srcPort: 1, dstIP: '192.0.2.1', dstPort: 80 };

export class Bench {
  readonly server = new FakeProtocol();
  readonly windows = new ReceiveWindows({ clock: () => this.now });
  readonly counted: string[] = [];
  readonly multiplexer: Multiplexer;
  /** What the socket was given, in bytes. */
  written = 0;
  now = 0;

  /** With `inbox`, received data count as views of its memory. */
  constructor(inbox?: Pick<Inbox, 'memory'>) {
    const socket = new Duplex({
      read() {},
      write: (chunk: Buffer, _encoding, done) => {
        this.written += chunk.length;
        done();
      },
    });
    const outbox = new Outbox(socket, { onWritable() {}, onSent() {}, onOverflow() {} });
    this.server.onAdjust = () => outbox.take(Buffer.alloc(ADJUST_BYTES));
    this.multiplexer = new Multiplexer({
      protocol: this.server.protocol,
      outbox,
      inbox: inbox as Inbox | undefined,
      windows: this.windows,
      observer: { log() {}, count: (name) => void this.counted.push(name) },
    });
  }

  open(): Open {
    const before = new Set(this.server.opens.keys());
    const open: Open = { id: -1, results: [] };
    this.multiplexer.open(ADDRESSES, (result) => open.results.push(result));
    for (const id of this.server.opens.keys()) if (!before.has(id)) open.id = id;
    return open;
  }

  confirmed(window = 1 << 20, maxPacket = 32_768): { id: number; channel: Channel; told: Told } {
    const { id, results } = this.open();
    const remote = 1000 + id;
    this.server.confirm(id, remote, window, maxPacket);
    const [channel] = results;
    const told = this.server.told.get(remote);
    assert.ok(channel instanceof Channel && told !== undefined);
    return { id, channel, told };
  }
}

export interface Open {
  id: number;
  readonly results: (Channel | OpenFailure)[];
}
