/**
 * What a tunnel answers for, in a form that other tunnels on the machine understand: each one
 * passes a name on to the one that has claimed it most closely.
 *
 *   api.example.com     that name                                   from name targets, --domain
 *   *.corp.example      all names below it
 *   198.18.64.0/18      the reverse names of these addresses        virtual ones, and of --domain
 *   .                   everything else                             --dns
 *
 * The closest claim wins: the name itself, then the longest suffix, then `.`. Two tunnels with the
 * same claim can't be told apart.
 */
import { formatNamePattern, type NamePattern, parseNamePattern } from '../net/name.ts';
import { NameMap } from '../net/namemap.ts';
import { NotationError } from '../net/notation.ts';
import { type Prefix, parsePrefix, prefixNotation } from '../net/prefix.ts';
import { PrefixMap } from '../net/prefixmap.ts';
import type { NamingOptions } from './naming.ts';
import { addressFromReverse, isReverse } from './reverse.ts';

const EVERYTHING = '.';
/** Below every claim: nobody has claimed the name. */
export const UNCLAIMED = -1;

export class Claims {
  /** As others get them. */
  readonly texts: readonly string[];
  readonly #names: NameMap<undefined>;
  readonly #reversed: PrefixMap<true>;
  readonly #everything: boolean;

  /** Texts that are no claims are left out: another version may have more kinds. */
  constructor(texts: readonly string[]) {
    this.texts = texts;
    const names: NamePattern[] = [];
    const prefixes: Prefix[] = [];
    for (const text of texts) {
      if (text === EVERYTHING) continue;
      try {
        if (text.includes('/')) prefixes.push(parsePrefix(text).prefix);
        else names.push(parseNamePattern(text));
      } catch (error) {
        if (!(error instanceof NotationError)) throw error;
      }
    }
    this.#names = new NameMap(names.map((pattern) => [pattern, undefined] as const));
    this.#reversed = new PrefixMap(prefixes.map((prefix) => [prefix, true] as const));
    this.#everything = texts.includes(EVERYTHING);
  }

  /** How closely a canonical name is claimed: the higher, the closer. */
  rank(name: string): number {
    const [match] = this.#names.find(name);
    if (match !== undefined) {
      const { pattern } = match;
      return 2 * pattern.name.split('.').length + (pattern.below ? 0 : 1);
    }
    const address = isReverse(name) ? addressFromReverse(name) : undefined;
    const covering = address === undefined ? undefined : this.#reversed.find(address);
    // Between all names and the shortest suffix.
    if (covering !== undefined) return 1 + covering.prefix.length / 256;
    return this.#everything ? 0 : UNCLAIMED;
  }

  /** What both have claimed, so that neither wins. Addresses are told apart by their routes. */
  sharedWith(other: Claims): string[] {
    const theirs = new Set(other.texts);
    return this.texts.filter((text) => theirs.has(text) && !text.includes('/'));
  }
}

/** `virtual`: the addresses that stand for names. */
export function claimsOf(
  { nameTargets, domains, reversed = [], beyond }: NamingOptions,
  virtual: readonly Prefix[],
): Claims {
  const texts = [
    ...nameTargets.map(formatNamePattern),
    ...domains.flatMap((name) => [true, false].map((below) => formatNamePattern({ name, below }))),
    ...[...virtual, ...reversed].map(prefixNotation),
    ...(beyond === 'tunnel' ? [EVERYTHING] : []),
  ];
  return new Claims([...new Set(texts)]);
}
