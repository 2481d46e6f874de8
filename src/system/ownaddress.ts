/** The addresses that this machine's devices have. */
import { networkInterfaces } from 'node:os';

/** Canonical: of all devices that are up. */
export function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map(({ address }) => address));
}

/** Whether a device that is up has this canonical address now. */
export function isOwnAddress(address: string): boolean {
  return ownAddresses().has(address);
}
