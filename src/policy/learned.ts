/**
 * What a run has asked for, as the smallest allow-list that permits it: a rule for each host, with
 * its ports.
 */
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { formatPorts, mergePorts } from '../net/ports.ts';
import type { Observer } from '../observe/observer.ts';

/** Hosts and ports together. A run that asks for more is a scan, and no list comes of it. */
export const MAX_LEARNED_DESTINATIONS = 4096;

interface Learned {
  readonly ports: Set<number>;
  /** Whether the list at hand lacks a rule for one of them. */
  denied: boolean;
}

export class LearnedDestinations {
  readonly #observer: Observer;
  readonly #hosts = new Map<string, Learned>();
  #size = 0;
  #left = 0;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /** `permitted`: whether a rule permits it already. */
  add({ host, port }: Destination, permitted: boolean): void {
    const known = this.#hosts.get(host);
    if (known?.ports.has(port) === true) return;
    if (this.#size >= MAX_LEARNED_DESTINATIONS) {
      this.#left += 1;
      this.#observer.count('tunnel_allowlist_unlearned_total');
      return;
    }
    this.#size += 1;
    if (known === undefined) {
      this.#hosts.set(host, { ports: new Set([port]), denied: !permitted });
      return;
    }
    known.ports.add(port);
    known.denied ||= !permitted;
  }

  /** As --allow reads it: names first, each kind sorted. Ends in a newline. */
  format(): string {
    const rules = [...this.#hosts].map(([host, { ports, denied }]) => ({
      isName: !isAddress(host),
      denied,
      text: `${host.includes(':') ? `[${host}]` : host}:${formatPorts(mergePorts([...ports].map(single)))}`,
    }));
    rules.sort(
      (a, b) =>
        Number(b.isName) - Number(a.isName) ||
        a.text.localeCompare(b.text, 'en', { numeric: true }),
    );
    const lines = rules.map(({ text, denied }) =>
      denied ? `${text}  # denied by the present list` : text,
    );
    if (this.#left > 0)
      lines.push(
        `# and ${this.#left} connections more, to destinations beyond the first ${MAX_LEARNED_DESTINATIONS}`,
      );
    return `${['# what this run has asked for', ...lines].join('\n')}\n`;
  }
}

function single(port: number): { readonly first: number; readonly last: number } {
  return { first: port, last: port };
}
