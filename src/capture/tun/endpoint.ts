/**
 * The far side of everything that is captured: takes the frames that applications send, and answers
 * them.
 *
 *   frame -> FrameView -> TCP, of a known flow          -> TcpFlow.input
 *                      -> a SYN                         -> held, onFlow(flow): opened or refused
 *                      -> TCP of no flow                -> RST
 *                      -> UDP                           -> onDatagram, or "port unreachable"
 *                      -> echo, other protocols         -> "administratively prohibited"
 *                      -> fragments, malformed, others  -> dropped and counted
 *
 * Pure: no system calls, and the clock is passed in. Acknowledgements go out once a batch, in
 * `flush`, unless data carry them before. RSTs and ICMP errors are not rate-limited: they go no
 * further than the device (RFC 4443 §2.4 (f)).
 *
 * An ICMP answer comes ANSWER_DELAY_MS after the SYN at the earliest: the kernel drops one that
 * arrives while connect() still holds the socket (LockDroppedIcmps), and the application would wait
 * a second for its SYN to be sent again.
 *
 * Limits: MAX_HELD, MAX_HALF_OPEN, MAX_WAITING_BYTES, MAX_TIME_WAIT, MAX_SYN_BYTES; each is counted
 * in `counters`.
 */
import type { Slab } from '../../flow/memory.ts';
import type { Refusal } from '../../net/refusal.ts';
import { isMulticast, isSpecial } from './addresses.ts';
import { createCounters, type EndpointCounters } from './counters.ts';
import type { PacketDevice } from './device.ts';
import { type FlowHost, gaveUp, STATE, type State } from './flowhost.ts';
import { ACK, FIN, FrameView, KIND, RST, SYN } from './frame.ts';
import { InitialNumberGenerator, type InitialNumberPair } from './initialnumbers.ts';
import { LEAST_WINDOW } from './receiveside.ts';
import { TcpFlow } from './tcpflow.ts';
import { TimerWheel } from './timers.ts';
import { MAX_TIME_WAIT, TIME_WAIT_MS, TimeWait } from './timewait.ts';
import { type Tuple, TupleTable } from './tuple.ts';
import { FrameWriter, type SegmentFields, UNREACHABLE, type Unreachable } from './writer.ts';

/**
 * Connections that wait for the far side; beyond, the SYN is dropped, and the application's kernel
 * tries again.
 */
export const MAX_HELD = 4096;
/**
 * Connections whose SYN-ACK has not been acknowledged, which takes a moment; beyond, the oldest is
 * given up.
 */
export const MAX_HALF_OPEN = 1024;
/**
 * Bytes of all flows together that wait for far sides; beyond, what comes is dropped unless it is a
 * flow's only data.
 */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** A SYN that is longer is dropped: no options need so much. */
const MAX_SYN_BYTES = 128;
const ANSWER_DELAY_MS = 5;

const ANSWERS: Readonly<Record<Refusal, Unreachable | undefined>> = {
  refused: undefined,
  timeout: undefined,
  unreachable: UNREACHABLE.host,
  'no-network': UNREACHABLE.network,
  prohibited: UNREACHABLE.prohibited,
};

export interface EndpointOptions {
  readonly device: PacketDevice;
  /** A connection is being made: the flow waits for its open() or refuse(). */
  readonly onFlow: (flow: TcpFlow) => void;
  /** UDP; false: to be answered with "port unreachable". The view is valid during the call. */
  readonly onDatagram: (frame: FrameView) => boolean;
  /** Something is to be sent outside of a batch: `flush` is to be called soon. */
  readonly onPending: () => void;
  /**
   * `expire` is to be called at this time of the clock, or a little later; earlier than it was told
   * before.
   */
  readonly onDeadline: (at: number) => void;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
  /** Families whose connections are captured; SYNs of others are answered as prohibited. */
  readonly families: ReadonlySet<4 | 6>;
  /**
   * From whom ICMP errors come: a router on the way. As int32 words. Undefined: from the
   * destination itself.
   */
  readonly router4: Int32Array | undefined;
  readonly router6: Int32Array | undefined;
  readonly numbers?: InitialNumberGenerator;
  /** Numbers flows; by default from 1 on. */
  readonly nextFlowId?: () => number;
}

