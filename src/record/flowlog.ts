/**
 * The flow log: a record of each connection, for those who must tell later who opened what, and
 * through which jump host.
 *
 *   Flows ─► asked()             the kernel is asked whose socket it is, while it is there
 *         ─► opened(), ended(), refused(), left()
 *                │ a record
 *                ▼
 *            the queue ── every FLUSH_MS ──► RecordSink: a file, or systemd's journal
 *
 * The data path never waits. Records are formatted into memory that is used again, and all of a
 * FLUSH_MS are written together; only one write is under way at a time. After kill -9 at most the
 * last FLUSH_MS are missing.
 *
 * Which process has a socket takes a moment, and is looked for with one hundredth of a processor
 * at the most. A record doesn't wait for it: `opened` has what is known when it is made, `closed`
 * what has become known meanwhile.
 *
 * States:
 *
 *   writing   the sink takes the records
 *   failing   it takes none (a full disk, a file that has been made unwritable): one warning, and
 *             another try each RETRY_MS. When the queue is full (recordqueue.ts), new ones are left
 *             out and counted. When it takes records again, one message says so, and a record
 *             `missing` says how many there are not, and since when
 */

import { reasonOf } from '../errors/reason.ts';
import type { Flow, FlowWatcher, Left, Refused } from '../flow/flowwatch.ts';
import type { FlowResult } from '../flow/join.ts';
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import { RecordQueue } from './recordqueue.ts';
import { cleaned, type Fields, type FlowRecord, Timestamps } from './records.ts';
import type { RecordSink } from './sink.ts';

export const FLUSH_MS = 250;
const RETRY_MS = 1000;

/** As SourceFinder of link/opensources.ts. */
export interface OwnerFinder {
  /** Whose they are unless a look finds another owner: a uid. */
  readonly expected?: number | undefined;
  isHere(address: string): boolean;
  sourceOf(socket: Destination, peer: Destination): Owner | undefined | Promise<Owner | undefined>;
}

interface Owner {
  readonly user: number;
  readonly process: Promise<string | undefined> | undefined;
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

/** A flow that lives. */
interface Live {
  /** Who has asked for it, as far as that is known. */
  uid: number | undefined;
  process: string | undefined;
  /** What all its records have, once it has one. */
  common: Fields | undefined;
}

export class FlowLog implements FlowWatcher {
  readonly #options: FlowLogOptions;
  readonly #observer: Observer;
  readonly #now: () => number;
  readonly #live = new Map<Flow, Live>();
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
  #counts = { opened: 0, refused: 0, given_up: 0, missing: 0 };

  constructor(options: FlowLogOptions) {
    this.#options = options;
    this.#observer = options.observer;
    this.#queue = new RecordQueue(options.sink.format);
    this.#now = options.now ?? Date.now;
    this.#observer.addCounters?.(() => [['tunnel_flow_log_records_waiting', this.#queue.size]]);
  }

  asked(flow: Flow): void {
    const { finder } = this.#options;
    const live: Live = { uid: undefined, process: undefined, common: undefined };
    this.#live.set(flow, live);
    const { source, destination, peer = destination } = flow;
    if (!isAddress(peer.host) || !finder.isHere(source.host)) return;
    live.uid = finder.expected;
    const found = finder.sourceOf(source, peer);
    if (found instanceof Promise) void found.then((owner) => learn(live, owner));
    else learn(live, found);
  }

  opened(flow: Flow): void {
    const at = flow.openedAt ?? this.#now();
    this.#counts.opened++;
    const live = this.#live.get(flow);
    const common = this.#commonOf(flow, live);
    const record = {
      time: this.#timestamps.of(at),
      event: 'opened',
      uid: live?.uid,
      user: this.#userOf(live),
      process: live?.process,
      wait_ms: at - flow.askedAt,
    } as const;
    this.#add(record, at, common);
  }

  ended(flow: Flow, { sent, received, error }: FlowResult): void {
    const now = this.#now();
    const live = this.#live.get(flow);
    this.#live.delete(flow);
    const record = {
      time: this.#timestamps.of(now),
      event: 'closed',
      uid: live?.uid,
      user: this.#userOf(live),
      process: live?.process,
      sent_bytes: sent,
      received_bytes: received,
      duration_ms: now - (flow.openedAt ?? now),
      reason: error === undefined ? 'in order' : cleaned(error.message),
    } as const;
    this.#add(record, now, this.#commonOf(flow, live));
  }

