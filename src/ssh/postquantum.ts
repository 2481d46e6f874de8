/**
 * Whether a key exchange protects from somebody who records today and has a quantum computer one
 * day, and what would.
 */
import type { Established } from './established.ts';

/** ML-KEM since OpenSSH 9.9, Streamlined NTRU Prime since 8.5, each together with X25519. */
const POST_QUANTUM = /^(?:mlkem|sntrup)/;

export function isPostQuantum(kex: string): boolean {
  return POST_QUANTUM.test(kex);
}

/**
 * What helps where the key exchange of a connection is not post-quantum; undefined: nothing is
 * needed, or the exchange isn't known.
 */
export function postQuantumAdvice({ algorithms, client }: Established): string | undefined {
  if (algorithms === undefined || isPostQuantum(algorithms.kex)) return undefined;
  if (client !== 'the embedded client') return 'it needs OpenSSH 8.5 or later on the jump host';
  const offered = algorithms.kexOffered?.filter(isPostQuantum) ?? [];
  const [first] = offered;
  return first === undefined
    ? 'the jump host offers no such exchange, so --transport openssh would not help either; it needs OpenSSH 9.9, or 8.5 with --transport openssh'
    : `--transport openssh may use ${first}, which the jump host offers`;
}
