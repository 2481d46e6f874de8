/**
 * A server at the far end of a path, and a client that grants it windows: discrete events on a
 * virtual clock. The server puts everything that the windows admit into a queue at once, and the
 * path takes `rate` bytes a millisecond out of it, as with sshd and the kernel's socket buffer;
 * answers to probes wait there like everything else. No packets are lost.
 */
import {
  type ReceiveWindow,
  ReceiveWindows,
} from '../../src/ssh/embedded/channels/receivewindow.ts';

const PACKET = 32 * 1024;
const ANSWER_BYTES = 60;
/** As in link.ts and ssh/embedded/channels/livenessprobe.ts. */
const QUESTION_AFTER_BYTES = 16 * 1024;
const QUESTION_INTERVAL_MS = 250;

export interface PathOptions {
  /** Bytes a millisecond. */
  rate: number;
  /** Milliseconds. */
  rtt: number;
}

export class SimulatedFlow {
  readonly window: ReceiveWindow;
  /** How much the server may still send, and how much it has to send. */
  credit: number;
  backlog = 0;
  received = 0;
  /** Bytes a millisecond that the server gets for this flow. */
  readonly demand: number;
  /** A reader that doesn't read. */
  stalled = false;
  closed = false;

  constructor(window: ReceiveWindow, demand: number) {
    this.window = window;
    this.credit = window.limit;
    this.demand = demand;
  }
}

type Item = { readonly bytes: number; readonly arrived: () => void };

export class PathSimulation {
  now = 0;
  readonly path: PathOptions;
  readonly windows: ReceiveWindows;
  readonly #flows = new Set<SimulatedFlow>();
  /** Events by time; events at the same time in the order in which they were added. */
  readonly #events: { readonly at: number; readonly run: () => void }[] = [];
  readonly #queue: Item[] = [];
  #queued = 0;
  #serving = false;
  #unasked = 0;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking = false;
  readonly #answers: boolean;
  readonly #piece: number;

  constructor(
    path: PathOptions,
    options: { readonly budget?: number; readonly answers?: boolean } = {},
  ) {
    this.path = path;
    // Smaller steps than a packet when a packet takes long.
    this.#piece = path.rate < 50_000 ? PACKET / 4 : PACKET;
    this.#answers = options.answers ?? true;
    this.windows = new ReceiveWindows({ ...options, clock: () => this.now });
    this.#ask();
  }

  /** Milliseconds that data sent by the server now wait in the queue. */
  get delay(): number {
    return this.#queued / this.path.rate;
  }

  open(demand = Number.POSITIVE_INFINITY): SimulatedFlow {
    const flow = new SimulatedFlow(this.windows.open(), demand);
    this.#flows.add(flow);
    this.#after(this.path.rtt, () => flow.window.confirmed());
    this.#after(1.5 * this.path.rtt, () => this.#send(flow));
    if (Number.isFinite(demand)) this.#produce(flow);
    return flow;
  }

  close(flow: SimulatedFlow): void {
    flow.closed = true;
    this.#flows.delete(flow);
    flow.window.close();
  }

  /** Reads the data that have waited. */
  resume(flow: SimulatedFlow, held: number): void {
    flow.stalled = false;
    this.#consume(flow, held);
  }

  /**
   * Runs for that long. Returns the mean rate (bytes a millisecond) of all flows and the mean delay
   * of the queue.
   */
  run(milliseconds: number): { readonly rate: number; readonly delay: number } {
    const end = this.now + milliseconds;
    const before = this.#received;
    let delays = 0;
    for (let tick = 0; tick < 200; tick++) {
      this.#until(end - milliseconds + ((tick + 1) * milliseconds) / 200);
      delays += this.delay;
    }
    return { rate: (this.#received - before) / milliseconds, delay: delays / 200 };
  }

  #received = 0;

  #until(end: number): void {
    for (
      let event = this.#events[0];
      event !== undefined && event.at <= end;
      event = this.#events[0]
    ) {
      this.#events.shift();
      this.now = event.at;
      event.run();
    }
    this.now = end;
  }

  #after(milliseconds: number, run: () => void): void {
    const at = this.now + milliseconds;
    let index = this.#events.length;
    while (index > 0 && (this.#events[index - 1]?.at ?? 0) > at) index--;
    this.#events.splice(index, 0, { at, run });
  }

  #produce(flow: SimulatedFlow): void {
    if (flow.closed) return;
    flow.backlog += flow.demand * 5;
    this.#send(flow);
    this.#after(5, () => this.#produce(flow));
  }

  /** The server sends what it has and may, taking turns among flows. */
  #send(flow: SimulatedFlow): void {
    for (;;) {
      const have = Number.isFinite(flow.demand) ? flow.backlog : PACKET;
      const bytes = Math.floor(Math.min(flow.credit, have, this.#piece));
      if (bytes <= 0 || flow.closed) return;
      flow.credit -= bytes;
      flow.backlog = Math.max(0, flow.backlog - bytes);
      this.#enqueue({ bytes, arrived: () => this.#arrived(flow, bytes) });
    }
  }

  #enqueue(item: Item): void {
    this.#queue.push(item);
    this.#queued += item.bytes;
    if (!this.#serving) this.#serve();
  }

  #serve(): void {
    const item = this.#queue.shift();
    this.#serving = item !== undefined;
    if (item === undefined) return;
    this.#after(item.bytes / this.path.rate, () => {
      this.#queued -= item.bytes;
      this.#after(this.path.rtt / 2, item.arrived);
      this.#serve();
    });
  }

  #arrived(flow: SimulatedFlow, bytes: number): void {
    if (flow.closed) return;
    if (!flow.window.receive(bytes)) throw new Error('more than was granted');
    flow.received += bytes;
    this.#received += bytes;
    this.#unasked += bytes;
    if (this.#unasked >= QUESTION_AFTER_BYTES) {
      this.#unasked = 0;
      if (!this.#asking && this.now - this.#askedAt >= QUESTION_INTERVAL_MS) this.#ask();
    }
    if (!flow.stalled) this.#consume(flow, bytes);
  }

  #consume(flow: SimulatedFlow, bytes: number): void {
    const credit = flow.window.consume(bytes);
    if (credit === 0) return;
    this.#after(this.path.rtt / 2, () => {
      flow.credit += credit;
      this.#send(flow);
    });
  }

  #ask(): void {
    const at = this.now;
    this.#askedAt = at;
    this.#asking = true;
    if (!this.#answers) return;
    this.#after(this.path.rtt / 2, () =>
      this.#enqueue({
        bytes: ANSWER_BYTES,
        arrived: () => {
          this.#asking = false;
          this.windows.roundTrip(this.now - at);
        },
      }),
    );
  }
}