  refused(flow: Flow, { refusal, why, by }: Refused): void {
    const now = this.#now();
    this.#counts.refused++;
    const live = this.#live.get(flow);
    this.#live.delete(flow);
    const record = {
      time: this.#timestamps.of(now),
      event: 'refused',
      uid: live?.uid,
      user: this.#userOf(live),
      process: live?.process,
      wait_ms: now - flow.askedAt,
      refusal,
      refused_by: by,
      reason: cleaned(why),
    } as const;
    this.#add(record, now, this.#commonOf(flow, live));
  }

  /** One that was put off has no record: its kernel asks again, and that is another flow. */
  left(flow: Flow, { by, connected }: Left): void {
    const live = this.#live.get(flow);
    this.#live.delete(flow);
    if (by === 'limit') return;
    const now = this.#now();
    this.#counts.given_up++;
    const record = {
      time: this.#timestamps.of(now),
      event: 'given-up',
      uid: live?.uid,
      user: this.#userOf(live),
      process: live?.process,
      wait_ms: now - flow.askedAt,
      connected,
    } as const;
    this.#add(record, now, this.#commonOf(flow, live));
  }

  /** A record that is about no flow. */
  note(event: 'started' | 'link-up' | 'link-down', fields: Fields): void {
    this.#note(event, fields);
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

  #note(event: FlowRecord['event'], fields: Fields): void {
    const now = this.#now();
    const time = this.#timestamps.of(now);
    this.#add({ time, event, run: this.#options.run, ...fields }, now);
  }

  #commonOf(flow: Flow, live: Live | undefined): Fields {
    if (live?.common !== undefined) return live.common;
    const common = this.#about(flow);
    if (live !== undefined) live.common = common;
    return common;
  }

  #about(flow: Flow): Fields {
    const { source, destination, peer } = flow;
    const { run, namesOf } = this.#options;
    const byAddress = isAddress(destination.host);
    const name = byAddress ? namesOf(destination.host)[0] : destination.host;
    return {
      id: `${run}-${flow.id}`,
      source_address: source.host,
      source_port: source.port,
      destination_name: name === undefined ? undefined : cleaned(name),
      destination_address: byAddress ? destination.host : undefined,
      destination_port: destination.port,
      peer_address: peer?.host,
      peer_port: peer?.port,
      way: flow.way,
    };
  }

  #userOf(live: Live | undefined): string | undefined {
    return live?.uid === undefined ? undefined : this.#options.userName(live.uid);
  }

  #add(record: FlowRecord, at: number, common?: Fields): void {
    if (this.#closed) return;
    if (this.#missing > 0 || !this.#queue.add(record, common)) {
      if (this.#missing === 0) this.#missingSince = at;
      this.#missing++;
      this.#counts.missing++;
      this.#observer.count('tunnel_flow_log_missing_total');
      return;
    }
    if (this.#timer === undefined && this.#writing === undefined) this.#flushIn(FLUSH_MS);
  }

  #flushIn(milliseconds: number): void {
    if (this.#closing) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#flush().then((failure) => {
        if (failure !== undefined) this.#failed(failure.error);
        this.#writing = undefined;
        if (this.#queue.size > 0) this.#flushIn(this.#failing ? RETRY_MS : FLUSH_MS);
      });
    }, milliseconds).unref();
  }

  /** Writes until the queue is empty. Resolves with why the sink takes no more. Never rejects. */
  async #flush(): Promise<{ readonly error: unknown } | undefined> {
    const { sink } = this.#options;
    for (let batch = this.#queue.oldest(); batch !== undefined; batch = this.#queue.oldest()) {
      try {
        const taken = await sink.write(batch.bytes, batch.ends);
        this.#observer.count('tunnel_flow_log_records_total', taken);
        this.#queue.take(taken);
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
    const waiting = this.#queue.size + this.#missing;
    this.#observer.log(
      'warning',
      `${this.#options.sink.name}: the last ${waiting} records could not be written: ${reasonOf(error)}`,
    );
  }

  #failed(error: unknown): void {
    const { sink } = this.#options;
    if (this.#failing) return;
    this.#failing = true;
    this.#observer.log(
      'warning',
      `${sink.name} can't be written to: ${reasonOf(error)}; the tunnel goes on, and tries again`,
      { hint: 'some 10,000 records wait, more are left out' },
    );
  }
}

function learn(live: Live, owner: Owner | undefined): void {
  if (owner === undefined) return;
  live.uid = owner.user;
  void owner.process?.then((process) => {
    if (process !== undefined) live.process = cleaned(process);
  });
}
