/**
 * Writes DNS messages: our own answers, relayed answers, and queries to upstreams.
 *
 * Records are encoded by dns-packet. The question is copied octet by octet instead, so that an
 * answer repeats the name's exact octets and case (some resolvers mix the case to detect
 * forgeries). dns-packet doesn't compress names, so the records can be put after the question
 * unchanged.
 */
import { type Answer, encode } from 'dns-packet';
import { Flag, HEADER_SIZE, readMessage, Section, Type, viewOf } from './message.ts';
import type { Query, Question } from './query.ts';

/** The largest UDP payload that we accept: it passes everywhere unfragmented. */
const UDP_PAYLOAD = 1232;
/** Root, type, class, TTL, length: an OPT record without options. */
const OPT_SIZE = 11;
const DO = 0x8000;

export interface AnswerBody {
  /** 12 bits; above 15 only for clients that know EDNS. */
  readonly rcode: number;
  readonly authoritative?: boolean;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
}

/** One of our own answers. */
export function composeAnswer(query: Query, body: AnswerBody): Uint8Array {
  const flags =
    (body.authoritative ? Flag.AA : 0) |
    Flag.RA |
    (query.flags & (Flag.RD | Flag.CD)) |
    (body.rcode & 0xf);
  const encoded = encode({
    type: 'response',
    id: query.id,
    flags,
    answers: [...(body.answers ?? [])],
    authorities: [...(body.authorities ?? [])],
    additionals:
      query.edns === undefined ? [] : [optionRecord(body.rcode >> 4, query.edns.dnssecOk)],
  });
  return withQuestion(encoded, query.question);
}

/** An answer to a message that can't be parsed: a header with the message's id, opcode and RD. */
export function composeFault(bytes: Uint8Array, rcode: number): Uint8Array {
  const answer = new Uint8Array(HEADER_SIZE);
  answer.set(bytes.subarray(0, 2));
  const flags = viewOf(bytes).getUint16(2);
  viewOf(answer).setUint16(2, Flag.QR | (flags & 0x7800) | (flags & Flag.RD) | rcode);
  return answer;
}

/** A query to an upstream. It repeats only the client's question, not its options or id. */
export function composeQuery(question: Question, options: { readonly edns: boolean }): Uint8Array {
  const encoded = encode({
    type: 'query',
    id: 0,
    flags: Flag.RD | (question.checkingDisabled ? Flag.CD : 0),
    additionals: options.edns ? [optionRecord(0, question.dnssecOk)] : [],
  });
  return withQuestion(encoded, question);
}

/** An upstream's answer, made here in its place: the name exists, without records of the type. */
export function composeNoRecords(question: Question): Uint8Array {
  const encoded = encode({
    type: 'response',
    id: 0,
    flags: Flag.RD | Flag.RA,
    authorities: [soaRecord('.')],
  });
  return withQuestion(encoded, question);
}

/** Seconds: for how long a client may keep one of our negative answers (RFC 2308 §5). */
export const OWN_TTL = 10;

/** Of our own answers. It names its source with names that nobody can look up (RFC 6761 §6.4). */
export function soaRecord(zone: string): Answer {
  return {
    type: 'SOA',
    name: zone,
    ttl: OWN_TTL,
    data: {
      mname: 'tunnel.invalid',
      rname: 'nobody.invalid',
      serial: 1,
      refresh: 3600,
      retry: 600,
      expire: 86_400,
      minimum: OWN_TTL,
    },
  };
}

/** An upstream's answer, checked and without its additional section. */
export interface UpstreamAnswer {
  /** With id 0. */
  readonly message: Uint8Array;
  /** 12 bits. */
  readonly rcode: number;
  /** Where the TTLs are in `message`. */
  readonly ttlOffsets: readonly number[];
  /** Whole seconds since it was received. */
  readonly age: number;
}

/**
 * Turns an upstream's answer into one for the client. The names differ at most in case, so the
 * question has the same length. Its type may differ: an answer for A may serve ANY.
 */
