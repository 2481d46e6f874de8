/** The addresses that this machine's devices have. */
import { networkInterfaces } from 'node:os';

/** Whether a device that is up has this canonical address now. */
export function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some((own) => own.address === address),
  );
}
