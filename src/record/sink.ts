import type { CommonFields, FlowRecord } from './records.ts';

/** Where a flow log is written: a file (logfile.ts), or systemd's journal (journal.ts). */
export interface RecordSink {
  /** For messages: `--flow-log /var/log/flows`. */
  readonly name: string;
  /** A record as it is written, with what all records of its flow have. */
  format(record: FlowRecord, common?: CommonFields): string;
  /**
   * Writes records in their order: `ends` has where each of them ends in `bytes`. Resolves to how
   * many it has taken, at least one; none of them is torn. Rejects with the system's error if it
   * takes none.
   */
  write(bytes: Buffer, ends: readonly number[]): Promise<number>;
  close(): Promise<void>;
}
