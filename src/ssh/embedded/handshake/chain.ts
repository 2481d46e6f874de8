/**
 * The SSH connections that lead to a jump host, one inside another (ProxyJump). Usually there is
 * only one.
 *
 *   stream ── link 0 ── direct-tcpip channel ── link 1 ── ... ── link n: the jump host, which
 *   (TCP or a ProxyCommand)                                      opens the flows
 *
 * Each hop is dialled by the hop before it, by its configured name. Its host key is verified and
 * its user authenticated with its own settings before anything is sent to the next one. Errors name
 * the hops on the way: `via a, b: ...`.
 *
 * The links live and end together. When one is lost, the links inside it lose their stream and end
 * too, and those around it are closed. The chain ends with the error of the lost link. close()
 * closes the links from the innermost to the outermost. After CLOSE_TIMEOUT_MS for all of them
 * together, the outermost stream is destroyed, and the rest with it.
 *
 * Back-pressure: a link waits for its stream's buffer as it would for a socket's, and a channel's
 * buffer empties as the window of the hop before it admits. So each hop buffers at most one window
 * and one stream buffer in each direction.
 */
import type { Duplex } from 'node:stream';
import { within } from '../../../base/within.ts';
import type { ErrorCode } from '../../../errors/codes.ts';
import { TunnelError } from '../../../errors/errors.ts';
import type { Conduit } from '../../../flow/conduit.ts';
import { streamOf } from '../../../flow/conduitstream.ts';
import { ConnectError, type ConnectOptions } from '../../../flow/connector.ts';
import { canonicalAddress, isAddress } from '../../../net/address.ts';
import { type Destination, formatDestination } from '../../../net/destination.ts';
import type { Refusal } from '../../../net/refusal.ts';
import type { Level, Observer } from '../../../observe/observer.ts';
import type { KnownAnswers } from '../../answers.ts';
import type { RemoteAddress } from '../../dial/addresses.ts';
import { type TcpOptions, timeoutError } from '../../dial/tcp.ts';
import type { Describable, Established } from '../../established.ts';
import { type Hops, PORT_OF, type Role } from '../../hops.ts';
import { forwardingOfKind } from '../../servers.ts';
import type { SshSettings } from '../../settings.ts';
import type { Load, Loaded, Probing, Transport } from '../../transport.ts';
import type { Inbox } from '../channels/inbox.ts';
import { CLOSE_TIMEOUT_MS, type Ssh2Link } from '../channels/link.ts';
import type { ReceiveWindowLimits } from '../channels/receivewindow.ts';
import { type Access, type AttemptOptions, type EstablishedLink, establish } from './attempt.ts';
import { ForwardingWatch } from './forwarding.ts';

/** An error at a hop after the first one. */
export class ViaError extends TunnelError {}

export interface ChainOptions {
  /** Connected to the first hop. Nothing has been read from it yet. */
  readonly stream: Duplex;
  /** Reads for `stream`, if that is a TCP connection of this program. */
  readonly inbox: Inbox | undefined;
  /** `host:port` of the first hop as it was dialled, for messages. */
  readonly at: string;
  /** undefined: `stream` is not a TCP connection of this program. */
  readonly dialled: RemoteAddress | undefined;
  readonly hops: Hops;
  readonly accessOf: (hop: SshSettings) => Access;
  /** For the jump host. Each hop before it has only one channel, with the default limits. */
  readonly windows: ReceiveWindowLimits | undefined;
  readonly answers: KnownAnswers | undefined;
  readonly observer: Observer;
  /** As in AttemptOptions. */
  readonly progress?: Level | undefined;
  /** For the first hop's identification and key exchange. */
  readonly time: { readonly began: number; readonly seconds: number };
  readonly signal: AbortSignal | undefined;
}

/**
 * Rejects with a TunnelError: the errors of an attempt (attempt.ts) at any hop; and
 * jumphost-refused, -unreachable, -timeout, -dns or -forwarding-prohibited for a hop that can't be
 * reached from the one before it. Or with the signal's reason.
 */
