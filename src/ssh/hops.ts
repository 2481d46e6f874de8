/** The SSH servers through which a jump host is reached (ProxyJump), flattened to one list. */

import { UsageError } from '../errors/errors.ts';
import { MAX_JUMP_HOPS } from './remote.ts';
import type { SshSettings } from './settings.ts';

/** SSH connections one inside another, including the jump host's own. */
export const MAX_HOPS = MAX_JUMP_HOPS + 1;

/** What a server is: the jump host, or a hop on the way to it. */
export type Role = 'jump host' | 'hop';

/** How the user sets the port of a server, for hints. */
export const PORT_OF: Readonly<Record<Role, string>> = {
  'jump host': 'the port (-p)',
  hop: 'the port of this host on the way (-J user@hop:2222, or ProxyJump)',
};

/**
 * From the outermost hop, to which this machine connects, to the jump host itself. At least one.
 */
export type Hops = readonly [SshSettings, ...SshSettings[]];

/**
 * The first hop is reached as its own settings say. Each of the others is reached through the one
 * before it, whatever its own ProxyJump or ProxyCommand says, as with `ssh -J`. Throws UsageError
 * if there are more than MAX_HOPS.
 */
export function hopsOf(settings: SshSettings): Hops {
  const hops = flatten(settings, 0);
  if (hops.length > MAX_HOPS) throw tooMany(settings);
  return hops;
}

function flatten(settings: SshSettings, depth: number): Hops {
  if (depth > MAX_HOPS) throw tooMany(settings);
  if (settings.proxy.kind !== 'jump') return [settings];
  const [first, ...others] = settings.proxy.hops;
  if (first === undefined) return [settings];
  return [...flatten(first, depth + 1), ...others, settings];
}

function tooMany({ name }: SshSettings): UsageError {
  return new UsageError(`${name} is reached through more than ${MAX_JUMP_HOPS} other hosts`, {
    hint: 'shorten the chain of -J or ProxyJump',
  });
}
