/**
 * The records of the flow log: what was opened, closed, refused and given up, by whom and through
 * which jump host. docs/operations.md lists their fields.
 *
 * A record is a flat object. A file gets it as a line of JSON, systemd's journal as fields
 * (`source_port` becomes TUNNEL_SOURCE_PORT). No record holds a secret: there are addresses, names,
 * numbers of bytes and reasons, and nothing of what was carried.
 */
import { printable } from '../observe/printable.ts';
import type { RecordWriter } from './recordwriter.ts';

export type RecordValue = string | number | boolean | undefined;

/** `time`: RFC 3339 in UTC, with milliseconds. Values that are undefined are left out. */
export interface FlowRecord {
  readonly time: string;
  readonly event:
    | 'started'
    | 'continued'
    | 'link-up'
    | 'link-down'
    | 'opened'
    | 'closed'
    | 'refused'
    | 'given-up'
    | 'missing'
    | 'repaired'
    | 'ended';
  readonly [field: string]: RecordValue;
}

export type Fields = Readonly<Record<string, RecordValue>>;

/** Longer texts are cut: of a server, of an application, of a torn line. */
export const MAX_FIELD_CHARACTERS = 1024;

const PLAIN = /^[\x20-\x7e]*$/;

/** Text from outside, on one line, without control characters. */
export function cleaned(text: string): string {
  const cut = text.length > MAX_FIELD_CHARACTERS ? text.slice(0, MAX_FIELD_CHARACTERS) : text;
  return PLAIN.test(cut) ? cut : printable(cut);
}

/** Milliseconds since 1970 as RFC 3339 writes them: `2026-11-29T05:01:41.123Z`. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/**
 * The same for one time after another. Most are of the same second as the one before, and
 * `toISOString` costs more than the rest of a record.
 */
export class Timestamps {
  #second = Number.NaN;
  #beginning = '';

  of(milliseconds: number): string {
    const second = Math.floor(milliseconds / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#beginning = timestamp(second * 1000).slice(0, -'000Z'.length);
    }
    return `${this.#beginning}${String(milliseconds - second * 1000).padStart(3, '0')}Z`;
  }
}

/** A record as one line of JSON. */
export function jsonLine(record: FlowRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** The same, into memory: the time, the event, and then the rest. */
export function writeJson(into: RecordWriter, record: FlowRecord): void {
  into.ascii('{"time":"');
  into.ascii(record.time);
  into.ascii('","event":"');
  into.ascii(record.event);
  into.ascii('"');
  for (const name in record) {
    const value = record[name];
    if (value === undefined || name === 'time' || name === 'event') continue;
    into.ascii(',"');
    into.ascii(name);
    into.ascii('":');
    if (typeof value === 'string') into.json(value);
    else if (typeof value === 'number') into.number(value);
    else into.ascii(JSON.stringify(value));
  }
  into.ascii('}\n');
}

/**
 * A datagram of systemd's journal ("Native Journal Protocol"): a field a line. No value holds a
 * newline, as cleaned() has seen to that.
 */
export function writeJournal(into: RecordWriter, record: FlowRecord): void {
  const { event, id } = record;
  into.text(`MESSAGE=${sentence(record)}\nPRIORITY=6\nSYSLOG_IDENTIFIER=tunnel\n`);
  into.ascii(`TUNNEL_EVENT=${event}\n`);
  if (id !== undefined) into.text(`TUNNEL_FLOW_ID=${id}\n`);
  for (const [name, value] of Object.entries(record)) {
    if (value === undefined || name === 'event' || name === 'id') continue;
    into.text(`TUNNEL_${name.toUpperCase()}=${value}\n`);
  }
}

/** What `journalctl` shows of a record. */
function sentence(record: FlowRecord): string {
  const { event, jump_host: host, jump_user: user, reason, count } = record;
  switch (event) {
    case 'opened':
      return `${ends(record)}: opened`;
    case 'closed':
      return `${ends(record)}: closed, ${record['sent_bytes']} bytes sent, ${record['received_bytes']} received`;
    case 'refused':
      return `${ends(record)}: ${record['refusal']}, ${reason}`;
    case 'given-up': {
      const when = record['connected'] === true ? 'after' : 'before';
      return `${ends(record)}: given up ${when} the far side had connected`;
    }
    case 'started':
      return `the flow log begins: ${record['remote']}`;
    case 'continued':
      return `the flow log goes on: ${record['remote']}`;
    case 'link-up':
      return `connected to ${user}@${host}`;
    case 'link-down':
      return `no longer connected to ${host}${reason === undefined ? '' : `: ${reason}`}`;
    case 'missing':
      return `${count} records are missing`;
    case 'repaired':
      return 'the last line was torn';
    case 'ended':
      return `the flow log ends${reason === undefined ? '' : `: ${reason}`}`;
  }
}

function ends(record: FlowRecord): string {
  const { destination_name: name, destination_address: address, destination_port: port } = record;
  const from = `${bracketed(record['source_address'])}:${record['source_port']}`;
  return `${from} -> ${name ?? bracketed(address)}:${port}`;
}

function bracketed(address: RecordValue): string {
  const text = String(address);
  return text.includes(':') ? `[${text}]` : text;
}
