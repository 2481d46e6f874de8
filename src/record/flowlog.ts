/**
 * The flow log: a record of each connection, for those who must tell later who opened what, and
 * through which jump host.
 *
 *   Flows ─► asked() ── at the end of the turn ──► the kernel is asked whose the sockets are,
 *        │                                        while they are there
 *        └─► opened(), ended(), refused(), left()
 *                │ events
 *                ▼
 *            MAX_EVENTS, or what there is after FLUSH_MS ── formatted ──► the queue
 *                                                     every FLUSH_MS ──► RecordSink: a file, or
 *                                                                        systemd's journal
 *
 * The data path never waits, and pays little. Between other work, with a cold cache, a question to
 * the kernel costs twice as much as among others, and the text of a record several times as much.
 * So both are done for many flows together. Records are formatted into memory that is used again,
 * and all of a FLUSH_MS are written together; only one write is under way at a time. After kill -9
 * at most the last FLUSH_MS are missing.
 *
 * Which process has a socket takes a moment to find out. A record doesn't wait for it: `opened` has
 * what is known when it is formatted, `closed` what has become known meanwhile.
 *
 * States:
 *
 *   writing   the sink takes the records
 *   failing   it takes none (a full disk, a file that has been made unwritable): one warning, and
 *             another try each RETRY_MS. When the queue is full (recordqueue.ts), new ones are left
 *             out and counted. When it takes records again, one message says so, and a record
 *             `missing` says how many there are not, and since when
 */

import { writeReasonOf } from '../errors/reason.ts';
import type { Flow, FlowWatcher, Left, Refused } from '../flow/flowwatch.ts';
import type { FlowResult } from '../flow/join.ts';
import { isAddress } from '../net/address.ts';
import type { Observer } from '../observe/observer.ts';
import { RecordQueue } from './recordqueue.ts';
import { cleaned, type Fields, type FlowRecord, Timestamps } from './records.ts';
import type { RecordSink } from './sink.ts';

export const FLUSH_MS = 250;
/** So many are formatted together. */
const MAX_EVENTS = 64;
/** The kernel is asked about so many together, at most. */
const MAX_ASKED = 32;
const RETRY_MS = 1000;

/** Finds whose the sockets of flows are. */
export interface OwnerFinder {
  /** Whose they are unless a look finds another owner: a uid. */
  readonly expected?: number | undefined;
  /** Sets their `user` and `process`, as far as they can be found out: now, or later. */
  find(flows: readonly Flow[]): void;
}

export interface FlowLogOptions {
  readonly sink: RecordSink;
  /** Of this run; the ids of its flows begin with it. */
  readonly run: string;
  readonly observer: Observer;
  readonly finder: OwnerFinder;
  /** The names of users. */
  readonly userName: (uid: number) => string | undefined;
  /** The names that an address was the answer for, the latest first. */
  readonly namesOf: (address: string) => readonly string[];
  /** Milliseconds since 1970. Default: Date.now. */
  readonly now?: () => number;
}

/** Records that are about no flow. */
type Note = 'started' | 'link-up' | 'link-down';
/** Something that a flow's record tells of. */
type FlowEvent = 'opened' | 'closed' | 'refused' | 'given-up';
type Detail = FlowResult | Refused | Left | undefined;

export class FlowLog implements FlowWatcher {
  readonly #options: FlowLogOptions;
  readonly #observer: Observer;
  readonly #now: () => number;
  /** Flows that the kernel will be asked about at the end of this turn. */
  #asked: Flow[] = [];
  /**
   * Events that are not formatted yet: which, of which flow, when, how. Not an object each, because
   * that would be garbage.
   */
  readonly #events: FlowEvent[] = [];
  readonly #flows: Flow[] = [];
  readonly #times: number[] = [];
  readonly #details: Detail[] = [];
  readonly #record = emptyRecord();
  readonly #timestamps = new Timestamps();
  readonly #queue: RecordQueue;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #failing = false;
  /** close() writes what waits. */
  #closing = false;
  /** Nothing is added any more. */
  #closed = false;
  /** Records left out since the queue was full. */
  #missing = 0;
  #missingSince = 0;
  /** Of the run, and of the link that stands, as far as the sink has been told. */
  #run: Fields = {};
  #link: Fields = {};
  /** What it has not been told yet: it is, when it has taken so many records. */
  readonly #untold: { readonly at: number; readonly event: Note; readonly fields: Fields }[] = [];
  #taken = 0;
  #counts = { opened: 0, refused: 0, given_up: 0, missing: 0 };

