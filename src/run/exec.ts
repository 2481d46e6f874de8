/**
 * The composition root of `tunnel exec`: one command in a network of its own, as long as it runs.
 *
 *   launcher (namespaces, TUN, listeners) -> SSH connection -> capture -> the launcher becomes the command -> its exit status
 *
 * The launcher comes first, because it takes milliseconds and tells whether this machine permits namespaces at all: before
 * anybody is asked for a password. Where it doesn't, the command gets proxy variables instead, unless --isolate is given:
 * these a program may ignore.
 *
 * A link that is lost doesn't end the command: its connections are reset, new ones are refused, and what it makes of that is
 * its own affair. When the command ends, admission stops first, connections are reset, the device goes, the SSH connection closes.
 */

import {
  NAMESPACE_MTU,
  type NamespaceAddresses,
  NamespaceCapture,
  namespaceAddresses,
} from '../capture/namespace.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import { TunnelError } from '../errors.ts';
import { Flows } from '../flow/flows.ts';
import { ExecPolicy } from '../policy/execpolicy.ts';
import { createPolicy } from '../policy/policy.ts';
import { announce, Ending, type RunOptions } from '../run.ts';
import { type Launcher, startLauncher } from '../system/launcher.ts';
import type { LauncherSetup } from '../system/launchprotocol.ts';
import { descriptorLimit, descriptorLimitAtStart } from '../system/limits.ts';
import { resolvConfText, resolverConfiguration } from '../system/resolvers.ts';
import { DirectConnector } from '../transport/direct.ts';
import { lookupName } from '../transport/lookup.ts';
import type { Supervisor } from '../transport/supervisor.ts';
import type { Connector } from '../transport/transport.ts';
import { runBehindProxy } from './execproxy.ts';
import { runToEnd } from './job.ts';
import { createLink, watchDisturbances } from './link.ts';

/** Runs the command and resolves with its exit status. Rejects with TunnelError when it could not be started. */
export async function runExec(configuration: ExecConfiguration, options: RunOptions): Promise<number> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const plan = planOf(configuration);
  let launcher: Launcher;
  try {
    launcher = await startLauncher({
      command: configuration.command,
      setup: plan.setup,
      observer,
      signal: ending.signal,
    });
  } catch (error) {
    if (!mayFallBack(error)) throw error;
    if (configuration.isolate) throw isolationRefused(error);
    observer.log(
      'warning',
      `${error.message}: the command is run with proxy variables instead, which it may ignore`,
    );
    if (error.hint !== undefined) observer.log('notice', `to give it a network of its own: ${error.hint}`);
    return runBehindProxy(configuration, options);
  }

  // It owns the descriptors from here on.
  const capture = new NamespaceCapture({
    network: launcher.network,
    addresses: plan.addresses,
    decideDatagram: (destination) => plan.policy.decideDatagram(destination),
    observer,
  });
  let link: Supervisor | undefined;
  let unwatch: (() => void) | undefined;
  try {
    if (!launcher.network.hasResolvConf)
      observer.log('warning', 'there is no /etc/resolv.conf here: names do not resolve in the command');
    const { ssh, readyFd } = configuration.tunnel;
    link = createLink(ssh, options);
    await ending.orElse(link.start());
    unwatch = watchDisturbances(link, '', observer);
    const flows = new Flows({
      policy: plan.policy,
      tunnel: link,
      direct: towardsActual(plan.policy),
      observer,
      resolve: lookupName,
      descriptors: descriptorLimit(),
    });
    await ending.orElse(capture.start((request) => flows.accept(request), ending.signal));
    announce(readyFd);
    observer.log('info', 'ready');
    for (const ended of [link.ended, capture.ended]) reportLoss(ended, observer);
    ending.signal.throwIfAborted();
    return await runToEnd(launcher.command, stop, () => launcher.execute());
  } finally {
    observer.log('debug', 'stopping', capture.counters());
    unwatch?.();
    launcher.close();
    await capture.close();
    await link?.close();
  }
}

interface Plan {
  readonly addresses: NamespaceAddresses;
  readonly policy: ExecPolicy;
  readonly setup: LauncherSetup;
}

/** All that can be decided before anything is started. */
function planOf({ tunnel, isolate, command }: ExecConfiguration): Plan {
  const { resolvers, lines } = resolverConfiguration();
  const addresses = namespaceAddresses(resolvers.length);
  const standIns = addresses.resolvers.map((address, i) => [address, resolvers[i] ?? ''] as const);
  return {
    addresses,
    policy: new ExecPolicy({ targets: createPolicy(tunnel), isolate, resolvers: new Map(standIns) }),
    setup: {
      isolate,
      verbatim: isMangled([...command, ...Object.entries(process.env).flat()]),
      mtu: NAMESPACE_MTU,
      address4: addresses.address4,
      address6: addresses.address6,
      descriptors: descriptorLimitAtStart(),
      resolvConf: resolvConfText(addresses.resolvers, lines),
    },
  };
}

/** Whether Node has had to replace bytes that are no UTF-8. */
function isMangled(texts: readonly (string | undefined)[]): boolean {
  return texts.some((text) => text?.includes('\ufffd'));
}

/** Direct dials are made in this process's own network, where no route of the tunnel is in the way. */
function towardsActual(policy: ExecPolicy): Connector {
  const direct = new DirectConnector();
  return { connect: (destination, options) => direct.connect(policy.actual(destination), options) };
}

function mayFallBack(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code.startsWith('namespace-');
}

function isolationRefused(error: TunnelError): TunnelError {
  return new TunnelError(error.code, `--isolate can't be kept: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

function reportLoss(ended: Promise<TunnelError | undefined>, observer: RunOptions['observer']): void {
  ended.then((error) => {
    if (error === undefined) return;
    observer.log('error', `${error.message}: the command goes on, but reaches nothing through the tunnel`);
  });
}
