/**
 * `tunnel exec`: one command in its own network, for as long as it runs.
 *
 *   launcher (namespaces, TUN) -> link and targets (tunnel.ts) -> names, flows -> capture
 *            -> the launcher becomes the command -> its exit status
 *
 * The launcher comes first. It takes milliseconds, and it shows whether this machine allows
 * namespaces before anybody is asked for a password. If it doesn't, the command gets proxy
 * variables instead (execproxy.ts). A program may ignore those, so with --isolate this is an error.
 * If the launcher is lost before it has become the command, the session ends at once, also while a
 * password is asked for. After the launcher nothing needs root: under sudo or doas this process
 * becomes the user who called them, before it speaks to anybody.
 *
 * An allow-list applies to connections past the tunnel, too. Otherwise a command that may not open
 * something through the jump host could go there another way. Its rules may be names although the
 * command connects to addresses. So the tunnel's own DNS server then answers its queries, and
 * remembers which addresses it has given for which names.
 *
 * The command goes on when the link is lost. Its connections are reset, and new ones wait for the
 * next link (--reconnect-hold) and are then refused. When the command ends, no new connections are
 * accepted, open ones are reset, the device goes, and the SSH connection closes.
 */
import { readFile } from 'node:fs/promises';
import { NamespaceCapture, type NamespaceTraffic } from '../capture/namespace/namespace.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import { DirectConnector } from '../connect/direct.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import { CapturedQueries } from '../dns/server/queries.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Connector } from '../flow/connector.ts';
import type { SourceFinder } from '../link/opensources.ts';
import type { Observer } from '../observe/observer.ts';
import { type DatagramVerdict, ExecPolicy } from '../policy/execpolicy.ts';
import { createPolicy } from '../policy/policy.ts';
import type { OwnerFinder } from '../record/flowlog.ts';
import type { Launcher } from '../system/launcher/launcher.ts';
import { isAnyLoopback, proxiesOfCaller } from '../system/launcher/proxyvariables.ts';
import { RecordOwners } from '../system/recordowners.ts';
import { SocketSources, type SocketSourcesOptions } from '../system/socketsources.ts';
import { unanswered } from './connectreload.ts';
import { type ExecPlan, planExec } from './execplan.ts';
import { ExecResolvers, resolvConfOf } from './execresolvers.ts';
import { createFlows } from './flows.ts';
import { liveRules, watchHostsFile } from './hostsfile.ts';
import { runToEnd } from './job.ts';
import { linux, type Machine } from './machine.ts';
import { livePolicy, openBehind, openNames } from './names.ts';
import { announceReady, readiness } from './ready.ts';
import { serveReloads } from './reload.ts';
import { inSession, type Session } from './session.ts';
import { openTunnel, type RunOptions } from './tunnel.ts';

/**
 * Runs the command and resolves with its exit status. Rejects with TunnelError when it could not be
 * started, or with the reason of `stop` when that came before.
 */
export function runExec(configuration: ExecConfiguration, options: RunOptions): Promise<number> {
  const { observer, stop, machine = linux } = options;
  return inSession(
    options,
    async (session) => {
      const { isolate, tunnel: wanted } = configuration;
      const plan = planExec(configuration, machine);
      const launcher = await launch(session, configuration, plan, { observer, machine });
      if (launcher === undefined) {
        const { runBehindProxy } = await import('./execproxy.ts');
        return runBehindProxy(session, configuration, plan.setup, options);
      }
      if (!launcher.network.hasResolvConf)
        observer.log(
          'warning',
          'there is no /etc/resolv.conf here: names do not resolve in the command',
        );
      const variables = machine.becomeUser(launcher.user, observer);
      adviseAboutProxies(observer);

      const tunnel = await openTunnel(session, wanted, {
        ...options,
        sharesError: true,
        finder: socketsOf(launcher.command.pid),
        recordFinder: ownersOf(launcher.command.pid),
      });
      const { link, guard } = tunnel;
      session.own('the watch', machine.watch(link, '', observer), (unwatch) => unwatch());
      const device = machine.launchedDevice(launcher, plan.addresses);
      const served = plan.addresses.resolvers;
      const capture = session.own(
        'the capture',
        new NamespaceCapture({ device, resolvers: served, observer, clock: machine.clock }),
        (it) => it.close(),
      );
      const targets = livePolicy(tunnel, (rules) => createPolicy(rules), !isolate);
      const resolvers = new ExecResolvers({
        plan,
        machine,
        textInside: () => resolvConfOf(launcher.command.pid),
        observer,
      });
      const policy = new ExecPolicy({
        targets,
        isolate,
        resolvers: resolvers.standIns,
        read: resolvers.read,
      });
      const direct = towardsActual(policy);
      const names =
        plan.names === undefined
          ? undefined
          : openNames(session, tunnel, {
              ...plan.names,
              behind: await openBehind(session, tunnel, () => machine.resolverPlan().uplinks),
              direct,
              device,
              keepsLocalNames: guard.active,
            });
      if (names !== undefined)
        await session.within(
          watchHostsFile(session, liveRules(tunnel.current), { machine, observer }),
        );
      const flows = createFlows(tunnel, { policy, direct, names });
      const accept: NamespaceTraffic['accept'] = (request) => flows.accept(request);
      const traffic =
        names === undefined
          ? plain(policy, accept)
          : named(names, policy, accept, { capture, read: resolvers.read, observer });
      await session.within(
        capture.start({ ...traffic, tap: tunnel.tap(device.name) }, session.signal),
      );
      session.own('the watch of resolv.conf', resolvers.follow(names), (unwatch) => unwatch());
      tunnel.beginLearning();
      tunnel.overview.ready = true;
      await announceReady(session, {
        service: options.service,
        fd: wanted.readyFd,
        say: () => observer.log('info', readiness(wanted.ssh)),
      });
      for (const ended of [link.ended, capture.ended]) reportLoss(ended, observer);
      session.signal.throwIfAborted();
      const { reloads } = options;
      serveReloads(session, tunnel, {
        reloads,
        first: wanted,
        // Names of what it permits are kept from the start, or not at all.
        givesList: false,
        apply(next, change) {
          change();
          return unanswered(next, names);
        },
      });
      return runToEnd(launcher, stop, variables);
    },
    keepStatus,
  );
}

