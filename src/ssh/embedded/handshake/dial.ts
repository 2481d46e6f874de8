/**
 * The embedded transport: the ssh2 library speaks SSH over a stream that we open. This file brings
 * a connection up. attempt.ts is the handshake with one server, chain.ts joins the connections of
 * several hops, ssh/embedded/channels/link.ts is one connection once it is up, and
 * ssh/embedded/channels/channel.ts is one flow in it.
 *
 *   jump hosts, each with addresses or a ProxyCommand
 *        │ ssh/dial/race.ts: TCP only (or the start of a program)
 *        ▼
 *   the winner ──► chain.ts: handshake with hop 1 ─► channel ─► with hop 2 ─► ... ──► HopChain
 *        │ fails with jumphost-*
 *        ▼
 *   the rest is raced again
 *
 * A failure with a jumphost-* code concerns one address (or one ProxyCommand) only, so the rest is
 * tried. If a host key is not accepted or authentication fails, nothing else is tried: another
 * address would not help, and servers penalise repetition.
 *
 * An address that accepts a connection and then sends nothing would delay the others for the whole
 * ConnectTimeout. So while others are left, a handshake gets only HURRIED_SECONDS. Addresses that
 * were too slow get their whole time when no others are left.
 */
import type { Duplex } from 'node:stream';
import { TunnelError } from '../../../errors/errors.ts';
import { formatDestination } from '../../../net/destination.ts';
import type { Level, Observer } from '../../../observe/observer.ts';
import type { KnownAnswers } from '../../answers.ts';
import type { JumpHost, RemoteAddress } from '../../dial/addresses.ts';
import type { DialDevice } from '../../dial/device.ts';
import { openProxyCommand } from '../../dial/proxycommand.ts';
import { type Contender, interleave, type RaceResult, race } from '../../dial/race.ts';
import { connectTcp, isTimeout } from '../../dial/tcp.ts';
import { setUserTimeout } from '../../dial/tcpoptions.ts';
import { hopsOf } from '../../hops.ts';
import type { SshSettings } from '../../settings.ts';
import { tellProgress } from '../../startprogress.ts';
import { Inbox } from '../channels/inbox.ts';
import type { ReceiveWindowLimits } from '../channels/receivewindow.ts';
import { prepareKem } from '../ssh2/mlkem.ts';
import type { Access } from './attempt.ts';
import { type ChainOptions, connectChain, type HopChain, ViaError } from './chain.ts';

/** For the first hop's identification and key exchange while other addresses wait. */
export const HURRIED_SECONDS = 5;

export interface DialOptions {
  /**
   * Alternatives, in order of preference (several -r). At least one; their addresses come from
   * resolveJumpHosts.
   */
  readonly jumpHosts: readonly JumpHost[];
  /** Called once for each hop of each jump host, before anything is dialled. */
  readonly access: (hop: SshSettings) => Promise<Access>;
  /** The devices to bind connections for a jump host to. Default: the routes decide. */
  readonly deviceFor?: (settings: SshSettings) => DialDevice | undefined;
  readonly windows?: ReceiveWindowLimits | undefined;
  /** What this run has learned about the servers. Default: nothing. */
  readonly answers?: KnownAnswers | undefined;
  readonly observer: Observer;
  /** For messages about what takes long. Default: `notice`. */
  readonly progress?: Level | undefined;
  readonly signal?: AbortSignal;
}

/**
 * Rejects with a TunnelError: jumphost-dns, -refused, -unreachable, -timeout, -slow, -closed,
 * -not-ssh, -no-common-algorithm, -key-exchange, -forwarding-prohibited, -proxy;
 * algorithms-unknown; host-key-*; auth-*; usage for a chain that is too long. Or with the signal's
 * reason.
 */
export async function dialSsh2(options: DialOptions): Promise<HopChain> {
  prepareDial();
  const access = await loadAccess(options);
  const accessOf = (hop: SshSettings): Access => {
    const found = access.get(hop);
    if (found === undefined)
      throw new TunnelError('access-missing', `nothing was loaded for ${hop.name}`);
    return found;
  };
  return new JumpHostDial(options, accessOf).run();
}

/**
 * Begins what a handshake needs and what takes a while the first time. Each handshake waits for it,
 * and reports its error.
 */
export function prepareDial(): void {
  prepareKem().catch(() => undefined);
}

/**
 * One after another, before anything is dialled: so an error in a key file is reported early, and
 * it is always the same one.
 */
async function loadAccess({ jumpHosts, access }: DialOptions): Promise<Map<SshSettings, Access>> {
  const loaded = new Map<SshSettings, Access>();
  for (const hop of jumpHosts.flatMap(({ settings }) => [...hopsOf(settings)]))
    if (!loaded.has(hop)) loaded.set(hop, await access(hop));
  return loaded;
}

/** One way to reach a jump host's first hop: an address, or a ProxyCommand. */
interface Route extends Contender {
  readonly settings: SshSettings;
  readonly at: string;
  readonly dialled: RemoteAddress | undefined;
}

class JumpHostDial {
  readonly #options: DialOptions;
  readonly #accessOf: ChainOptions['accessOf'];
  readonly #failures: TunnelError[] = [];
  /** Routes that were too slow for a hurried handshake. */
  readonly #slow: Route[] = [];
  /** The inboxes that read from the TCP connections that were made. */
  readonly #inboxes = new WeakMap<Duplex, Inbox>();

  constructor(options: DialOptions, accessOf: ChainOptions['accessOf']) {
    this.#options = options;
    this.#accessOf = accessOf;
  }

