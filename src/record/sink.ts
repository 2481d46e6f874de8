import type { FlowRecord } from './records.ts';

/** Where a flow log is written: a file (logfile.ts), or systemd's journal (journal.ts). */
export interface RecordSink {
  /** For messages: `--flow-log /var/log/flows`. */
  readonly name: string;
  /**
   * Writes these in their order. Resolves to how many it has taken, at least one; none of them is
   * torn. Rejects with the system's error if it takes none.
   */
  write(records: readonly FlowRecord[]): Promise<number>;
  close(): Promise<void>;
}
