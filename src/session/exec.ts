/**
 * The composition root of `tunnel exec`: one command in a network of its own, as long as it runs.
 *
 *   launcher (namespaces, TUN) -> SSH connection -> targets of a cloud (targets.ts) -> capture
 *            -> the launcher becomes the command -> its exit status
 *
 * The launcher comes first, because it takes milliseconds and tells whether this machine permits
 * namespaces at all: before anybody is asked for a password. Where it doesn't, the command gets
 * proxy variables instead, unless --isolate is given: these a program may ignore. From there on
 * nothing needs root any more: under sudo or doas this process becomes who has called them, before
 * it speaks to anybody.
 *
 * Where there are name targets, a cloud or --dns, resolv.conf inside names the tunnel's own DNS
 * server instead of stand-ins for the host's resolvers (names.ts); with --isolate it answers only
 * what is resolved through the tunnel.
 *
 * An allow-list holds for what goes past the tunnel, too: a command that may not open something
 * through the jump host may not go there another way. Its rules may be names where the command
 * connects to addresses, so then as well the tunnel's own server answers, and keeps which addresses
 * it has told for which names.
 *
 * A link that is lost doesn't end the command: its connections are reset, new ones wait for the
 * next link (--reconnect-hold) and are then refused, and what it makes of that is its own affair.
 * When the command ends, admission stops first, connections are reset, the device goes, the SSH
 * connection closes.
 */

import {
  NAMESPACE_MTU,
  type NamespaceAddresses,
  NamespaceCapture,
  namespaceAddresses,
} from '../capture/namespace/namespace.ts';
import { tunnelResolvers } from '../config/dnsoptions.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import { DirectConnector } from '../connect/direct.ts';
import { createGuard, guardedConnector, reportLearned } from '../connect/guarded.ts';
import type { Names } from '../dns/server/names.ts';
import { CapturedQueries } from '../dns/server/queries.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Connector } from '../flow/connector.ts';
import { Flows } from '../flow/flows.ts';
import type { FlowRequest } from '../flow/request.ts';
import { createLink, watchDisturbances } from '../link/link.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { Destination } from '../net/destination.ts';
import type { AllowGuard } from '../policy/allowlist.ts';
import { type DatagramVerdict, ExecPolicy } from '../policy/execpolicy.ts';
import { createPolicy, type Policy } from '../policy/policy.ts';
import { becomeUser } from '../system/launcher/caller.ts';
import { type Launcher, startLauncher } from '../system/launcher/launcher.ts';
import type { LauncherSetup } from '../system/launcher/protocol.ts';
import { isAnyLoopback, proxiesOfCaller } from '../system/launcher/proxyvariables.ts';
import { descriptorLimitAtStart } from '../system/limits.ts';
import { resolvConfText, resolverConfiguration } from '../system/resolver/resolvconf.ts';
import { announce, Ending, type RunOptions } from './connect.ts';
import { runBehindProxy } from './execproxy.ts';
import { runToEnd } from './job.ts';
import {
  answersQueries,
  createNamedFlows,
  createTunnelNames,
  currentResolverPlan,
  namedPolicy,
  namesBehind,
} from './names.ts';
import { prepareTargets } from './targets.ts';

/**
 * Runs the command and resolves with its exit status. Rejects with TunnelError when it could not be
 * started.
 */
