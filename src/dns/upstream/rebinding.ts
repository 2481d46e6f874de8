/**
 * Refuses answers that lead a name of the outside world to this machine or its tunnels (DNS
 * rebinding): whoever owns `evil.example` could give it the virtual address of `api.example.com`,
 * or 127.0.0.1, and a web page from there would be let in as its own site.
 *
 *   upstream -> RebindingGuard -> RecordingResolver -> cache -> server
 *                     └─ an address that is refused -> "no such records", a warning, a counter
 *
 * | the name                 | the tunnel's own ranges | loopback, unspecified | link-local |
 * |--------------------------|-------------------------|-----------------------|------------|
 * | below --rebind-domain-ok | passed                  | passed                | passed     |
 * | below --domain           | refused                 | passed                | passed     |
 * | one label, or `.local`   | refused                 | refused               | passed     |
 * | any other                | refused                 | refused               | refused    |
 *
 * The whole answer is refused, also if other addresses in it are harmless: a page needs only one
 * bad one. Addresses count in A and AAAA records, whatever their owner, and in the hints of HTTPS
 * and SVCB (RFC 9460 §7.3). IPv4-mapped addresses count as what they hold.
 *
 * Limits: MAX_WARNINGS names are told; all refusals are counted.
 */
import { addressFromBytes } from '../../net/address.ts';
import { NameMap } from '../../net/namemap.ts';
import { type Prefix, parsePrefix } from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import { OWN_RANGES } from '../../net/special.ts';
import type { Observer } from '../../observe/observer.ts';
import { composeNoRecords, type UpstreamAnswer } from '../wire/compose.ts';
import { CLASS_IN, type RecordView, readMessage, Type, viewOf } from '../wire/message.ts';
import type { Question } from '../wire/query.ts';
import { type Resolver, takeAnswer } from './resolver.ts';

/** Names that are warned about. */
export const MAX_WARNINGS = 32;

const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text).prefix);
/** 0.0.0.0 and :: mean this machine to those that connect to them. */
const LOOPBACK = new PrefixSet(prefixes('127.0.0.0/8', '0.0.0.0/8', '::/127'));
const LINK_LOCAL = new PrefixSet(prefixes('169.254.0.0/16', 'fe80::/10'));
/** Where mihomo and Clash have the addresses that they make up for names. */
const FAKE = new PrefixSet(prefixes('198.18.0.0/15'));
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');
/** Also the deprecated form without the ones (RFC 4291 §2.5.5.1). */
const COMPATIBLE = Buffer.alloc(12);

type Danger = 'own' | 'loopback' | 'link-local';
const MEANS: Readonly<Record<Danger, string>> = {
  own: "one of the tunnel's own addresses",
  loopback: 'this machine itself',
  'link-local': 'a link-local address',
};

export interface RebindingOptions {
  /** Suffixes whose names may have any address, canonical (--rebind-domain-ok). */
  readonly permitted?: readonly string[];
  /** Suffixes whose zones the user trusts: --domain. */
  readonly inside?: readonly string[];
  /** The ranges of this machine's tunnels. Default: OWN_RANGES. */
  readonly own?: readonly Prefix[];
  readonly observer: Observer;
}

/** Which addresses a name may have. One for all resolvers of a tunnel. */
export class RebindingRules {
  readonly #permitted: NameMap<undefined>;
  #inside: NameMap<undefined>;
  readonly #own: PrefixSet;
  readonly #observer: Observer;
  readonly #told = new Set<string>();

  constructor({ permitted = [], inside = [], own = OWN_RANGES, observer }: RebindingOptions) {
    this.#permitted = suffixes(permitted);
    this.#inside = suffixes(inside);
    this.#own = new PrefixSet(own);
    this.#observer = observer;
  }

  /** Replaces the suffixes whose zones the user trusts. */
  setInside(inside: readonly string[]): void {
    this.#inside = suffixes(inside);
  }

