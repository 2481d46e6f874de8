/**
 * Parses a client's query, or says how to answer one that can't be accepted.
 *
 *   not a message, or an answer itself      -> nothing: an answer to an answer could go back and
 *                                              forth for ever
 *   malformed, or not exactly one question  -> FORMERR (RFC 9619)
 *   another opcode than QUERY               -> NOTIMP
 *   a later version of EDNS                 -> BADVERS (RFC 6891 §6.1.3)
 */

import { reasonOf } from '../../errors/reason.ts';
import {
  Flag,
  HEADER_SIZE,
  type MessageView,
  nameText,
  Rcode,
  readMessage,
  Section,
  Type,
  viewOf,
} from './message.ts';

/** RFC 6891 §6.2.3: smaller values are read as this one. */
const MIN_PAYLOAD = 512;

/** A question to an upstream. Questions with the same answer have the same `key`. */
export interface Question {
  /** The octets of the name as the client wrote it: an answer repeats their case. */
  readonly wire: Uint8Array;
  /** As `nameText`: in lower case. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** The client wants DNSSEC records (RFC 3225); it checks them itself (RFC 4035 §3.2.2). */
  readonly dnssecOk: boolean;
  readonly checkingDisabled: boolean;
  readonly key: string;
}

export interface Query {
  readonly id: number;
  /** As received. */
  readonly flags: number;
  readonly question: Question;
  /** undefined: the client doesn't know EDNS, and its answer must not show any. */
  readonly edns: { readonly payload: number; readonly dnssecOk: boolean } | undefined;
}

export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: Query }
  /** To be answered with `rcode` alone. `query` is there if the question could be read. */
  | {
      readonly kind: 'fault';
      readonly rcode: number;
      readonly why: string;
      readonly query: Query | undefined;
    }
  | { readonly kind: 'drop'; readonly why: string };

export function parseQuery(bytes: Uint8Array): ParsedQuery {
  if (bytes.length < HEADER_SIZE) return { kind: 'drop', why: 'it is too short' };
  const flags = viewOf(bytes).getUint16(2);
  if ((flags & Flag.QR) !== 0) return { kind: 'drop', why: 'it is not a query' };
  const fault = (rcode: number, why: string, query?: Query): ParsedQuery => ({
    kind: 'fault',
    rcode,
    why,
    query,
  });
  if (((flags >> 11) & 0xf) !== 0) return fault(Rcode.NOTIMP, 'its opcode is not QUERY');
  let message: MessageView;
  try {
    message = readMessage(bytes);
  } catch (error) {
    return fault(Rcode.FORMERR, reasonOf(error));
  }
  const [asked] = message.questions;
  if (asked === undefined || message.questions.length !== 1)
    return fault(Rcode.FORMERR, `it has ${message.questions.length} questions`);
  const options = message.records.filter(({ type }) => type === Type.OPT);
  const [option] = options;
  const misplaced = options.some(
    ({ section, start }) => section !== Section.ADDITIONAL || bytes[start] !== 0,
  );
  if (options.length > 1 || misplaced)
    return fault(Rcode.FORMERR, 'its OPT record does not follow RFC 6891');

  // An OPT record's TTL holds the extended RCODE, version and flags (RFC 6891 §6.1.3).
  const dnssecOk = option !== undefined && ((bytes[option.ttlOffset + 2] ?? 0) & 0x80) !== 0;
  const edns =
    option === undefined ? undefined : { payload: Math.max(MIN_PAYLOAD, option.class), dnssecOk };
  const wire = new Uint8Array(bytes.subarray(asked.nameStart, asked.nameEnd));
  const checkingDisabled = (flags & Flag.CD) !== 0;
  const question = makeQuestion({
    wire,
    type: asked.type,
    class: asked.class,
    dnssecOk,
    checkingDisabled,
  });
  const query: Query = { id: message.id, flags, question, edns };
  if (option !== undefined && (bytes[option.ttlOffset + 1] ?? 0) > 0)
    return fault(Rcode.BADVERS, 'its version of EDNS is not 0', query);
  return { kind: 'query', query };
}

export function makeQuestion(parts: Omit<Question, 'name' | 'key'>): Question {
  const name = nameText(parts.wire);
  const bits = (parts.dnssecOk ? 2 : 0) | (parts.checkingDisabled ? 1 : 0);
  return { ...parts, name, key: `${name} ${parts.class} ${parts.type} ${bits}` };
}
