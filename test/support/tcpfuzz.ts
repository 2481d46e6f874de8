/**
 * Random tests of the TCP endpoint: kernels that are right most of the time, mutated and random
 * frames, and far sides that call every method of a conduit at any time, even from within a call by
 * the endpoint.
 *
 *   fuzzEndpoint(seed, events) -> what happened; throws if something is wrong
 *
 * Errors are: an exception, a malformed frame, a call of a conduit that conduit.ts does not allow,
 * counters that don't add up, a flow with more waiting data than its window, and anything left at
 * the end.
 */
import assert from 'node:assert/strict';
import { MAX_HELD, MAX_WAITING_BYTES } from '../../src/capture/tun/endpoint.ts';
import { STATE } from '../../src/capture/tun/flowhost.ts';
import { MAX_WINDOW } from '../../src/capture/tun/receiveside.ts';
import type { TcpFlow } from '../../src/capture/tun/tcpflow.ts';
import type { Conduit } from '../../src/flow/conduit.ts';
import { REFUSALS } from '../../src/net/refusal.ts';
import { CountingPool } from './countingpool.ts';
import {
  icmpFrame,
  otherFrame,
  type ReadFrame,
  readFrame,
  tcpFrame,
  udpFrame,
} from './tcpframes.ts';
import { SeededRandom } from './tcprandom.ts';
import { ROUTER, SERVER, TcpLab } from './tcpscript.ts';

const KERNELS = 24;
const FLAGS = [
  '',
  'S',
  'S.',
  '.',
  'P.',
  'F.',
  'FP.',
  'R',
  'R.',
  'F',
  'SF',
  'SR',
  'PU.',
  'SFRPU.',
] as const;
const MAX_FLOWS = 200;
const DATA = Buffer.alloc(65_000, 'chance');

export interface FuzzSummary {
  readonly frames: number;
  readonly opened: number;
  readonly timeWaits: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The application's kernel for one connection; it learns from the endpoint's frames. */
class Kernel {
  readonly family: 4 | 6;
  readonly source: string;
  readonly sourcePort: number;
  readonly destinationPort = 80;
  seq = 0;
  ack = 0;
  echo = 0;
  timestamps = true;

  constructor(n: number) {
    this.family = n % 2 === 0 ? 4 : 6;
    this.source = this.family === 4 ? '10.77.0.11' : 'fd77::11';
    this.sourcePort = 5000 + n;
  }

  learn(frame: ReadFrame): void {
    if (frame.kind !== 'tcp' || frame.flags.includes('R')) return;
    const ends = (frame.flags.includes('S') ? 1 : 0) + (frame.flags.includes('F') ? 1 : 0);
    this.ack = (frame.seq + frame.data.length + ends) | 0;
    this.echo = frame.ts?.[0] ?? 0;
  }
}

/** The far side of one flow. */
class Far implements Conduit {
  readonly flow: TcpFlow;
  received = 0;
  untaken = 0;
  outstanding = 0;
  finished = false;
  over = false;
  readonly #fuzz: Fuzz;

  constructor(fuzz: Fuzz, flow: TcpFlow) {
    this.#fuzz = fuzz;
    this.flow = flow;
  }

  join(): void {}

  whenOver(): void {}

  send(data: Buffer): void {
    this.#allowed('send');
    assert.ok(!this.finished, 'data after the end');
    assert.ok(data.length > 0);
    this.#fuzz.bytesIn += data.length;
    this.untaken += data.length;
    assert.ok(this.untaken <= MAX_WINDOW + 128, `${this.untaken} bytes wait`);
    this.#react();
  }

  finish(): void {
    this.#allowed('finish');
    assert.ok(!this.finished, 'two ends');
    this.finished = true;
    this.#react();
  }

  taken(bytes: number): void {
    if (!this.over) this.#allowed('taken');
    this.outstanding -= bytes;
    assert.ok(bytes >= 0 && this.outstanding >= 0, 'more is taken than was sent');
    this.#react();
  }

  shut(): void {
    assert.fail('the application is never shut');
  }

