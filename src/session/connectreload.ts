/**
 * A reload of `tunnel connect`, which captures by routes. In this order, so that nothing goes past
 * the tunnel that should not:
 *
 *   1. checks     the number of forwards (forwards.ts); the names of other tunnels; the families of
 *                 the device (the capture rejects)
 *   2. resolver   systemd-resolved also sends the new names here
 *   3. routes     of all that is captured now, and of all that is to be
 *   ── until here whatever fails is taken back ──
 *   4. at once    allow-list, policies, names
 *   5. routes     of what is captured no longer go, except where connections live (keptroutes.ts)
 */
import type { Configuration } from '../config/configuration.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import type { Neighbours } from '../dns/server/neighbours.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { CaptureRules } from '../policy/policy.ts';
import type { Interception } from './interception.ts';
import type { KeptRoutes } from './keptroutes.ts';
import { namingOf } from './names.ts';

export interface ConnectReloadParts {
  readonly captured: CapturedPrefixes;
  readonly kept: KeptRoutes;
  readonly rulesOf: (configuration: Configuration) => CaptureRules;
  readonly neighbours: Neighbours;
  readonly names: NameService | undefined;
  readonly interception: Interception | undefined;
}

/** As ReloadParts.apply. */
export async function applyToRoutes(
  next: Configuration,
  change: () => void,
  { captured, kept, rulesOf, neighbours, names, interception }: ConnectReloadParts,
): Promise<readonly string[]> {
  const gained = names === undefined ? [] : await newNames(next, names, neighbours);
  const undo = await interception?.setDomains(next);
  try {
    kept.hold();
    await captured.setRules(rulesOf(next));
  } catch (error) {
    await kept.settle();
    await undo?.();
    throw error;
  }
  change();
  await kept.settle();
  return [...unanswered(next, names), ...gained];
}

/** Rejects with TunnelError `already-running` if another tunnel answers for one of them. */
async function newNames(
  next: Configuration,
  names: NameService,
  neighbours: Neighbours,
): Promise<readonly string[]> {
  const claims = names.claimsWith(namingOf(next));
  const had = new Set(names.claims.texts);
  const gained = claims.texts.filter((text) => !had.has(text));
  if (gained.length === 0) return [];
  await neighbours.look(claims);
  const others = neighbours.devices;
  if (others.length === 0) return [];
  return [
    `the tunnels of ${others.join(', ')} don't know the new names until they are started again`,
  ];
}

/** Name targets that programs can't look up: nothing of the tunnel's answers, or has addresses. */
export function unanswered(
  { nameTargets }: Configuration,
  names: Pick<NameService, 'virtual'> | undefined,
): readonly string[] {
  if (nameTargets.length === 0 || names?.virtual !== undefined) return [];
  const some = nameTargets.slice(0, 8).map(({ text }) => text);
  return [`needs a restart before programs find ${some.join(', ')}: the tunnel answers no names`];
}
