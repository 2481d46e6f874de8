/**
 * The tunnel itself, which all commands share: the link, and what may be opened through it.
 *
 *   settings of a cloud   are read: what is wrong with them is said before a password is asked for
 *   link (link/link.ts)   stands: bound past `captured`, or its addresses are left out of that;
 *                         with --on-demand it could be dialled, as far as that is known
 *   guard, connector      the allow-list before everything that the jump host is asked for
 *   targets of a cloud    are fetched through the connector (on demand, from the cache): now the
 *                         configuration is complete
 *
 * What differs from one command to the other is what captures connections, what answers queries,
 * and what its flows may do (session/flows.ts).
 */
import type { Configuration } from '../config/configuration.ts';
import { createGuard, guardedConnector } from '../connect/guarded.ts';
import type { Status } from '../control/status.ts';
import { NameBook } from '../dns/upstream/known.ts';
import type { Connector } from '../flow/connector.ts';
import { DestinationTable } from '../flow/destinationtable.ts';
import { FlowTable } from '../flow/flowtable.ts';
import { type FlowWatcher, watchers } from '../flow/flowwatch.ts';
import { createLink } from '../link/link.ts';
import { OnlineWait } from '../link/onlinewait.ts';
import type { SourceFinder } from '../link/opensources.ts';
import type { Supervisor } from '../link/supervisor.ts';
import type { Destination } from '../net/destination.ts';
import type { Observer } from '../observe/observer.ts';
import type { AllowGuard } from '../policy/allowlist.ts';
import type { CapturedPrefixes } from '../policy/captured.ts';
import type { JumpHostServers } from '../policy/jumphost.ts';
import type { OwnerFinder } from '../record/flowlog.ts';
import type { DialDevice } from '../ssh/dial/device.ts';
import type { Prompter } from '../ssh/prompter.ts';
import type { ForwardSettings } from '../ssh/settings.ts';
import { RecordOwners } from '../system/recordowners.ts';
import { SocketSources } from '../system/socketsources.ts';
import { Advice } from './advice.ts';
import { offerControl } from './control.ts';
import { Current } from './current.ts';
import { linux, type Machine } from './machine.ts';
import { offerMetrics } from './metrics.ts';
import { Overview, type TunnelIdentity } from './overview.ts';
import { PrompterInUse } from './prompterinuse.ts';
import type { RunReport, RunService } from './ready.ts';
import { openRecording, type Recording } from './recording.ts';
import type { Reloads } from './reloads.ts';
import type { Session, SessionOptions } from './session.ts';
import { prepareTargets } from './targets.ts';

export interface RunOptions extends SessionOptions {
  readonly observer: Observer;
  readonly prompter: Prompter;
  /** Is given the allow-list that the run would have needed, at its end, with --dry-run. */
  readonly learned: (list: string) => void;
  /** Default: this one. */
  readonly machine?: Machine;
  /** Requests to read the command line again. Default: there are none. */
  readonly reloads?: Reloads;
  /** What the run is called, and how it is stopped. Default: nobody can ask about it. */
  readonly control?: RunControl;
  /** Whom else it tells how it is. Default: nobody. */
  readonly service?: RunService;
  /** Who shows it at the terminal. Default: nobody. */
  readonly report?: RunReport | undefined;
}

export interface RunControl extends TunnelIdentity {
  /** Aborts the run's `stop`. */
  readonly stop: () => void;
  /** Is given, once, what tells the status from then on. Default: nobody wants it. */
  readonly show?: (status: () => Status) => void;
}

