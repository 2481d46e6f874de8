/**
 * The options for what a jump host may send before it is read
 * (ssh/embedded/channels/receivewindow.ts).
 */

import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import type { Place } from '../net/place.ts';
import type { WindowOptions } from '../ssh/options.ts';

/** As commander hands them over. */
export interface WindowOptionTexts {
  readonly maxWindow?: string;
  readonly windowBudget?: string;
}

/** One packet of the largest size (RFC 4253 §6.1). */
const LEAST = 32 * 1024;
/** RFC 4254 §5.2: a window is less than 2^32. */
const MOST = 2 ** 32 - 1;
const BYTES_IN: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** `owned`: the SSH client is known to be one with windows of its own. Throws UsageError. */
export function readWindowOptions(
  { maxWindow, windowBudget }: WindowOptionTexts,
  owned: boolean,
): WindowOptions {
  const [given] = [maxWindow && '--max-window', windowBudget && '--window-budget'].filter(Boolean);
  if (owned && given !== undefined)
    throw new UsageError(
      `${given} is for the embedded SSH client: ssh chooses its windows itself`,
      {
        hint: `leave ${given} out, or --transport openssh and -e`,
      },
    );
  return {
    maxWindow: maxWindow === undefined ? undefined : readSize(maxWindow, '--max-window'),
    budget: windowBudget === undefined ? undefined : readSize(windowBudget, '--window-budget'),
  };
}

/**
 * As ssh_config writes sizes (RekeyLimit): a number of bytes, or of 2^10, 2^20, 2^30 with K, M, G.
 */
function readSize(text: string, option: Place): number {
  const [, count = '', unit = ''] = /^([0-9]+)([KMG]?)$/i.exec(text) ?? [];
  const bytes = Number(count) * (BYTES_IN[unit.toUpperCase()] ?? 0);
  if (bytes >= LEAST && bytes <= MOST) return bytes;
  throw new UsageError(`${option}: ${quoted(text)} is not a size from 32K to 4095M`, {
    hint: `write bytes, or K, M or G behind the number, as in: ${option} 8M`,
  });
}
