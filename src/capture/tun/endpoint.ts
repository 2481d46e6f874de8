/**
 * The far side of everything that is captured: takes the frames that applications send and answers
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
 * `flush`, unless a data segment carries them earlier. RSTs and ICMP errors are not rate-limited:
 * they go no further than the device (RFC 4443 §2.4 (f)).
 *
 * An ICMP answer is sent no earlier than ANSWER_DELAY_MS after the SYN. The kernel drops one that
 * arrives while connect() still locks the socket (LockDroppedIcmps). The application would then
 * wait a second, until its SYN is sent again.
 *
 * Limits: MAX_HELD, MAX_HALF_OPEN, MAX_STRANGERS, MAX_KNOWN, MAX_WAITING_BYTES, MAX_TIME_WAIT,
 * MAX_SYN_BYTES. `counters` counts how often each is reached.
 */
import type { Slab } from '../../flow/memory.ts';
import type { Refusal } from '../../net/refusal.ts';
import { isMulticast, isSpecial } from './addresses.ts';
import { createCounters, type EndpointCounters } from './counters.ts';
import type { PacketDevice } from './device.ts';
import { type FlowHost, gaveUp, STATE, type State } from './flowhost.ts';
import { ACK, FIN, FrameView, KIND, RST, SYN } from './frame.ts';
import { InitialNumberGenerator, type InitialNumberPair } from './initialnumbers.ts';
import { Newcomers } from './newcomers.ts';
import { LEAST_WINDOW } from './receiveside.ts';
import { TcpFlow } from './tcpflow.ts';
import { TimerWheel } from './timers.ts';
import { MAX_TIME_WAIT, TIME_WAIT_MS, TimeWait } from './timewait.ts';
import { type Tuple, TupleTable } from './tuple.ts';
import { FrameWriter, type SegmentFields, UNREACHABLE, type Unreachable } from './writer.ts';

/**
 * The most connections that wait for the far side. Beyond it the oldest is forgotten, if it is
 * HELD_LEAST_MS old; otherwise the new SYN is dropped. Either SYN comes again if it is waited for.
 */
