/**
 * A Resolver answers questions for the server: it is an upstream, or a cache in front of one. This
 * file also has what both do with the octets that an upstream sends.
 *
 *   dns/server/server.ts
 *     -> CachingResolver (cache.ts) -> StreamUpstream (stream.ts)      through the tunnel
 *     -> CachingResolver            -> DatagramUpstream (datagram.ts)  this machine's own
 */
import { TunnelError } from '../../errors/errors.ts';
import type { UpstreamAnswer } from '../wire/compose.ts';
import { Flag, type MessageView, Rcode, Section, sameName, Type, viewOf } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';

export interface Resolver {
  /** Rejects with TunnelError `dns-*` if there is no answer. SERVFAIL is an answer. */
  resolve(question: Question): Promise<UpstreamAnswer>;
  /** Rejects the queries that wait. May be called more than once. */
  close(): void;
}

/** A day, which is the most that other resolvers keep records. In seconds. */
const MAX_TTL = 86_400;
/** RFC 2308 §5 advises one to three hours, but a new name should be found sooner. In seconds. */
const MAX_NEGATIVE_TTL = 900;
/** RFC 9520 §3.2 asks for at least this. In seconds. */
export const FAILURE_TTL = 1;

/** Whether the message is an answer to this question. */
export function answersQuestion(bytes: Uint8Array, view: MessageView, question: Question): boolean {
  if ((view.flags & Flag.QR) === 0 || ((view.flags >> 11) & 0xf) !== 0) return false;
  const [asked] = view.questions;
  if (asked === undefined || view.questions.length !== 1) return false;
  return (
    asked.type === question.type &&
    asked.class === question.class &&
    sameName(bytes.subarray(asked.nameStart, asked.nameEnd), question.wire)
  );
}

/**
 * Whether the answer to a query with EDNS shows that the upstream doesn't know EDNS (RFC 6891 §7).
 */
export function rejectsEdns(view: MessageView): boolean {
  const rcode = view.flags & 0xf;
  if (view.records.some(({ type }) => type === Type.OPT)) return false;
  return rcode === Rcode.FORMERR || rcode === Rcode.NOTIMP;
}

/** Whether another server may know better. */
export function isUnhelpful(rcode: number): boolean {
  return (
    rcode === Rcode.SERVFAIL ||
    rcode === Rcode.REFUSED ||
    rcode === Rcode.NOTIMP ||
    rcode === Rcode.FORMERR
  );
}

/**
 * The part to relay of an answer that `answersQuestion` has accepted: its first two sections. The
 * third has records of other names, which nobody asked for. With an SRV or MX record these are real
 * addresses that lead around the tunnel, although a query for the name itself gets a virtual
 * address. Clients can do without them (RFC 1034 §5.3.1), and ask.
 */
export function takeAnswer(bytes: Uint8Array, view: MessageView): UpstreamAnswer {
  const third = view.records.filter(({ section }) => section === Section.ADDITIONAL);
  const option = third.find(({ type }) => type === Type.OPT);
  const octets = viewOf(bytes);
  const extended = option === undefined ? 0 : octets.getUint8(option.ttlOffset);
  // Pointers lead backwards, so the octets before `end` don't need those after it.
  const end = third[0]?.start ?? bytes.length;
  const records = view.records.filter(({ start }) => start < end);
  // A copy, which Buffer's slice() isn't: a cached slice would keep the whole received buffer
  // alive.
  const message = new Uint8Array(bytes.subarray(0, end));
  const stripped = viewOf(message);
  stripped.setUint16(0, 0);
  stripped.setUint16(10, 0);
  const ttlOffsets = records.map(({ ttlOffset }) => ttlOffset);
  for (const offset of ttlOffsets) stripped.setUint32(offset, readTtl(octets, offset));
  return { message, rcode: (extended << 4) | (view.flags & 0xf), ttlOffsets, age: 0 };
}

/** How long an answer may be kept, in seconds (RFC 2308 §5). */
export function lifetime(
  bytes: Uint8Array,
  view: MessageView,
  question: Question,
  rcode: number,
): number {
  if (rcode !== Rcode.NOERROR && rcode !== Rcode.NXDOMAIN) return FAILURE_TTL;
  const octets = viewOf(bytes);
  const answers = view.records.filter(({ section }) => section === Section.ANSWER);
  const positive = answers.some(({ type }) => type === question.type || question.type === Type.ANY);
  const ttls = answers.map(({ ttlOffset }) => readTtl(octets, ttlOffset));
  if (!positive || rcode === Rcode.NXDOMAIN) {
    const soa = view.records.find(
      ({ section, type }) => section === Section.AUTHORITY && type === Type.SOA,
    );
    // Without an SOA record it may be a referral, or can't be relied on.
    if (soa === undefined) return 0;
    // The data was checked: its last four octets are MINIMUM.
    ttls.push(readTtl(octets, soa.ttlOffset), readTtl(octets, soa.dataEnd - 4), MAX_NEGATIVE_TTL);
  }
  return Math.min(...ttls);
}

/** RFC 2181 §8: a TTL with the highest bit set is read as 0. */
function readTtl(octets: DataView, offset: number): number {
  const ttl = octets.getUint32(offset);
  return ttl > 0x7fff_ffff ? 0 : Math.min(ttl, MAX_TTL);
}

/** Whether the answer section has any records. */
export function hasAnswers({ message }: UpstreamAnswer): boolean {
  return viewOf(message).getUint16(6) > 0;
}

/** Why a resolver gave no answer to a query. */
export type UpstreamFailure = 'busy' | 'timeout' | 'closed' | 'unreachable' | 'malformed';

export function upstreamError(
  failure: UpstreamFailure,
  message: string,
  cause?: unknown,
): TunnelError {
  return new TunnelError(`dns-${failure}`, message, cause === undefined ? {} : { cause });
}