  constructor(options: FlowLogOptions) {
    this.#options = options;
    this.#observer = options.observer;
    this.#queue = new RecordQueue(options.sink.format);
    this.#now = options.now ?? Date.now;
    options.sink.beginsWith?.(() => ({
      time: this.#timestamps.of(this.#now()),
      ...{ event: 'continued', run: options.run, ...this.#run, ...this.#link },
    }));
    this.#observer.addCounters?.(() => [['tunnel_flow_log_records_waiting', this.#waiting]]);
  }

  asked(flow: Flow): void {
    flow.user = this.#options.finder.expected;
    const count = this.#asked.push(flow);
    if (count === MAX_ASKED) this.#ask();
    else if (count === 1) setImmediate(this.#ask);
  }

  opened(flow: Flow): void {
    this.#counts.opened++;
    this.#addEvent('opened', flow, flow.openedAt ?? this.#now(), undefined);
  }

  ended(flow: Flow, result: FlowResult): void {
    flow.over = true;
    this.#addEvent('closed', flow, this.#now(), result);
  }

  refused(flow: Flow, how: Refused): void {
    this.#ask(); // the answer, which comes next, closes the socket
    flow.over = true;
    this.#counts.refused++;
    this.#addEvent('refused', flow, this.#now(), how);
  }

  /** One that was put off has no record: its kernel asks again, and that is another flow. */
  left(flow: Flow, how: Left): void {
    flow.over = true;
    if (how.by === 'limit') return;
    this.#counts.given_up++;
    this.#addEvent('given-up', flow, this.#now(), how);
  }

  /** A record that is about no flow. */
  note(event: Note, fields: Fields): void {
    this.#note(event, fields);
    // One that is left out is known at once; so there are no more than the queue has room for.
    if (this.#missing > 0) this.#learn(event, fields);
    else this.#untold.push({ at: this.#taken + this.#queue.size, event, fields });
  }

  /** Writes what waits, and the last record. Resolves also if that can't be written. */
  async close(reason?: string): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const { sink } = this.#options;
    clearTimeout(this.#timer);
    await this.#writing;
    // So that there is room for the last record, behind that of those that are missing.
    const failure = await this.#flush();
    this.#note('ended', { ...this.#counts, reason });
    this.#closed = true;
    const last = failure ?? (await this.#flush());
    if (last !== undefined) this.#sayLost(last.error);
    await sink.close();
  }

  readonly #ask = (): void => {
    const asked = this.#asked;
    if (asked.length === 0) return;
    this.#asked = [];
    this.#options.finder.find(asked);
  };

  get #waiting(): number {
    return this.#queue.size + this.#events.length;
  }

  #addEvent(event: FlowEvent, flow: Flow, at: number, detail: Detail): void {
    if (this.#closed) return;
    this.#events.push(event);
    this.#flows.push(flow);
    this.#times.push(at);
    this.#details.push(detail);
    if (this.#events.length >= MAX_EVENTS) this.#format();
    this.#flushSoon();
  }

  /** Puts the events that wait into the queue, as records. */
  #format(): void {
    this.#ask(); // for events of this turn
    for (const [index, event] of this.#events.entries()) {
      const [flow, at] = [this.#flows[index], this.#times[index]];
      if (flow === undefined || at === undefined) continue;
      this.#add(this.#recordOf(event, flow, at, this.#details[index]), at);
    }
    for (const one of [this.#events, this.#flows, this.#times, this.#details]) one.length = 0;
  }

  /** It is the same object each time. */
  #recordOf(event: FlowEvent, flow: Flow, at: number, detail: Detail): FlowRecord {
    const { run, namesOf, userName } = this.#options;
    const { source, destination, peer, user, process, openedAt = at } = flow;
    const byAddress = isAddress(destination.host);
    const name = byAddress ? namesOf(destination.host)[0] : destination.host;
    const record = this.#record;
    record.time = this.#timestamps.of(at);
    record.event = event;
    record.id = `${run}-${flow.id}`;
    record.source_address = source.host;
    record.source_port = source.port;
    record.destination_name = name === undefined ? undefined : cleaned(name);
    record.destination_address = byAddress ? destination.host : undefined;
    record.destination_port = destination.port;
    record.peer_address = peer?.host;
    record.peer_port = peer?.port;
    record.way = flow.way;
    record.uid = user;
    record.user = user === undefined ? undefined : userName(user);
    record.process = process === undefined ? undefined : cleaned(process);
    const result = detail !== undefined && 'sent' in detail ? detail : undefined;
    const refused = detail !== undefined && 'refusal' in detail ? detail : undefined;
    const left = detail !== undefined && 'connected' in detail ? detail : undefined;
    record.wait_ms = result === undefined ? at - flow.askedAt : undefined;
    record.connected = left?.connected;
    record.sent_bytes = result?.sent;
    record.received_bytes = result?.received;
    record.duration_ms = result === undefined ? undefined : at - openedAt;
    record.refusal = refused?.refusal;
    record.refused_by = refused?.by;
    record.reason = reasonIn(result, refused);
    return record;
  }

  #note(event: FlowRecord['event'], fields: Fields): void {
    this.#format(); // what was before it
    const now = this.#now();
    const time = this.#timestamps.of(now);
    this.#add({ time, event, run: this.#options.run, ...fields }, now);
    this.#flushSoon();
  }

  #learn(event: Note, fields: Fields): void {
    if (event === 'started') this.#run = fields;
    else this.#link = event === 'link-up' ? fields : {};
  }

  #add(record: FlowRecord, at: number): void {
    if (this.#closed) return;
    if (this.#missing > 0 || !this.#queue.add(record)) {
      if (this.#missing === 0) this.#missingSince = at;
      this.#missing++;
      this.#counts.missing++;
      this.#observer.count('tunnel_flow_log_missing_total');
    }
  }

  #flushSoon(): void {
    if (this.#timer === undefined && this.#writing === undefined) this.#flushIn(FLUSH_MS);
  }

  #flushIn(milliseconds: number): void {
    if (this.#closing) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#flush().then((failure) => {
        if (failure !== undefined) this.#failed(failure.error);
        this.#writing = undefined;
        if (this.#waiting > 0) this.#flushIn(this.#failing ? RETRY_MS : FLUSH_MS);
      });
    }, milliseconds).unref();
  }

