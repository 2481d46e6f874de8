/**
 * `tunnel exec` where no namespaces are to be had: the command runs in the caller's network and is
 * told of an HTTP proxy, which carries the targets through SSH and dials everything else directly.
 * With an allow-list it dials only what a rule permits; but what doesn't use the proxy isn't held
 * to it.
 */
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import { DirectConnector } from '../connect/direct.ts';
import { createGuard, guardedConnector, reportLearned } from '../connect/guarded.ts';
import type { Names } from '../dns/server/names.ts';
import { KnownNames } from '../dns/upstream/known.ts';
import { Flows } from '../flow/flows.ts';
import { createLink, watchDisturbances } from '../link/link.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { AllowGuard } from '../policy/allowlist.ts';
import { createPolicy } from '../policy/policy.ts';
import { becomeUser } from '../system/launcher/caller.ts';
import { startInPlace } from '../system/launcher/launcher.ts';
import type { CommandSetup } from '../system/launcher/protocol.ts';
import { proxiesOfCaller, proxyVariables } from '../system/launcher/proxyvariables.ts';
import { descriptorLimit } from '../system/limits.ts';
import { announce, Ending, type RunOptions } from './connect.ts';
import { runToEnd } from './job.ts';
import {
  createNamedFlows,
  createProxyNames,
  lookupForDirect,
  namedPolicy,
  namesBehind,
} from './names.ts';
import { prepareTargets } from './targets.ts';

/** Resolves with the command's exit status. */
export async function runBehindProxy(
  { tunnel: wanted, command }: ExecConfiguration,
  setup: CommandSetup,
  options: RunOptions,
): Promise<number> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const front = new ProxyCapture({
    listens: [{ hosts: ['127.0.0.1'], port: 0, protocols: 'http' }],
    credentials: undefined,
    observer,
    descriptors: descriptorLimit(),
  });
  let link: Supervisor | undefined;
  let names: Names | undefined;
  let learning: AllowGuard | undefined;
  let unwatch: (() => void) | undefined;
  const launcher = await startInPlace({ command, setup, observer, signal: ending.signal });
  try {
    const ofUser = becomeUser(launcher.user, observer);
    const former = proxiesOfCaller(process.env);
    if (former.length > 0)
      observer.log(
        'notice',
        `${former.join(', ')}: not heeded, the command is told of this proxy instead`,
      );
    if (wanted.allow.rules !== undefined)
      observer.log('warning', 'what does not use the proxy is not held to the allow-list');
    const complete = await prepareTargets(wanted, observer);
    link = createLink(wanted.ssh, options);
    await ending.orElse(link.start());
    unwatch = watchDisturbances(link, '', observer);
    const guard = createGuard(wanted.allow, observer);
    const connector = guardedConnector(
      link,
      guard,
      namesBehind(() => names),
    );
    const tunnel = await ending.orElse(complete(connector, ending.signal));
    const direct = new DirectConnector({ lookup: lookupForDirect(() => names) });
    names = createProxyNames(tunnel, connector, direct, observer);
    const policy = createPolicy(tunnel, { beyond: 'direct', proxied: true });
    const known = new KnownNames({ observer });
    const { tunnel: through, resolve } = createNamedFlows(tunnel, {
      connector,
      guard,
      names: () => names,
      observer,
    });
    const flows = new Flows({
      policy: namedPolicy(tunnel, policy, {
        guard,
        names: () => names,
        direct: true,
        localNamesOf: (address) => known.of(address),
      }),
      tunnel: through,
      async resolve(name, signal) {
        const addresses = await resolve(name, signal);
        for (const address of addresses) known.add(name, { address, ttl: 0 });
        return addresses;
      },
      direct,
      observer,
    });
    await ending.orElse(front.start((request) => flows.accept(request), ending.signal));
    learning = guard;
    announce(wanted.readyFd);
    observer.log('info', `ready, proxy at ${front.addresses.join(', ')}`);
    ending.signal.throwIfAborted();
    const variables = { ...ofUser, ...proxyVariables(process.env, `http://${front.addresses[0]}`) };
    return await runToEnd(launcher.command, stop, () => launcher.execute(variables));
  } finally {
    observer.log('debug', 'stopping');
    unwatch?.();
    launcher.close();
    await front.close();
    names?.close();
    await link?.close();
    reportLearned(learning, options);
  }
}
