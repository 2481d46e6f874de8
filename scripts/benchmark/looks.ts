/**
 * Where a thread's time went, from samples of it at short intervals ("looks"). Pure. The function
 * on top of the stack at a look is of one kind:
 *
 *   JavaScript   this program's, its packages' and Node's own, V8's builtins, inline caches and
 *                runtime with it
 *   garbage      V8 collecting
 *   native       C and C++ that JavaScript has called: ciphers, addons, libuv, Node's own
 *   kernel       system calls and interrupts
 *   waiting      nothing
 *
 * perf looks at the thread whenever it runs, from within the kernel; it is the better source. V8's
 * own profiler looks from a separate thread, which runs when others wait, so it sees too much
 * waiting. It can't distinguish system calls from the native function that makes them, nor the
 * event loop's own work from waiting. Both give times of CLOCK_MONOTONIC.
 */

export const KINDS = ['JavaScript', 'garbage', 'native', 'kernel', 'waiting'] as const;
export type Kind = (typeof KINDS)[number];

export interface Look {
  /** Seconds of CLOCK_MONOTONIC. */
  readonly at: number;
  /** The time that the look represents. */
  readonly seconds: number;
  /** The function on top. */
  readonly name: string;
  readonly kind: Kind;
}

export interface Breakdown {
  /** Seconds of each kind. */
  readonly seconds: Readonly<Record<Kind, number>>;
  /**
   * The functions, the most expensive first; only their own time, without the functions that they
   * call.
   */
  readonly functions: readonly Share[];
}

interface Share {
  readonly name: string;
  readonly kind: Kind;
  readonly seconds: number;
}

/** Adds up the looks between two moments. */
export function breakdown(looks: readonly Look[], from: number, to: number): Breakdown {
  const seconds: Record<Kind, number> = {
    JavaScript: 0,
    garbage: 0,
    native: 0,
    kernel: 0,
    waiting: 0,
  };
  const functions = new Map<string, Share>();
  for (const look of looks.filter(({ at }) => at >= from && at <= to)) {
    const { name, kind } = look;
    seconds[kind] += look.seconds;
    functions.set(name, {
      name,
      kind,
      seconds: look.seconds + (functions.get(name)?.seconds ?? 0),
    });
  }
  return { seconds, functions: [...functions.values()].sort((a, b) => b.seconds - a.seconds) };
}

/**
 * `perf script -F time,ip,sym,dso`: "  12.345678:   7f203c1731b7 JS:*relay file:///a/relay.js:7:3
 * (/tmp/perf-12.map)".
 */
const PERF_LINE = /^\s*([\d.]+):\s+[0-9a-f]+ (.*) \((.*)\)$/;
const GARBAGE = /Scaveng|Mark(?:Compact|ing)|Sweep|GarbageColle|Evacuat|::YoungGen/;

/** `frequency`: looks per second while the thread runs. */
export function looksOfPerf(text: string, frequency: number): Look[] {
  return text.split('\n').flatMap((line) => {
    const [, at, symbol, object] = PERF_LINE.exec(line) ?? [];
    if (at === undefined || symbol === undefined || object === undefined) return [];
    const kind = kindOfSymbol(symbol, object);
    return [{ at: Number(at), seconds: 1 / frequency, name: shortened(symbol), kind }];
  });
}

function kindOfSymbol(symbol: string, object: string): Kind {
  if (object === '[kernel.kallsyms]' || object.endsWith('.ko')) return 'kernel';
  // perf finds V8's compiled code in a separate map.
  if (/perf-\d+\.map$|^\[JIT\]/.test(object) || symbol.startsWith('Builtins_')) return 'JavaScript';
  if (!/^v8::|^\(anonymous namespace\)::Invoke/.test(symbol)) return 'native';
  return GARBAGE.test(symbol) ? 'garbage' : 'JavaScript';
}

/** The symbol without the directories of its source file. */
function shortened(symbol: string): string {
  return symbol.replace(/\S*\/(?=[^\s/]+:\d+:\d+)/, '');
}

/** The format of V8's profiler. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Microseconds. */
  readonly startTime: number;
  /** The node on top, at each look. */
  readonly samples: readonly number[];
  /** Microseconds from the look before, or from the start. They may be negative. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: {
    readonly functionName: string;
    readonly url: string;
    /** From 0. */
    readonly lineNumber: number;
  };
}

const SPECIAL: Readonly<Record<string, Kind>> = {
  '(idle)': 'waiting',
  '(program)': 'waiting',
  '(root)': 'waiting',
  '(garbage collector)': 'garbage',
};

export function looksOfV8(profile: CpuProfile): Look[] {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  let microseconds = profile.startTime;
  return profile.samples.flatMap((id, i) => {
    const delta = profile.timeDeltas[i] ?? 0;
    microseconds += delta;
    const frame = nodes.get(id)?.callFrame;
    if (frame === undefined) return [];
    const { functionName, url, lineNumber } = frame;
    // A function without a source is native, or one of SPECIAL.
    const kind = url === '' ? (SPECIAL[functionName] ?? 'native') : 'JavaScript';
    const named = functionName === '' ? '(anonymous)' : functionName;
    const name = url === '' ? named : `${named} ${url.replace(/^.*\//, '')}:${lineNumber + 1}`;
    return [{ at: microseconds / 1e6, seconds: delta / 1e6, name, kind }];
  });
}