  /** The answer, or "no such records" in its place if it may not be given for the name. */
  screen(question: Question, answer: UpstreamAnswer): UpstreamAnswer {
    if (this.#permitted.find(question.name).length > 0) return answer;
    const { records } = readMessage(answer.message);
    for (const address of addressesOf(answer.message, records)) {
      const danger = this.#danger(address);
      if (danger === undefined || this.#may(question.name, danger)) continue;
      this.#refuse(question.name, address, danger);
      const bytes = composeNoRecords(question);
      return takeAnswer(bytes, readMessage(bytes));
    }
    return answer;
  }

  #danger(address: string): Danger | undefined {
    if (this.#own.contains(address)) return 'own';
    if (LOOPBACK.contains(address)) return 'loopback';
    return LINK_LOCAL.contains(address) ? 'link-local' : undefined;
  }

  #may(name: string, danger: Danger): boolean {
    if (danger === 'own') return false;
    if (this.#inside.find(name).length > 0) return true;
    // Such names are found on the link itself (RFC 6762 §3); nobody can own one elsewhere.
    return danger === 'link-local' && (!name.includes('.') || name.endsWith('.local'));
  }

  #refuse(name: string, address: string, danger: Danger): void {
    this.#observer.count('tunnel_dns_rebinding_refused_total');
    if (this.#told.has(name) || this.#told.size >= MAX_WARNINGS) return;
    this.#told.add(name);
    const fakes = danger === 'own' && FAKE.contains(address);
    this.#observer.log(
      'warning',
      `the answer for ${name} is refused: a resolver says ${address}, which is ${MEANS[danger]}`,
      {
        hint: fakes
          ? `mihomo and Clash answer with such addresses ("fake-ip"): if one of them is your resolver, move the tunnel's own with --virtual-range`
          : `if that is meant so: --rebind-domain-ok ${name}`,
      },
    );
  }
}

/** Screens the answers of a resolver. */
export class RebindingGuard implements Resolver {
  readonly #upstream: Resolver;
  readonly #rules: RebindingRules;

  constructor(upstream: Resolver, rules: RebindingRules) {
    this.#upstream = upstream;
    this.#rules = rules;
  }

  async resolve(question: Question): Promise<UpstreamAnswer> {
    return this.#rules.screen(question, await this.#upstream.resolve(question));
  }

  close(): void {
    this.#upstream.close();
  }
}

function suffixes(names: readonly string[]): NameMap<undefined> {
  return new NameMap(
    names.flatMap((name) => [true, false].map((below) => [{ name, below }, undefined] as const)),
  );
}

/** SvcParamKeys of RFC 9460 §14.3.2, and the octets of an address in each. */
const HINTS: ReadonlyMap<number, 4 | 16> = new Map([
  [4, 4],
  [6, 16],
]);

/** The addresses in checked records, canonical; IPv4-mapped ones as what they hold. */
function* addressesOf(bytes: Uint8Array, records: readonly RecordView[]): Generator<string> {
  for (const { type, class: of, dataStart, dataEnd } of records) {
    if (of !== CLASS_IN) continue;
    const data = bytes.subarray(dataStart, dataEnd);
    if (type === Type.A || type === Type.AAAA) yield addressIn(data);
    else if (type === Type.HTTPS || type === Type.SVCB) yield* hintsIn(data);
  }
}

/** A target that is cut off or pointers that don't belong there end it: clients drop such data. */
function* hintsIn(data: Uint8Array): Generator<string> {
  const view = viewOf(data);
  let at = 2;
  for (;;) {
    const label = data[at];
    if (label === undefined || label > 63) return;
    at += 1 + label;
    if (label === 0) break;
  }
  while (at + 4 <= data.length) {
    const size = HINTS.get(view.getUint16(at));
    const end = at + 4 + view.getUint16(at + 2);
    if (end > data.length) return;
    if (size !== undefined)
      for (let from = at + 4; from + size <= end; from += size)
        yield addressIn(data.subarray(from, from + size));
    at = end;
  }
}

function addressIn(octets: Uint8Array): string {
  const head = octets.subarray(0, 12);
  const embeds =
    octets.length === 16 &&
    (MAPPED.equals(head) || (COMPATIBLE.equals(head) && (octets[12] ?? 0) > 0));
  return addressFromBytes(embeds ? octets.subarray(12) : octets);
}
