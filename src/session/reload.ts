/**
 * A reload: the command line is read again, and what can change changes in the running tunnel.
 *
 *   HUP, tunnel reload ─► request() ─► read again ─► targets of a cloud ─► apply ─► one line
 *                                       └── an error: nothing has changed, and the error is said
 *
 * Flows that exist stay. How routes, names and policies change in an order that leaves no gap is in
 * connectreload.ts; without routes all that there is changes at once (Current).
 */
import type { Configuration } from '../config/configuration.ts';
import { changesBetween, reloaded } from '../config/reloadable.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';
import type { Reloads } from './reloads.ts';
import type { Session } from './session.ts';
import { prepareTargets } from './targets.ts';
import type { Tunnel } from './tunnel.ts';

export interface ReloadParts {
  readonly reloads: Reloads | undefined;
  /** What the session was started with. */
  readonly first: Configuration;
  /** An allow-list may be given to a tunnel that had none. Default: true. */
  readonly givesList?: boolean;
  /** What a composition leaves out of what was asked for. Default: nothing. */
  readonly adjust?: (configuration: Configuration) => Configuration | Promise<Configuration>;
  /**
   * Changes to this configuration, or rejects with TunnelError and has changed nothing. Resolves
   * with what is worth saying. Default: `change` alone.
   */
  readonly apply?: (
    next: Configuration,
    change: () => void,
  ) => Promise<readonly string[]> | readonly string[];
}

/** Serves requests until the session ends. */
export function serveReloads(session: Session, tunnel: Tunnel, parts: ReloadParts): void {
  const { reloads, first, givesList = true, adjust = (it) => it } = parts;
  const apply = parts.apply ?? changeAtOnce;
  const { current, guard, observer } = tunnel;
  reloads?.serve(async (read) => {
    try {
      const { configuration, restart } = reloaded(first, await read(), givesList);
      const next = await adjust(await complete(configuration, session, tunnel));
      session.signal.throwIfAborted();
      const before = current.configuration;
      const said = await apply(next, () => {
        guard.setRules(next.allow.rules);
        current.replace(next);
      });
      observer.setLevel?.(next.logLevel);
      const result = {
        said: `reloaded: ${changesBetween(before, next) ?? 'nothing has changed'}`,
        notices: [
          ...next.notices,
          ...said,
          ...(restart.length === 0 ? [] : [`needs a restart: ${restart.join(', ')}`]),
        ],
      };
      observer.count('tunnel_reloads_total');
      observer.log('notice', result.said);
      for (const notice of result.notices) observer.log('notice', notice);
      return result;
    } catch (error) {
      if (!session.signal.aborted) sayFailed(error, observer);
      throw error;
    }
  });
}

const changeAtOnce: NonNullable<ReloadParts['apply']> = (_next, change) => {
  change();
  return [];
};

function sayFailed(error: unknown, observer: Observer): void {
  observer.count('tunnel_reload_failures_total');
  const hint = error instanceof TunnelError ? error.hint : undefined;
  observer.log('error', `not reloaded, the tunnel goes on as before: ${reasonOf(error)}`, { hint });
}

/** With the cloud's targets as they are now; while there is no link, as they were last known. */
async function complete(
  wanted: Configuration,
  session: Session,
  { link, connector, observer, prompter }: Tunnel,
): Promise<Configuration> {
  const { cloud } = wanted;
  if (cloud === undefined) return wanted;
  const asks = typeof cloud.catalog === 'string' && cloud.catalog !== 'off';
  const isUp = link.view().state === 'up';
  if (asks && !isUp)
    observer.log('notice', "there is no link now: the cloud's catalog is as it was fetched last");
  const catalog = asks ? (isUp ? 'refresh' : 'cached') : cloud.catalog;
  const find = await prepareTargets(
    { ...wanted, cloud: { ...cloud, catalog } },
    observer,
    prompter,
  );
  return session.within(find(connector, session.signal));
}