export interface TunnelOptions extends RunOptions {
  /**
   * `library`: this process is somebody else's program, of which nothing is changed and to which
   * nothing is advised. Default: a command.
   */
  readonly kind?: 'library';
  /** What the link must not fall into. Default: nothing is captured that it could. */
  readonly captured?: CapturedPrefixes;
  /** How the link is kept out of that (session/uplinks.ts). */
  readonly deviceFor?: DialDevice | undefined;
  /** Gets the servers that are dialled so. */
  readonly servers?: JumpHostServers;
  /** Of these, those whose answers are dropped while they are captured. */
  readonly filtered?: (server: Destination) => boolean;
  /** Standard error is that of a command, too: what is only advice is logged at `info`. */
  readonly sharesError?: true;
  /** Whose the sockets are that connect. Default: those of this machine. */
  readonly finder?: SourceFinder;
  /** The same for the flow log, which asks for each connection. */
  readonly recordFinder?: OwnerFinder;
}

const NO_ROUTES = { targets: [], exclusions: [] };

export interface Tunnel {
  /**
   * As it is now. Complete: with the targets of a cloud. Until the first reload the same object as
   * was given, where there is no cloud.
   */
  readonly configuration: Configuration;
  /** What follows reloads (reload.ts). */
  readonly current: Current;
  /** A cloud may get services, and they have names. */
  readonly mayGetNames: boolean;
  readonly link: Supervisor;
  readonly guard: AllowGuard;
  /** The link for whoever opens something through it: with the allow-list before it. */
  readonly connector: Connector;
  readonly book: NameBook;
  /** What ssh_config says about fixed forwards. */
  readonly forwards: ForwardSettings;
  readonly observer: Observer;
  readonly advice: Advice;
  /** Asks at the run's own terminal, or at that of whoever has asked for something. */
  readonly prompter: Prompter;
  /**
   * What is known of the run. Its `ready`, `device`, `proxies` and `forwards` are set by the
   * compositions.
   */
  readonly overview: Overview;
  /** Is told of each flow. */
  readonly watch: FlowWatcher;
  /** Gets a record of each packet of the device of this name. */
  readonly tap: Recording['tap'];
  /**
   * Everything is captured: from here on a list for --dry-run is worth having. What fails before
   * has asked for nothing that one could be made of.
   */
  beginLearning(): void;
}

/**
 * Opens a tunnel as part of `session`, which closes it. Rejects with TunnelError, or with the
 * session's reason when that ends before. A link that is lost for good ends nothing by itself.
 */
