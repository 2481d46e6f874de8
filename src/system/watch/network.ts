/**
 * Reports changes of this machine's network: devices that come up or go, addresses, routes and
 * rules (rtnetlink).
 */

import { reasonOf } from '../../errors/reason.ts';
import { type Addon, addon, type NetwatchHandle } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';

export interface NetwatchOptions {
  /** The tunnel's own device. Its changes, and those of routes through it, are ignored. */
  readonly ignoredDevice: string;
  /**
   * Called once for changes that come together, between a quarter of a second and a second after
   * the first.
   */
  readonly changed: () => void;
  readonly observer: Observer;
}

/**
 * Returns the function that ends the watch; it may be called more than once. If the kernel doesn't
 * report changes, or the native part is missing, that is logged and `changed` is never called.
 * Without it callers must still work, only more slowly.
 */
export function watchNetwork({ ignoredDevice, changed, observer }: NetwatchOptions): () => void {
  const logFailure = (why: string) =>
    observer.log('info', `network changes can't be watched: ${why}`);
  let native: Addon;
  let watch: NetwatchHandle;
  try {
    native = addon();
    watch = native.netwatchStart(ignoredDevice, (errno) => {
      if (errno === 0) changed();
      else logFailure(`errno ${errno}`);
    });
  } catch (error) {
    logFailure(reasonOf(error));
    return () => {};
  }
  return () => native.netwatchStop(watch);
}
