/**
 * A fuzzer that is guided by coverage, for functions in this process.
 *
 *   corpus ─► mutate ─► run a batch ─► V8's block coverage ─► inputs that reached something new
 *      ▲                    │                                     join the corpus
 *      └────────────────────┼──────────────────────────────────────────┘
 *                           └─► an input that makes run() throw, or takes too long: a finding
 *
 * The same seed makes the same inputs. The coverage is V8's own (inspector, precise coverage by
 * block), of the modules below dist/src.
 */
import { Session } from 'node:inspector';
import { performance } from 'node:perf_hooks';
import { SeededRandom } from '../support/tcprandom.ts';

/** Inputs between two looks at the coverage at first, and at most. */
const FIRST_BATCH = 64;
const MAX_BATCH = 16_384;
/** A batch takes at least this many times as long as a look. */
const RUN_PER_LOOK = 4;
/** What one input may take, in milliseconds. */
export const SLOW_MS = 250;
const INTERESTING = [0, 1, 2, 4, 8, 16, 32, 63, 64, 65, 127, 128, 191, 192, 254, 255] as const;

export interface FuzzTarget {
  readonly name: string;
  /** What to begin with, besides the files of the corpus. */
  readonly seeds: readonly (Uint8Array | string)[];
  /** Words that mutations put in. */
  readonly words?: readonly (Uint8Array | string)[];
  readonly maxBytes: number;
  /** Throws, or rejects, if the code is at fault. What the code refuses is no fault. */
  readonly run: (input: Uint8Array) => void | Promise<void>;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly error: Error;
}

export interface FuzzResult {
  readonly runs: number;
  /** What was kept: each reached something that nothing before it had reached. */
  readonly added: readonly Uint8Array[];
  readonly blocks: number;
  readonly finding: Finding | undefined;
}

export interface FuzzOptions {
  readonly seed: number;
  /** Ends after so many inputs, or so many milliseconds. */
  readonly runs: number;
  readonly milliseconds?: number;
  readonly corpus: readonly Uint8Array[];
}

/** Runs one input. Returns what is at fault, if anything. */
export async function tryInput(
  target: FuzzTarget,
  input: Uint8Array,
): Promise<Finding | undefined> {
  const start = performance.now();
  try {
    await target.run(Uint8Array.from(input));
  } catch (error) {
    return { input, error: error instanceof Error ? error : new Error(String(error)) };
  }
  const took = performance.now() - start;
  if (took <= SLOW_MS) return undefined;
  return { input, error: new Error(`takes ${took.toFixed(0)} ms`) };
}

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const random = new SeededRandom(options.seed);
  const end = performance.now() + (options.milliseconds ?? Number.POSITIVE_INFINITY);
  const words = (target.words ?? []).map(bytesOf);
  const corpus = [...target.seeds.map(bytesOf), ...options.corpus];
  if (corpus.length === 0) corpus.push(new Uint8Array(0));
  coverage.forget();
  const added: Uint8Array[] = [];
  let runs = 0;
  let finding: Finding | undefined;
  for (const input of corpus) {
    finding ??= await tryInput(target, input);
    runs += 1;
  }
  coverage.grows();
  let size = FIRST_BATCH;
  while (finding === undefined && runs < options.runs && performance.now() < end) {
    const batch: Uint8Array[] = [];
    const begin = performance.now();
    while (batch.length < size && finding === undefined && performance.now() < end) {
      const input = mutate(random, corpus, words, target.maxBytes);
      batch.push(input);
      finding = await confirmed(target, input);
      runs += 1;
    }
    const ran = performance.now();
    const grows = coverage.grows();
    const looked = performance.now() - ran;
    if (ran - begin < RUN_PER_LOOK * looked) size = Math.min(MAX_BATCH, size * 2);
    if (finding !== undefined || !grows) continue;
    coverage.forgetLast();
    for (const input of await findNew(target, batch)) {
      corpus.push(input);
      added.push(input);
    }
  }
  return { runs, added, blocks: coverage.blocks, finding };
}

/** The inputs of a batch that reach something new, by halves: looking takes long. */
async function findNew(target: FuzzTarget, batch: readonly Uint8Array[]): Promise<Uint8Array[]> {
  for (const input of batch) await tryInput(target, input);
  if (!coverage.grows()) return [];
  if (batch.length === 1) return [...batch];
  coverage.forgetLast();
  const middle = batch.length >> 1;
  const first = await findNew(target, batch.slice(0, middle));
  return [...first, ...(await findNew(target, batch.slice(middle)))];
}

