/** The addresses that this machine's devices have. */
import { networkInterfaces } from 'node:os';

/** Canonical: of all devices that are up. Throws the system's error, as without descriptors. */
export function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map(({ address }) => address));
}

/**
 * Whether a device that is up has this canonical address now. Never throws: it may have it when no
 * descriptor is left to list them with.
 */
export function isOwnAddress(address: string, own = ownAddresses): boolean {
  try {
    return own().has(address);
  } catch {
    return true;
  }
}
