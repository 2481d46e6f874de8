/**
 * Keeps the word "captured" true: what is said to be captured leads to the tunnel's device, as the
 * kernel says (system/routing/diversion.ts).
 *
 *   start(), setPrefixes(), an event of the network, every CHECK_MS
 *     └─► check: samples ─► the kernel's answers
 *           ├─ a route of somebody else's is in the way ─► override it, say so once, check again
 *           ├─ left out: a connected network, a gateway ─► say so once
 *           └─ diverted, and no route can help          ─► end, or with --allow-diverted say so
 *
 * One check or change is under way at a time. After an event the kernel may lead traffic elsewhere
 * until the check is over: native/netwatch.h says how soon it comes.
 */
import { type Clock, type ClockTimer, systemClock } from '../base/clock.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { formatPrefix, type Prefix, type RoutedPrefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import type { PrefixCapture } from '../policy/captured.ts';
import {
  connectedNetworks,
  type Diversions,
  findDiversions,
  foreignRoutes,
  tunnelRoutes,
} from '../system/routing/diversion.ts';
import type { KernelRouting } from '../system/routing/kernel.ts';
import { keptLocal } from '../system/routing/local.ts';
import { Overrides } from '../system/routing/overrides.ts';

/** Checks without a reason, in case an event was not reported, in milliseconds. */
export const CHECK_MS = 30_000;
/** Overrides may uncover other routes. */
const MAX_ROUNDS = 8;
/** Things named in one message. */
const MAX_NAMED = 8;
const FIND_THE_OTHER =
  'end what made the rule or the route (another VPN?), leave its range out with -x, or go on without these with --allow-diverted; "tunnel exec" is not affected';
/** Sentences that are remembered as said. Beyond that they may be said again. */
const MAX_SAID = 1024;

interface RoutedCapture {
  readonly deviceName: string | undefined;
  setPrefixes(prefixes: readonly RoutedPrefix[]): Promise<void>;
}

export interface CaptureGuardParts {
  readonly capture: RoutedCapture;
  readonly routing: KernelRouting;
  /** What is to be captured now. */
  readonly captured: () => readonly Prefix[];
  /** What was asked for, before anything was left out of it. */
  readonly requested: () => readonly Prefix[];
  /** What the capture routes besides. */
  readonly alsoRouted: readonly Prefix[];
  /** Addresses of `captured` that other tunnels may capture as well. Default: none. */
  readonly shared?: () => ReadonlySet<string>;
  /** --allow-diverted */
  readonly allowDiverted: boolean;
  /** --capture-local */
  readonly captureLocal: boolean;
  readonly observer: Observer;
  readonly clock?: Clock;
}

export class CaptureGuard implements PrefixCapture {
  readonly #parts: CaptureGuardParts;
  readonly #clock: Clock;
  readonly #overrides = new Overrides();
  readonly #said = new Set<string>();
  /** What was left to the kernel when routes were last set. */
  #local = '';
  /** What has a route of ours. */
  #routed: ReadonlySet<string> = new Set();
  /** What the helper has said, if nothing but its rules is in the way. */
  #notPermitted: TunnelError | undefined;
  /**
   * Resolves with `capture-diverted` or `capture-not-permitted`, or with undefined after close().
   */
  readonly ended: Promise<TunnelError | undefined>;
  #end: (error: TunnelError | undefined) => void = () => {};
  #last: Promise<unknown> = Promise.resolve();
  /** A check is waiting for its turn. */
  #waiting = false;
  #started = false;
  #closed = false;
  #timer: ClockTimer | undefined;

  constructor(parts: CaptureGuardParts) {
    this.#parts = parts;
    this.#clock = parts.clock ?? systemClock;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  get deviceName(): string | undefined {
    return this.#parts.capture.deviceName;
  }

