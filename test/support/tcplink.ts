/**
 * A link in memory, with loss, reordering, duplication and delay from a seed, between the endpoint
 * and model clients (tcpclient.ts), in virtual time.
 *
 *   client -> link -> endpoint -> far side, which checks what arrives and generates the answer
 *
 * Everything is checked in transit: frames are well-formed, windows never shrink, bytes are right
 * and in order.
 */
import assert from 'node:assert/strict';
import type { TcpFlow } from '../../src/capture/tun/tcpflow.ts';
import type { Conduit } from '../../src/flow/conduit.ts';
import { pseudoRandomBytes } from './bytes.ts';
import { CountingPool } from './countingpool.ts';
import { TcpClient } from './tcpclient.ts';
import { type ReadTcp, readFrame } from './tcpframes.ts';
import { SeededRandom } from './tcprandom.ts';
import { APPLICATION, SERVER, TcpLab } from './tcpscript.ts';

/** Virtual time after which a run counts as stuck. */
const MAX_MS = 20 * 60_000;
const FAR_WINDOW = 256 * 1024;
const SLAB_BYTES = 32 * 1024;

export interface LinkOptions {
  readonly seed: number;
  readonly flows: number;
  /** Probabilities for each frame in each direction. */
  readonly loss: number;
  readonly duplication: number;
  /** The probability of being late by up to `lateMs`. */
  readonly reordering: number;
  readonly lateMs: number;
  readonly delayMs: number;
  readonly maxBytes: number;
}

export interface LinkSummary {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly lost: number;
  readonly milliseconds: number;
  readonly retransmissions: number;
}

/** The far side of one flow. */
class Far implements Conduit {
  received = 0;
  readonly upload: Buffer;
  readonly download: Buffer;
  sent = 0;
  #outstanding = 0;
  finished = false;
  over: Error | 'in order' | undefined;
  readonly #flow: TcpFlow;
  readonly #link: Link;
  readonly #endsLast: boolean;
  readonly #slow: boolean;

  constructor(link: Link, flow: TcpFlow, client: TcpClient, endsLast: boolean) {
    this.#link = link;
    this.#flow = flow;
    this.upload = client.options.upload;
    this.download = client.options.download;
    this.#endsLast = endsLast;
    this.#slow = link.random.chance(0.5);
    flow.join(this);
    flow.whenOver((error) => {
      assert.equal(this.over, undefined);
      this.over = error ?? 'in order';
    });
    link.later(link.random.below(20), () => this.output());
  }

  join(): void {}

  whenOver(): void {}

  send(data: Buffer): void {
    assert.ok(!this.finished && this.over === undefined);
    const { received, upload } = this;
    assert.ok(
      data.equals(upload.subarray(received, received + data.length)),
      `bytes at ${received}`,
    );
    this.received += data.length;
    const { random } = this.#link;
    if (this.#slow)
      this.#link.later(random.below(random.chance(0.02) ? 3000 : 30), () =>
        this.#flow.taken(data.length),
      );
    else this.#flow.taken(data.length);
  }

  finish(): void {
    assert.ok(!this.finished);
    assert.equal(this.received, this.upload.length, 'all of it came before the end');
    this.finished = true;
    this.output();
  }

