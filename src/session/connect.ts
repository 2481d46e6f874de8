/**
 * `tunnel connect`: the whole machine's connections to the targets go through the tunnel.
 *
 *   link and targets (tunnel.ts) -> helper -> device -> names, flows -> capture: routes
 *     -> the kernel is asked whether they win (captureguard.ts)
 *     -> resolver settings, if there are names (interception.ts) -> proxies and forwards, if any
 *     -> `ready`
 *
 * Nothing on the machine is changed before the SSH connection stands; with --on-demand it is made
 * only when a flow needs it, and the machine is changed before. A connection that is lost is made
 * again (link/supervisor.ts) while the capture stays as it is. It runs until it is stopped,
 * the link is lost for good, or the capture is taken away; then everything is closed in reverse
 * order: admission first, then flows are reset, routes and device go, the SSH connection closes.
 */
import { TunCapture, type TunDevice, type TunTraffic } from '../capture/tun/tun.ts';
import type { Configuration } from '../config/configuration.ts';
import type { Uplink } from '../connect/uplink.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import type { Neighbours } from '../dns/server/neighbours.ts';
import { CapturedQueries } from '../dns/server/queries.ts';
import { peerAddresses, sharedDnsAddresses, sharedRoutes } from '../dns/server/sharedaddresses.ts';
import { socketOf } from '../dns/upstream/datagram.ts';
import type { Resolver } from '../dns/upstream/resolver.ts';
import type { FlowRequest } from '../flow/request.ts';
import type { Supervisor } from '../link/supervisor.ts';
import { isAddress } from '../net/address.ts';
import { formatPrefix, type Prefix, type RoutedPrefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import { CapturedPrefixes } from '../policy/captured.ts';
import { besideJumpHost, JumpHostServers } from '../policy/jumphost.ts';
import { type CaptureRules, createPolicy } from '../policy/policy.ts';
import { capturedResolver } from '../system/doctor/routing.ts';
import type { RecoveryReport } from '../system/resolver/recover.ts';
import { SocketUsers } from '../system/socketusers.ts';
import { refuseCaptured } from './alreadycaptured.ts';
import { CaptureGuard } from './captureguard.ts';
import { applyToRoutes } from './connectreload.ts';
import { FailClosed, reportLeftUnreachable, warnOfNames } from './failclosed.ts';
import { createFlows } from './flows.ts';
import { startForwards } from './forwards.ts';
import { HostResolvers } from './hostresolvers.ts';
import { liveRules, watchHostsFile } from './hostsfile.ts';
import { leaveOutLogin, reportIncoming, warnOfOtherFamily } from './incoming.ts';
import { Interception } from './interception.ts';
import { KeptRoutes } from './keptroutes.ts';
import { linux } from './machine.ts';
import { answersQueries, livePolicy, lookupPastTunnel, openBehind, openNames } from './names.ts';
import { createNeighbours } from './neighbours.ts';
import { startProxies } from './proxies.ts';
import { announceReady, readiness } from './ready.ts';
import { serveReloads } from './reload.ts';
import { inSession, type Session } from './session.ts';
import { openTunnel, type RunOptions, type Tunnel } from './tunnel.ts';
import { openUplinks } from './uplinks.ts';

/**
 * Runs until it is stopped: then it rejects with the reason of `stop`. Rejects with TunnelError
 * when it can't start, when it is lost for good, or when not everything could be undone.
 */
export function runConnect(given: Configuration, options: RunOptions): Promise<never> {
  const { observer, machine = linux, stop } = options;
  return inSession(options, async (session) => {
    const { signal } = session;
    const { incoming, routing } = machine;
    reportRecovery(await session.within(machine.recover(observer)), observer);
    reportLeftUnreachable(routing, observer);
    const login = await session.within(incoming.loginPeers());
    const wanted = leaveOutLogin(given, login, routing);
    const resolvers = new HostResolvers(machine, observer);
    const captured = new CapturedPrefixes(rulesOf(wanted, resolvers));
    const { uplink, unbound, ...past } = openUplinks({
      machine,
      captured,
      configuration: wanted,
      observer,
    });
    refuseCaptured(captured.asked, routing);
    const servers = new JumpHostServers();
    const parts = { captured, servers, ...past };
    const tunnel = await openTunnel(session, wanted, { ...options, ...parts });
    const { configuration, current, link } = tunnel;
    session.endsWith(link.ended);
    if (configuration !== wanted) await captured.setRules(rulesOf(configuration, resolvers));
    const asGiven = { ...configuration, exclusions: given.exclusions };
    // The tables take the kernel a while. They are read while the helper starts, and that may wait
    // for a password: an error of theirs is handled when the session comes to it, below.
    const reported = reportIncoming(
      { wanted: asGiven, captured: configuration, login },
      { incoming, routing, observer },
    );
    reported.catch(() => {});
    warnOfOtherFamily(asGiven, routing, observer);
    if (configuration.capture.failClosed)
      warnOfNames(
        configuration.nameTargets.map(({ text }) => text),
        observer,
      );
    const intercepts = answersQueries(configuration);
    if (!intercepts) warnOfCapturedResolvers(captured, resolvers, observer);
    const behind = intercepts
      ? await openBehind(session, tunnel, () => resolvers.plan.uplinks)
      : undefined;

    // Not within(): a helper that comes late would have no owner. The signal aborts its start.
    const host = await machine.startHelper({ observer, signal });
    const capture = session.own(
      'the capture',
      new TunCapture(host, observer, machine.clock),
      (it) => it.close(),
    );
    session.endsWith(capture.ended);
    const families = familiesOf(captured, intercepts && machine.hasIPv6());
    const device = await session.within(capture.prepare(families, signal));
    await session.within(reported);
    const neighbours = session.own(
      'the tunnels beside this one',
      createNeighbours(machine, device.name, observer),
      (it) => it.close(),
    );
    const names = intercepts
      ? openDeviceNames(session, tunnel, { device, resolvers, uplink, behind, neighbours })
      : undefined;
    // Before there are routes: from then on queries for their names may come here.
    if (names !== undefined) await session.within(neighbours.look(names.claims));
    const alsoRouted =
      names === undefined ? [] : [...names.prefixes, ...sharedRoutes(names.addresses)];
    const failClosed = new FailClosed({
      capture,
      setUnreachable: (prefixes) => host.setUnreachable(prefixes),
      routing,
      enabled: configuration.capture.failClosed,
      alsoRouted,
      past: () => [
        ...servers.addresses,
        ...(names === undefined ? [] : resolvers.plan.uplinks.filter(isAddress)),
      ],
      inOrder: () => stop.aborted && signal.reason === stop.reason,
      named: () => namedTargets(current.configuration),
      observer,
    });
    const guard = new CaptureGuard({
      capture: failClosed,
      routing,
      captured: () => captured.current,
      requested: () => requestedBy(captured.rules),
      alsoRouted,
      shared: () => (names === undefined ? NONE : resolvers.routed),
      get allowDiverted() {
        return current.configuration.capture.allowDiverted;
      },
      get captureLocal() {
        return current.configuration.capture.captureLocal;
      },
      observer,
      clock: machine.clock,
    });
    captured.attach(guard);
    const { clock } = machine;
    const destinations = () => capture.destinations();
    const kept = session.own(
      'the routes of former targets',
      new KeptRoutes({ captured, destinations, clock, observer }),
      (it) => it.close(),
    );
    const direct = uplink.connector(lookupPastTunnel(names));
    const policy = livePolicy(tunnel, (rules) => besideJumpHost(createPolicy(rules), servers));
    const flows = createFlows(tunnel, { policy, direct, names });
    const accept = (request: FlowRequest) => flows.accept(request);
    const served =
      names === undefined
        ? { accept }
        : serve(names, accept, { capture, resolvers, device, alsoRouted, observer });
    const prefixes = guard.routable(captured.current);
    await session.within(
      capture.start({ prefixes, tap: tunnel.tap(device.name), ...served }, signal),
    );
    session.own('what fails closed', failClosed, (it) => it.close());
    await session.within(failClosed.start(prefixes));
    servers.follow(() => failClosed.refresh());
    session.own(
      'the watch',
      machine.watch(disturbed([link, guard, failClosed, neighbours]), device.name, observer),
      (it) => it(),
    );
    session.own('the checks of the capture', guard, (it) => it.close());
    await session.within(guard.start());
    session.endsWith(guard.ended);
    link.disturbed('the capture has begun');
    let interception: Interception | undefined;
    if (names !== undefined) {
      await session.within(neighbours.greet(names.claims));
      const parts = { configuration, machine, resolvers, names, captured, observer };
      interception = new Interception({ ...parts, device: device.name });
      session.own('the resolver settings', interception, (it) => it.close());
      await session.within(interception.start(signal));
      await session.within(watchHostsFile(session, liveRules(current), { machine, observer }));
    }
    await startProxies(session, tunnel, flows);
    const planForwards = await startForwards(session, tunnel, flows);
    tunnel.overview.device = device.name;
    logCaptured(device.name, configuration, guard.leading(captured.current), observer);
    tunnel.beginLearning();
    tunnel.overview.ready = true;
    await announceReady(session, {
      service: options.service,
      fd: configuration.readyFd,
      say: () => observer.log('notice', readiness(configuration.ssh)),
    });
    const { reloads } = options;
    const routes = (next: Configuration) => reloadRules(next, { resolvers, unbound, kept });
    serveReloads(session, tunnel, {
      reloads,
      first: given,
      adjust: async (next) => leaveOutLogin(next, await incoming.loginPeers(), routing),
      apply: async (next, change) => {
        const changeForwards = planForwards(next);
        const parts = { captured, kept, rulesOf: routes, neighbours, names, interception };
        const said = await applyToRoutes(next, change, parts);
        return [...said, ...(await changeForwards())];
      },
    });
    void tunnel.advice.give(session, configuration, device.name);
    return session.untilEnd();
  });
}

/** Nothing is shared with other tunnels. */
const NONE: ReadonlySet<string> = new Set();

/**
 * What changes the network may change the way to the jump host, take what is captured, or what must
 * stay open.
 */
function disturbed(
  parts: readonly [Pick<Supervisor, 'disturbed'>, CaptureGuard, FailClosed, Neighbours],
): Pick<Supervisor, 'disturbed'> {
  const [link, guard, failClosed, neighbours] = parts;
  return {
    disturbed(why) {
      link.disturbed(why);
      guard.check();
      void failClosed.refresh();
      void neighbours.refresh();
    },
  };
}

/** If the tunnel answers names, queries must reach it: the resolvers are captured as well. */
function rulesOf(configuration: Configuration, resolvers: HostResolvers): CaptureRules {
  return answersQueries(configuration) ? resolvers.rules(configuration) : configuration;
}

interface ReloadRulesParts {
  readonly resolvers: HostResolvers;
  readonly unbound: () => readonly Prefix[];
  readonly kept: KeptRoutes;
}

/** The same after a reload: what was dialled before by sockets that aren't bound stays out. */
function reloadRules(
  next: Configuration,
  { resolvers, unbound, kept }: ReloadRulesParts,
): CaptureRules {
  const rules = rulesOf(next, resolvers);
  const own = unbound().map((prefix) => ({ prefix, ports: [] }));
  return {
    targets: next.targets,
    exclusions: [...next.exclusions, ...own],
    get single() {
      return rules.single ?? [];
    },
    get kept() {
      return kept.prefixes;
    },
    mayBeEmpty: rules.mayBeEmpty ?? false,
  };
}

/** The prefixes that were asked for, before anything is left out of them. */
function requestedBy({ targets, single = [], kept = [] }: CaptureRules): Prefix[] {
  return [...targets.map(({ prefix }) => prefix), ...single, ...kept];
}

/** `both`: whatever is captured now, names may stand for addresses of both. */
function familiesOf(captured: CapturedPrefixes, both: boolean): ReadonlySet<4 | 6> {
  const families = new Set(captured.current.map(({ family }) => family));
  return both ? new Set([4, 6]) : families;
}

interface DeviceNamesParts {
  readonly device: TunDevice;
  readonly resolvers: HostResolvers;
  readonly uplink: Uplink;
  readonly behind: Resolver | undefined;
  readonly neighbours: Neighbours;
}

/** The names of this machine: its own resolvers are asked past the tunnel. */
function openDeviceNames(
  session: Session,
  tunnel: Tunnel,
  { device, resolvers, uplink, behind, neighbours }: DeviceNamesParts,
): NameService {
  const { observer } = tunnel;
  return openNames(session, tunnel, {
    direct: uplink.connector(),
    device,
    behind,
    local: resolvers.plan.uplinks,
    socketFor: (server) => socketOf(uplink.datagramSocket(server), server),
    users: new SocketUsers({ observer }),
    neighbours,
  });
}

interface ServeParts {
  readonly capture: TunCapture;
  readonly resolvers: HostResolvers;
  readonly device: TunDevice;
  readonly alsoRouted: readonly RoutedPrefix[];
  readonly observer: Observer;
}

/**
 * What the capture hands out where queries are answered: these first, the rest by name if it has
 * one.
 */
function serve(
  names: NameService,
  accept: TunTraffic['accept'],
  { capture, resolvers, device, alsoRouted, observer }: ServeParts,
): Omit<TunTraffic, 'prefixes'> {
  const peers = new Set(peerAddresses(device));
  const served = new Set([...names.addresses, ...peers]);
  const queries = new CapturedQueries({
    server: names.server,
    own: new Set([...served, ...sharedDnsAddresses(names.addresses)]),
    peers,
    resolvers: resolvers.routed,
    capture,
    observer,
  });
  const named = names.translate(accept);
  return {
    accept(request) {
      if (!queries.accept(request)) named(request);
    },
    onDatagram(datagram) {
      // At once, so that QUIC falls back to TCP.
      if (!queries.acceptDatagram(datagram)) capture.refuseDatagram(datagram, 'refused');
    },
    alsoRouted,
    served,
  };
}

/** What a killed tunnel has left behind is repaired before anything else is changed. */
function reportRecovery({ done, failed }: RecoveryReport, observer: Observer): void {
  for (const what of done) observer.log('notice', `left by a tunnel that was killed: ${what}`);
  for (const what of failed) observer.log('warning', `${what}; run "tunnel clean"`);
}

/** Queries go by UDP, which is not carried: better said now than found out by names that fail. */
function warnOfCapturedResolvers(
  captured: CapturedPrefixes,
  { plan }: HostResolvers,
  observer: Observer,
): void {
  const resolvers = plan.resolvers.filter((it) => isAddress(it) && captured.contains(it));
  if (resolvers.length === 0) return;
  const { detail, hint } = capturedResolver(resolvers);
  observer.log('warning', detail, { hint });
}

function namedTargets({ targets, nameTargets }: Configuration): readonly string[] {
  return [...targets, ...nameTargets].map(({ text }) => text);
}

function logCaptured(
  device: string,
  { nameTargets }: Configuration,
  routed: readonly Prefix[],
  observer: Observer,
): void {
  const what = [...routed.map(formatPrefix), ...nameTargets.map(({ text }) => text)];
  observer.log('info', `captured by ${device}: ${what.join(', ')}`);
}
