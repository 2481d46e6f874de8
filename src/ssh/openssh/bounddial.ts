/**
 * How the system's ssh gets a connection that is bound to a device: its ProxyCommand is a program
 * of ours (native/dial.c), which dials and passes the connected socket over (ProxyUseFdpass).
 *
 *   ssh ─► tunnel-dial: binds, connects ─► ends
 *    ◄──── the connected socket ───────────┘
 *
 * With hops the first of them is dialled, by an ssh of its own: then these lines are in the
 * configuration file that ssh hands on (arguments.ts, hopConfiguration).
 */
import { statSync } from 'node:fs';
import { DIAL_PATH } from '../../native/addon.ts';
import type { RemoteAddress } from '../dial/addresses.ts';
import { type DialDevice, noWayError } from '../dial/device.ts';
import { interleave } from '../dial/race.ts';
import { hopsOf } from '../hops.ts';
import type { SshSettings } from '../settings.ts';
import { escapeTokens, shellWord } from './words.ts';

/** As native/dial.c takes. Further addresses aren't dialled. */
const MAX_ADDRESSES = 64;
const NOTHING = '-';

/** An address to dial, and the device to bind to, if any. */
export interface Departure extends RemoteAddress {
  readonly device: string | undefined;
}

/**
 * In the order in which they are to be tried. undefined: ssh may dial by itself, because nothing
 * captures any of them. Throws TunnelError `jumphost-unreachable` if none can be reached without
 * the tunnel.
 */
export function departuresTo(
  addresses: readonly RemoteAddress[],
  deviceFor: DialDevice | undefined,
): readonly Departure[] | undefined {
  const found = interleave(addresses).map((address) => ({ address, device: deviceFor?.(address) }));
  if (found.every(({ device }) => device === undefined)) return undefined;
  const reachable = found.flatMap(({ address, device }) =>
    device === null ? [] : [{ ...address, device }],
  );
  const [first] = addresses;
  if (reachable.length === 0 && first !== undefined) throw noWayError(first);
  return reachable.slice(0, MAX_ADDRESSES);
}

/**
 * Whether ssh can be told to dial the first hop so: by that hop's name, which nothing else on the
 * way may have.
 */
export function canBeBound(settings: SshSettings): boolean {
  const [{ name }, ...others] = hopsOf(settings);
  return others.every((hop) => hop.name !== name);
}

/** Options for the ssh that makes the connection. `seconds`: for all addresses together. */
export function boundDialOptions(
  departures: readonly Departure[],
  seconds: number,
): readonly (readonly [name: string, value: string])[] {
  const words = [
    DIAL_PATH,
    networkNamespace(),
    String(Math.max(1, Math.ceil(seconds))),
    ...departures.flatMap(({ device, localAddress, host, port }) => [
      device ?? NOTHING,
      localAddress ?? NOTHING,
      host,
      String(port),
    ]),
  ];
  return [
    ['ProxyCommand', words.map((word) => shellWord(escapeTokens(word))).join(' ')],
    ['ProxyUseFdpass', 'yes'],
  ];
}

/** `0`, which no namespace has, if this machine doesn't say. */
function networkNamespace(): string {
  try {
    return String(statSync('/proc/self/ns/net').ino);
  } catch {
    return '0';
  }
}
