/**
 * Parses DNS messages as they arrive (RFC 1035 §4): checked once, then read without further checks.
 *
 * dns-packet decodes well-formed messages only. It reads beyond the end of short records, loses
 * octets that aren't UTF-8, takes a dot inside a label for its end, and follows backward pointers
 * without a limit. So `readMessage` checks the octets first and finds where everything is. Relayed
 * answers are patched in place (id, case of the question, TTLs) and never decoded at all.
 *
 * Limits: a name has at most 255 octets (§3.1) and MAX_POINTERS pointers, each of which leads
 * backwards. What a pointer leads to is walked once in a message and then remembered, so the cost
 * of a message follows its length, however many names lead through the same chain. Octets after the
 * last record are an error.
 */

export const HEADER_SIZE = 12;
/** On a stream two octets of length go before each message (§4.2.2). */
export const MAX_MESSAGE = 65_535;
/** RFC 1035 §3.1, with the root's octet. */
const MAX_NAME_OCTETS = 255;
/** A name has at most 127 labels, so more pointers are of no use. */
const MAX_POINTERS = 127;

export const Flag = {
  QR: 0x8000,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  AD: 0x0020,
  CD: 0x0010,
} as const;

/** RFC 1035 §4.1.1, RFC 2136 §2.2, RFC 6891 §9 */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** Record types by number, including those for queries only. */
export const Type = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  SVCB: 64,
  HTTPS: 65,
  TKEY: 249,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const CLASS_IN = 1;
/** Servers tell about themselves in it. */
export const CLASS_CHAOS = 3;

export const Section = { ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 2 } as const;
export type Section = (typeof Section)[keyof typeof Section];

/** A message that breaks the rules of RFC 1035. */
export class MessageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'MessageError';
  }
}

export interface QuestionView {
  /** The octets of the name as they are in the message, length octets included. */
  readonly nameStart: number;
  readonly nameEnd: number;
  readonly type: number;
  readonly class: number;
  /** After type and class. */
  readonly end: number;
}

export interface RecordView {
  readonly section: Section;
  readonly start: number;
  readonly type: number;
  /** For OPT, the payload size. */
  readonly class: number;
  readonly ttlOffset: number;
  readonly dataStart: number;
  readonly dataEnd: number;
}

export interface MessageView {
  readonly id: number;
  readonly flags: number;
  readonly questions: readonly QuestionView[];
  readonly records: readonly RecordView[];
}

