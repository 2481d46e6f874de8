/** Failures of the tests' own parts; their codes are not the program's. */
export class LabError extends Error {
  /** In kebab-case: `lab-command`, `program-missing`, ... */
  readonly code: string;
  /** What to do about it. */
  readonly hint: string | undefined;

  constructor(
    code: string,
    message: string,
    options: { readonly hint?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LabError';
    this.code = code;
    this.hint = options.hint;
  }
}
