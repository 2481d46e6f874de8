/**
 * Names other programs that use the ranges of virtual addresses: mihomo, Clash and the like give
 * made-up addresses ("fake-ip") out of 198.18.0.0/15 for names, as this one does.
 *
 * A tunnel's own devices have the first address of a /24 there, or of a /64 (native/helper/
 * block.c), and its DNS server another one (dns/server/nameservice.ts), which is a resolver of this
 * machine while the tunnel runs, or after it was killed. Whatever else has an address in the ranges
 * is somebody else's.
 */
import type { NetworkInterfaceInfo } from 'node:os';
import { ownDnsAddresses } from '../dns/server/nameservice.ts';
import type { OtherTunnel } from '../dns/server/neighbours.ts';
import { sharedDnsAddresses } from '../dns/server/sharedaddresses.ts';
import { addressBytes, addressFromBytes } from '../net/address.ts';
import { parsePrefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import { OWN_RANGES } from '../net/special.ts';
import type { Observer } from '../observe/observer.ts';
import type { KernelDevice } from '../system/routing/rtnetlink.ts';

export interface Neighbourhood {
  /** As `os.networkInterfaces` gives them. */
  readonly interfaces: NodeJS.Dict<readonly NetworkInterfaceInfo[]>;
  /** This machine's own resolvers, canonical. */
  readonly resolvers: readonly string[];
  /** The families for which --virtual-range is given. */
  readonly moved: ReadonlySet<4 | 6>;
}

const RANGES = new PrefixSet(OWN_RANGES);

/** What others have in the ranges that this tunnel uses: "Meta has 198.18.0.1/30", ... */
export function othersInRanges({ interfaces, resolvers, moved }: Neighbourhood): string[] {
  const uses = (address: string) =>
    RANGES.contains(address) && !moved.has(address.includes(':') ? 6 : 4);
  const devices = Object.entries(interfaces).flatMap(([name, addresses = []]) =>
    addresses
      .filter(
        ({ address, cidr }) => isAnAddress(address) && uses(address) && !isDeviceAddress(cidr),
      )
      .map(({ address, cidr }) => `${name} has ${cidr ?? address}`),
  );
  const foreign = resolvers.filter((it) => isAnAddress(it) && uses(it) && !isOurServer(it));
  return [...devices, ...foreign.map((it) => `${it} is a resolver`)];
}

/**
 * The devices of tunnels, except `own`. `interfaces`: as `os.networkInterfaces` gives them;
 * `devices`: with the kernel's numbers.
 */
export function tunnelsAmong(
  interfaces: NodeJS.Dict<readonly NetworkInterfaceInfo[]>,
  devices: readonly KernelDevice[],
  own: string,
): OtherTunnel[] {
  return Object.entries(interfaces).flatMap(([device, addresses = []]) => {
    if (device === own) return [];
    const ours = addresses.filter(({ cidr }) => isDeviceAddress(cidr));
    const address = (ours.find((it) => it.family === 'IPv4') ?? ours[0])?.address;
    const index = devices.find(({ name }) => name === device)?.index;
    // Without a number it has just gone.
    return address === undefined || index === undefined ? [] : [{ device, index, address }];
  });
}

/** Warns of them. */
export function warnOfOthersInRanges(neighbourhood: Neighbourhood, observer: Observer): void {
  const others = othersInRanges(neighbourhood);
  if (others.length === 0) return;
  observer.log(
    'warning',
    `another program uses the addresses that stand for names here (${others.join(', ')}), as mihomo and Clash do`,
    {
      hint: "move the tunnel's with --virtual-range, as in: --virtual-range 100.127.0.0/18; or move the other program's",
    },
  );
}

/** Link-local addresses come with a zone in some versions of Node. */
function isAnAddress(address: string): boolean {
  return !address.includes('%');
}

/** Whether it is the DNS server of a tunnel, running or not. */
function isOurServer(address: string): boolean {
  if (sharedDnsAddresses([address]).includes(address)) return true;
  const octets = addressBytes(address);
  if (octets.length === 4) octets[3] = 1;
  else octets.fill(0, 8, 15)[15] = 1;
  const first = addressFromBytes(octets);
  const [address4, address6] = address.includes(':') ? [undefined, first] : [first, undefined];
  return ownDnsAddresses({ address4, address6 }).has(address);
}

/** Whether it is that of a tunnel's device: the first address of a block, with its length. */
function isDeviceAddress(cidr: string | null): boolean {
  if (cidr === null || !RANGES.contains(cidr.replace(/\/.*/, ''))) return false;
  const { family, length, address } = parsePrefix(cidr).prefix;
  if (length !== (family === 4 ? 24 : 64)) return false;
  return family === 4
    ? cidr === `${address.replace(/0$/, '1')}/24`
    : cidr === `${address.replace(/::$/, '::1')}/64`;
}
