/** A record of the flow log as a sink writes it. */
import type { FlowRecord } from '../../src/record/records.ts';
import { RecordWriter } from '../../src/record/recordwriter.ts';
import type { RecordSink } from '../../src/record/sink.ts';

const MOST_BYTES = 64 * 1024;

export function recordText(format: RecordSink['format'], record: FlowRecord): string {
  const bytes = Buffer.alloc(MOST_BYTES);
  const writer = new RecordWriter();
  writer.begin(bytes, 0);
  format(writer, record);
  return bytes.toString('utf8', 0, writer.end);
}
