import type { FlowRecord } from './records.ts';
import type { RecordWriter } from './recordwriter.ts';

/** Where a flow log is written: a file (logfile.ts), or systemd's journal (journal.ts). */
export interface RecordSink {
  /** For messages: `--flow-log /var/log/flows`. */
  readonly name: string;
  /** Puts a record into memory as it is written. */
  format(into: RecordWriter, record: FlowRecord): void;
  /**
   * Writes records in their order: `ends` has where each of them ends in `bytes`. Resolves to how
   * many it has taken, at least one; none of them is torn. Rejects with the system's error if it
   * takes none.
   */
  write(bytes: Buffer, ends: readonly number[]): Promise<number>;
  /** What each file but the first begins with, if it is written as files. */
  beginsWith?(record: () => FlowRecord): void;
  close(): Promise<void>;
}