/** Finds and checks everything in a message. Throws MessageError. */
export function readMessage(bytes: Uint8Array): MessageView {
  if (bytes.length < HEADER_SIZE) throw new MessageError(`a message of ${bytes.length} octets`);
  if (bytes.length > MAX_MESSAGE) throw new MessageError('a message that is too long');
  const view = viewOf(bytes);
  const questions: QuestionView[] = [];
  const checked: CheckedNames = new Map();
  let offset = HEADER_SIZE;
  for (let left = view.getUint16(4); left > 0; left--) {
    const question = readQuestion(bytes, view, checked, offset);
    questions.push(question);
    offset = question.end;
  }
  const records: RecordView[] = [];
  for (const section of [Section.ANSWER, Section.AUTHORITY, Section.ADDITIONAL] as const) {
    for (let left = view.getUint16(6 + 2 * section); left > 0; left--) {
      const record = readRecord(bytes, view, checked, offset, section);
      records.push(record);
      offset = record.dataEnd;
    }
  }
  if (offset !== bytes.length)
    throw new MessageError(`${bytes.length - offset} octets after the message`);
  return { id: view.getUint16(0), flags: view.getUint16(2), questions, records };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function readQuestion(
  bytes: Uint8Array,
  view: DataView,
  checked: CheckedNames,
  nameStart: number,
): QuestionView {
  const nameEnd = skipName(bytes, checked, nameStart);
  const end = nameEnd + 4;
  if (end > bytes.length) throw new MessageError('a question that is cut off');
  return {
    nameStart,
    nameEnd,
    type: view.getUint16(nameEnd),
    class: view.getUint16(nameEnd + 2),
    end,
  };
}

function readRecord(
  bytes: Uint8Array,
  view: DataView,
  checked: CheckedNames,
  start: number,
  section: Section,
): RecordView {
  const fixed = skipName(bytes, checked, start);
  const dataStart = fixed + 10;
  if (dataStart > bytes.length) throw new MessageError('a record that is cut off');
  const dataEnd = dataStart + view.getUint16(fixed + 8);
  if (dataEnd > bytes.length) throw new MessageError('a record that is longer than the message');
  const type = view.getUint16(fixed);
  checkData(bytes, checked, type, dataStart, dataEnd);
  return {
    section,
    start,
    type,
    class: view.getUint16(fixed + 2),
    ttlOffset: fixed + 4,
    dataStart,
    dataEnd,
  };
}

/**
 * Checks the data that clients decode without checks: addresses, and the names that may be
 * compressed (RFC 3597 §4).
 */
function checkData(
  bytes: Uint8Array,
  checked: CheckedNames,
  type: number,
  start: number,
  end: number,
): void {
  const skip = (from: number) => skipName(bytes, checked, from, end);
  const length = end - start;
  let expected = end;
  if (type === Type.A) expected = start + 4;
  else if (type === Type.AAAA) expected = start + 16;
  else if (type === Type.CNAME || type === Type.NS || type === Type.PTR || type === Type.DNAME)
    expected = skip(start);
  else if (type === Type.MX) expected = length < 3 ? -1 : skip(start + 2);
  else if (type === Type.SRV) expected = length < 7 ? -1 : skip(start + 6);
  else if (type === Type.SOA) expected = skip(skip(start)) + 20;
  if (expected !== end)
    throw new MessageError(`a record of type ${type} with ${length} octets of data`);
}

/** What the rest of a name, from one of its labels or pointers on, comes to. */
interface NameRest {
  readonly octets: number;
  readonly pointers: number;
}

/** By offset: the rests of names that have been checked, of one message. */
type CheckedNames = Map<number, NameRest>;

/**
 * Checks the name at `offset` and returns where it ends in the message. `limit`: where its own
 * octets (without those that pointers lead to) must end.
 */
function skipName(
  bytes: Uint8Array,
  checked: CheckedNames,
  offset: number,
  limit = bytes.length,
): number {
  /** Where the labels and pointers are, and how much of the name lies before each. */
  const steps: { readonly at: number; readonly before: NameRest }[] = [];
  let end: number | undefined;
  let at = offset;
  let earliest = offset;
  let octets = 0;
  let pointers = 0;
  for (;;) {
    const bound = end === undefined ? limit : bytes.length;
    const length = bytes[at];
    if (length === undefined || at >= bound) throw new MessageError('a name that is cut off');
    // Only behind a pointer: a name's own octets have a limit of their own.
    const rest = end === undefined ? undefined : checked.get(at);
    if (rest !== undefined) {
      octets += rest.octets;
      pointers += rest.pointers;
    } else {
      steps.push({ at, before: { octets, pointers } });
      if (length >= 0xc0) {
        if (at + 2 > bound) throw new MessageError('a name that is cut off');
        const target = ((length & 0x3f) << 8) | (bytes[at + 1] ?? 0);
        // §4.1.4: a pointer leads to a prior occurrence. So a chain of pointers ends.
        if (target >= earliest || target < HEADER_SIZE)
          throw new MessageError('a pointer that leads nowhere');
        pointers += 1;
        end ??= at + 2;
        earliest = target;
        at = target;
      } else {
        if (length > 63) throw new MessageError('a label of an unknown kind');
        octets += length + 1;
        at += length + 1;
        if (at > bound) throw new MessageError('a name that is cut off');
      }
    }
    if (pointers > MAX_POINTERS) throw new MessageError('a name with too many pointers');
    if (octets > MAX_NAME_OCTETS) throw new MessageError('a name that is too long');
    if (rest === undefined && length !== 0) continue;
    for (const { at: step, before } of steps)
      checked.set(step, {
        octets: octets - before.octets,
        pointers: pointers - before.pointers,
      });
    return end ?? at;
  }
}

/** The octets of a checked name without its pointers. */
export function plainName(bytes: Uint8Array, offset: number): Uint8Array {
  const labels: Uint8Array[] = [];
  for (let at = offset; ; ) {
    const length = bytes[at] ?? 0;
    if (length >= 0xc0) {
      at = ((length & 0x3f) << 8) | (bytes[at + 1] ?? 0);
      continue;
    }
    labels.push(bytes.subarray(at, at + 1 + length));
    if (length === 0) return Buffer.concat(labels);
    at += 1 + length;
  }
}

/**
 * The text of a checked name without pointers (a question's): labels in lower case, joined by dots;
 * `.` for the root. Octets that host names can't contain are written as in zone files (\DDD, RFC
 * 1035 §5.1), so different names have different texts.
 */
export function nameText(wire: Uint8Array): string {
  const labels: string[] = [];
  for (let at = 0; ; ) {
    const length = wire[at] ?? 0;
    if (length === 0) break;
    labels.push(labelText(wire.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return labels.length === 0 ? '.' : labels.join('.');
}

function labelText(label: Uint8Array): string {
  let text = '';
  for (const octet of label) {
    const plain =
      (octet >= 0x61 && octet <= 0x7a) ||
      (octet >= 0x30 && octet <= 0x39) ||
      octet === 0x2d ||
      octet === 0x5f;
    if (plain) text += String.fromCharCode(octet);
    else if (octet >= 0x41 && octet <= 0x5a) text += String.fromCharCode(octet + 32);
    else text += `\\${octet.toString().padStart(3, '0')}`;
  }
  return text;
}

/** Whether two names without pointers differ at most in the case of their letters (RFC 4343). */
export function sameName(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    if (x === y) continue;
    // Length octets are below 64, where bit 5 doesn't stand for case.
    if ((x ^ y) !== 0x20 || (x | 0x20) < 0x61 || (x | 0x20) > 0x7a) return false;
  }
  return true;
}

/** A copy with its length in front, as streams carry it (RFC 1035 §4.2.2). */
export function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.alloc(2 + message.length);
  bytes.writeUInt16BE(message.length, 0);
  bytes.set(message, 2);
  return bytes;
}
