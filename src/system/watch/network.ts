/**
 * Tells when this machine's network has changed: a device came up or went, an address or a route
 * changed (rtnetlink).
 */
import { errorText } from '../../base/errortext.ts';
import { addon, type NetwatchHandle } from '../../native/addon.ts';
import type { Observer } from '../../observe/observer.ts';

export interface NetwatchOptions {
  /** Its changes, and those of routes through it, are not told: the tunnel's own device. */
  readonly ignoredDevice: string;
  /**
   * Called once for changes that come together, a quarter of a second to a second after the first.
   */
  readonly changed: () => void;
  readonly observer: Observer;
}

/**
 * Returns what ends the watch; it may be called more than once. Where the kernel can't be listened
 * to, that is logged, and `changed` is never called: what depends on it must be slower without it,
 * not wrong.
 */
export function watchNetwork({ ignoredDevice, changed, observer }: NetwatchOptions): () => void {
  const native = addon();
  const deaf = (why: string) =>
    observer.log('info', `changes of the network can't be seen: ${why}`);
  let watch: NetwatchHandle;
  try {
    watch = native.netwatchStart(ignoredDevice, (errno) => {
      if (errno === 0) changed();
      else deaf(`errno ${errno}`);
    });
  } catch (error) {
    deaf(errorText(error));
    return () => {};
  }
  return () => native.netwatchStop(watch);
}
