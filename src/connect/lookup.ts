/**
 * This machine's resolver, for destinations that are given by name and don't go to the jump host by
 * name.
 */
import { lookup } from 'node:dns/promises';
import { ConnectError } from '../flow/connector.ts';
import type { GiveUpSignal } from '../flow/giveup.ts';
import { canonicalAddress, isAddress } from '../net/address.ts';

/** Longer than glibc takes to ask two servers twice (resolv.conf(5): timeout 5, attempts 2). */
const LOOKUP_TIMEOUT_MS = 25_000;
/** More addresses of one name than this are not tried. */
export const MAX_ADDRESSES = 16;

/**
 * The addresses of a name, canonical, each once, in the system's order of preference (RFC 6724); at
 * least one. Rejects with ConnectError `unreachable`, or with the signal's reason. getaddrinfo(3)
 * can't be cancelled: it goes on in its thread.
 */
export function lookupName(name: string, signal?: GiveUpSignal): Promise<string[]> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const settle = (then: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      then();
    };
    const fail = (why: string, cause?: unknown): void =>
      settle(() =>
        reject(
          new ConnectError('unreachable', `the name ${name} can't be resolved here: ${why}`, {
            cause,
          }),
        ),
      );
    const abort = (): void => settle(() => reject(signal?.reason));
    const timer = setTimeout(fail, LOOKUP_TIMEOUT_MS, 'the resolver does not answer');
    signal?.addEventListener('abort', abort, { once: true });
    // Both outcomes are handled here, so one that comes too late is ignored.
    lookup(name, { all: true, order: 'verbatim' }).then(
      (found) => {
        // Link-local addresses come with a zone, which can't be carried.
        const addresses = found
          .map(({ address }) => address)
          .filter(isAddress)
          .map(canonicalAddress);
        if (addresses.length === 0) fail('it has no usable address');
        else settle(() => resolve([...new Set(addresses)].slice(0, MAX_ADDRESSES)));
      },
      (cause: NodeJS.ErrnoException) =>
        fail(REASONS[cause.code ?? ''] ?? String(cause.code ?? cause), cause),
    );
  });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such name',
  EAI_AGAIN: 'the resolver does not answer',
};