export function relayAnswer(query: Query, answer: UpstreamAnswer): Uint8Array {
  const { question, edns } = query;
  const opt = edns === undefined ? 0 : OPT_SIZE;
  const relayed = new Uint8Array(answer.message.length + opt);
  relayed.set(answer.message);
  relayed.set(question.wire, HEADER_SIZE);
  const view = viewOf(relayed);
  view.setUint16(HEADER_SIZE + question.wire.length, question.type);
  // RFC 6840 §5.8: only a client that asks for AD gets it.
  const kept = (query.flags & Flag.AD) !== 0 || edns?.dnssecOk === true ? Flag.AD : 0;
  const flags =
    Flag.QR | Flag.RA | (query.flags & (Flag.RD | Flag.CD)) | (view.getUint16(2) & kept);
  view.setUint16(0, query.id);
  view.setUint16(2, flags | (answer.rcode & 0xf));
  for (const offset of answer.ttlOffsets)
    view.setUint32(offset, Math.max(0, view.getUint32(offset) - answer.age));
  if (edns !== undefined) {
    appendOption(view, answer.message.length, answer.rcode >> 4, edns.dnssecOk);
    view.setUint16(10, 1);
  }
  return relayed;
}

/** The largest answer that the client accepts in a datagram. */
export function datagramLimit({ edns }: Query): number {
  return edns === undefined ? 512 : Math.min(edns.payload, UDP_PAYLOAD);
}

/**
 * The answer itself if it fits. Otherwise one that says "truncated", so that the client asks by TCP
 * (RFC 7766 §5), with the records that fit, in their order: musl before 1.2.4 doesn't know TCP, and
 * makes do with them. `answer` is one of ours: well-formed, with an OPT record last if the client
 * knows EDNS, and nothing else in the third section.
 */
export function fitAnswer(query: Query, answer: Uint8Array, limit: number): Uint8Array {
  if (answer.length <= limit) return answer;
  const opt = query.edns === undefined ? 0 : OPT_SIZE;
  const { questions, records } = readMessage(answer);
  let end = questions.at(-1)?.end ?? HEADER_SIZE;
  const counts = [0, 0];
  for (const { section, dataEnd } of records) {
    if (section === Section.ADDITIONAL || dataEnd + opt > limit) break;
    // Pointers lead backwards, so the octets before `end` don't need those after it.
    end = dataEnd;
    counts[section] = (counts[section] ?? 0) + 1;
  }
  const cut = new Uint8Array(end + opt);
  cut.set(answer.subarray(0, end));
  const view = viewOf(cut);
  view.setUint16(2, view.getUint16(2) | Flag.TC);
  view.setUint16(6, counts[Section.ANSWER] ?? 0);
  view.setUint16(8, counts[Section.AUTHORITY] ?? 0);
  view.setUint16(10, opt > 0 ? 1 : 0);
  if (opt > 0) cut.set(answer.subarray(answer.length - opt), end);
  return cut;
}

function withQuestion(encoded: Uint8Array, question: Question): Uint8Array {
  const { wire } = question;
  const message = new Uint8Array(encoded.length + wire.length + 4);
  message.set(encoded.subarray(0, HEADER_SIZE));
  message.set(wire, HEADER_SIZE);
  message.set(encoded.subarray(HEADER_SIZE), HEADER_SIZE + wire.length + 4);
  const view = viewOf(message);
  view.setUint16(4, 1);
  view.setUint16(HEADER_SIZE + wire.length, question.type);
  view.setUint16(HEADER_SIZE + wire.length + 2, question.class);
  return message;
}

function optionRecord(extendedRcode: number, dnssecOk: boolean): Answer {
  return {
    type: 'OPT',
    name: '.',
    udpPayloadSize: UDP_PAYLOAD,
    extendedRcode,
    ednsVersion: 0,
    flags: dnssecOk ? DO : 0,
    flag_do: dnssecOk,
    options: [],
  };
}

/** Writes that record in place; the octets must be 0 before. */
function appendOption(view: DataView, at: number, extendedRcode: number, dnssecOk: boolean): void {
  view.setUint16(at + 1, Type.OPT);
  view.setUint16(at + 3, UDP_PAYLOAD);
  view.setUint8(at + 5, extendedRcode);
  view.setUint16(at + 7, dnssecOk ? DO : 0);
}
