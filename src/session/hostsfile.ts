/**
 * Names of the tunnel that /etc/hosts has as well. Programs connect to the address that stands
 * there, so the tunnel never sees the name. That is said, once for each name: when the tunnel
 * starts, and when the file has changed.
 *
 * Nothing is said of an address that is captured itself, since it is carried all the same; nor of
 * this machine's own name.
 */
import { hostname } from 'node:os';
import type { Configuration } from '../config/configuration.ts';
import { namingOptions } from '../config/dnsoptions.ts';
import { createNaming } from '../dns/naming.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { Observer } from '../observe/observer.ts';
import { asksHostsFirst, type HostsEntry, parseHosts } from '../system/resolver/hosts.ts';
import type { Current } from './current.ts';
import type { Machine } from './machine.ts';
import type { Session } from './session.ts';

/** Names in one message. */
const MAX_NAMED = 8;
/** Names that are remembered as said. Of more nothing is said. */
const MAX_SAID = 1024;

/** What decides which names and addresses are the tunnel's. */
export type HostsRules = Pick<
  Configuration,
  'targets' | 'exclusions' | 'nameTargets' | 'nameExclusions' | 'dns'
>;

/**
 * The entries whose names the tunnel would answer for, and whose addresses it doesn't capture.
 * `own`: this machine's name.
 */
export function pastTunnel(
  entries: readonly HostsEntry[],
  rules: HostsRules,
  own: string,
): HostsEntry[] {
  // With --dns all names are the tunnel's, but nobody means those of this machine.
  const naming = createNaming({ ...namingOptions(rules), beyond: 'local' });
  const captured = new PrefixSet(rules.targets.map(({ prefix }) => prefix));
  const excluded = new PrefixSet(
    rules.exclusions.filter(({ ports }) => ports.length === 0).map(({ prefix }) => prefix),
  );
  return entries.filter(({ name, address }) => {
    if (name === own || name.startsWith(`${own}.`)) return false;
    const { kind } = naming(name);
    if (kind !== 'virtual' && kind !== 'tunnel') return false;
    return !captured.contains(address) || excluded.contains(address);
  });
}

export class HostsFileWatch {
  readonly #rules: HostsRules;
  readonly #machine: Pick<Machine, 'hostsFile' | 'watchHostsFile'>;
  readonly #observer: Observer;
  readonly #said = new Set<string>();
  #unwatch: () => void = () => {};
  #isClosed = false;

  constructor(
    rules: HostsRules,
    machine: Pick<Machine, 'hostsFile' | 'watchHostsFile'>,
    observer: Observer,
  ) {
    this.#rules = rules;
    this.#machine = machine;
    this.#observer = observer;
  }

  /** Looks at the file, and again whenever it changes. Never rejects. */
  async start(): Promise<void> {
    const { dns, nameTargets } = this.#rules;
    if (nameTargets.length === 0 && dns.domains.length === 0) return;
    this.#unwatch = this.#machine.watchHostsFile(() => void this.#look(), this.#observer);
    await this.#look();
  }

  close(): void {
    this.#isClosed = true;
    this.#unwatch();
  }

  async #look(): Promise<void> {
    const { hosts, nsswitch, asksResolved } = await this.#machine.hostsFile();
    if (this.#isClosed || hosts === undefined) return;
    if (!asksResolved && !asksHostsFirst(nsswitch)) return;
    const entries = parseHosts(hosts, asksResolved);
    const found = pastTunnel(entries, this.#rules, hostname().toLowerCase());
    const fresh = found
      .map(({ name, address }) => `${name} (${address})`)
      .filter((text) => this.#isNew(text));
    if (fresh.length === 0) return;
    const rest = fresh.length > MAX_NAMED ? ` and ${fresh.length - MAX_NAMED} more` : '';
    const names = fresh.slice(0, MAX_NAMED).join(', ') + rest;
    this.#observer.count('tunnel_hosts_file_names_total', fresh.length);
    this.#observer.log(
      'warning',
      `/etc/hosts has ${names}: programs connect there, past the tunnel, since they look there before they ask`,
      { hint: 'remove the line from /etc/hosts, or make the address a target as well' },
    );
  }

  #isNew(text: string): boolean {
    if (this.#said.has(text) || this.#said.size >= MAX_SAID) return false;
    this.#said.add(text);
    return true;
  }
}

/** The rules as they are whenever the file is looked at. */
export function liveRules(current: Current): HostsRules {
  return {
    get dns() {
      return current.configuration.dns;
    },
    get targets() {
      return current.configuration.targets;
    },
    get exclusions() {
      return current.configuration.exclusions;
    },
    get nameTargets() {
      return current.configuration.nameTargets;
    },
    get nameExclusions() {
      return current.configuration.nameExclusions;
    },
  };
}

/** Has it looked at for as long as `session` lasts. Never rejects. */
export function watchHostsFile(
  session: Session,
  rules: HostsRules,
  { machine, observer }: { readonly machine: Machine; readonly observer: Observer },
): Promise<void> {
  const watch = new HostsFileWatch(rules, machine, observer);
  return session.own('the look at /etc/hosts', watch, (it) => it.close()).start();
}
