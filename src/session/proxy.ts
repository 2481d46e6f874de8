/**
 * `tunnel proxy`: the proxies and the fixed forwards alone, without privileges; `tunnel connect`
 * with forwards and no target is the same.
 *
 *   link and targets (tunnel.ts) -> names, flows -> proxies, forwards -> `ready`
 */
import type { Configuration } from '../config/configuration.ts';
import { DirectConnector } from '../connect/direct.ts';
import { createPolicy } from '../policy/policy.ts';
import { createFlows } from './flows.ts';
import { startForwards } from './forwards.ts';
import { linux } from './machine.ts';
import { livePolicy, lookupPastTunnel, openProxyNames } from './names.ts';
import { startProxies } from './proxies.ts';
import { announceReady, readiness } from './ready.ts';
import { serveReloads } from './reload.ts';
import { inSession } from './session.ts';
import { openTunnel, type RunOptions } from './tunnel.ts';

/** Runs until it is stopped, as runConnect does. */
export function runProxy(wanted: Configuration, options: RunOptions): Promise<never> {
  const { observer, machine = linux } = options;
  return inSession(options, async (session) => {
    const tunnel = await openTunnel(session, wanted, options);
    const { configuration, link } = tunnel;
    session.endsWith(link.ended);
    session.own('the watch', machine.watch(link, '', observer), (unwatch) => unwatch());
    const names = await openProxyNames(session, tunnel, { machine, direct: new DirectConnector() });
    const direct = new DirectConnector({ lookup: lookupPastTunnel(names) });
    const policy = livePolicy(tunnel, (rules) => createPolicy(rules));
    const flows = createFlows(tunnel, { policy, direct, names });
    await startProxies(session, tunnel, flows);
    const planForwards = await startForwards(session, tunnel, flows);
    tunnel.beginLearning();
    tunnel.overview.ready = true;
    await announceReady(session, {
      service: options.service,
      fd: configuration.readyFd,
      say: () => observer.log('notice', readiness(configuration.ssh)),
    });
    const { reloads } = options;
    serveReloads(session, tunnel, {
      reloads,
      first: wanted,
      apply(next, change) {
        const changeForwards = planForwards(next);
        change();
        return changeForwards();
      },
    });
    return session.untilEnd();
  });
}
