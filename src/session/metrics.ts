/** --metrics: served from the start of a run, before the jump host is dialled, until its end. */
import type { Configuration } from '../config/configuration.ts';
import type { FlowWatcher } from '../flow/flowwatch.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { Observer } from '../observe/observer.ts';
import { DEFAULT_WINDOW_BUDGET } from '../ssh/limits.ts';
import type { Overview, TunnelIdentity } from './overview.ts';
import type { Session } from './session.ts';

export interface MetricsOfRun {
  readonly identity: TunnelIdentity;
  readonly overview: Overview;
  readonly link: Supervisor;
  /** As it is now. */
  readonly configuration: () => Configuration;
  readonly observer: Observer;
}

/**
 * Resolves to what must be told of each flow, once somebody can ask; to nothing without --metrics.
 * Rejects with TunnelError if that is not possible where the user wants it.
 */
export async function offerMetrics(
  session: Session,
  parts: MetricsOfRun,
): Promise<readonly FlowWatcher[]> {
  const { identity, overview, link, configuration, observer } = parts;
  const { metrics: place, ssh } = configuration();
  if (place === undefined) return [];
  // Who doesn't ask for metrics doesn't wait for these.
  const [{ Metrics }, { MetricsServer }] = await Promise.all([
    import('../metrics/metrics.ts'),
    import('../metrics/server.ts'),
  ]);
  const metrics = new Metrics(
    {
      run: () => ({
        name: identity.name,
        command: identity.command,
        version: identity.version,
        remote: ssh.remotes[0].text,
        startedAt: overview.startedAt,
        ready: overview.ready,
        windowBudget: ssh.windows.budget ?? DEFAULT_WINDOW_BUDGET,
      }),
      link: () => link.view(),
      counters: identity.counters,
      targets: configuration,
      observer,
    },
    place.kind === 'socket' ? 'operator' : 'everybody',
  );
  session.own('the metrics', metrics, (it) => it.close());
  const server = new MetricsServer({ place, text: () => metrics.text(), observer });
  session.own('the listener of the metrics', server, (it) => it.close());
  await server.start();
  // Of any free port, nothing else tells which one it is.
  const level = place.kind === 'port' && place.port === 0 ? 'notice' : 'info';
  observer.log(level, `metrics at ${server.where}`);
  return [metrics.watch];
}