  taken(bytes: number): void {
    this.#outstanding -= bytes;
    assert.ok(this.#outstanding >= 0);
    this.output();
  }

  shut(): void {
    assert.fail('the application is never shut');
  }

  abort(error: Error | undefined): void {
    assert.fail(`aborted: ${error?.message}`);
  }

  output(): void {
    const { random, memory } = this.#link;
    while (this.sent < this.download.length && this.#outstanding < FAR_WINDOW) {
      const size = 1 + random.below(random.chance(0.2) ? SLAB_BYTES : 3000);
      const data = this.download.subarray(this.sent, this.sent + size);
      this.sent += data.length;
      this.#outstanding += data.length;
      const slab = memory.take();
      data.copy(slab.bytes);
      this.#flow.send(slab.bytes.subarray(0, data.length), slab);
      slab.release();
    }
    if (this.sent < this.download.length || (this.#endsLast && !this.finished)) return;
    this.#flow.finish();
  }
}

class Link {
  readonly random: SeededRandom;
  readonly memory = new CountingPool(SLAB_BYTES, 8);
  readonly lab: TcpLab;
  readonly clients = new Map<number, TcpClient>();
  readonly fars: Far[] = [];
  lost = 0;
  readonly #options: LinkOptions;
  /** Events by time. */
  readonly #events = new Map<number, (() => void)[]>();
  /** For each port: the edge of the granted window, and the last acknowledgement. */
  readonly #edges = new Map<number, { edge: number; ack: number }>();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    this.lab = new TcpLab({
      mtu: this.random.pick([1500, 65_520]),
      onFrame: (bytes) => this.#fromEndpoint(bytes),
      onFlow: (flow) =>
        this.later(this.random.below(this.random.chance(0.2) ? 3000 : 50), () => this.#open(flow)),
    });
  }

  later(milliseconds: number, act: () => void): void {
    const at = this.lab.now + milliseconds;
    const acts = this.#events.get(at);
    if (acts === undefined) this.#events.set(at, [act]);
    else acts.push(act);
  }

  #open(flow: TcpFlow): void {
    const client = this.clients.get(flow.aPort);
    assert.ok(client !== undefined);
    if (this.fars.some(({ upload }) => upload === client.options.upload)) {
      // A late copy of the SYN, after the end.
      assert.ok(client.ended);
      flow.refuse('refused');
      return;
    }
    const conduit = flow.open();
    if (conduit === undefined) return;
    // If both waited for the other's end, neither would end.
    const endsLast = !client.options.endsLast && this.random.chance(0.5);
    this.fars.push(new Far(this, flow, client, endsLast));
  }

  addClient(n: number): void {
    const { random, lab } = this;
    const family = random.pick([4, 6]);
    const { maxBytes, seed } = this.#options;
    const size = () =>
      random.chance(0.15) ? 0 : random.below(random.chance(0.3) ? maxBytes : 5000);
    const scale = random.pick([undefined, 0, 7, 10]);
    const upload = pseudoRandomBytes(size(), `${seed} up ${n}`);
    const client = new TcpClient({
      tuple: {
        source: APPLICATION[family],
        destination: SERVER[family],
        sourcePort: 2000 + n,
        destinationPort: 80,
      },
      isn: random.below(2 ** 32),
      clock: () => lab.now,
      transmit: (frame) => this.#deliver(frame, (bytes) => lab.input(bytes)),
      timestamps: random.chance(0.7),
      scale,
      mss: random.pick([536, 1460, 8960, 65_480]),
      frameBytes: upload.length < 300 ? random.pick([1, 7, 100]) : random.pick([600, 5000, 60_000]),
      upload,
      download: pseudoRandomBytes(size(), `${seed} down ${n}`),
      buffer: random.pick([2000, 60_000, scale === undefined ? 60_000 : 300_000]),
      reassembles: random.chance(0.7),
      automatic: random.chance(0.5),
      endsLast: random.chance(0.4),
    });
    this.clients.set(2000 + n, client);
    this.later(random.below(1000), () => client.connect());
    if (client.options.automatic) return;
    const read = () => {
      client.take(1 + random.below(random.chance(0.3) ? 100_000 : 5000));
      if (!client.finished) this.later(1 + random.below(random.chance(0.03) ? 2000 : 20), read);
    };
    this.later(0, read);
  }

