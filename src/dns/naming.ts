/**
 * Who answers for a name: a pure function of what the user asked for.
 *
 *   1. names that never leave this machine      -> loopback, or nothing   localhost, and how other resolvers are found
 *   2. the jump host's own names                -> local                  the tunnel can't tell the way to itself
 *   3. name targets that are not excluded       -> virtual                `api.example.com`, `*.corp.example`
 *   4. --domain suffixes                        -> tunnel                 the resolver behind the jump host
 *   5. everything else                          -> `beyond`               tunnel with --dns alone, else this machine's
 *
 * Only rules 2 and 5 may send a name to this machine's resolvers; what 3 and 4 hold never goes there, also not when the
 * tunnel fails.
 */
import { isLocalhost, type NamePattern } from '../net/name.ts';
import { NameMap } from '../net/namemap.ts';

export type NameRoute =
  /** `zone` is the target's name, without `*.`; `exact`: the name itself is written in the target. */
  | { readonly kind: 'virtual'; readonly zone: string; readonly exact: boolean }
  /** The loopback addresses (RFC 6761 §6.3). */
  | { readonly kind: 'loopback'; readonly zone: string }
  /** Answered in the negative: no such name, or no such records. */
  | { readonly kind: 'nothing'; readonly zone: string; readonly exists: boolean }
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'local' };

export interface NamingOptions {
  readonly nameTargets: readonly NamePattern[];
  /** Those for all ports; one for some ports leaves the name a target. */
  readonly nameExclusions: readonly NamePattern[];
  /** Canonical; each stands for itself and everything below. */
  readonly domains: readonly string[];
  readonly beyond: 'tunnel' | 'local';
  /** Names that are dialled to reach the jump host, canonical; asked for each time. */
  readonly ownNames?: () => readonly string[];
}

export type Naming = (name: string) => NameRoute;

const TUNNEL: NameRoute = { kind: 'tunnel' };
const LOCAL: NameRoute = { kind: 'local' };
/** Firefox asks for it whether the network's own resolver should be used (it then doesn't turn to one on the web by itself). */
const CANARY = 'use-application-dns.net';
/** Where clients look for an encrypted resolver that stands for this one (RFC 9462 §4); there is none. */
const DISCOVERY = 'resolver.arpa';

/** The function takes a name in lower case without a dot at the end (message.ts, nameText). */
export function createNaming(options: NamingOptions): Naming {
  const { nameTargets, nameExclusions, domains, beyond, ownNames = () => [] } = options;
  const targets = new NameMap(nameTargets.map((pattern) => [pattern, undefined] as const));
  const exclusions = new NameMap(nameExclusions.map((pattern) => [pattern, undefined] as const));
  const suffixes = new NameMap(
    domains.flatMap((name) => [true, false].map((below) => [{ name, below }, undefined] as const)),
  );
  const rest = beyond === 'tunnel' ? TUNNEL : LOCAL;
  return (name) => {
    if (isLocalhost(name)) return { kind: 'loopback', zone: 'localhost' };
    if (name === CANARY) return { kind: 'nothing', zone: CANARY, exists: false };
    if (name === DISCOVERY || name.endsWith(`.${DISCOVERY}`))
      return { kind: 'nothing', zone: DISCOVERY, exists: true };
    if (ownNames().some((own) => isOwn(name, own))) return LOCAL;
    const [target] = exclusions.find(name).length > 0 ? [] : targets.find(name);
    if (target !== undefined)
      return { kind: 'virtual', zone: target.pattern.name, exact: !target.pattern.below };
    return suffixes.find(name).length > 0 ? TUNNEL : rest;
  };
}

/** A name of one label also with what the resolver's search list appends to it (resolv.conf(5)). */
function isOwn(name: string, own: string): boolean {
  return name === own || (!own.includes('.') && name.startsWith(`${own}.`));
}

/** What a resolver has to be told to send here (systemd-resolved's routing domains): suffixes, or `.` for all names. */
export function routedDomains({ nameTargets, domains, beyond }: NamingOptions): string[] {
  if (beyond === 'tunnel') return ['.'];
  return [...new Set([...nameTargets.map(({ name }) => name), ...domains])];
}