  async run(): Promise<HopChain> {
    const { jumpHosts } = this.#options;
    let routes = jumpHosts.flatMap((jumpHost, index) => this.#routesTo(jumpHost, index));
    for (let hurried = true; ; hurried = false) {
      const chain = await this.#tryAll(routes, hurried);
      if (chain !== undefined) return chain;
      routes = this.#slow.splice(0);
      if (routes.length === 0) throw summary(this.#failures, jumpHosts);
    }
  }

  /** undefined: every route has failed or was too slow. */
  async #tryAll(routes: readonly Route[], mayHurry: boolean): Promise<HopChain | undefined> {
    const { observer } = this.#options;
    for (let waiting = routes; waiting.length > 0; ) {
      const { winner, rest, failures } = await this.#race(waiting);
      for (const failure of failures) this.#failed(failure);
      if (winner === undefined) return undefined;
      const { contender, stream, began } = winner;
      waiting = rest;
      const [{ connectTimeout }] = hopsOf(contender.settings);
      const hurried = mayHurry && rest.length > 0 && connectTimeout > HURRIED_SECONDS;
      const time = hurried
        ? { began: performance.now(), seconds: HURRIED_SECONDS }
        : { began, seconds: connectTimeout };
      try {
        const chain = await this.#connect(contender, stream, time);
        if (routes.length > 1) observer.log('info', `connected to ${contender.at}`);
        return chain;
      } catch (error) {
        if (!(error instanceof TunnelError) || !error.code.startsWith('jumphost-')) throw error;
        // Only the first hop is hurried; the others had their whole time.
        if (hurried && isTimeout(error) && !(error instanceof ViaError)) {
          observer.log('info', `${error.message}; trying others first`);
          observer.count('tunnel_dial_slow_total');
          this.#slow.push(contender);
        } else {
          this.#failed(error);
        }
      }
    }
    return undefined;
  }

  async #race(routes: readonly Route[]): Promise<RaceResult<Route>> {
    const { observer, progress: level, signal } = this.#options;
    const places = [...new Set(routes.map(({ at }) => at))];
    const what = () => `an answer from ${places.join(' or ')}`;
    const mayAsk = () => routes.some(({ dialled }) => dialled === undefined);
    const progress = tellProgress({ observer, level, what, mayAsk });
    try {
      return await race(routes, signal);
    } finally {
      progress.stop();
    }
  }

  #connect(
    route: Route,
    stream: ChainOptions['stream'],
    time: ChainOptions['time'],
  ): Promise<HopChain> {
    const { observer, progress, signal } = this.#options;
    const { at, dialled, settings } = route;
    return connectChain({
      stream,
      inbox: this.#inboxes.get(stream),
      at,
      dialled,
      hops: hopsOf(settings),
      accessOf: this.#accessOf,
      windows: this.#options.windows,
      answers: this.#options.answers,
      observer,
      progress,
      time,
      signal,
    });
  }

  #routesTo({ settings, addresses }: JumpHost, jumpHost: number): Route[] {
    const { observer } = this.#options;
    const deviceFor = this.#options.deviceFor?.(settings);
    const [outermost] = hopsOf(settings);
    const { proxy, hostName, port, keepalive, connectTimeout: timeout } = outermost;
    const role = outermost === settings ? 'jump host' : 'hop';
    if (proxy.kind === 'command') {
      const { command } = proxy;
      const open = (signal: AbortSignal) => openProxyCommand(command, { observer, signal });
      return [
        {
          jumpHost,
          settings,
          at: formatDestination({ host: hostName, port }),
          dialled: undefined,
          open,
        },
      ];
    }
    return interleave(addresses).map((address) => ({
      jumpHost,
      settings,
      at: formatDestination(address),
      dialled: address,
      open: async (signal) => {
        const inbox = new Inbox();
        const reader = { reader: inbox, deviceFor };
        const socket = await connectTcp(address, { timeout, role, signal, ...reader });
        inbox.openEarly(socket);
        if (keepalive.interval > 0)
          setUserTimeout(socket, keepalive.interval * keepalive.count * 1000);
        this.#inboxes.set(socket, inbox);
        return socket;
      },
    }));
  }

  #failed(error: TunnelError): void {
    this.#failures.push(error);
    const { jumpHosts, observer } = this.#options;
    observer.log(jumpHosts.length > 1 ? 'warning' : 'debug', error.message);
  }
}

/** The errors that tell a user most come first. */
const TELLING = [
  'jumphost-forwarding-prohibited',
  'jumphost-no-common-algorithm',
  'jumphost-not-ssh',
  'jumphost-protocol',
  'jumphost-proxy',
  'jumphost-closed',
  'jumphost-no-identification',
  'jumphost-refused',
  'jumphost-slow',
  'jumphost-timeout',
];

function summary(failures: readonly TunnelError[], jumpHosts: readonly JumpHost[]): TunnelError {
  const rank = ({ code }: TunnelError): number =>
    (TELLING.indexOf(code) + TELLING.length + 1) % (TELLING.length + 1);
  const [first, ...others] = [...failures].sort((a, b) => rank(a) - rank(b));
  if (first === undefined) {
    const names = jumpHosts.map(({ settings }) => settings.name).join(', ');
    return new TunnelError('jumphost-dns', `the jump host ${names} has no address`, {
      hint: 'check the name',
    });
  }
  if (others.length === 0) return first;
  const message = failures.map((failure) => failure.message).join('; ');
  const { hint } = first;
  return new TunnelError(
    first.code,
    message,
    hint === undefined ? { cause: first } : { hint, cause: first },
  );
}
