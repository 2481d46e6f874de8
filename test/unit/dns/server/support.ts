/**
 * What the tests of src/dns share: names as octets, queries, resolvers that answer what the test
 * says, counters.
 */
import { type Answer, decode, encode, type Packet } from 'dns-packet';
import type { DnsServer } from '../../../../src/dns/server/server.ts';
import { type Resolver, takeAnswer } from '../../../../src/dns/upstream/resolver.ts';
import { MAX_IN_FLIGHT } from '../../../../src/dns/upstream/stream.ts';
import type { UpstreamAnswer } from '../../../../src/dns/wire/compose.ts';
import { readMessage, viewOf } from '../../../../src/dns/wire/message.ts';
import { makeQuestion, type Question } from '../../../../src/dns/wire/query.ts';
import type { Observer } from '../../../../src/observe/observer.ts';

export function wireName(name: string): Uint8Array {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
    Buffer.of(0),
  ]);
}

export function question(name: string, type = 1, options: { dnssecOk?: boolean } = {}): Question {
  const { dnssecOk = false } = options;
  return makeQuestion({ wire: wireName(name), type, class: 1, dnssecOk, checkingDisabled: false });
}

/** A query as clients send it: recursion desired, EDNS if `payload` is given. */
export function queryBytes(
  name: string,
  type: number,
  {
    id = 0x1234,
    payload,
    flags = 0x0100,
    of = 1,
  }: { id?: number; payload?: number; flags?: number; of?: number } = {},
): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(flags, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(payload === undefined ? 0 : 1, 10);
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(of, 2);
  const option = payload === undefined ? Buffer.alloc(0) : optionBytes(payload);
  return Buffer.concat([head, wireName(name), tail, option]);
}

export function optionBytes(payload: number, { version = 0, dnssecOk = false } = {}): Buffer {
  const option = Buffer.alloc(11);
  option.writeUInt16BE(41, 1);
  option.writeUInt16BE(payload, 3);
  option.writeUInt8(version, 6);
  option.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7);
  return option;
}

/** An upstream's answer to `asked` in the form that resolvers give. */
export function upstreamAnswer(
  asked: Question,
  packet: Packet & { readonly rcode?: number },
): UpstreamAnswer {
  const bytes = answerBytes(asked, 0, packet);
  return takeAnswer(bytes, readMessage(bytes));
}

/** An upstream's answer as it comes on the wire. */
export function answerBytes(
  asked: Question,
  id: number,
  packet: Packet & { readonly rcode?: number },
): Buffer {
  const body = encode({
    ...packet,
    type: 'response',
    id,
    flags: 0x0180 | (packet.rcode ?? 0) | (packet.flags ?? 0),
  });
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(asked.type, 0);
  tail.writeUInt16BE(asked.class, 2);
  const message = Buffer.concat([body.subarray(0, 12), asked.wire, tail, body.subarray(12)]);
  message.writeUInt16BE(1, 4);
  return message;
}

export function a(name: string, data: string, ttl = 60): Answer {
  return { type: 'A', name, ttl, data };
}

export function soa(name: string, ttl = 60, minimum = 30): Answer {
  return { type: 'SOA', name, ttl, data: { mname: `ns.${name}`, rname: `root.${name}`, minimum } };
}

/** The answer as dns-packet, an implementation beside ours, reads it. */
export function read(bytes: Uint8Array | undefined) {
  if (bytes === undefined) throw new Error('no answer came');
  const packet = decode(Buffer.from(bytes));
  return { ...packet, rcode: viewOf(bytes).getUint16(2) & 0xf };
}

export class FakeResolver implements Resolver {
  readonly asked: Question[] = [];
  readonly #answer: (question: Question) => UpstreamAnswer | Promise<UpstreamAnswer>;
  closed = false;

  constructor(answer: (question: Question) => UpstreamAnswer | Promise<UpstreamAnswer>) {
    this.#answer = answer;
  }

  async resolve(asked: Question): Promise<UpstreamAnswer> {
    this.asked.push(asked);
    return this.#answer(asked);
  }

  close(): void {
    this.closed = true;
  }
}

/** How many queries of a client's may wait now: less than its share while others of its do. */
export async function placesLeft(
  server: DnsServer,
  client: Parameters<DnsServer['answer']>[1],
): Promise<number> {
  const query = queryBytes('places.example.org', 1);
  const answers = await Promise.all(
    Array.from({ length: MAX_IN_FLIGHT }, () => server.answer(query, client)),
  );
  return answers.filter((answer) => answer !== undefined && read(answer).rcode !== 2).length;
}

export class CountingObserver implements Observer {
  readonly counts = new Map<string, number>();

  log(): void {}

  count(name: string, n = 1): void {
    this.counts.set(name, this.of(name) + n);
  }

  of(name: string): number {
    return this.counts.get(name) ?? 0;
  }
}
