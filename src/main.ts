#!/usr/bin/env -S node --single-threaded-gc --max-semi-space-size=4 --heap-growing-percent=20 --inspect-port=255.255.255.255
/**
 * The entry point. It answers --version by itself, which needs next to nothing; everything else
 * begins in entry/run.ts, with most of the program's modules. An old Node is refused before that:
 * it might not even read them.
 *
 * The heap is small, and the garbage is many short-lived buffers. So it is cheapest to collect it
 * on one thread. A young generation that doesn't grow with the number of flows, and an old one that
 * is collected early, keep less garbage in memory (docs/decisions/0009). The first line can't be
 * broken, and Linux before 5.1 reads 127 octets of it.
 */
import { isTooOld } from './cli/oldestnode.ts';
import { print } from './cli/output.ts';
import { version } from './cli/version.ts';

/** False if it can't be printed: the whole program reports why. */
function printsVersion([first, ...others]: readonly string[]): boolean {
  if ((first !== '--version' && first !== '-V') || others.length > 0) return false;
  try {
    print(`${version()}\n`);
    return true;
  } catch {
    return false;
  }
}

const args = process.argv.slice(2);
if (!printsVersion(args)) {
  if (isTooOld()) void import('./entry/oldnode.ts').then(({ refuseNode }) => refuseNode(args));
  else void import('./entry/run.ts').then(({ run }) => run());
}
