/**
 * The captured prefixes of a running tunnel. What the tunnel itself connects to by sockets that are
 * not bound to a device (a ProxyCommand's) must never be captured, because the tunnel would capture
 * its own connection. These addresses may be others at each reconnect.
 *
 *   new addresses --leaveOutToo--> neither the new nor the old ones are captured --(dialled)-->
 *   --leaveOutOnly--> only the new ones are left out
 *
 * Everything else stays captured throughout: no traffic for the tunnel goes another way meanwhile.
 */
import { formatPrefix, type Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import { type CaptureRules, capturedPrefixes } from './policy.ts';

/** A capture that works by prefixes: a TUN. */
export interface PrefixCapture {
  /** Undefined: the device has not been made yet. */
  readonly deviceName: string | undefined;
  /** Makes the kernel capture exactly these prefixes. Resolves when it does. */
  setPrefixes(prefixes: readonly Prefix[]): Promise<void>;
}

export class CapturedPrefixes {
  #rules: CaptureRules;
  #capture: PrefixCapture | undefined;
  /** The addresses that are left out now. */
  #own: readonly Prefix[] = [];
  /** The addresses last given to `leaveOutOnly`: those of the last link that was up. */
  #settled: readonly Prefix[] = [];
  #current: readonly Prefix[] = [];
  #set = new PrefixSet([]);
  /** The change being applied. There is one at a time, so a failed change undoes only itself. */
  #changing: Promise<void> = Promise.resolve();

  /** `rules` is read again for each change. */
  constructor(rules: CaptureRules) {
    this.#rules = rules;
  }

  /** From now on `capture` applies each change. It captures `current` when it starts. */
  attach(capture: PrefixCapture): void {
    this.#capture = capture;
  }

  /** The device that captures the prefixes. Undefined: it doesn't exist yet. */
  get deviceName(): string | undefined {
    return this.#capture?.deviceName;
  }

  /** Whether a canonical address is captured. */
  contains(address: string): boolean {
    return this.#set.contains(address);
  }

  /** Whether a canonical address is captured, or would be if it weren't left out. */
  concerns(address: string): boolean {
    return this.contains(address) || this.#own.some((prefix) => prefix.address === address);
  }

  /** The prefixes last applied. Empty before the first change. */
  get current(): readonly Prefix[] {
    return this.#current;
  }

  /** The rules last applied, or being applied. */
  get rules(): CaptureRules {
    return this.#rules;
  }

  /** What the rules capture without what is only kept. */
  get asked(): readonly Prefix[] {
    const { kept: _, ...rules } = this.#rules;
    return capturedPrefixes({ ...rules, mayBeEmpty: true, always: this.#own });
  }

  /**
   * Leaves out `own`, and what `leaveOutOnly` was last given. Addresses that were tried since
   * without success are captured again, because there may be any number of them. Rejects as
   * capturedPrefixes and `setPrefixes` do, and then nothing has changed.
   */
  leaveOutToo(own: readonly Prefix[]): Promise<void> {
    return this.#change(() => this.#leaveOut([...this.#settled, ...own]));
  }

  /** Leaves out `own` and nothing else. Rejects as `leaveOutToo` does. */
  leaveOutOnly(own: readonly Prefix[]): Promise<void> {
    return this.#change(async () => {
      await this.#leaveOut(own);
      this.#settled = own;
    });
  }

  /**
   * Replaces the rules: those of a cloud are known only when the link is up. Rejects as
   * `leaveOutToo` does.
   */
  setRules(rules: CaptureRules): Promise<void> {
    return this.#change(async () => {
      const before = this.#rules;
      this.#rules = rules;
      try {
        await this.#leaveOut(this.#own);
      } catch (error) {
        this.#rules = before;
        throw error;
      }
    });
  }

  /** Applies rules that have changed. Rejects as `leaveOutToo` does. */
  refresh(): Promise<void> {
    return this.#change(() => this.#leaveOut(this.#own));
  }

  #change(work: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(work);
    this.#changing = done.catch(() => {}); // the caller gets the error from `done`
    return done;
  }

  async #leaveOut(own: readonly Prefix[]): Promise<void> {
    const before = this.#current;
    const ownBefore = this.#own;
    const wanted = capturedPrefixes({ ...this.#rules, always: own });
    // Set first, for a capture that starts while this is being applied.
    this.#setCurrent(wanted);
    this.#own = own;
    try {
      if (wanted.map(formatPrefix).join() !== before.map(formatPrefix).join())
        await this.#capture?.setPrefixes(wanted);
    } catch (error) {
      this.#setCurrent(before);
      this.#own = ownBefore;
      throw error;
    }
  }

  #setCurrent(prefixes: readonly Prefix[]): void {
    this.#current = prefixes;
    this.#set = new PrefixSet(prefixes);
  }
}