  abort(error: Error | undefined): void {
    this.#allowed('abort');
    assert.ok(error !== undefined);
    this.over = true;
    this.#react();
  }

  #allowed(what: string): void {
    assert.ok(!this.over, `${what} after the end of all`);
  }

  #react(): void {
    const { random } = this.#fuzz;
    if (random.chance(0.5)) this.take(this.untaken);
    if (random.chance(0.1)) this.act();
  }

  take(bytes: number): void {
    if (bytes === 0) return;
    this.untaken -= bytes;
    this.flow.taken(bytes);
  }

  give(size: number): void {
    const { random, memory } = this.#fuzz;
    this.outstanding += size;
    if (random.chance(0.5)) {
      const slab = memory.take();
      this.flow.send(slab.bytes.subarray(0, size), slab);
      slab.release();
    } else {
      this.flow.send(Buffer.alloc(size, 1), undefined);
    }
  }

  /** Does something that it may do at any time. */
  act(): void {
    const { random } = this.#fuzz;
    const choice = random.below(100);
    if (choice < 50) this.give(random.pick([0, 1, 7, 536, 1448, 9000, 32_768]));
    else if (choice < 85)
      this.take(random.chance(0.5) ? this.untaken : random.below(this.untaken + 1));
    else if (choice < 92) this.flow.finish();
    else if (choice < 96) this.flow.shut();
    else this.abortFlow();
  }

  abortFlow(): void {
    const wasGone = this.flow.state === STATE.gone;
    this.flow.abort(undefined);
    if (!wasGone) assert.ok(this.over, 'it is told of its own abort');
  }
}

