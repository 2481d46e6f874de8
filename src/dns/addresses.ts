/**
 * Addresses out of answers, and names to addresses by way of a Resolver: for those parts of the program that need an address
 * themselves rather than relay octets.
 */
import { addressFromBytes } from '../net/address.ts';
import {
  CLASS_IN,
  type MessageView,
  nameText,
  plainName,
  Rcode,
  readMessage,
  Section,
  Type,
  viewOf,
} from './message.ts';
import { makeQuestion, type Question } from './query.ts';
import type { Resolver } from './resolver.ts';

/** More addresses of one name are not used. */
export const MAX_ADDRESSES = 16;

export interface AddressRecord {
  /** The record's owner, as `nameText`: the name that was asked for, or what aliases lead to. */
  readonly owner: string;
  /** Canonical. */
  readonly address: string;
  /** In seconds. */
  readonly ttl: number;
}

/** The A and AAAA records of a checked message's answer section. */
export function addressRecords(bytes: Uint8Array, view: MessageView): AddressRecord[] {
  const octets = viewOf(bytes);
  return view.records
    .filter(
      ({ section, type, class: of }) =>
        section === Section.ANSWER && of === CLASS_IN && (type === Type.A || type === Type.AAAA),
    )
    .map(({ start, dataStart, dataEnd, ttlOffset }) => ({
      owner: nameText(plainName(bytes, start)),
      address: addressFromBytes(bytes.subarray(dataStart, dataEnd)),
      ttl: octets.getUint32(ttlOffset),
    }));
}

/**
 * The addresses of a canonical name, IPv4 first: at most MAX_ADDRESSES, none where the name has none or doesn't exist. Rejects
 * with TunnelError `dns-*` when neither family could be asked for.
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

function questionFor(name: string, type: number): Question {
  const labels = name.split('.').map((label) => Buffer.from(`\0${label}`, 'latin1'));
  for (const label of labels) label[0] = label.length - 1;
  const wire = Buffer.concat([...labels, Buffer.alloc(1)]);
  return makeQuestion({ wire, type, class: CLASS_IN, dnssecOk: false, checkingDisabled: false });
}