export async function connectChain(options: ChainOptions): Promise<HopChain> {
  const { stream, hops, observer, progress, signal } = options;
  const [outermost, ...inner] = hops;
  const jumpHost = hops.at(-1) ?? outermost;
  const roleOf = (hop: SshSettings): Role => (hop === jumpHost ? 'jump host' : 'hop');
  const watch = new ForwardingWatch(jumpHost.name, observer);
  const links: Ssh2Link[] = [];
  const handshake = async (
    hop: SshSettings,
    over: Pick<AttemptOptions, 'stream' | 'inbox' | 'at' | 'accepted' | 'time'>,
  ) => {
    const attempted = await establish({
      ...over,
      ...options.accessOf(hop),
      settings: hop,
      role: roleOf(hop),
      observer,
      progress,
      windows: hop === jumpHost ? options.windows : undefined,
      answers: options.answers?.of(hop),
      onDebugMessage: hop === jumpHost ? watch.debugMessage : () => {},
      signal,
    });
    links.push(attempted.link);
    return attempted;
  };
  try {
    let attempted = await handshake(outermost, {
      stream,
      inbox: options.inbox,
      at: options.at,
      accepted: options.dialled !== undefined,
      time: options.time,
    });
    for (const hop of inner) {
      const destination = hopDestination(hop);
      observer.log('debug', `passing on to ${hop.name}`, {
        destination: formatDestination(destination),
      });
      const time = { began: performance.now(), seconds: hop.connectTimeout };
      const channel = await passOn(attempted.link, destination, {
        timeout: hop.connectTimeout,
        role: roleOf(hop),
        software: attempted.facts.software,
        signal,
      });
      attempted = await handshake(hop, {
        stream: channel,
        inbox: undefined,
        at: formatDestination(destination),
        accepted: true,
        time,
      });
    }
    watch.software = attempted.facts.software;
    return new HopChain(options, links, attempted, watch);
  } catch (error) {
    if (signal?.aborted) stream.destroy();
    await closeLinks(links, stream);
    throw signal?.aborted || !(error instanceof TunnelError)
      ? error
      : dialError(error, hops, links.length);
  }
}

export class HopChain implements Transport, Probing, Loaded, Describable {
  readonly ended: Promise<TunnelError | undefined>;
  /**
   * The address that this machine is connected to, which must not be captured. undefined with a
   * ProxyCommand.
   */
  readonly dialled: RemoteAddress | undefined;
  /** Outermost first. */
  readonly #links: readonly Ssh2Link[];
  readonly #innermost: Ssh2Link;
  readonly #facts: EstablishedLink['facts'];
  readonly #stream: Duplex;
  readonly #hops: Hops;
  readonly #watch: ForwardingWatch;
  #closing = false;

  /** For connectChain; the third is the last of `links`. */
  constructor(
    { stream, dialled, hops }: Pick<ChainOptions, 'stream' | 'dialled' | 'hops'>,
    links: readonly Ssh2Link[],
    { link, facts }: EstablishedLink,
    watch: ForwardingWatch,
  ) {
    this.#links = links;
    this.#innermost = link;
    this.#facts = facts;
    this.#stream = stream;
    this.dialled = dialled;
    this.#hops = hops;
    this.#watch = watch;
    this.ended = this.#follow();
  }

  connect(destination: Destination, options?: ConnectOptions): Promise<Conduit> {
    const opening = this.#innermost.connect(destination, options);
    if (!this.#watch.decided)
      opening.then(
        () => this.#watch.outcome(undefined),
        (error: unknown) => this.#watch.outcome(error),
      );
    return opening;
  }

  /**
   * Asks every hop for an answer. Resolves to whether each sends anything within `milliseconds`.
   * The jump host may be one that never answers (livenessprobe.ts): the hops before it then show
   * whether the path is there.
   */
  async probe(milliseconds: number, load?: number): Promise<boolean> {
    const alive = await Promise.all(
      this.#links.map((link) =>
        link === this.#innermost ? link.probe(milliseconds, load) : link.probe(milliseconds),
      ),
    );
    return alive.every(Boolean);
  }

  get roundTripMs(): number | undefined {
    return this.#innermost.roundTripMs;
  }

  get channels(): number {
    return this.#innermost.channels;
  }

  get load(): Load {
    return this.#innermost.load;
  }

