/**
 * The parts in C against hostile octets: the programs that `make -C native fuzzers` builds, with
 * libFuzzer, AddressSanitizer and UBSan. Their corpus is kept as that of the targets in TypeScript.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../support/process.ts';
import { corpusDirectory } from './corpus.ts';

const BUILT = fileURLToPath(new URL('../../native-test/fuzz/', import.meta.url));
/** What one input may take, in seconds, on a busy machine and under sanitizers. */
const SLOW_SECONDS = 20;
/** libFuzzer looks at the clock now and then; the corpus comes before. */
const GRACE_MS = 120_000;
/** The end of what libFuzzer says about a finding. */
const REPORT_CHARACTERS = 6_000;
/** What one program may take, in MiB. */
const MEMORY_MB = 2048;
/** Of freed memory AddressSanitizer keeps so much, to see accesses to it. */
const ASAN_OPTIONS = 'quarantine_size_mb=16';

export interface NativeTarget {
  readonly name: string;
  /** The program: native/fuzz/PROGRAM_fuzzer.c. */
  readonly program: string;
  readonly maxBytes: number;
}

export const NATIVE_TARGETS: readonly NativeTarget[] = [
  { name: 'native-session', program: 'session', maxBytes: 1_000 },
  { name: 'native-rules', program: 'rules', maxBytes: 2_000 },
  { name: 'native-launcher', program: 'launcher', maxBytes: 1_000 },
  { name: 'native-netlink', program: 'netlink', maxBytes: 1_000 },
  { name: 'native-addon', program: 'addon', maxBytes: 3_000 },
  { name: 'native-gcm', program: 'gcm', maxBytes: 500 },
];

export interface NativeResult {
  readonly runs: number;
  /** Edges of the program that some input has reached. */
  readonly edges: number;
  /** Inputs that reached an edge that the corpus doesn't. */
  readonly added: readonly Uint8Array[];
  readonly finding: { readonly input: Uint8Array | undefined; readonly report: string } | undefined;
}

/** Why the native targets can't run here; undefined if they can. */
export function nativeUnavailable(): string | undefined {
  const missing = NATIVE_TARGETS.filter(({ program }) => !existsSync(join(BUILT, program)));
  return missing.length === 0
    ? undefined
    : 'make -C native fuzzers has not been run; it needs clang with libFuzzer';
}

/** Runs the corpus, and goes on with other inputs for `seconds`. */
export async function fuzzNative(
  target: NativeTarget,
  options: { readonly seconds: number; readonly seed: number },
): Promise<NativeResult> {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-fuzz-'));
  const [fresh, corpus] = [join(directory, 'new'), corpusDirectory(target)];
  mkdirSync(fresh);
  try {
    const { status, signal, stderr } = await start(target, options.seconds, [
      `-max_total_time=${options.seconds}`,
      `-seed=${options.seed}`,
      `-max_len=${target.maxBytes}`,
      `-timeout=${SLOW_SECONDS}`,
      `-rss_limit_mb=${inheritedMb() + MEMORY_MB}`,
      `-malloc_limit_mb=${MEMORY_MB}`,
      `-artifact_prefix=${directory}/found-`,
      '-print_final_stats=1',
      fresh,
      ...(existsSync(corpus) ? [corpus] : []),
    ]);
    const found = readdirSync(directory).find((name) => name.startsWith('found-'));
    const failed = status !== 0 || signal !== null || found !== undefined;
    return {
      runs: Number(/number_of_executed_units: (\d+)/.exec(stderr)?.[1] ?? 0),
      edges: Math.max(
        0,
        ...[...stderr.matchAll(/ cov: (\d+) /g)].map(([, edges]) => Number(edges)),
      ),
      added: failed ? [] : await newEdges(target, directory),
      finding: failed
        ? {
            input: found === undefined ? undefined : readFileSync(join(directory, found)),
            report: stderr.slice(-REPORT_CHARACTERS),
          }
        : undefined,
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** libFuzzer asks for its peak (getrusage(2)), which begins with that of whoever has started it. */
function inheritedMb(): number {
  return Math.ceil(process.resourceUsage().maxRSS / 1024);
}

/** Of the inputs in `directory`/new those that reach an edge beside the corpus. */
async function newEdges(target: NativeTarget, directory: string): Promise<Uint8Array[]> {
  const [kept, corpus] = [join(directory, 'kept'), corpusDirectory(target)];
  mkdirSync(kept);
  if (existsSync(corpus)) cpSync(corpus, kept, { recursive: true });
  const before = new Set(readdirSync(kept));
  await start(target, 0, ['-merge=1', '-use_counters=0', kept, join(directory, 'new')]);
  return readdirSync(kept)
    .filter((name) => !before.has(name))
    .map((name) => readFileSync(join(kept, name)));
}

function start(target: NativeTarget, seconds: number, words: readonly string[]) {
  return run([join(BUILT, target.program), ...words], {
    env: { ASAN_OPTIONS },
    timeout: seconds * 1_000 + GRACE_MS,
  });
}