export const MAX_HELD = 4096;
const HELD_LEAST_MS = 1000;
/** Of all flows together. Beyond it, a flow's data are dropped unless none of that flow wait. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** A longer SYN is dropped: no options need so much space. */
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
  /** A new connection: the flow waits for open() or refuse(). */
  readonly onFlow: (flow: TcpFlow) => void;
  /** UDP. False: answer with "port unreachable". The view is valid during the call only. */
  readonly onDatagram: (frame: FrameView) => boolean;
  /** Something must be sent outside a batch: call `flush` soon. */
  readonly onPending: () => void;
  /**
   * Call `expire` at this time of the clock, or a little later. It is earlier than the time given
   * before.
   */
  readonly onDeadline: (at: number) => void;
  /** Milliseconds of a monotonic clock. */
  readonly clock: () => number;
  /** Families to capture. SYNs of the other family are answered as prohibited. */
  readonly families: ReadonlySet<4 | 6>;
  /**
   * The address that ICMP errors come from, as of a router on the way. As int32 words. Undefined:
   * they come from the destination itself.
   */
  readonly router4: Int32Array | undefined;
  readonly router6: Int32Array | undefined;
  readonly numbers?: InitialNumberGenerator;
  /** Returns the id of the next flow. Default: 1, 2, 3... */
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
  /** Parses held SYNs. */
  readonly #synFrame = new FrameView();
  readonly connections = new TupleTable<Tuple & (TcpFlow | TimeWait)>();
  readonly #timers = new TimerWheel<TcpFlow>();
  readonly #numbers: InitialNumberGenerator;
  /** Those that wait for the far side, oldest first. */
  readonly #held = new Set<TcpFlow>();
  readonly #newcomers = new Newcomers<TcpFlow>(() => this.counters.forgottenSources++);
  /** In the order in which they end. */
  readonly #timeWaits = new Set<TimeWait>();
  /** Refused flows whose ICMP answer has not been sent yet, in sending order. */
  #answers: { readonly flow: TcpFlow; readonly at: number }[] = [];
  #acknowledging: TcpFlow[] = [];
  #inBatch = false;
  readonly #nextFlowId: () => number;
  #waitingBytes = 0;
  /** The deadline last passed to `onDeadline`. */
  #announcedDeadline = Number.POSITIVE_INFINITY;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.mtu = options.device.mtu;
    this.#writer = new FrameWriter(options.device);
    this.#numbers = options.numbers ?? new InitialNumberGenerator();
    let id = 0;
    this.#nextFlowId = options.nextFlowId ?? (() => ++id);
  }

  /** Begins a batch of frames. */
  begin(): void {
    this.touch();
    this.#inBatch = true;
  }

  /** Handles one frame of `length` bytes that an application has sent. */
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

  /** Ends a batch read from the device. `more`: that has more than the batch has taken. */
  endBatch(more: boolean): void {
    this.#newcomers.batchEnded(more, this.now);
    this.flush();
  }

  /** Sends the pending acknowledgements. */
  flush(): void {
    this.#inBatch = false;
    const flows = this.#acknowledging;
    if (flows.length === 0) return;
    this.#acknowledging = [];
    for (const flow of flows) if (flow.acknowledgementDue) flow.acknowledge();
  }

  /** Handles every deadline that has passed. */
  expire(): void {
    this.begin();
    const { now } = this;
    // Deadlines set meanwhile are announced at the end.
    this.#announcedDeadline = Number.NEGATIVE_INFINITY;
    while ((this.#answers[0]?.at ?? Number.POSITIVE_INFINITY) <= now) {
      const answer = this.#answers.shift();
      if (answer !== undefined) this.#answerHeld(answer.flow);
    }
    for (const wait of this.#timeWaits) {
      if (wait.until > now) break;
      this.#forgetTimeWait(wait);
    }
    this.#timers.expire(now, (flow) => {
      if (flow.state === STATE.gone || flow.timerFired()) return;
      if (flow.state === STATE.open || flow.state === STATE.answered) this.counters.flowsTimedOut++;
      this.#end(flow);
    });
    this.flush();
    const [oldest] = this.#timeWaits;
    this.#announcedDeadline = Number.POSITIVE_INFINITY;
    this.#announce(this.#timers.deadline);
    this.#announce(this.#answers[0]?.at);
    this.#announce(oldest?.until);
  }

  /** Refuses held flows and resets the others, with `error`. New flows still go to `onFlow`. */
  close(error: Error): void {
    for (const entry of this.connections) {
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
    // Whole milliseconds, as timestamps count them. The time doesn't change within a batch.
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
    this.#acknowledging.push(flow);
    if (!this.#inBatch && this.#acknowledging.length === 1) this.#options.onPending();
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
    if (from === STATE.held && this.#held.delete(flow)) counters.flowsHeld--;
    if (from === STATE.answered || from === STATE.open) counters.flowsLive--;
    if (from === STATE.answered) this.#newcomers.left(flow, flow.state === STATE.open);
    if (flow.state === STATE.answered) {
      counters.flowsOpened++;
      const givenUp = this.#newcomers.answered(flow);
      if (givenUp !== undefined) counters.forgottenHalfOpen++;
      if (givenUp !== undefined) this.#end(givenUp);
    }
    if (flow.state === STATE.answered || flow.state === STATE.open) counters.flowsLive++;
    if (flow.state !== STATE.gone) return;
    this.connections.remove(flow);
    this.#timers.forget(flow);
    if (flow.closedFirst && flow.finReceived && flow.out.finAcknowledged) this.#addTimeWait(flow);
  }

  refuse(flow: TcpFlow, refusal: Refusal): void {
    flow.refusal = refusal;
    flow.state = STATE.refused;
    this.#held.delete(flow);
    this.counters.flowsHeld--;
    this.counters.flowsRefused++;
    if (refusal === 'timeout') {
      flow.syn = undefined;
      return; // the flow is kept until the application's SYNs stop
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
    if (at === undefined || at >= this.#announcedDeadline) return;
    this.#announcedDeadline = at;
    this.#options.onDeadline(at);
  }

  // Frames

  #tcp(frame: FrameView, slab: Slab): void {
    const hash = this.connections.hash(frame);
    const entry = this.connections.find(frame, hash);
    const begins = (frame.flags & (SYN | ACK | RST | FIN)) === SYN;
    if (entry instanceof TcpFlow) this.#knownFlow(frame, slab, entry, begins, hash);
    else if (entry !== undefined) this.#inTimeWait(frame, entry, begins, hash);
    else this.#noFlow(frame, begins, hash);
  }

  #knownFlow(frame: FrameView, slab: Slab, flow: TcpFlow, begins: boolean, hash: number): void {
    const { counters } = this;
    if (flow.state === STATE.open) {
      flow.input(frame, slab);
    } else if (begins) {
      const same = ((frame.sequence + 1) | 0) === flow.in.next;
      if (same) this.#synAgain(frame, flow);
      else {
        // The application has started another connection with this tuple, so this one is over.
        this.#end(flow);
        this.#hold(frame, hash);
      }
    } else if (flow.state === STATE.answered) {
      flow.input(frame, slab);
    } else if ((frame.flags & RST) !== 0) {
      // A socket in SYN-SENT also answers late segments of the previous connection with RST.
      const since = (frame.sequence + 1 - flow.in.next) | 0;
      if (flow.state === STATE.held && (since === 0 || since === 1)) this.#end(flow);
      counters.droppedUnanswerable++;
    } else {
      this.#reset(frame);
    }
  }

  /** The same SYN again. */
  #synAgain(frame: FrameView, flow: TcpFlow): void {
    flow.synAgain();
    if (flow.state !== STATE.refused) {
      if (flow.state === STATE.held) this.counters.droppedRetransmits++;
      return;
    }
    const { refusal } = flow;
    if (flow.syn !== undefined || refusal === undefined || refusal === 'timeout')
      this.counters.droppedRetransmits++; // its ICMP answer comes soon, or it gets none
    else this.#answer(frame, refusal);
  }

  #inTimeWait(frame: FrameView, wait: TimeWait, begins: boolean, hash: number): void {
    if ((frame.flags & RST) !== 0) {
      // A RST must not end TIME-WAIT (RFC 1337).
      this.counters.droppedUnanswerable++;
    } else if (begins && wait.admits(frame)) {
      this.#forgetTimeWait(wait);
      this.#hold(frame, hash);
    } else {
      this.#acknowledgeFor(wait);
    }
  }

  #noFlow(frame: FrameView, begins: boolean, hash: number): void {
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
    if (!this.#newcomers.admits(frame, this.now)) {
      counters.droppedStrangers++;
      return;
    }
    if (this.#held.size >= MAX_HELD && !this.#forgetHeld()) return;
    // Ignore data in a SYN: its sender sends them again (RFC 9293 §3.10.7.2).
    frame.end = frame.payload;
    const flow = new TcpFlow(this, this.#nextFlowId(), frame, hash);
    this.connections.add(flow);
    this.#held.add(flow);
    counters.flowsHeld++;
    counters.flowsHeldTotal++;
    if (this.#options.families.has(frame.family)) this.#options.onFlow(flow);
    else flow.refuse('prohibited');
  }

  /** Makes room for a new one. False: there is none. */
  #forgetHeld(): boolean {
    const [oldest] = this.#held;
    this.counters.droppedHeldLimit++;
    if (oldest === undefined || this.now - oldest.heldSince < HELD_LEAST_MS) return false;
    this.#end(oldest);
    return true;
  }

  /** The application no longer wants this flow, or doesn't answer. */
  #end(flow: TcpFlow): void {
    if (flow.state === STATE.held) this.counters.flowsGivenUp++;
    flow.lost(gaveUp());
  }

  #answerHeld(flow: TcpFlow): void {
    const { syn, refusal } = flow;
    if (flow.state !== STATE.refused || syn === undefined || refusal === undefined) return;
    flow.syn = undefined;
    const frame = this.#synFrame;
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
   * Answers with an ICMP error. May also be called later, for a datagram that `onDatagram` has
   * taken. "Port unreachable" comes from the destination, everything else from a router on the way.
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
    const flow = this.connections.find(frame, this.connections.hash(frame));
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

  // TIME-WAIT

  #addTimeWait(flow: TcpFlow): void {
    const wait = new TimeWait(flow, this.now + TIME_WAIT_MS);
    if (this.#timeWaits.size >= MAX_TIME_WAIT) {
      const [oldest] = this.#timeWaits;
      if (oldest !== undefined) this.#forgetTimeWait(oldest);
      this.counters.forgottenTimeWaits++;
    }
    this.#timeWaits.add(wait);
    this.connections.add(wait);
    this.#announce(wait.until);
  }

  #forgetTimeWait(wait: TimeWait): void {
    this.#timeWaits.delete(wait);
    this.connections.remove(wait);
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
