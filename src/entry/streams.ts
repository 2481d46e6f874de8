/**
 * process.stdin, stdout and stderr, which this program doesn't use. Node looks at them itself: at
 * one of them whenever a socket closes. It then opens the terminal again, and keeps it open.
 */
import { Readable, Writable } from 'node:stream';

const NAMES = ['stdin', 'stdout', 'stderr'] as const;

/**
 * Takes them away until the function that is returned is called: root must not open its caller's
 * terminal.
 */
export function withoutStreams(): () => void {
  const before = NAMES.map((name) => Object.getOwnPropertyDescriptor(process, name));
  for (const name of NAMES) replace(name, undefined);
  return () => {
    for (const [i, name] of NAMES.entries())
      Object.defineProperty(process, name, before[i] ?? { value: undefined });
  };
}

/** Puts others in their places, which lead nowhere: for a process that will leave its terminal. */
export function discardStreams(): void {
  const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  replace('stdin', Readable.from([]));
  replace('stdout', sink());
  replace('stderr', sink());
}

function replace(name: (typeof NAMES)[number], value: unknown): void {
  Object.defineProperty(process, name, { value, configurable: true });
}
