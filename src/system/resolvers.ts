/** The resolvers that this machine's programs ask. */
import { readFileSync } from 'node:fs';
import { canonicalAddress, isAddress } from '../net/address.ts';

/** The addresses of resolv.conf(5), canonical; none when the file can't be read (then there is no DNS to speak of). */
export function configuredResolvers(file = '/etc/resolv.conf'): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return []; // without the file, resolvers default to this machine itself, which is never captured
  }
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)]
    .map(([, address = '']) => address)
    .filter(isAddress)
    .map(canonicalAddress);
}
