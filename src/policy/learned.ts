/**
 * The destinations of a run, as the smallest allow-list that permits them: a rule for each host,
 * with its ports.
 */
import { isAddress } from '../net/address.ts';
import type { Destination } from '../net/destination.ts';
import { formatPorts, mergePorts } from '../net/ports.ts';
import type { Observer } from '../observe/observer.ts';

/** The most host and port pairs. A run with more is a scan, and no useful list results from it. */
export const MAX_LEARNED_DESTINATIONS = 4096;

interface Learned {
  readonly ports: Set<number>;
  /** Whether the current list lacks a rule for one of the ports. */
  denied: boolean;
}

export class LearnedDestinations {
  readonly #observer: Observer;
  readonly #hosts = new Map<string, Learned>();
  #size = 0;
  #unlearned = 0;

  constructor(observer: Observer) {
    this.#observer = observer;
  }

  /** `permitted`: whether a rule of the current list permits it. */
  add({ host, port }: Destination, permitted: boolean): void {
    const known = this.#hosts.get(host);
    if (known?.ports.has(port) === true) return;
    if (this.#size >= MAX_LEARNED_DESTINATIONS) {
      this.#unlearned += 1;
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

  /**
   * The list in the format of --allow: names first, then addresses, both sorted. Ends in a newline.
   */
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
      denied ? `${text}  # denied by the current list` : text,
    );
    if (this.#unlearned > 0)
      lines.push(
        `# and ${this.#unlearned} more connections, to destinations beyond the first ${MAX_LEARNED_DESTINATIONS}`,
      );
    return `${['# what this run has asked for', ...lines].join('\n')}\n`;
  }
}

function single(port: number): { readonly first: number; readonly last: number } {
  return { first: port, last: port };
}
