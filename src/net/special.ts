/**
 * Address ranges that are not captured, even if a wider target (`0/0`) contains them: capturing
 * them would break this machine, or they mean nothing at the far side. From the IANA
 * special-purpose registries (RFC 6890).
 */
import { type Prefix, parsePrefix, prefixContains } from './prefix.ts';

export interface SpecialRange {
  readonly prefix: Prefix;
  /** Completes "10.1.2.3 is ...". */
  readonly reason: string;
  /** Whether a target wholly inside the range is captured, because the user named it. */
  readonly onRequest: boolean;
}

function special(text: string, reason: string, onRequest = false): SpecialRange {
  return { prefix: parsePrefix(text).prefix, reason, onRequest };
}

/**
 * The ranges for devices and virtual addresses of every tunnel on this machine (RFC 2544, RFC
 * 5180).
 */
export const OWN_RANGES: readonly Prefix[] = ['198.18.0.0/15', '2001:2::/48'].map(
  (text) => parsePrefix(text).prefix,
);

export const SPECIAL_RANGES: readonly SpecialRange[] = [
  special('0.0.0.0/8', 'an address of "this network" (0.0.0.0/8)'),
  special('127.0.0.0/8', 'a loopback address (127.0.0.0/8)'),
  // Clouds serve instance metadata at 169.254.169.254. At the far side that is the jump host's
  // metadata.
  special('169.254.0.0/16', 'a link-local address (169.254.0.0/16)', true),
  special('198.18.0.0/15', "one of this program's own addresses (198.18.0.0/15)"),
  special('224.0.0.0/4', 'a multicast address (224.0.0.0/4)'),
  special('255.255.255.255/32', 'the limited broadcast address'),
  // All of ::/16, not just ::1. The rest is the unspecified address and embedded IPv4 addresses,
  // which are never routed, and excluding only ::1 from ::/0 would take 128 routes instead of 16.
  special('::/16', 'a loopback, unspecified or IPv4-mapped address (::/16)'),
  special('2001:2::/48', "one of this program's own addresses (2001:2::/48)"),
  // Not on request: connecting to a link-local IPv6 address needs a zone, so a route would never be
  // used.
  special('fe80::/10', 'a link-local address (fe80::/10)'),
  special('ff00::/8', 'a multicast address (ff00::/8)'),
];

/** The special range that contains all of `prefix`. */
export function specialRangeOf(prefix: Prefix): SpecialRange | undefined {
  return SPECIAL_RANGES.find((range) => prefixContains(range.prefix, prefix));
}
