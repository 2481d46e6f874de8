/** Inputs as texts, and the errors that say "this is wrong" instead of being wrong. */
import { TunnelError } from '../../src/errors/errors.ts';
import { NotationError } from '../../src/net/notation.ts';

export function text(input: Uint8Array): string {
  return Buffer.from(input).toString('utf8');
}

/** Calls `parse`; that it refuses the input is no fault. */
export function refusable(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    if (!(error instanceof TunnelError || error instanceof NotationError)) throw error;
  }
}
