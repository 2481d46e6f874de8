/** From the jump host's name to the addresses that are dialled, and that the capture must leave alone. */
import { lookup } from 'node:dns/promises';
import { TunnelError } from '../errors.ts';

export interface RemoteAddress {
  /** An IPv4 or IPv6 address. */
  readonly host: string;
  readonly port: number;
}

/** All addresses of both families, in the system's order of preference (RFC 6724), each once. Code `jumphost-dns`. */
export async function resolveRemote(host: string, port: number): Promise<RemoteAddress[]> {
  let found: { address: string }[];
  try {
    found = await lookup(host, { all: true, order: 'verbatim' });
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new TunnelError('jumphost-dns', `the jump host's name ${host} can't be resolved (${code})`, {
      hint: code === 'EAI_AGAIN' ? 'check the network and the resolver' : 'check the spelling of the name',
      cause,
    });
  }
  return [...new Set(found.map(({ address }) => address))].map((address) => ({ host: address, port }));
}
