/**
 * The program's one error class. Foreign errors (ssh2, errno, the helper's answers) are translated
 * into it where they enter. It is printed as `message`, then `hint`.
 */
import type { ErrorCode, HintedCode } from './codes.ts';

export interface TunnelErrorOptions {
  /** What the user can do next: one imperative sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Some codes are of no use without a hint. */
type OptionsOf<Code extends ErrorCode> = Code extends HintedCode
  ? [options: TunnelErrorOptions & { readonly hint: string }]
  : [options?: TunnelErrorOptions];

export class TunnelError<Code extends ErrorCode = ErrorCode> extends Error {
  /** Stable and machine-readable: `host-key-changed`, `usage`, ... */
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: Code, message: string, ...[options = {}]: OptionsOf<Code>) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TunnelError';
    this.code = code;
    this.hint = options.hint;
  }
}

/**
 * A wrong argument or option; ends the program with exit code 2. The hint says what to write
 * instead.
 */
export class UsageError extends TunnelError {
  constructor(message: string, options: TunnelErrorOptions & { readonly hint: string }) {
    super('usage', message, options);
    this.name = 'UsageError';
  }
}