  describe(): Established {
    return {
      ...this.#facts,
      ...this.#innermost.observed,
      via: this.#hops.slice(0, -1).map(({ name }) => name),
      client: 'the embedded client',
      forwarding: this.#watch.limits(),
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    await closeLinks(this.#links, this.#stream);
    await this.ended;
  }

  /** The first link that ends is the one that was lost; the others follow it. */
  async #follow(): Promise<TunnelError | undefined> {
    const ends = this.#links.map(async (link, index) => ({ error: await link.ended, index }));
    const { error, index } = await Promise.race(ends);
    await Promise.all(ends.slice(index + 1));
    await closeLinks(this.#links.slice(0, index), this.#stream);
    if (this.#closing || error === undefined) return undefined;
    // An error without a cause means that the server closed in order (ssh/transport.ts). So keep
    // `cause` as it is: the error of another hop must not become one.
    return viaError(error, this.#hops, index, { code: error.code, cause: error.cause });
  }
}

/** Closes them, innermost first. */
async function closeLinks(links: readonly Ssh2Link[], stream: Duplex): Promise<void> {
  const timer = setTimeout(() => stream.destroy(), CLOSE_TIMEOUT_MS);
  try {
    for (const link of links.toReversed()) await link.close();
  } finally {
    clearTimeout(timer);
  }
}

/** Opens a stream from one hop to the next, within `timeout` seconds. */
async function passOn(
  link: Ssh2Link,
  destination: Destination,
  {
    timeout,
    role,
    software,
    signal,
  }: Pick<TcpOptions, 'timeout' | 'role'> &
    Pick<ChainOptions, 'signal'> & { readonly software: string },
): Promise<Duplex> {
  const late = (): TunnelError =>
    timeoutError(formatDestination(destination), timeout, 'TCP connection');
  try {
    return streamOf(
      await within({ signal, time: { milliseconds: timeout * 1000, late } }, (giveUp) =>
        link.connect(destination, { signal: giveUp }),
      ),
    );
  } catch (error) {
    throw error instanceof ConnectError ? hopError(destination, role, software, error) : error;
  }
}

/** In the form that servers expect: a canonical address, or a name in lower case. */
function hopDestination({ hostName, port }: SshSettings): Destination {
  return { host: isAddress(hostName) ? canonicalAddress(hostName) : hostName.toLowerCase(), port };
}

const HOP_CODES: Readonly<
  Record<Exclude<Refusal, 'prohibited' | 'refused'>, { code: ErrorCode; hint: string }>
> = {
  unreachable: {
    code: 'jumphost-unreachable',
    hint: 'check the network of the host before it in the chain',
  },
  'no-network': {
    code: 'jumphost-unreachable',
    hint: 'check the network of the host before it in the chain',
  },
  timeout: {
    code: 'jumphost-timeout',
    hint: 'check the address, and the firewalls between it and the host before it in the chain',
  },
};

/** Errors of getaddrinfo(3), as sshd passes them on. */
const RESOLVER_WORDS =
  /name or service not known|name resolution|no address associated|nodename nor servname/i;

/** `software`: of the host that was asked to pass on. */
function hopError(
  destination: Destination,
  role: Role,
  software: string,
  cause: ConnectError,
): TunnelError {
  const at = formatDestination(destination);
  if (cause.refusal === 'prohibited')
    return new TunnelError(
      'jumphost-forwarding-prohibited',
      `passing on to ${at} is prohibited there`,
      {
        hint: `have it permitted on the host before it in the chain: ${forwardingOfKind(software)?.hint ?? openSshHint(at)}`,
        cause,
      },
    );
  if (RESOLVER_WORDS.test(cause.message))
    return new TunnelError('jumphost-dns', `the name can't be resolved there (${cause.message})`, {
      hint: 'check its spelling: it is resolved by the host before it in the chain, not here',
      cause,
    });
  if (cause.refusal === 'refused')
    return new TunnelError('jumphost-refused', cause.message, {
      hint: `check ${PORT_OF[role]}, and that sshd runs there`,
      cause,
    });
  const { code, hint } = HOP_CODES[cause.refusal];
  return new TunnelError(code, cause.message, { hint, cause });
}

function openSshHint(at: string): string {
  return `AllowTcpForwarding and PermitOpen ${at} in sshd_config, and neither restrict nor other permitopen options before the key in authorized_keys`;
}

/** For an error at the hop `index` while the chain was built. */
function dialError(error: TunnelError, hops: Hops, index: number): TunnelError {
  // A hop that is lost while the next is dialled through it counts as one that closed early, so
  // that the other addresses are tried.
  const code = error.code === 'link-lost' ? 'jumphost-closed' : error.code;
  return viaError(error, hops, index, { code, cause: error });
}

function viaError(
  error: TunnelError,
  hops: Hops,
  index: number,
  { code, cause }: { readonly code: ErrorCode; readonly cause: unknown },
): TunnelError {
  if (index === 0) return error;
  const via = hops.slice(0, index).map(({ name }) => name);
  return new ViaError(code, `via ${via.join(', ')}: ${error.message}`, {
    cause,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}
