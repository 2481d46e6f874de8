/**
 * Where a thread's time went, from a profile that V8's profiler made. Pure.
 *
 * V8 looks at the thread in short intervals and notes which function it finds on top. What it finds is one of
 *
 *   JavaScript   a function that has a source: this program's, its packages', and Node's own (node:...). Builtins that the
 *                compiler calls or inlines (arrays, promises, inline caches) count for the function that uses them
 *   native       a function without a source: C++ that JavaScript has called, and the system calls in it
 *   program      no function at all: the event loop, and what the kernel does for it
 *   garbage, idle
 *
 * Its clock is the kernel's CLOCK_MONOTONIC, in microseconds, so a part of the profile can be picked by the load's clock.
 */

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

export const KINDS = ['JavaScript', 'native', 'garbage', 'program', 'idle'] as const;
export type Kind = (typeof KINDS)[number];

export interface Breakdown {
  /** Microseconds of each kind. */
  readonly microseconds: Readonly<Record<Kind, number>>;
  /** JavaScript functions and native ones, the most expensive first: themselves, without what they call. */
  readonly functions: readonly {
    readonly name: string;
    readonly kind: Kind;
    readonly microseconds: number;
  }[];
}

const SPECIAL: Readonly<Record<string, Kind>> = {
  '(idle)': 'idle',
  '(garbage collector)': 'garbage',
  '(program)': 'program',
  '(root)': 'program',
};

function kindOf({ callFrame: { functionName, url } }: ProfileNode): Kind {
  return url === '' ? (SPECIAL[functionName] ?? 'native') : 'JavaScript';
}

function nameOf({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  return url === '' ? name : `${name} ${url.replace(/^.*\//, '')}:${lineNumber + 1}`;
}

/** What the looks between two moments found; seconds of CLOCK_MONOTONIC. */
export function breakdown(profile: CpuProfile, from: number, to: number): Breakdown {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const microseconds: Record<Kind, number> = { JavaScript: 0, native: 0, garbage: 0, program: 0, idle: 0 };
  const functions = new Map<string, { name: string; kind: Kind; microseconds: number }>();
  let at = profile.startTime;
  profile.samples.forEach((id, i) => {
    const delta = profile.timeDeltas[i] ?? 0;
    at += delta;
    const node = nodes.get(id);
    if (node === undefined || at < from * 1e6 || at > to * 1e6) return;
    const kind = kindOf(node);
    microseconds[kind] += delta;
    if (kind !== 'JavaScript' && kind !== 'native') return;
    const name = nameOf(node);
    const entry = functions.get(name) ?? { name, kind, microseconds: 0 };
    entry.microseconds += delta;
    functions.set(name, entry);
  });
  return { microseconds, functions: [...functions.values()].sort((a, b) => b.microseconds - a.microseconds) };
}
