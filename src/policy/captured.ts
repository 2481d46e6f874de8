/**
 * The captured prefixes of a running tunnel, in step with the jump host's own addresses, which must
 * never be captured: the tunnel would swallow its own connection. A name may lead to other
 * addresses at each reconnect.
 *
 *   new addresses --leaveOutToo--> neither they nor the old ones are captured --(dialled)-->
 *   --leaveOutOnly--> not the new ones
 *
 * Whatever else is captured stays so throughout: nothing that belongs into the tunnel goes out
 * another way meanwhile.
 */
import { formatPrefix, type Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import { type CaptureRules, capturedPrefixes } from './policy.ts';

/** What captures prefixes: a TUN. */
export interface PrefixCapture {
  /** Undefined: its device has not been made yet. */
  readonly deviceName: string | undefined;
  /** Has the kernel capture just these; resolves when that is so. */
  setPrefixes(prefixes: readonly Prefix[]): Promise<void>;
}

export class CapturedPrefixes {
  #rules: CaptureRules;
  #capture: PrefixCapture | undefined;
  /** What is left out now. */
  #own: readonly Prefix[] = [];
  /** What `leaveOutOnly` was last given: the addresses of the link that stood last. */
  #settled: readonly Prefix[] = [];
  #current: readonly Prefix[] = [];
  #set = new PrefixSet([]);
  /**
   * What is being applied; one change at a time, so that one that fails takes back itself alone.
   */
  #changing: Promise<void> = Promise.resolve();

  /** The rules are read again each time. */
  constructor(rules: CaptureRules) {
    this.#rules = rules;
  }

  /** From now on each change is applied by `capture`, which captures `current` itself. */
  attach(capture: PrefixCapture): void {
    this.#capture = capture;
  }

  /** The device that captures them; undefined: there is none yet. */
  get deviceName(): string | undefined {
    return this.#capture?.deviceName;
  }

  /** Whether a canonical address is captured. */
  contains(address: string): boolean {
    return this.#set.contains(address);
  }

  /** What was applied last; empty before any address was left out. */
  get current(): readonly Prefix[] {
    return this.#current;
  }

  /**
   * Leaves `own` out, besides what `leaveOutOnly` was last given; not what was tried in vain since,
   * which may be any number. Rejects as capturedPrefixes and `setPrefixes` do; then nothing has
   * changed.
   */
  leaveOutToo(own: readonly Prefix[]): Promise<void> {
    return this.#change(() => this.#leaveOut([...this.#settled, ...own]));
  }

  /** Leaves `own` out and nothing besides. Rejects likewise. */
  leaveOutOnly(own: readonly Prefix[]): Promise<void> {
    return this.#change(async () => {
      await this.#leaveOut(own);
      this.#settled = own;
    });
  }

  /**
   * Captures what other rules hold: those of a cloud are known only when the link stands. Rejects
   * as capturedPrefixes and `setPrefixes` do; then nothing has changed.
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

  /** Applies rules that have changed. Rejects likewise. */
  refresh(): Promise<void> {
    return this.#change(() => this.#leaveOut(this.#own));
  }

  #change(work: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(work);
    this.#changing = done.catch(() => {}); // whoever asked for it hears of it
    return done;
  }

  async #leaveOut(own: readonly Prefix[]): Promise<void> {
    const before = this.#current;
    const ownBefore = this.#own;
    const wanted = capturedPrefixes({ ...this.#rules, always: own });
    // Already true for a capture that starts while this is being applied.
    this.#become(wanted);
    this.#own = own;
    try {
      if (wanted.map(formatPrefix).join() !== before.map(formatPrefix).join())
        await this.#capture?.setPrefixes(wanted);
    } catch (error) {
      this.#become(before);
      this.#own = ownBefore;
      throw error;
    }
  }

  #become(prefixes: readonly Prefix[]): void {
    this.#current = prefixes;
    this.#set = new PrefixSet(prefixes);
  }
}
