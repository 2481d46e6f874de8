/**
 * Records to systemd's journal, by its own protocol: a datagram a record, of fields
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL). A journal that doesn't keep up takes nothing for a while;
 * the records then wait in the flow log.
 */
import { closeSync } from 'node:fs';
import { reasonOf } from '../errors/reason.ts';
import { addon } from '../native/addon.ts';
import { fileError } from './privatefile.ts';
import { writeJournal } from './records.ts';
import type { RecordSink } from './sink.ts';

export const JOURNAL_SOCKET = '/run/systemd/journal/socket';

export class Journal implements RecordSink {
  readonly name = '--flow-log journal';
  readonly #path: string;
  #socket: number | undefined;
  readonly format = writeJournal;

  private constructor(path: string) {
    this.#path = path;
    this.#socket = addon().datagramSocketTo(path);
  }

  /** Throws TunnelError `record-file` if there is no journal here. */
  static open(path = JOURNAL_SOCKET): Journal {
    try {
      return new Journal(path);
    } catch (error) {
      throw fileError(
        `--flow-log journal: there is no journal of systemd at ${path}: ${reasonOf(error)}`,
        'name a file instead, as in: --flow-log flows.log',
        error,
      );
    }
  }

  async write(bytes: Buffer, ends: readonly number[]): Promise<number> {
    let taken = 0;
    try {
      this.#socket ??= addon().datagramSocketTo(this.#path);
      for (const end of ends) {
        const datagram = bytes.subarray(ends[taken - 1] ?? 0, end);
        if (addon().writeNow(this.#socket, datagram) === 0) break;
        taken++;
      }
    } catch (error) {
      this.#disconnect(); // the journal has been started again with another socket
      if (taken === 0) throw error;
    }
    if (taken > 0) return taken;
    throw Object.assign(new Error('the journal takes no more'), { code: 'EAGAIN' });
  }

  async close(): Promise<void> {
    this.#disconnect();
  }

  #disconnect(): void {
    if (this.#socket !== undefined) closeSync(this.#socket);
    this.#socket = undefined;
  }
}
