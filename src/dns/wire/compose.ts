/**
 * DNS messages that this program writes: its own answers, what it makes of an upstream's, and its
 * queries to upstreams.
 *
 * Records are encoded by dns-packet. The question is copied octet by octet instead, so that an
 * answer repeats the case of the query's name (resolvers that mix it to detect forgeries compare)
 * and whatever octets it has. dns-packet compresses nothing, so the records can be put behind the
 * question without changing them.
 */
import { type Answer, encode } from 'dns-packet';
import { Flag, HEADER_SIZE, Type, viewOf } from './message.ts';
import type { Query, Question } from './query.ts';

/** What this program takes in a UDP datagram: passes everywhere unfragmented. */
const UDP_PAYLOAD = 1232;
/** Root, type, class, TTL, length: an OPT record without options. */
const OPT_SIZE = 11;
const DO = 0x8000;

export interface AnswerBody {
  /** 12 bits; beyond 15 only to clients that know EDNS. */
  readonly rcode: number;
  readonly authoritative?: boolean;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
}

/** An answer of our own. */
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

/**
 * An answer to a message that could not be read: its header's id, opcode and RD, and nothing else.
 */
export function composeFault(bytes: Uint8Array, rcode: number): Uint8Array {
  const answer = new Uint8Array(HEADER_SIZE);
  answer.set(bytes.subarray(0, 2));
  const flags = viewOf(bytes).getUint16(2);
  viewOf(answer).setUint16(2, Flag.QR | (flags & 0x7800) | (flags & Flag.RD) | rcode);
  return answer;
}

/**
 * A query to an upstream. Nothing of the client's goes along but what it asks: no options, no id.
 */
export function composeQuery(question: Question, options: { readonly edns: boolean }): Uint8Array {
  const encoded = encode({
    type: 'query',
    id: 0,
    flags: Flag.RD | (question.checkingDisabled ? Flag.CD : 0),
    additionals: options.edns ? [optionRecord(0, question.dnssecOk)] : [],
  });
  return withQuestion(encoded, question);
}

/** An answer of an upstream, checked and stripped of its additional section. */
export interface UpstreamAnswer {
  /** With id 0. */
  readonly message: Uint8Array;
  /** 12 bits. */
  readonly rcode: number;
  /** Where its TTLs stand. */
  readonly ttlOffsets: readonly number[];
  /** Whole seconds since it was received. */
  readonly age: number;
}

/**
 * What a client gets of an upstream's answer. The names are equal but for case, so the question's
 * place is the same; the type may be another one, when ANY was answered with what A was.
 */
export function relayAnswer(query: Query, answer: UpstreamAnswer): Uint8Array {
  const { question, edns } = query;
  const opt = edns === undefined ? 0 : OPT_SIZE;
  const relayed = new Uint8Array(answer.message.length + opt);
  relayed.set(answer.message);
  relayed.set(question.wire, HEADER_SIZE);
  const view = viewOf(relayed);
  view.setUint16(HEADER_SIZE + question.wire.length, question.type);
  // RFC 6840 §5.8: AD tells only those something who ask for it.
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

/** The most that a client takes in a datagram. */
export function datagramLimit({ edns }: Query): number {
  return edns === undefined ? 512 : Math.min(edns.payload, UDP_PAYLOAD);
}

/**
 * The answer itself where it fits; otherwise one that says "truncated", upon which clients ask by
 * TCP (RFC 7766 §5).
 */
export function fitAnswer(query: Query, answer: Uint8Array, limit: number): Uint8Array {
  if (answer.length <= limit) return answer;
  const questionEnd = HEADER_SIZE + query.question.wire.length + 4;
  const opt = query.edns === undefined ? 0 : OPT_SIZE;
  const cut = new Uint8Array(questionEnd + opt);
  cut.set(answer.subarray(0, questionEnd));
  const view = viewOf(cut);
  view.setUint16(2, view.getUint16(2) | Flag.TC);
  for (const count of [6, 8, 10]) view.setUint16(count, 0);
  // Our answers end with their OPT record.
  if (opt > 0) {
    cut.set(answer.subarray(answer.length - opt), questionEnd);
    view.setUint16(10, 1);
  }
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

/** The same in place. */
function appendOption(view: DataView, at: number, extendedRcode: number, dnssecOk: boolean): void {
  view.setUint16(at + 1, Type.OPT);
  view.setUint16(at + 3, UDP_PAYLOAD);
  view.setUint8(at + 5, extendedRcode);
  view.setUint16(at + 7, dnssecOk ? DO : 0);
}
