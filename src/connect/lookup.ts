/**
 * This machine's resolver, for destinations with a name that is not sent to the jump host.
 */
import { lookup } from 'node:dns/promises';
import type { GiveUpSignal } from '../base/giveup.ts';
import { within } from '../base/within.ts';
import { ConnectError } from '../flow/connector.ts';
import { canonicalAddress, isAddress } from '../net/address.ts';

/** glibc needs less to ask two servers twice (resolv.conf(5): timeout 5, attempts 2). */
const LOOKUP_TIMEOUT_MS = 25_000;
/** At most this many addresses of one name are tried. */
export const MAX_ADDRESSES = 16;

/**
 * The canonical addresses of a name, at least one, without duplicates, in the system's order of
 * preference (RFC 6724). Rejects with ConnectError `unreachable`, or with the signal's reason.
 * getaddrinfo(3) can't be cancelled: it goes on in its thread.
 */
export async function lookupName(name: string, signal?: GiveUpSignal): Promise<string[]> {
  const failed = (why: string, cause?: unknown): ConnectError =>
    new ConnectError('unreachable', `the name ${name} can't be resolved here: ${why}`, { cause });
  const late = (): ConnectError => failed('the resolver does not answer');
  const found = await within({ signal, time: { milliseconds: LOOKUP_TIMEOUT_MS, late } }, () =>
    lookup(name, { all: true, order: 'verbatim' }).catch((cause: NodeJS.ErrnoException) => {
      throw failed(REASONS[cause.code ?? ''] ?? String(cause.code ?? cause), cause);
    }),
  );
  // Link-local addresses have a zone, which a Destination can't contain.
  const addresses = found
    .map(({ address }) => address)
    .filter(isAddress)
    .map(canonicalAddress);
  if (addresses.length === 0) throw failed('it has no usable address');
  return [...new Set(addresses)].slice(0, MAX_ADDRESSES);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such name',
  EAI_AGAIN: 'the resolver does not answer',
};