/** What could not be closed has been logged; the status is the command's. */
function keepStatus(_error: TunnelError, status: number): number {
  return status;
}

/** undefined: this machine has no namespaces for it, and the command may run without. */
async function launch(
  session: Session,
  { command, isolate, tunnel }: ExecConfiguration,
  { setup }: ExecPlan,
  { observer, machine }: { readonly observer: Observer; readonly machine: Machine },
): Promise<Launcher | undefined> {
  try {
    const { signal } = session;
    const launcher = await machine.startLauncher({ command, setup, observer, signal });
    session.endsWith(launcher.ended);
    return session.own('the launcher', launcher, (it) => it.close());
  } catch (error) {
    if (!(error instanceof TunnelError) || !goesWithout(error)) throw error;
    if (isolate) throw refused('--isolate', error);
    if (tunnel.pcap !== undefined) throw refused('--pcap', error);
    observer.log(
      'warning',
      `${error.message}: the command is run with proxy variables instead, which it may ignore`,
    );
    if (error.hint !== undefined && error.code !== 'needs-linux')
      observer.log('notice', `to give it a network of its own: ${error.hint}`);
    return undefined;
  }
}

/** Whether the command can be run with proxy variables instead. */
function goesWithout({ code }: TunnelError): boolean {
  return code.startsWith('namespace-') || code === 'needs-linux' || code === 'native-missing';
}

/** Whose the sockets are in the network of this process, which becomes the command. */
function socketsOf(pid: number, options: SocketSourcesOptions = {}): SourceFinder {
  const sources = new SocketSources({
    ...options,
    ask: null, // it tells about this process's own network only
    table: (name) => readFile(`/proc/${pid}/net/${name}`, 'latin1'),
  });
  return {
    isHere: () => true,
    sourceOf: (socket, peer) => sources.sourceOf(socket, peer),
  };
}

/** The same for the flow log. */
function ownersOf(pid: number): OwnerFinder {
  const sources = socketsOf(pid, { findsProcesses: false });
  const owners = new RecordOwners({ sources, ask: null });
  return {
    // It has no capability to become another user, and regains none (native/launcher/command.h).
    // Only who has entered its network from outside is somebody else.
    expected: process.geteuid?.(),
    find: (flows) => owners.find(flows),
  };
}

/** The host's resolvers answer queries, and the policy lets them through. */
function plain(policy: ExecPolicy, accept: NamespaceTraffic['accept']): NamespaceTraffic {
  return {
    accept,
    decideDatagram: (destination) => policy.decideDatagram(destination),
    takeDatagram: () => false,
  };
}

/** At once, so that QUIC falls back to TCP. */
const NAMES_ARE_TCP: DatagramVerdict = {
  kind: 'refuse',
  refusal: 'refused',
  why: 'it stands for a name, and UDP is not carried through the tunnel',
};

interface NamedParts {
  readonly capture: NamespaceCapture;
  /** The host's resolvers that the command may have read. */
  readonly read: ReadonlySet<string>;
  readonly observer: Observer;
}

/** The tunnel's own server answers queries, and virtual addresses stand for names. */
function named(
  names: NameService,
  policy: ExecPolicy,
  accept: NamespaceTraffic['accept'],
  { capture, read, observer }: NamedParts,
): NamespaceTraffic {
  const queries = new CapturedQueries({
    server: names.server,
    own: names.addresses,
    resolvers: read,
    capture,
    observer,
  });
  const byName = names.translate(accept);
  return {
    accept(request) {
      if (!queries.accept(request)) byName(request);
    },
    decideDatagram: (destination) =>
      names.virtual?.contains(destination.host) === true
        ? NAMES_ARE_TCP
        : policy.decideDatagram(destination),
    takeDatagram: (datagram) => queries.acceptDatagram(datagram),
  };
}

/** Programs that use such a proxy do so whatever the network does. */
function adviseAboutProxies(observer: Observer): void {
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

/**
 * Direct dials are made in this process's own network, where no route of the tunnel is in the way.
 */
function towardsActual(policy: ExecPolicy): Connector {
  const direct = new DirectConnector();
  return {
    connect: (destination, options) => direct.connect(policy.actual(destination), options),
  };
}

/** An option that needs a network of the command's own. */
function refused(option: string, error: TunnelError): TunnelError {
  return new TunnelError(error.code, `${option} can't be kept: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

function reportLoss(ended: Promise<TunnelError | undefined>, observer: Observer): void {
  void ended.then((error) => {
    if (error === undefined) return;
    observer.log(
      'error',
      `${error.message}: the command goes on, but reaches nothing through the tunnel`,
    );
  });
}