  /** Sends a frame over the link: once, twice or not at all. */
  #deliver(bytes: Buffer, arrive: (bytes: Buffer) => void): void {
    const { random } = this;
    const { loss, duplication, reordering, lateMs, delayMs } = this.#options;
    if (random.chance(loss)) {
      this.lost++;
      return;
    }
    for (let copies = random.chance(duplication) ? 2 : 1; copies > 0; copies--)
      this.later(delayMs + (random.chance(reordering) ? random.below(lateMs) : 0), () =>
        arrive(bytes),
      );
  }

  #fromEndpoint(bytes: Buffer): void {
    const frame = readFrame(bytes);
    assert.ok(frame.kind === 'tcp', `not a segment: ${frame.kind}`);
    const client = this.clients.get(frame.destinationPort);
    assert.ok(client !== undefined);
    if (!frame.flags.includes('R')) this.#checkWindow(frame, client);
    this.#deliver(bytes, () => client.input(frame));
  }

  /** Checks in the order of sending: neither acknowledgements nor windows go back. */
  #checkWindow(frame: ReadTcp, client: TcpClient): void {
    const scale = client.options.scale === undefined || frame.flags.includes('S') ? 0 : 7;
    const ack = (frame.ack - client.options.isn) | 0;
    const edge = ack + frame.window * 2 ** scale;
    const last = this.#edges.get(frame.destinationPort);
    // A TIME-WAIT grants nothing.
    const ended = ack === client.options.upload.length + 2;
    if (last !== undefined) {
      assert.ok(ack >= last.ack, `acknowledges ${ack} after ${last.ack}`);
      // It may seem to go back by less than a unit (RFC 7323 §2.4).
      assert.ok(ended || edge > last.edge - 2 ** scale, `grants ${edge} after ${last.edge}`);
    }
    this.#edges.set(frame.destinationPort, { edge, ack });
  }

  get #finished(): boolean {
    const { lab, fars, clients } = this;
    const { flowsHeld, flowsLive } = lab.counters;
    if (flowsHeld + flowsLive > 0 || fars.length < clients.size) return false;
    return [...clients.values()].every((client) => client.finished);
  }

  run(): LinkSummary {
    const { lab } = this;
    const begun = lab.now;
    while (!this.#finished) {
      let next = lab.deadline;
      for (const at of this.#events.keys()) next = Math.min(next, at);
      for (const { deadline } of this.clients.values()) next = Math.min(next, deadline);
      assert.ok(next - begun < MAX_MS, `it ends: ${this.#describe()}`);
      lab.wait(Math.max(0, Math.ceil(next) - lab.now));
      const due = this.#events.get(lab.now) ?? [];
      this.#events.delete(lab.now);
      for (const act of due) act();
      for (const client of this.clients.values()) if (client.deadline <= lab.now) client.expire();
      lab.settle();
    }
    lab.wait(61_000);
    for (const far of this.fars) {
      assert.equal(far.over, 'in order');
      assert.equal(far.received, far.upload.length);
    }
    lab.idle();
    assert.equal(this.memory.live, 0, 'no slab is held');
    let bytesUp = 0;
    let bytesDown = 0;
    let retransmissions = 0;
    for (const { options, retransmissions: more } of this.clients.values()) {
      bytesUp += options.upload.length;
      bytesDown += options.download.length;
      retransmissions += more;
    }
    return { bytesUp, bytesDown, lost: this.lost, milliseconds: lab.now - begun, retransmissions };
  }

  #describe(): string {
    const rest = [...this.clients].filter(([, client]) => !client.finished);
    return rest
      .map(([port, c]) => {
        const far = this.fars.find(({ upload }) => upload === c.options.upload);
        const ends = `${c.finAcknowledged ? 'ended' : ''} ${c.finReceived ? 'told' : ''} ${far?.over ?? ''}`;
        const { upload, download } = c.options;
        return `${port} ${c.state} up ${c.una}/${upload.length} down ${c.read}/${download.length} ${ends}`;
      })
      .join('; ');
  }
}

/** Runs all flows to their ends. Throws an error with the seed if something is wrong. */
export function runLink(options: LinkOptions): LinkSummary {
  const link = new Link(options);
  for (let n = 0; n < options.flows; n++) link.addClient(n);
  try {
    return link.run();
  } catch (error) {
    throw new Error(`seed ${options.seed}: ${(error as Error).message}`, { cause: error });
  }
}