  /** Writes until the queue is empty. Resolves with why the sink takes no more. Never rejects. */
  async #flush(): Promise<{ readonly error: unknown } | undefined> {
    const { sink } = this.#options;
    this.#format();
    for (let batch = this.#queue.oldest(); batch !== undefined; batch = this.#queue.oldest()) {
      try {
        const taken = await sink.write(batch.bytes, batch.ends);
        this.#observer.count('tunnel_flow_log_records_total', taken);
        this.#queue.take(taken);
        this.#taken += taken;
        for (
          let [next] = this.#untold;
          next !== undefined && next.at <= this.#taken;
          [next] = this.#untold
        ) {
          this.#learn(next.event, next.fields);
          this.#untold.shift();
        }
      } catch (error) {
        return { error };
      }
      if (this.#queue.size === 0) this.#addMissing();
    }
    if (this.#failing) this.#observer.log('notice', `${sink.name} is written again`);
    this.#failing = false;
    return undefined;
  }

  #addMissing(): void {
    if (this.#missing === 0) return;
    const [count, since] = [this.#missing, this.#timestamps.of(this.#missingSince)];
    this.#missing = 0;
    const { run, sink } = this.#options;
    const time = this.#timestamps.of(this.#now());
    this.#queue.add({ time, event: 'missing', run, count, since });
    this.#observer.log('warning', `${sink.name}: ${count} records are missing since ${since}`);
  }

  #sayLost(error: unknown): void {
    const waiting = this.#waiting + this.#missing;
    this.#observer.log(
      'warning',
      `${this.#options.sink.name}: the last ${waiting} records could not be written: ${this.#reason(error)}`,
    );
  }

  #failed(error: unknown): void {
    const { sink } = this.#options;
    if (this.#failing) return;
    this.#failing = true;
    this.#observer.log(
      'warning',
      `${sink.name} can't be written to: ${this.#reason(error)}; the tunnel goes on, and tries again`,
      { hint: 'some 10,000 records wait, more are left out' },
    );
  }

  /** An error of the file begins with its name, which the message has already. */
  #reason(error: unknown): string {
    const [name, reason] = [`${this.#options.sink.name}: `, writeReasonOf(error)];
    return reason.startsWith(name) ? reason.slice(name.length) : reason;
  }
}

function reasonIn(result: FlowResult | undefined, refused: Refused | undefined) {
  if (refused !== undefined) return cleaned(refused.why);
  if (result === undefined) return undefined;
  return result.error === undefined ? 'in order' : cleaned(result.error.message);
}

type Text = string | undefined;
type Count = number | undefined;

/**
 * A record of a flow, with all the fields that one may have in the order in which they are written.
 * Objects of one shape are read several times as fast as those of many.
 */
function emptyRecord() {
  return {
    time: '',
    event: 'opened' as FlowEvent,
    id: '',
    source_address: '',
    source_port: 0,
    destination_name: undefined as Text,
    destination_address: undefined as Text,
    destination_port: 0,
    peer_address: undefined as Text,
    peer_port: undefined as Count,
    way: '',
    uid: undefined as Count,
    user: undefined as Text,
    process: undefined as Text,
    wait_ms: undefined as Count,
    connected: undefined as boolean | undefined,
    sent_bytes: undefined as Count,
    received_bytes: undefined as Count,
    duration_ms: undefined as Count,
    refusal: undefined as Text,
    refused_by: undefined as Text,
    reason: undefined as Text,
  };
}
