/**
 * Reads addresses from answers, and resolves names through a Resolver: for the parts of the program
 * that need an address themselves rather than relay octets.
 */
import { addressFromBytes } from '../../net/address.ts';
import {
  CLASS_IN,
  type MessageView,
  nameText,
  plainName,
  Rcode,
  type RecordView,
  readMessage,
  Section,
  Type,
  viewOf,
} from '../wire/message.ts';
import { makeQuestion, type Question } from '../wire/query.ts';
import type { Resolver } from './resolver.ts';

/** Further addresses of a name are ignored. */
export const MAX_ADDRESSES = 16;
/** Further records of an answer are not looked at. Nobody has more addresses or aliases. */
export const MAX_RECORDS = 256;

export interface AddressRecord {
  /**
   * The record's owner, as `nameText`: the name that was asked for, or one that its aliases lead
   * to.
   */
  readonly owner: string;
  /** Canonical. */
  readonly address: string;
  /** In seconds. */
  readonly ttl: number;
}

/**
 * The A and AAAA records of a checked message's answer section that belong to its question: those
 * of the name that was asked for, and of the names that its aliases lead to (RFC 1034 §3.6.2).
 * Records of other names are left out, and those after the first MAX_RECORDS.
 */
export function addressRecords(bytes: Uint8Array, view: MessageView): AddressRecord[] {
  const octets = viewOf(bytes);
  const [asked] = view.questions;
  if (asked === undefined) return [];
  const answers = view.records
    .filter(({ section, class: of }) => section === Section.ANSWER && of === CLASS_IN)
    .slice(0, MAX_RECORDS);
  const ownerOf = ({ start }: RecordView) => nameText(plainName(bytes, start));
  const aliases = new Map(
    answers
      .filter(({ type }) => type === Type.CNAME)
      .map((record) => [ownerOf(record), nameText(plainName(bytes, record.dataStart))]),
  );
  const owners = new Set<string>();
  const first = nameText(bytes.subarray(asked.nameStart, asked.nameEnd));
  for (
    let name: string | undefined = first;
    name !== undefined && !owners.has(name);
    name = aliases.get(name)
  )
    owners.add(name);
  return answers
    .filter(({ type }) => type === Type.A || type === Type.AAAA)
    .map((record) => ({
      owner: ownerOf(record),
      address: addressFromBytes(bytes.subarray(record.dataStart, record.dataEnd)),
      ttl: octets.getUint32(record.ttlOffset),
    }))
    .filter(({ owner }) => owners.has(owner));
}

/**
 * The addresses of a canonical name, IPv4 first: at most MAX_ADDRESSES, and none if the name has
 * none or doesn't exist. Rejects with TunnelError `dns-*` if both the A and the AAAA query fail.
 */
export async function lookupAddresses(resolver: Resolver, name: string): Promise<string[]> {
  const answers = await Promise.allSettled(
    [Type.A, Type.AAAA].map((type) => resolver.resolve(questionFor(name, type))),
  );
  if (answers.every(({ status }) => status === 'rejected')) {
    const [first] = answers;
    throw first?.status === 'rejected' ? first.reason : new Error('unreachable');
  }
  const found = answers.flatMap((answer) => {
    if (answer.status === 'rejected' || answer.value.rcode !== Rcode.NOERROR) return [];
    const { message } = answer.value;
    return addressRecords(message, readMessage(message)).map(({ address }) => address);
  });
  return [...new Set(found)].slice(0, MAX_ADDRESSES);
}

/** `name`: canonical; empty: the root. */
export function questionFor(name: string, type: number): Question {
  const parts = name === '' ? [] : name.split('.');
  const labels = parts.map((label) => Buffer.from(`\0${label}`, 'latin1'));
  for (const label of labels) label[0] = label.length - 1;
  const wire = Buffer.concat([...labels, Buffer.alloc(1)]);
  return makeQuestion({ wire, type, class: CLASS_IN, dnssecOk: false, checkingDisabled: false });
}