export async function runExec(
  configuration: ExecConfiguration,
  options: RunOptions,
): Promise<number> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  let names: Names | undefined;
  let queries: CapturedQueries | undefined;
  let targets = NOTHING_YET;
  const plan = planOf(configuration, { decide: (destination) => targets.decide(destination) });
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
    if (error.hint !== undefined)
      observer.log('notice', `to give it a network of its own: ${error.hint}`);
    return runBehindProxy(configuration, plan.setup, options);
  }

  // It owns the descriptors from here on.
  const capture = new NamespaceCapture({
    network: launcher.network,
    addresses: plan.addresses,
    decideDatagram: (destination) =>
      names?.virtual?.contains(destination.host) === true
        ? NAMES_ARE_TCP
        : plan.policy.decideDatagram(destination),
    takeDatagram: (datagram) => queries?.acceptDatagram(datagram) ?? false,
    observer,
  });
  let link: Supervisor | undefined;
  let learning: AllowGuard | undefined;
  let unwatch: (() => void) | undefined;
  try {
    if (!launcher.network.hasResolvConf)
      observer.log(
        'warning',
        'there is no /etc/resolv.conf here: names do not resolve in the command',
      );
    const variables = becomeUser(launcher.user, observer);
    warnOfProxies(observer);
    const { ssh, readyFd } = configuration.tunnel;
    const complete = await prepareTargets(configuration.tunnel, observer);
    link = createLink(ssh, options);
    await ending.orElse(link.start());
    unwatch = watchDisturbances(link, '', observer);
    const guard = createGuard(configuration.tunnel.allow, observer);
    const connector = guardedConnector(
      link,
      guard,
      namesBehind(() => names),
    );
    const tunnelled = await ending.orElse(complete(connector, ending.signal));
    targets = namedPolicy(tunnelled, createPolicy(tunnelled), {
      guard,
      names: () => names,
      direct: !configuration.isolate,
    });
    const direct = towardsActual(plan.policy);
    if (plan.dns !== undefined) {
      const { address4, address6 } = plan.addresses;
      const { hasIPv6 } = launcher.network;
      names = createTunnelNames(tunnelled, {
        ...plan.dns,
        connector,
        direct,
        device: { address4, address6: hasIPv6 ? address6 : undefined },
        keepsLocalNames: guard.active,
        observer,
      });
      queries = queriesOf(names, capture, observer);
    }
    const { tunnel, resolve } = createNamedFlows(tunnelled, {
      connector,
      guard,
      names: () => names,
      observer,
    });
    const flows = new Flows({ policy: plan.policy, tunnel, direct, observer, resolve });
    const accept = (request: FlowRequest) => flows.accept(request);
    const named = names?.translate(accept) ?? accept;
    await ending.orElse(
      capture.start((request) => {
        if (queries?.accept(request) !== true) named(request);
      }, ending.signal),
    );
    learning = guard;
    announce(readyFd);
    observer.log('info', 'ready');
    for (const ended of [link.ended, capture.ended]) reportLoss(ended, observer);
    ending.signal.throwIfAborted();
    return await runToEnd(launcher.command, stop, () => launcher.execute(variables));
  } finally {
    observer.log('debug', 'stopping', capture.counters());
    unwatch?.();
    names?.close();
    launcher.close();
    await capture.close();
    await link?.close();
    reportLearned(learning, options);
  }
}

interface Plan {
  readonly addresses: NamespaceAddresses;
  readonly policy: ExecPolicy;
  readonly setup: LauncherSetup;
  /** Who resolves names; undefined: the host's resolvers, which the command asks itself. */
  readonly dns:
    | {
        readonly servers: readonly Destination[];
        readonly local: readonly string[];
        readonly isolated: boolean;
      }
    | undefined;
}

/** At once, so that QUIC falls back to TCP. */
const NAMES_ARE_TCP: DatagramVerdict = {
  kind: 'refuse',
  refusal: 'refused',
  why: 'it stands for a name, and UDP is not carried through the tunnel',
};

/** Until the link stands, and the targets are known with it. Nothing is captured before. */
const NOTHING_YET: Policy = {
  decide: () => ({ kind: 'refuse', refusal: 'prohibited', why: 'the targets are not known yet' }),
};

/** All that can be decided before anything is started. */
function planOf({ tunnel, isolate, command }: ExecConfiguration, targets: Policy): Plan {
  const { resolvers, lines } = resolverConfiguration();
  const heldToList = tunnel.allow.rules !== undefined || tunnel.allow.dryRun;
  const dns =
    answersQueries(tunnel) || (heldToList && !isolate)
      ? {
          servers: tunnelResolvers(tunnel.dns, currentResolverPlan().uplinks),
          local: isolate ? [] : resolvers,
          isolated: isolate,
        }
      : undefined;
  // The first stand-in is where the tunnel's DNS server answers, if it does; then it stands for no
  // other.
  const addresses = namespaceAddresses(dns === undefined ? resolvers.length : 1);
  const standIns =
    dns === undefined
      ? addresses.resolvers.map((address, i) => [address, resolvers[i] ?? ''] as const)
      : [];
  return {
    dns,
    addresses,
    policy: new ExecPolicy({ targets, isolate, resolvers: new Map(standIns) }),
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

/** They are programs' own choice, and go before what the network does. */
function warnOfProxies(observer: RunOptions['observer']): void {
  const names = proxiesOfCaller(process.env);
  if (names.length === 0) return;
  const proxy = names.length === 1 ? 'that proxy' : 'those proxies';
  const loopback = isAnyLoopback(process.env, names)
    ? ", and a loopback address is the command's own"
    : '';
  observer.log(
    'notice',
    `programs that heed ${names.join(', ')} ask ${proxy} for the targets, too, unless NO_PROXY names them${loopback}`,
  );
}

function queriesOf(
  names: Names,
  capture: NamespaceCapture,
  observer: RunOptions['observer'],
): CapturedQueries {
  return new CapturedQueries({
    server: names.server,
    own: names.addresses,
    resolvers: new Set(),
    sendDatagram: (datagram) => capture.sendDatagram(datagram),
    refuseDatagram: (datagram, refusal) => capture.refuseDatagram(datagram, refusal),
    observer,
  });
}

/**
 * Direct dials are made in this process's own network, where no route of the tunnel is in the way.
 */
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

function reportLoss(
  ended: Promise<TunnelError | undefined>,
  observer: RunOptions['observer'],
): void {
  ended.then((error) => {
    if (error === undefined) return;
    observer.log(
      'error',
      `${error.message}: the command goes on, but reaches nothing through the tunnel`,
    );
  });
}