  /** As the capture's; what is overridden stays so. */
  async setPrefixes(prefixes: readonly Prefix[]): Promise<void> {
    await this.#inTurn(() => this.#apply(prefixes));
    if (this.#started) this.check();
  }

  /**
   * The first check, once the capture has started. Rejects with TunnelError `capture-diverted`, or
   * `capture-not-permitted` if this user may not override what is in the way.
   */
  async start(): Promise<void> {
    const failure = await this.#inTurn(() => this.#check());
    if (failure !== undefined) throw failure;
    this.#started = true;
    this.#rearm();
  }

  /** Something has changed. Never throws; what is wrong, `ended` says. */
  check(): void {
    if (!this.#started || this.#closed || this.#waiting) return;
    this.#waiting = true;
    void this.#inTurn(async () => {
      this.#waiting = false;
      if (this.#closed) return;
      const failure = await this.#check();
      if (failure !== undefined && !this.#closed) this.#end(failure);
      else this.#rearm();
    });
  }

  /** Resolves when no check is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#last;
    this.#end(undefined);
  }

  #rearm(): void {
    this.#timer?.cancel();
    if (!this.#closed) this.#timer = this.#clock.after(CHECK_MS, () => this.check());
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {}); // the caller gets the error
    return done;
  }

  /**
   * Those that get a route of ours: not what the kernel keeps local (system/routing/local.ts), and
   * not what somebody else has a route to already. The next check overrides that one by narrower
   * routes: beside another route to the same prefix, ours might lose.
   */
  routable(prefixes: readonly Prefix[]): readonly RoutedPrefix[] {
    const left = this.#lookLocal(prefixes);
    const routes = prefixes.filter((prefix) => !left.has(formatPrefix(prefix)));
    this.#routed = new Set(routes.map(formatPrefix));
    return this.#marked(routes);
  }

  /** With what other tunnels may have as well. */
  #marked(routes: readonly RoutedPrefix[]): readonly RoutedPrefix[] {
    const shared = this.#parts.shared?.() ?? new Set();
    // A single address is written without its length.
    return routes.map((prefix) =>
      shared.has(formatPrefix(prefix)) ? { ...prefix, shared: true } : prefix,
    );
  }

  /** Those that lead to the device: by routes of their own, or by overrides (--capture-local). */
  leading(prefixes: readonly Prefix[]): readonly Prefix[] {
    const local = this.#parts.captureLocal ? [] : this.#keptLocal(prefixes);
    return prefixes.filter((prefix) => !local.includes(prefix));
  }

  async #apply(prefixes: readonly Prefix[]): Promise<void> {
    const all = [...prefixes, ...this.#parts.alsoRouted];
    const set = (routes: readonly Prefix[]): Promise<void> =>
      this.#parts.capture.setPrefixes([...routes, ...this.#marked(this.#overrides.within(all))]);
    const routes = this.routable(prefixes);
    const local = this.#local;
    try {
      await set(routes);
    } catch (error) {
      // The helper has looked later: the machine may have joined a network since.
      const fewer = this.routable(prefixes);
      if (!isNotPermitted(error) || this.#local === local) throw error;
      await set(fewer);
    }
  }

  /** Sets the routes again when others than before are left to the kernel, or some are gone. */
  async #followLocal(): Promise<void> {
    const before = this.#local;
    this.#lookLocal(this.#parts.captured());
    if (this.#local !== before || (this.#started && this.#isWithdrawn()))
      await this.#apply(this.#parts.captured());
  }

  /**
   * Whether routes of ours are gone: the helper withdraws what is in a network that the machine
   * joins, which it may have left by now.
   */
  #isWithdrawn(): boolean {
    try {
      const ours = new Set(tunnelRoutes(this.#parts.routing, this.deviceName).map(formatPrefix));
      return [...this.#routed].some((prefix) => !ours.has(prefix));
    } catch {
      return false; // as in #keptLocal
    }
  }

  #lookLocal(prefixes: readonly Prefix[]): ReadonlySet<string> {
    const left = [...this.#keptLocal(prefixes), ...this.#takenByOthers(prefixes)];
    const names = left.map(formatPrefix);
    this.#local = names.join();
    return new Set(names);
  }

  #keptLocal(prefixes: readonly Prefix[]): readonly Prefix[] {
    const { requested, captureLocal, routing } = this.#parts;
    try {
      const networks = connectedNetworks(routing, this.deviceName);
      return keptLocal(prefixes, { networks, requested: requested(), captureLocal });
    } catch {
      // The check that follows says that the kernel can't be asked.
      return [];
    }
  }

  #takenByOthers(prefixes: readonly Prefix[]): readonly Prefix[] {
    try {
      const foreign = new Set(foreignRoutes(this.#parts.routing).map(formatPrefix));
      return prefixes.filter((prefix) => {
        const text = formatPrefix(prefix);
        return foreign.has(text) && !this.#routed.has(text);
      });
    } catch {
      return []; // as in #keptLocal
    }
  }

  async #check(): Promise<TunnelError | undefined> {
    let sentences = await this.#findAndOverride();
    // A change between two answers may look like a diversion.
    if (sentences.length > 0) sentences = await this.#findAndOverride();
    if (sentences.length === 0) return undefined;
    if (!this.#parts.allowDiverted) return this.#notCapturedError(sentences);
    const fresh = sentences.filter((sentence) => this.#isNew(sentence));
    if (fresh.length > 0) {
      const { observer } = this.#parts;
      observer.count('tunnel_capture_diverted_total', fresh.length);
      observer.log('warning', `not captured: ${listed(fresh)}`);
    }
    return undefined;
  }

  /** What can't be overridden, a sentence for each. */
  async #findAndOverride(): Promise<readonly string[]> {
    const { captured, alsoRouted, captureLocal, routing } = this.#parts;
    this.#notPermitted = undefined;
    for (let round = 1; ; round++) {
      const device = this.deviceName ?? '';
      try {
        await this.#followLocal();
      } catch (error) {
        this.#noteRefusal(error, []);
        return [`the routes can't be set (${reasonOf(error)})`];
      }
      let found: Diversions;
      try {
        const all = [...captured(), ...alsoRouted];
        found = findDiversions(routing, { captured: all, device, captureLocal });
      } catch (error) {
        return [`the kernel does not say where captured traffic goes (${reasonOf(error)})`];
      }
      const wanted = found.inTheWay.map(({ destination }) => destination);
      const overridden = this.#overrides.add(wanted, found);
      const added = found.inTheWay.filter(({ destination }) => overridden.includes(destination));
      const stubborn = found.inTheWay.filter((route) => !added.includes(route));
      const sentences = [
        ...found.diverted,
        ...stubborn.map(
          ({ destination, way }) =>
            `${formatPrefix(destination)} goes ${way}, whatever route overrides it`,
        ),
      ];
      if (added.length === 0) {
        this.#sayRest(found);
        return sentences;
      }
      try {
        await this.#apply(captured());
      } catch (error) {
        this.#overrides.remove(overridden);
        this.#noteRefusal(error, sentences);
        const names = listed(overridden.map(formatPrefix));
        return [...sentences, `routes to ${names} can't be overridden (${reasonOf(error)})`];
      }
      this.#sayOverridden(
        added.map(({ destination, way }) => `${formatPrefix(destination)} ${way}`),
      );
      if (round === MAX_ROUNDS) return [...sentences, 'overrides uncover ever more routes'];
    }
  }

  #noteRefusal(error: unknown, others: readonly string[]): void {
    if (others.length > 0) return;
    if (isNotPermitted(error)) this.#notPermitted = error;
  }

  #notCapturedError(sentences: readonly string[]): TunnelError {
    const message = `not captured: ${listed(sentences)}`;
    const refusal = this.#notPermitted;
    if (refusal === undefined)
      return new TunnelError('capture-diverted', message, { hint: FIND_THE_OTHER });
    const without = this.#parts.captureLocal ? 'start it without --capture-local; or ' : '';
    return new TunnelError(refusal.code, message, {
      hint: `${without}${refusal.hint ?? FIND_THE_OTHER}`,
      cause: refusal,
    });
  }

  #sayOverridden(routes: readonly string[]): void {
    const { observer } = this.#parts;
    observer.count('tunnel_capture_overridden_total', routes.length);
    const fresh = routes.filter((route) => this.#isNew(`overridden: ${route}`));
    if (fresh.length === 0) return;
    observer.log('warning', `overridden, because it is captured: the route ${listed(fresh)}`, {
      hint: 'leave it out with -x if it is to go its own way',
    });
  }

  #sayRest({ leftOut, incomplete }: Diversions): void {
    const { observer } = this.#parts;
    const fresh = leftOut
      .map(({ prefix, why }) => `${formatPrefix(prefix)} ${why}`)
      .filter((text) => this.#isNew(text));
    if (fresh.length > 0) observer.log('notice', `left out: ${listed(fresh)}`);
    if (!incomplete) return;
    observer.count('tunnel_capture_samples_over_limit_total');
    if (this.#isNew('incomplete'))
      observer.log('warning', 'too many routes to verify what is captured: some are not looked at');
  }

  #isNew(sentence: string): boolean {
    if (this.#said.has(sentence)) return false;
    if (this.#said.size >= MAX_SAID) this.#said.clear();
    this.#said.add(sentence);
    return true;
  }
}

function isNotPermitted(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code === 'capture-not-permitted';
}

function listed(texts: readonly string[]): string {
  const rest = texts.length > MAX_NAMED ? `; and ${texts.length - MAX_NAMED} more` : '';
  return texts.slice(0, MAX_NAMED).join('; ') + rest;
}