export async function openTunnel(
  session: Session,
  wanted: Configuration,
  options: TunnelOptions,
): Promise<Tunnel> {
  const { observer, learned, machine = linux, captured, control } = options;
  const prompter = new PrompterInUse(options.prompter);
  const { deviceFor, servers, filtered, finder = new SocketSources({ observer }) } = options;
  const adviceLevel = options.sharesError ? 'info' : 'notice';
  if (options.kind !== 'library') {
    // The launcher of exec has read the command's words from this process by now.
    machine.hideMemory();
    machine.sayWho(observer, adviceLevel);
  }
  if (machine.privileged !== undefined) session.endsWith(machine.privileged.ended);
  const { ssh, allow } = wanted;
  const book = new NameBook({ observer });
  const recording = await openRecording(session, wanted, {
    identity: control ?? UNNAMED,
    finder: options.recordFinder ?? new RecordOwners({ observer }),
    namesOf: (address) => book.namesOf(address),
    observer,
  });
  const complete = await session.within(prepareTargets(wanted, observer, prompter));
  const learning = session.own('the allow-list', new LearningGuard(allow, observer), (it) =>
    it.report(learned),
  );
  const { guard } = learning;
  const online = waitForNetwork(ssh, { machine, observer, service: options.service });
  const dialler = machine.dialler({ ssh, prompter, observer, deviceFor, adviceLevel });
  const link = session.own(
    'the SSH connection',
    createLink(ssh, {
      dialler: recording.dialler(dialler),
      clock: machine.clock,
      observer,
      captured,
      servers,
      filtered,
      book,
      finder,
      online,
    }),
    (it) => it.close(),
  );
  const advice = new Advice(machine, observer);
  const flows = new FlowTable(observer);
  const current = new Current(wanted);
  const identity = control ?? UNNAMED;
  const overview = new Overview({
    identity,
    remote: ssh.remotes[0].text,
    link,
    prompter,
    flows,
    targets: () => namedTargets(current.configuration),
    findings: () => advice.findings,
    namesOf: (address) => book.namesOf(address),
  });
  const reporting = beginReport(session, overview, options);
  control?.show?.(() => overview.status());
  const { service } = options;
  if (service !== undefined)
    session.own('what systemd is told', service.follow(link, prompter, identity.name), (end) =>
      end(),
    );
  const metrics = await session.within(
    offerMetrics(session, {
      identity,
      overview,
      link,
      configuration: () => current.configuration,
      observer,
    }),
  );
  if (control !== undefined)
    await session.within(
      offerControl(session, {
        ...{ overview, link, prompter, stop: control.stop, reloads: options.reloads, observer },
      }),
    );
  const routed = captured === undefined ? NO_ROUTES : wanted;
  const start = link.start();
  const unwatch = online === undefined ? undefined : machine.watch(online, '', observer);
  void start.finally(() => unwatch?.()).catch(() => {}); // the next line reports it
  await session.within(options.kind === 'library' ? start : advice.during(session, routed, start));
  const connector = guardedConnector(link, guard, (address) => book.namesOf(address));
  current.replace(await session.within(complete(connector, session.signal)));
  return {
    get configuration() {
      return current.configuration;
    },
    current,
    mayGetNames: wanted.cloud !== undefined,
    link,
    guard,
    connector,
    book,
    forwards: dialler.forwards ?? NO_FORWARDS,
    observer,
    advice,
    prompter,
    overview,
    watch: watchers([flows, ...reporting, ...metrics, ...recording.watchers]),
    tap: (device) => recording.tap(device),
    beginLearning: () => learning.begin(),
  };
}

/** Returns what the report needs to be told of flows. */
function beginReport(
  session: Session,
  overview: Overview,
  { report, observer }: TunnelOptions,
): readonly FlowWatcher[] {
  if (report === undefined) return [];
  const destinations = new DestinationTable(observer);
  const end = report.follow((refusals) => overview.glance(destinations, refusals));
  session.own('the report', end, (it) => it());
  return [destinations];
}

/** Of a dialler that reads no ssh_config. */
const NO_FORWARDS: ForwardSettings = {
  local: [],
  dynamic: [],
  unfit: [],
  cleared: false,
  gatewayPorts: false,
  exitOnFailure: false,
  socketMask: 0o177,
  unlinksSockets: false,
};

const UNNAMED: TunnelIdentity = {
  name: '',
  command: 'connect',
  version: '',
  counters: () => [],
};

interface WaitParts {
  readonly machine: Machine;
  readonly observer: Observer;
  readonly service: RunService | undefined;
}

/** --wait-online; undefined: nothing is waited for. */
function waitForNetwork(
  { waitOnline, onDemand }: Configuration['ssh'],
  { machine, observer, service }: WaitParts,
): OnlineWait | undefined {
  if (waitOnline === 0 || onDemand !== undefined) return undefined;
  const { clock } = machine;
  const told = (what: string) => service?.waitsFor(what);
  return new OnlineWait({ seconds: waitOnline, told, observer, clock });
}

/** As they were written. */
function namedTargets({ targets, nameTargets }: Configuration): readonly string[] {
  return [...targets, ...nameTargets].map(({ text }) => text);
}

/** The guard of a run, whose list is worth reporting once connections are captured. */
class LearningGuard {
  readonly guard: AllowGuard;
  #begun = false;

  constructor(allow: Configuration['allow'], observer: Observer) {
    this.guard = createGuard(allow, observer);
  }

  begin(): void {
    this.#begun = true;
  }

  report(learned: (list: string) => void): void {
    const list = this.#begun ? this.guard.learned() : undefined;
    if (list !== undefined) learned(list);
  }
}
