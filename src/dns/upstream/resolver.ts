/**
 * What answers questions for the server: an upstream, or a cache in front of one. And what both
 * make of the octets that an upstream sends.
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
  /**
   * Rejects with TunnelError `dns-*` when there is no answer; one that says SERVFAIL is an answer.
   */
  resolve(question: Question): Promise<UpstreamAnswer>;
  /** Rejects what waits. May be called more than once. */
  close(): void;
}

/** A day: as long as other resolvers keep records at most. In seconds. */
const MAX_TTL = 86_400;
/**
 * RFC 2308 §5 advises one to three hours; a name that was just made should be found sooner. In
 * seconds.
 */
const MAX_NEGATIVE_TTL = 900;
/** RFC 9520 §3.2 asks for at least this. In seconds. */
export const FAILURE_TTL = 1;

/** Whether it is an answer, and one to this question. */
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
 * Whether the upstream has answered a query with EDNS as one that doesn't know it (RFC 6891 §7).
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
 * What is relayed of an answer that `answersQuestion` has accepted: its first two sections. The
 * third says of other names what nobody has asked: an SRV or MX record's hints are real addresses
 * that lead around the tunnel, where the name itself is answered with a virtual one. Clients can do
 * without (RFC 1034 §5.3.1), and ask.
 */
export function takeAnswer(bytes: Uint8Array, view: MessageView): UpstreamAnswer {
  const third = view.records.filter(({ section }) => section === Section.ADDITIONAL);
  const option = third.find(({ type }) => type === Type.OPT);
  const octets = viewOf(bytes);
  const extended = option === undefined ? 0 : octets.getUint8(option.ttlOffset);
  // Pointers lead backwards, so what stands before can do without what follows.
  const end = third[0]?.start ?? bytes.length;
  const records = view.records.filter(({ start }) => start < end);
  // A copy, which Buffer's slice() isn't: it is kept, and would keep all that it was received with.
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
    // Without one it may be a referral, or nothing that can be relied on.
    if (soa === undefined) return 0;
    // The data was checked: its last four octets are MINIMUM.
    ttls.push(readTtl(octets, soa.ttlOffset), readTtl(octets, soa.dataEnd - 4), MAX_NEGATIVE_TTL);
  }
  return Math.min(...ttls);
}

/** RFC 2181 §8: one with the highest bit set is 0. */
function readTtl(octets: DataView, offset: number): number {
  const ttl = octets.getUint32(offset);
  return ttl > 0x7fff_ffff ? 0 : Math.min(ttl, MAX_TTL);
}

/** Whether there is anything in the answer section. */
export function hasAnswers({ message }: UpstreamAnswer): boolean {
  return viewOf(message).getUint16(6) > 0;
}

/** Why a resolver has given no answer to a query. */
export type UpstreamFailure = 'busy' | 'timeout' | 'closed' | 'unreachable' | 'malformed';

export function upstreamError(
  failure: UpstreamFailure,
  message: string,
  cause?: unknown,
): TunnelError {
  return new TunnelError(`dns-${failure}`, message, cause === undefined ? {} : { cause });
}