/** A busy machine makes anything slow once, so slowness counts the third time. */
async function confirmed(target: FuzzTarget, input: Uint8Array): Promise<Finding | undefined> {
  let found: Finding | undefined;
  for (let attempt = 0; attempt < 3; attempt++) {
    found = await tryInput(target, input);
    if (found === undefined || !found.error.message.startsWith('takes ')) break;
  }
  return found;
}

/** Takes away from a finding what it doesn't need, for at most `most` runs. */
export async function shrink(target: FuzzTarget, found: Finding, most = 2_000): Promise<Finding> {
  let best = found;
  let runs = 0;
  for (let size = best.input.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < best.input.length && runs < most; ) {
      const shorter = Buffer.concat([best.input.subarray(0, at), best.input.subarray(at + size)]);
      const still = await confirmed(target, shorter);
      runs += 1;
      if (still !== undefined && still.error.message === best.error.message) best = still;
      else at += size;
    }
  }
  return best;
}

function mutate(
  random: SeededRandom,
  corpus: readonly Uint8Array[],
  words: readonly Uint8Array[],
  maxBytes: number,
): Uint8Array {
  const one = (): Uint8Array => corpus[random.below(corpus.length)] ?? new Uint8Array(0);
  let bytes = Buffer.from(one());
  for (let steps = 1 + random.below(5); steps > 0; steps--) {
    const at = random.below(bytes.length + 1);
    switch (random.below(words.length > 0 ? 9 : 8)) {
      case 0: // flip a bit
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 1: // another octet
        if (at < bytes.length) bytes[at] = random.below(256);
        break;
      case 2: // one at which code decides
        if (at < bytes.length) bytes[at] = random.pick(INTERESTING);
        break;
      case 3: // leave some out
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8))]);
        break;
      case 4: // put some in
        bytes = insert(bytes, at, randomBytes(random, 1 + random.below(8)));
        break;
      case 5: {
        // say something twice
        const length = 1 + random.below(16);
        bytes = insert(bytes, at, bytes.subarray(at, at + length));
        break;
      }
      case 6: {
        // go on as another does
        const other = one();
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          other.subarray(random.below(other.length + 1)),
        ]);
        break;
      }
      case 7: // a length, in network order
        if (at + 2 <= bytes.length)
          bytes.writeUInt16BE(
            random.pick([0, 1, bytes.length, 0x7fff, 0x8000, 0xffff]) & 0xffff,
            at,
          );
        break;
      default:
        bytes = insert(bytes, at, words[random.below(words.length)] ?? new Uint8Array(0));
    }
  }
  return bytes.subarray(0, maxBytes);
}

function insert(bytes: Uint8Array, at: number, what: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.concat([bytes.subarray(0, at), what, bytes.subarray(at)]);
}

function randomBytes(random: SeededRandom, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random.below(256));
}

function bytesOf(value: Uint8Array | string): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
}

/** Which blocks of the modules below dist/src have run since forget(). */
class Coverage {
  readonly #session = new Session();
  readonly #reached = new Set<string>();
  #last: string[] = [];

  constructor() {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get blocks(): number {
    return this.#reached.size;
  }

  /** Whether a block has run that had not run at the last call. */
  grows(): boolean {
    const fresh: string[] = [];
    this.#session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error !== null) throw error;
      for (const { url, functions } of taken.result) {
        if (!url.includes('/dist/src/')) continue;
        for (const { ranges } of functions)
          for (const { startOffset, endOffset, count } of ranges) {
            const block = `${url} ${startOffset} ${endOffset}`;
            if (count > 0 && !this.#reached.has(block)) fresh.push(block);
          }
      }
    });
    for (const block of fresh) this.#reached.add(block);
    this.#last = fresh;
    return fresh.length > 0;
  }

  /** Takes back what grows() has just added. */
  forgetLast(): void {
    for (const block of this.#last) this.#reached.delete(block);
  }

  forget(): void {
    this.#reached.clear();
    this.#last = [];
  }
}

/**
 * For the whole process, and from its beginning: V8 counts the blocks only of functions that it
 * compiles from then on, which is when they are first called.
 */
const coverage = new Coverage();