export class Endpoint implements FlowHost<TcpFlow> {
  readonly counters: EndpointCounters = createCounters();
  readonly fields: SegmentFields = {
    flags: 0,
    sequence: 0,
    acknowledgement: 0,
    window: 0,
    hasTimestamps: false,
    timestamp: 0,
    timestampEcho: 0,
    mss: 0,
    scale: -1,
    segmentSize: 0,
  };
  now = 0;
  readonly mtu: number;
  readonly #options: EndpointOptions;
  readonly #writer: FrameWriter;
  readonly #frame = new FrameView();
  /** For a SYN that was held. */
  readonly #held = new FrameView();
  readonly #table = new TupleTable<Tuple & (TcpFlow | TimeWait)>();
  readonly #timers = new TimerWheel<TcpFlow>();
  readonly #numbers: InitialNumberGenerator;
  /** Answered and not acknowledged yet, the oldest first. */
  readonly #halfOpen = new Set<TcpFlow>();
  /** In the order of their ends. */
  readonly #timeWaits = new Set<TimeWait>();
  /** Refused flows whose ICMP answer is still to come, in that order. */
  #answers: { readonly flow: TcpFlow; readonly at: number }[] = [];
  #due: TcpFlow[] = [];
  #inBatch = false;
  readonly #nextFlowId: () => number;
  #waitingBytes = 0;
  /** The deadline that `onDeadline` was told. */
  #announced = Number.POSITIVE_INFINITY;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.mtu = options.device.mtu;
    this.#writer = new FrameWriter(options.device);
    this.#numbers = options.numbers ?? new InitialNumberGenerator();
    let id = 0;
    this.#nextFlowId = options.nextFlowId ?? (() => ++id);
  }

  /** A batch of frames begins. */
  begin(): void {
    this.touch();
    this.#inBatch = true;
  }

  /** One frame, of `length` bytes, that an application has sent. */
  input(slab: Slab, length: number): void {
    const { counters } = this;
    counters.framesIn++;
    const frame = this.#frame;
    const kind = frame.parse(slab, length);
    if (kind === KIND.malformed) counters.droppedMalformed++;
    else if (kind === KIND.fragment) counters.droppedFragments++;
    else if (kind === KIND.tcp) this.#tcp(frame, slab);
    else if (kind === KIND.tooBig) this.#tooBig(frame);
    else this.#other(frame, kind === KIND.udp, kind === KIND.unanswerable);
  }

  /** The batch is over: sends the acknowledgements that are due. */
  flush(): void {
    this.#inBatch = false;
    const due = this.#due;
    if (due.length === 0) return;
    this.#due = [];
    for (const flow of due) if (flow.acknowledgementDue) flow.acknowledge();
  }

  /** Does what is due by now. */
  expire(): void {
    this.begin();
    const { now } = this;
    // What is armed meanwhile is announced at the end.
    this.#announced = Number.NEGATIVE_INFINITY;
    while ((this.#answers[0]?.at ?? Number.POSITIVE_INFINITY) <= now) {
      const answer = this.#answers.shift();
      if (answer !== undefined) this.#answerHeld(answer.flow);
    }
    for (const wait of this.#timeWaits) {
      if (wait.until > now) break;
      this.#forgetTimeWait(wait);
    }
    this.#timers.expire(now, (flow) => {
      if (flow.state === STATE.gone || flow.due()) return;
      if (flow.state === STATE.open) this.counters.flowsTimedOut++;
      this.#end(flow);
    });
    this.flush();
    const [oldest] = this.#timeWaits;
    this.#announced = Number.POSITIVE_INFINITY;
    this.#announce(this.#timers.deadline);
    this.#announce(this.#answers[0]?.at);
    this.#announce(oldest?.until);
  }

  /** Ends all flows, and answers new ones with a reset. */
  close(error: Error): void {
    for (const entry of this.#table) {
      if (entry instanceof TimeWait) continue;
      if (entry.state === STATE.held) entry.refuse('refused');
      else if (entry.state !== STATE.refused) entry.abort(error);
    }
  }

  get writer(): FrameWriter {
    return this.#writer;
  }

  // FlowHost

  touch(): void {
    // Whole milliseconds: the clock of timestamps. A batch is one moment.
    if (!this.#inBatch) this.now = Math.floor(this.#options.clock());
  }

  write(flow: TcpFlow, length: number, parts: readonly (Buffer | undefined)[]): void {
    const { counters } = this;
    counters.framesOut++;
    counters.bytesOut += length;
    this.#writer.segment(flow, this.fields, length, parts[0], parts[1], parts[2], parts[3]);
  }

  acknowledgeSoon(flow: TcpFlow): void {
    if (flow.acknowledgementDue) return;
    flow.acknowledgementDue = true;
    this.#due.push(flow);
    if (!this.#inBatch && this.#due.length === 1) this.#options.onPending();
  }

  arm(flow: TcpFlow, at: number): void {
    this.#timers.arm(flow, at);
    this.#announce(this.#timers.deadline);
  }

  numbersOf(tuple: Tuple): InitialNumberPair {
    return this.#numbers.of(tuple, this.now);
  }

  entered(flow: TcpFlow, from: State): void {
    const { counters } = this;
    if (from === STATE.held) counters.flowsHeld--;
    if (from === STATE.answered || from === STATE.open) counters.flowsLive--;
    if (from === STATE.answered) this.#halfOpen.delete(flow);
    if (flow.state === STATE.answered) {
      counters.flowsOpened++;
      this.#addHalfOpen(flow);
    }
    if (flow.state === STATE.answered || flow.state === STATE.open) counters.flowsLive++;
    if (flow.state !== STATE.gone) return;
    this.#table.remove(flow);
    this.#timers.forget(flow);
    if (flow.closedFirst && flow.finReceived && flow.out.finAcknowledged) this.#addTimeWait(flow);
  }

  refuse(flow: TcpFlow, refusal: Refusal): void {
    flow.refusal = refusal;
    flow.state = STATE.refused;
    this.counters.flowsHeld--;
    this.counters.flowsRefused++;
    if (refusal === 'timeout') {
      flow.syn = undefined;
      return; // it is remembered until the application's SYNs stop
    }
    const at = flow.patience.at + ANSWER_DELAY_MS;
    if (ANSWERS[refusal] === undefined || at <= this.now) {
      this.#answerHeld(flow);
      return;
    }
    this.#answers.push({ flow, at });
    this.#announce(at);
  }

  deferred(): void {
    this.counters.flowsDeferred++;
  }

  windowLimit(wanted: number): number {
    return this.#waitingBytes > MAX_WAITING_BYTES / 2 ? LEAST_WINDOW : wanted;
  }

  waiting(bytes: number): void {
    this.#waitingBytes += bytes;
  }

  admits(pending: number): boolean {
    if (pending === 0 || this.#waitingBytes < MAX_WAITING_BYTES) return true;
    this.counters.droppedWaitingLimit++;
    return false;
  }

  #announce(at: number | undefined): void {
    if (at === undefined || at >= this.#announced) return;
    this.#announced = at;
    this.#options.onDeadline(at);
  }

  // Frames

  #tcp(frame: FrameView, slab: Slab): void {
    const hash = this.#table.hash(frame);
    const entry = this.#table.find(frame, hash);
    const begins = (frame.flags & (SYN | ACK | RST | FIN)) === SYN;
    if (entry instanceof TcpFlow) this.#known(frame, slab, entry, begins, hash);
    else if (entry !== undefined) this.#waited(frame, entry, begins, hash);
    else this.#unknown(frame, begins, hash);
  }

  #known(frame: FrameView, slab: Slab, flow: TcpFlow, begins: boolean, hash: number): void {
    const { counters } = this;
    if (flow.state === STATE.open) {
      flow.input(frame, slab);
    } else if (begins) {
      const same = ((frame.sequence + 1) | 0) === flow.in.next;
      if (same) this.#again(frame, flow);
      else {
        // The application's kernel uses the tuple for another connection, so this one is over.
        this.#end(flow);
        this.#hold(frame, hash);
      }
    } else if (flow.state === STATE.answered) {
      flow.input(frame, slab);
    } else if ((frame.flags & RST) !== 0) {
      // A socket in SYN-SENT also resets what was still on its way to the tuple's former
      // connection.
      const since = (frame.sequence + 1 - flow.in.next) | 0;
      if (flow.state === STATE.held && (since === 0 || since === 1)) this.#end(flow);
      counters.droppedUnanswerable++;
    } else {
      this.#reset(frame);
    }
  }

  /** The same SYN again. */
  #again(frame: FrameView, flow: TcpFlow): void {
    flow.synAgain();
    if (flow.state !== STATE.refused) {
      if (flow.state === STATE.held) this.counters.droppedRetransmits++;
      return;
    }
    const { refusal } = flow;
    if (flow.syn !== undefined || refusal === undefined || refusal === 'timeout')
      this.counters.droppedRetransmits++; // its answer is on the way, or silence is
    else this.#answer(frame, refusal);
  }

  #waited(frame: FrameView, wait: TimeWait, begins: boolean, hash: number): void {
    if ((frame.flags & RST) !== 0) {
      // RFC 1337: it is no reason to forget it.
      this.counters.droppedUnanswerable++;
    } else if (begins && wait.admits(frame)) {
      this.#forgetTimeWait(wait);
      this.#hold(frame, hash);
    } else {
      this.#acknowledgeFor(wait);
    }
  }

  #unknown(frame: FrameView, begins: boolean, hash: number): void {
    const { counters } = this;
    const { family, source, destination } = frame;
    if (isMulticast(family, destination)) counters.droppedMulticast++;
    else if (
      isSpecial(family, source) ||
      isMulticast(family, source) ||
      isSpecial(family, destination)
    )
      counters.droppedUnanswerable++;
    else if (begins && frame.sourcePort !== 0 && frame.destinationPort !== 0)
      this.#hold(frame, hash);
    else if ((frame.flags & RST) !== 0) counters.droppedUnanswerable++;
    else this.#reset(frame);
  }

  #hold(frame: FrameView, hash: number): void {
    const { counters } = this;
    if (frame.payload - frame.ip > MAX_SYN_BYTES) {
      counters.droppedLongSyns++;
      return;
    }
    if (counters.flowsHeld >= MAX_HELD) {
      counters.droppedHeldLimit++;
      return;
    }
    // Data in a SYN are ignored, and come again (RFC 9293 §3.10.7.2).
    frame.end = frame.payload;
    const flow = new TcpFlow(this, this.#nextFlowId(), frame, hash);
    this.#table.add(flow);
    counters.flowsHeld++;
    counters.flowsHeldTotal++;
    if (this.#options.families.has(frame.family)) this.#options.onFlow(flow);
    else flow.refuse('prohibited');
  }

  /** The application no longer wants this flow, or does not answer. */
  #end(flow: TcpFlow): void {
    if (flow.state === STATE.held) this.counters.flowsGivenUp++;
    flow.lost(gaveUp());
  }

  #answerHeld(flow: TcpFlow): void {
    const { syn, refusal } = flow;
    if (flow.state !== STATE.refused || syn === undefined || refusal === undefined) return;
    flow.syn = undefined;
    const frame = this.#held;
    if (frame.parse(syn, syn.bytes.length) === KIND.tcp) this.#answer(frame, refusal);
  }

  #answer(frame: FrameView, refusal: Refusal): void {
    const why = ANSWERS[refusal];
    if (why === undefined) this.#reset(frame);
    else this.unreachable(frame, why);
  }

  #reset(frame: FrameView): void {
    this.counters.answeredReset++;
    this.#writer.reset(frame);
  }

  /**
   * Answers with an ICMP error, also a datagram that `onDatagram` has taken. Except for ports,
   * which are the destination's own, a router on the way speaks.
   */
  unreachable(frame: FrameView, why: Unreachable): void {
    const { router4, router6 } = this.#options;
    const router = frame.family === 4 ? router4 : router6;
    if (why === UNREACHABLE.port) this.counters.answeredPortUnreachable++;
    else if (why === UNREACHABLE.prohibited) this.counters.answeredProhibited++;
    else this.counters.answeredUnreachable++;
    const own = why === UNREACHABLE.port || router === undefined;
    this.#writer.unreachable(frame, why, own ? frame.destination : router);
  }

  #tooBig(frame: FrameView): void {
    this.counters.tooBig++;
    const flow = this.#table.find(frame, this.#table.hash(frame));
    if (flow instanceof TcpFlow) flow.tooBig(frame.sequence, frame.mtu);
  }

  #other(frame: FrameView, isUdp: boolean, unanswerable: boolean): void {
    const { counters } = this;
    const { family, source, destination } = frame;
    if (isMulticast(family, destination)) counters.droppedMulticast++;
    else if (
      unanswerable ||
      isSpecial(family, source) ||
      isMulticast(family, source) ||
      isSpecial(family, destination)
    )
      counters.droppedUnanswerable++;
    else if (!isUdp) this.unreachable(frame, UNREACHABLE.prohibited);
    else if (!this.#options.onDatagram(frame)) this.unreachable(frame, UNREACHABLE.port);
  }

  /** SYNs from forged addresses are never acknowledged: the oldest of them make room. */
  #addHalfOpen(flow: TcpFlow): void {
    this.#halfOpen.add(flow);
    if (this.#halfOpen.size <= MAX_HALF_OPEN) return;
    const [oldest] = this.#halfOpen;
    if (oldest === undefined) return;
    this.counters.forgottenHalfOpen++;
    this.#end(oldest);
  }

  // TIME-WAIT

  #addTimeWait(flow: TcpFlow): void {
    const wait = new TimeWait(flow, this.now + TIME_WAIT_MS);
    if (this.#timeWaits.size >= MAX_TIME_WAIT) {
      const [oldest] = this.#timeWaits;
      if (oldest !== undefined) this.#forgetTimeWait(oldest);
      this.counters.forgottenTimeWaits++;
    }
    this.#timeWaits.add(wait);
    this.#table.add(wait);
    this.#announce(wait.until);
  }

  #forgetTimeWait(wait: TimeWait): void {
    this.#timeWaits.delete(wait);
    this.#table.remove(wait);
  }

  #acknowledgeFor(wait: TimeWait): void {
    const { fields } = this;
    fields.flags = ACK;
    fields.sequence = wait.sequence;
    fields.acknowledgement = wait.receiveNext;
    fields.window = 0;
    fields.hasTimestamps = wait.timestamps.used;
    fields.timestamp = wait.timestamps.value(this.now);
    fields.timestampEcho = wait.timestamps.recent;
    fields.mss = 0;
    fields.scale = -1;
    fields.segmentSize = 0;
    this.counters.framesOut++;
    this.#writer.segment(wait, fields, 0);
  }
}