class Fuzz {
  readonly random: SeededRandom;
  readonly lab: TcpLab;
  readonly memory = new CountingPool(32_768, 4);
  readonly kernels = Array.from({ length: KERNELS }, (_, n) => new Kernel(n));
  readonly flows: TcpFlow[] = [];
  readonly fars: Far[] = [];
  bytesIn = 0;
  #frames = 0;
  #emitted = 0;
  #bytes = 0;
  #last: Buffer = Buffer.alloc(60);

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.lab = new TcpLab({
      mtu: this.random.pick([1500, 9000, 65_520]),
      onFlow: (flow) => {
        this.flows.push(flow);
        if (this.random.chance(0.3)) this.#decide(flow);
      },
      onFrame: (bytes) => this.#sent(readFrame(bytes)),
      onDatagram: () => this.random.chance(0.5),
    });
  }

  #sent(frame: ReadFrame): void {
    this.#emitted++;
    if (frame.kind === 'tcp') this.#bytes += frame.data.length;
    const port = frame.kind === 'tcp' ? frame.destinationPort : 0;
    for (const kernel of this.kernels) if (kernel.sourcePort === port) kernel.learn(frame);
  }

  /** Runs one random event. */
  step(): void {
    const { random, lab } = this;
    const choice = random.below(100);
    if (choice < 55) this.#segment();
    else if (choice < 60) this.#mutated();
    else if (choice < 63) this.#other();
    else if (choice < 72) lab.now += random.pick([0, 1, 5, 40, 300, 1000, 4000]);
    else if (choice < 80) lab.wait(random.pick([0, 1, 10, 200, 1000]));
    else if (choice < 83) this.flow((flow) => this.#decide(flow));
    else if (choice < 99) this.far((far) => far.act());
    else if (random.chance(0.05)) lab.wait(random.pick([10_000, 61_000]));
    else if (random.chance(0.02)) lab.endpoint.close(new Error('over'));
    else lab.expire();
  }

  flow(act: (flow: TcpFlow) => void): void {
    const flow = this.flows[this.random.below(this.flows.length)];
    if (flow !== undefined) act(flow);
  }

  far(act: (far: Far) => void): void {
    const far = this.fars[this.random.below(this.fars.length)];
    if (far !== undefined) act(far);
  }

  #decide(flow: TcpFlow): void {
    const { random } = this;
    if (random.chance(0.2)) {
      flow.refuse(random.pick(REFUSALS as unknown as [(typeof REFUSALS)[number]]));
      return;
    }
    if (random.chance(0.1)) {
      flow.defer();
      return;
    }
    const before = flow.state;
    const conduit = flow.open();
    assert.equal(conduit !== undefined, before === STATE.held);
    if (conduit === undefined) return;
    const far = new Far(this, flow);
    this.fars.push(far);
    flow.join(far);
    flow.whenOver(() => {
      far.over = true;
    });
    if (random.chance(0.3)) far.act();
  }

  #input(frame: Buffer): void {
    this.#last = frame;
    this.#frames++;
    this.lab.input(frame);
  }

  /** Sends a segment as a kernel would: usually nearly right. */
  #segment(): void {
    const { random, lab } = this;
    const kernel = random.pick(this.kernels as [Kernel]);
    const wild = random.chance(0.05);
    const jitter = (most: number) => random.below(2 * most + 1) - most;
    const flags = wild
      ? random.pick(FLAGS)
      : random.pick(['S', '.', '.', '.', '.', 'P.', 'P.', 'P.', 'F.', '.']);
    const size = flags === 'S' ? 0 : random.pick([0, 0, 1, 100, 1448, 9000, 60_000]);
    if (flags === 'S' && random.chance(0.7)) {
      kernel.seq = random.below(2 ** 32) | 0;
      kernel.timestamps = random.chance(0.8);
    }
    if (random.chance(0.01)) {
      this.#input(tcpFrame({ ...this.#ends(kernel), flags: 'R', seq: kernel.seq, ack: 0 }));
      return;
    }
    const seq = kernel.seq + (wild ? jitter(200_000) : random.chance(0.1) ? jitter(3000) : 0);
    const ts =
      (lab.now | 0) + (wild ? jitter(2 ** 31) : random.chance(0.1) ? -random.below(100) : 0);
    this.#input(
      tcpFrame({
        ...this.#ends(kernel),
        flags,
        seq,
        ack: kernel.ack + (wild ? jitter(200_000) : random.chance(0.1) ? jitter(3000) : 0),
        window: random.pick([0, 1, 100, 1000, 65_535, 65_535, 65_535]),
        mss:
          flags.includes('S') && random.chance(0.9)
            ? random.pick([0, 1, 536, 1460, 8960, 65_480])
            : undefined,
        scale: flags.includes('S') && random.chance(0.8) ? random.pick([0, 7, 14, 255]) : undefined,
        ts: kernel.timestamps !== wild ? [ts, kernel.echo - random.below(300)] : undefined,
        data: DATA.subarray(0, size),
        checksum: random.pick(['needed', 'valid', 'needed', 'valid', 'complete']),
      }),
    );
    // A kernel relies on acknowledgements; this one assumes that its data were taken.
    if (!wild && random.chance(0.95)) kernel.seq = (seq + size + (/[SF]/.test(flags) ? 1 : 0)) | 0;
  }

  #ends({ family, source, sourcePort, destinationPort }: Kernel) {
    return { source, destination: SERVER[family], sourcePort, destinationPort };
  }

  #mutated(): void {
    const { random } = this;
    const frame = Buffer.from(
      this.#last.subarray(0, random.chance(0.3) ? random.below(this.#last.length) : undefined),
    );
    for (let n = random.below(6); n > 0 && frame.length > 10; n--)
      frame[random.below(Math.min(frame.length, 100))] = random.below(256);
    if (frame.length > 0 && random.chance(0.7)) frame[0] = 2;
    const before = this.#last;
    this.#input(frame);
    this.#last = before;
  }

  #other(): void {
    const { random } = this;
    const kernel = random.pick(this.kernels as [Kernel]);
    const ends = this.#ends(kernel);
    const { family } = kernel;
    const choice = random.below(5);
    if (choice === 0)
      this.#input(udpFrame({ ...ends, data: DATA.subarray(0, random.below(2000)) }));
    else if (choice === 1) this.#input(otherFrame({ ...ends, protocol: random.below(256) }));
    else if (choice === 2)
      this.#input(Buffer.from(Array.from({ length: random.below(120) }, () => random.below(256))));
    else if (choice === 3)
      this.#input(
        icmpFrame({
          ...ends,
          type: random.below(256),
          code: random.below(16),
          body: DATA.subarray(0, random.below(100)),
        }),
      );
    else {
      const { source, destination, sourcePort, destinationPort } = ends;
      const back = {
        source: destination,
        destination: source,
        sourcePort: destinationPort,
        destinationPort: sourcePort,
      };
      const quoted = tcpFrame({
        ...back,
        flags: '.',
        seq: kernel.ack - random.below(3000),
        ack: 0,
      }).subarray(10);
      const [type, code] = family === 4 ? [3, 4] : [2, 0];
      const body = quoted.subarray(0, random.chance(0.8) ? undefined : random.below(quoted.length));
      this.#input(
        icmpFrame({
          source: ROUTER[family],
          destination,
          type,
          code,
          word: random.below(2000),
          body,
        }),
      );
    }
  }

  /** Checks the invariants. */
  check(): void {
    const { counters } = this.lab;
    const inState = (...states: number[]) =>
      this.flows.filter(({ state }) => states.includes(state)).length;
    assert.equal(counters.flowsHeld, inState(STATE.held), 'flowsHeld');
    assert.equal(counters.flowsLive, inState(STATE.answered, STATE.open), 'flowsLive');
    assert.ok(counters.flowsHeld <= MAX_HELD);
    const { flowsHeld, flowsOpened, flowsRefused, flowsGivenUp, flowsDeferred } = counters;
    const fates = flowsHeld + flowsOpened + flowsRefused + flowsGivenUp + flowsDeferred;
    assert.equal(counters.flowsHeldTotal, fates, 'each flow has one fate');
    assert.equal(counters.framesIn, this.#frames, 'framesIn');
    const {
      framesOut,
      answeredReset,
      answeredProhibited,
      answeredPortUnreachable,
      answeredUnreachable,
    } = counters;
    const answered =
      answeredReset + answeredProhibited + answeredPortUnreachable + answeredUnreachable;
    assert.equal(this.#emitted, framesOut + answered, 'framesOut');
    assert.equal(this.#bytes, counters.bytesOut, 'bytesOut');
    let waiting = 0;
    for (const far of this.fars) {
      if (!far.over) waiting += far.untaken;
      assert.ok(far.flow.out.inFlight >= 0 && far.flow.out.bytes >= 0);
    }
    assert.ok(waiting <= MAX_WAITING_BYTES + MAX_WINDOW);
    // Finished flows.
    if (this.flows.length < MAX_FLOWS) return;
    this.flows.splice(
      0,
      this.flows.length,
      ...this.flows.filter(({ state }) => state !== STATE.gone),
    );
    this.fars.splice(
      0,
      this.fars.length,
      ...this.fars.filter(({ flow }) => flow.state !== STATE.gone),
    );
  }

  /** All ends. */
  end(): FuzzSummary {
    const { lab } = this;
    for (const far of this.fars) if (far.flow.state !== STATE.gone) far.abortFlow();
    lab.wait(400_000);
    this.check();
    lab.idle();
    assert.equal(lab.deadline, Number.POSITIVE_INFINITY, 'no timer is left');
    assert.equal(this.memory.live, 0, 'no slab is held');
    return {
      frames: this.#frames,
      opened: lab.counters.flowsOpened,
      timeWaits: lab.counters.forgottenTimeWaits,
      bytesIn: this.bytesIn,
      bytesOut: this.#bytes,
    };
  }
}

export function fuzzEndpoint(seed: number, events: number): FuzzSummary {
  const fuzz = new Fuzz(seed);
  let event = 0;
  try {
    for (; event < events; event++) {
      fuzz.step();
      if (event % 16 === 0) fuzz.check();
    }
    return fuzz.end();
  } catch (error) {
    throw new Error(`seed ${seed}, event ${event}: ${(error as Error).message}`, { cause: error });
  }
}
