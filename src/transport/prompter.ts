/** Asks the person at the terminal. Implemented by the command line; the transports only know this. */
export interface Prompter {
  /**
   * Shows `question` and reads one line without echo. Rejects with a TunnelError of code `no-terminal` when nobody can be
   * asked, and with the signal's reason when it is aborted. The answer is never logged.
   */
  secret(question: string, options?: { readonly signal?: AbortSignal }): Promise<string>;
}
