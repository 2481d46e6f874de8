/**
 * `tunnel connect`: the whole machine's connections to the targets go through the tunnel.
 *
 *   link and targets (tunnel.ts) -> helper -> device -> names, flows -> capture: routes
 *     -> the kernel is asked whether they win (captureguard.ts)
 *     -> resolver settings, if there are names (interception.ts) -> proxies, if any -> `ready`
 *
 * Nothing on the machine is changed before the SSH connection stands. A connection that is lost is
 * made again (link/supervisor.ts) while the capture stays as it is, except for the jump host's own
 * addresses. It runs until it is stopped, the link is lost for good, or the capture is taken away;
 * then everything is closed in reverse order: admission first, then flows are reset, routes and
 * device go, the SSH connection closes.
 */
import { TunCapture, type TunDevice, type TunTraffic } from '../capture/tun/tun.ts';
import type { Configuration } from '../config/configuration.ts';
import { tunnelResolvers } from '../config/dnsoptions.ts';
import { Uplink } from '../connect/uplink.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import { CapturedQueries } from '../dns/server/queries.ts';
import { socketOf } from '../dns/upstream/datagram.ts';
import type { FlowRequest } from '../flow/request.ts';
import type { Supervisor } from '../link/supervisor.ts';
import { formatPrefix } from '../net/prefix.ts';
import type { Observer } from '../observe/observer.ts';
import { CapturedPrefixes } from '../policy/captured.ts';
import { type CaptureRules, createPolicy } from '../policy/policy.ts';
import { capturedResolver } from '../system/doctor/routing.ts';
import type { RecoveryReport } from '../system/resolver/recover.ts';
import { SocketUsers } from '../system/socketusers.ts';
import { CaptureGuard } from './captureguard.ts';
import { createFlows } from './flows.ts';
import { HostResolvers } from './hostresolvers.ts';
import { Interception } from './interception.ts';
import { linux } from './machine.ts';
import { answersQueries, lookupPastTunnel, namedPolicy, openNames } from './names.ts';
import { startProxies } from './proxies.ts';
import { announceReady } from './ready.ts';
import { inSession, type Session } from './session.ts';
import { openTunnel, type RunOptions, type Tunnel } from './tunnel.ts';

/**
 * Runs until it is stopped: then it rejects with the reason of `stop`. Rejects with TunnelError
 * when it can't start, when it is lost for good, or when not everything could be undone.
 */
export function runConnect(wanted: Configuration, options: RunOptions): Promise<never> {
  const { observer, machine = linux } = options;
  return inSession(options, async (session) => {
    const { signal } = session;
    reportRecovery(await session.within(machine.recover(observer)), observer);
    const resolvers = new HostResolvers(machine, observer);
    // Throws if --dns can't work here: before anybody is asked for a password.
    tunnelResolvers(wanted.dns, resolvers.plan.uplinks);
    const captured = new CapturedPrefixes(rulesOf(wanted, resolvers));
    const tunnel = await openTunnel(session, wanted, { ...options, captured });
    const { configuration, link } = tunnel;
    session.endsWith(link.ended);
    if (configuration !== wanted) await captured.setRules(rulesOf(configuration, resolvers));
    const intercepts = answersQueries(configuration);
    if (!intercepts) warnOfCapturedResolvers(captured, resolvers, observer);

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
    const uplink = new Uplink(captured, machine.sockets);
    const names = intercepts
      ? openDeviceNames(session, tunnel, { device, resolvers, uplink })
      : undefined;
    const guard = new CaptureGuard({
      capture,
      routing: machine.routing,
      captured: () => captured.current,
      alsoRouted: names?.prefixes ?? [],
      ...configuration.capture,
      observer,
      clock: machine.clock,
    });
    captured.attach(guard);
    const direct = uplink.connector(lookupPastTunnel(names));
    const policy = namedPolicy(tunnel, createPolicy(configuration));
    const flows = createFlows(tunnel, { policy, direct, names });
    const accept = (request: FlowRequest) => flows.accept(request);
    const served =
      names === undefined ? { accept } : serve(names, accept, { capture, resolvers, observer });
    await session.within(capture.start({ prefixes: captured.current, ...served }, signal));
    session.own(
      'the watch',
      machine.watch(disturbedBoth(link, guard), device.name, observer),
      (it) => it(),
    );
    session.own('the checks of the capture', guard, (it) => it.close());
    await session.within(guard.start());
    session.endsWith(guard.ended);
    if (names !== undefined) {
      const parts = { configuration, machine, resolvers, names, captured, observer };
      const interception = new Interception({ ...parts, device: device.name });
      session.own('the resolver settings', interception, (it) => it.close());
      await session.within(interception.start(signal));
    }
    await startProxies(session, tunnel, flows);
    logCaptured(device.name, configuration, captured, observer);
    tunnel.beginLearning();
    announceReady(configuration.readyFd);
    observer.log('notice', 'ready');
    void tunnel.advice.give(session, configuration, device.name);
    return session.untilEnd();
  });
}

/** What changes the network may change the way to the jump host, and take what is captured. */
function disturbedBoth(
  link: Pick<Supervisor, 'disturbed'>,
  guard: CaptureGuard,
): Pick<Supervisor, 'disturbed'> {
  return {
    disturbed(why) {
      link.disturbed(why);
      guard.check();
    },
  };
}

/** If the tunnel answers names, queries must reach it: the resolvers are captured as well. */
function rulesOf(configuration: Configuration, resolvers: HostResolvers): CaptureRules {
  return answersQueries(configuration) ? resolvers.rules(configuration) : configuration;
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
}

/** The names of this machine: its own resolvers are asked past the tunnel. */
function openDeviceNames(
  session: Session,
  tunnel: Tunnel,
  { device, resolvers, uplink }: DeviceNamesParts,
): NameService {
  const { uplinks } = resolvers.plan;
  return openNames(session, tunnel, {
    direct: uplink.connector(),
    device,
    servers: tunnelResolvers(tunnel.configuration.dns, uplinks),
    local: uplinks,
    socketFor: (server) => socketOf(uplink.datagramSocket(server.host), server),
    users: new SocketUsers(),
  });
}

interface ServeParts {
  readonly capture: TunCapture;
  readonly resolvers: HostResolvers;
  readonly observer: Observer;
}

/**
 * What the capture hands out where queries are answered: these first, the rest by name if it has
 * one.
 */
function serve(
  names: NameService,
  accept: TunTraffic['accept'],
  { capture, resolvers, observer }: ServeParts,
): Omit<TunTraffic, 'prefixes'> {
  const queries = new CapturedQueries({
    server: names.server,
    own: names.addresses,
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
    alsoRouted: names.prefixes,
    served: names.addresses,
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
  const resolvers = plan.resolvers.filter((address) => captured.contains(address));
  if (resolvers.length === 0) return;
  const { detail, hint } = capturedResolver(resolvers);
  observer.log('warning', detail, { hint });
}

function logCaptured(
  device: string,
  { nameTargets }: Configuration,
  captured: CapturedPrefixes,
  observer: Observer,
): void {
  const what = [...captured.current.map(formatPrefix), ...nameTargets.map(({ text }) => text)];
  observer.log('info', `captured by ${device}: ${what.join(', ')}`);
}
