/**
 * The composition root: builds the parts from a Configuration, starts them in order, waits, stops
 * them in order. Nothing outside of it and run/ constructs parts.
 *
 *   run       link (link/link.ts) -> targets of a cloud, if asked for (targets.ts) -> helper -> capture (device,
 *             endpoint, routes) -> resolver settings, if there are names (capturednames.ts) -> proxies, if asked for
 *             -> `tunnel: ready`
 *   runProxy  link -> targets of a cloud -> proxies -> `tunnel: ready`
 *
 * Nothing on the machine is changed before the SSH connection stands. A connection that is lost is
 * made anew (link/supervisor.ts) while the capture stays as it is, but for the jump host's own
 * addresses. It runs until it is stopped, the link is lost for good, or the capture is taken away;
 * then admission stops first, flows are reset, routes and device go, the connection closes.
 */
import { closeSync, writeSync } from 'node:fs';
import { Credentials } from '../capture/proxy/credentials.ts';
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import { TunCapture, type TunHost } from '../capture/tun/tun.ts';
import type { Configuration } from '../config/configuration.ts';
import { DirectConnector } from '../connect/direct.ts';
import { createGuard, guardedConnector, reportLearned } from '../connect/guarded.ts';
import { waysBeside } from '../connect/uplink.ts';
import type { Names } from '../dns/server/names.ts';
import { type TunnelError, UsageError } from '../errors/errors.ts';
import type { Connector } from '../flow/connector.ts';
import { Flows } from '../flow/flows.ts';
import type { FlowRequest } from '../flow/request.ts';
import { createLink, watchDisturbances } from '../link/link.ts';
import type { Supervisor } from '../link/supervisor.ts';
import { formatPrefix, type Prefix } from '../net/prefix.ts';
import { PrefixSet } from '../net/prefixset.ts';
import type { Observer } from '../observe/observer.ts';
import type { AllowGuard } from '../policy/allowlist.ts';
import { CapturedPrefixes } from '../policy/captured.ts';
import { type Beyond, createPolicy } from '../policy/policy.ts';
import type { Prompter } from '../ssh/prompter.ts';
import { startHelper } from '../system/helper/helper.ts';
import { descriptorLimit } from '../system/limits.ts';
import { recover } from '../system/resolver/recover.ts';
import { configuredResolvers } from '../system/resolver/resolvconf.ts';
import { CapturedNames, type CapturedNamesParts } from './capturednames.ts';
import {
  answersQueries,
  createNamedFlows,
  createProxyNames,
  lookupForDirect,
  namedPolicy,
  namesBehind,
} from './names.ts';
import { prepareTargets } from './targets.ts';

export interface RunOptions {
  readonly observer: Observer;
  readonly prompter: Prompter;
  /** Aborted to stop in order. */
  readonly stop: AbortSignal;
  /** Is given the allow-list that the run would have needed, at its end, with --dry-run. */
  readonly learned: (list: string) => void;
}

/**
 * Runs a tunnel until `stop` is aborted. Rejects with TunnelError when it can't start, or when it
 * is lost for good.
 */
export async function run(wanted: Configuration, options: RunOptions): Promise<void> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const { signal } = ending;
  let link: Supervisor | undefined;
  let capture: TunCapture | undefined;
  let naming: CapturedNames | undefined;
  /** From `ready` on: what fails before has asked for nothing that a list could be made of. */
  let learning: AllowGuard | undefined;
  let proxies: ProxyCapture | undefined;
  let unwatch: (() => void) | undefined;
  try {
    repair(observer);
    let ownNames: readonly string[] = [];
    const namingOf = (configuration: Configuration) =>
      answersQueries(configuration)
        ? new CapturedNames(configuration, () => ownNames, observer)
        : undefined;
    // What can be found out about the targets beforehand is said before anybody is asked for a
    // password.
    const complete = await prepareTargets(wanted, observer);
    naming = namingOf(wanted);
    const captured = new CapturedPrefixes(naming?.rules ?? wanted, async (prefixes) =>
      capture?.setPrefixes(prefixes),
    );
    link = createLink(wanted.ssh, options, captured, (names) => {
      ownNames = names;
    });
    ending.followedBy(link.ended);
    await ending.orElse(link.start());
    const guard = createGuard(wanted.allow, observer);
    const names = () => naming?.names;
    const connector = guardedConnector(link, guard, namesBehind(names));
    const configuration = await ending.orElse(complete(connector, signal));
    if (configuration !== wanted) {
      naming = namingOf(configuration);
      await captured.setRules(naming?.rules ?? configuration);
    }
    if (naming === undefined) warnOfCapturedResolvers(captured.current, observer);
    const host = await startHelper({ observer, signal });
    const beside = waysBeside(() => capture?.deviceName ?? '', captured, lookupForDirect(names));
    capture =
      naming === undefined
        ? new TunCapture({ host, prefixes: captured.current, observer })
        : captureWithNames(host, captured.current, naming, observer, { connector, beside });
    ending.followedBy(capture.ended);
    const flows = createFlows({
      configuration,
      connector,
      direct: beside.direct,
      guard,
      names,
      observer,
    });
    const accept = (request: FlowRequest) => flows.accept(request);
    await ending.orElse(
      capture.start(
        (request) => (naming === undefined ? accept(request) : naming.take(request, accept)),
        signal,
      ),
    );
    const device = capture.deviceName ?? '';
    unwatch = watchDisturbances(link, device, observer);
    await ending.orElse(naming?.settle(device, captured) ?? Promise.resolve());

    proxies = createProxies(configuration, observer);
    const decided = { configuration, guard, names };
    await ending.orElse(startProxies(proxies, flows, decided, options, signal));

    const prefixes = captured.current.map(formatPrefix);
    if (configuration.nameTargets.length > 0)
      prefixes.push(...configuration.nameTargets.map(({ text }) => text));
    observer.log('info', `captured by ${device}: ${prefixes.join(', ')}`);
    learning = guard;
    announce(configuration.readyFd);
    observer.log('notice', 'ready');
    await ending.orElse(new Promise<never>(() => {}));
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    observer.log('debug', 'stopping', capture?.counters());
    unwatch?.();
    await proxies?.close();
    await naming?.close();
    await capture?.close();
    await link?.close();
    reportLearned(learning, options);
  }
}

/** Runs the proxies alone, without privileges, until `stop` is aborted. Rejects as `run` does. */
export async function runProxy(wanted: Configuration, options: RunOptions): Promise<void> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const { signal } = ending;
  let link: Supervisor | undefined;
  let names: Names | undefined;
  let learning: AllowGuard | undefined;
  let proxies: ProxyCapture | undefined;
  let unwatch: (() => void) | undefined;
  try {
    const complete = await prepareTargets(wanted, observer);
    link = createLink(wanted.ssh, options);
    ending.followedBy(link.ended);
    await ending.orElse(link.start());
    const guard = createGuard(wanted.allow, observer);
    const connector = guardedConnector(
      link,
      guard,
      namesBehind(() => names),
    );
    const configuration = await ending.orElse(complete(connector, signal));
    unwatch = watchDisturbances(link, '', observer);
    const direct = new DirectConnector({ lookup: lookupForDirect(() => names) });
    names = createProxyNames(configuration, connector, direct, observer);
    const decided = { configuration, guard, names: () => names };
    const flows = createFlows({ ...decided, connector, direct, observer });
    proxies = createProxies(configuration, observer);
    await ending.orElse(startProxies(proxies, flows, decided, options, signal));
    learning = guard;
    announce(configuration.readyFd);
    observer.log('notice', 'ready');
    await ending.orElse(new Promise<never>(() => {}));
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    observer.log('debug', 'stopping');
    unwatch?.();
    await proxies?.close();
    names?.close();
    await link?.close();
    reportLearned(learning, options);
  }
}

/** What the policies of a run are made of. */
interface Decided {
  readonly configuration: Configuration;
  readonly guard: AllowGuard;
  readonly names: () => Names | undefined;
}

function captureWithNames(
  host: TunHost,
  prefixes: readonly Prefix[],
  naming: CapturedNames,
  observer: Observer,
  parts: CapturedNamesParts,
): TunCapture {
  const capture: TunCapture = new TunCapture({
    host,
    prefixes,
    observer,
    served: naming.served,
    families: naming.families,
    onDevice: (device) => naming.onDevice(device, capture, parts),
    onDatagram(datagram) {
      // At once, so that QUIC falls back to TCP.
      if (!naming.acceptDatagram(datagram)) capture.refuseDatagram(datagram, 'refused');
    },
  });
  return capture;
}

function createProxies({ proxies }: Configuration, observer: Observer): ProxyCapture | undefined {
  if (proxies === undefined) return undefined;
  const { listens, credentials } = proxies;
  return new ProxyCapture({
    listens,
    credentials: credentials.length === 0 ? undefined : new Credentials(credentials),
    observer,
    descriptors: descriptorLimit(),
  });
}

/** Proxies have a policy of their own: they hear of more than what is routed, and of names. */
async function startProxies(
  capture: ProxyCapture | undefined,
  flows: Flows,
  { configuration, guard, names }: Decided,
  { observer }: RunOptions,
  signal: AbortSignal,
): Promise<void> {
  const { proxies } = configuration;
  if (capture === undefined || proxies === undefined) return;
  const { remoteClients, credentials } = proxies;
  const policy = createPolicy(configuration, {
    beyond: beyondTargets(configuration),
    proxied: true,
    remoteClients,
  });
  const named = namedPolicy(configuration, policy, { guard, names });
  await capture.start((request) => flows.accept(request, named), signal);
  observer.log('notice', `proxy at ${capture.addresses.join(', ')}`);
  if (!remoteClients) return;
  observer.log(
    'warning',
    credentials.length === 0
      ? 'whoever can connect to the proxy can use the jump host through it'
      : 'the proxy is open to other machines, and passwords and data go to it unencrypted',
  );
}

function beyondTargets({ targets, nameTargets, proxies }: Configuration): Beyond {
  if (proxies?.onlyTargets === true) return 'refuse';
  return targets.length + nameTargets.length === 0 ? 'tunnel' : 'direct';
}

/** What ends a run: the user's stop, or the first part that is lost. */
export class Ending {
  readonly #controller = new AbortController();
  readonly #aborted: Promise<never>;

  constructor(stop: AbortSignal) {
    this.#aborted = new Promise((_resolve, reject) => {
      this.signal.addEventListener('abort', () => reject(this.signal.reason), { once: true });
    });
    this.#aborted.catch(() => {}); // whoever waits hears of it
    if (stop.aborted) this.#controller.abort(stop.reason);
    else stop.addEventListener('abort', () => this.#controller.abort(stop.reason), { once: true });
  }

  /** Aborted with the reason of `stop`, or with the error with which a part has ended. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** A part that ends with an error ends the run; one that ends without has been closed. */
  followedBy(ended: Promise<TunnelError | undefined>): void {
    ended.then((error) => {
      if (error !== undefined) this.#controller.abort(error);
    });
  }

  /** What `work` gives, unless the run ends before; what becomes of `work` then is no matter. */
  orElse<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#aborted]);
  }
}

/**
 * Queries go by UDP, which is not carried: better said at the start than found out by names that
 * don't resolve.
 */
function warnOfCapturedResolvers(prefixes: readonly Prefix[], observer: Observer): void {
  const captured = new PrefixSet(prefixes);
  const resolvers = configuredResolvers().filter((address) => captured.contains(address));
  if (resolvers.length === 0) return;
  const options = resolvers.map((address) => `-x ${address}`).join(' ');
  observer.log(
    'warning',
    `the targets hold this machine's resolver ${resolvers.join(', ')}, and queries are not carried: names will not resolve; have them answered through the tunnel with --dns, or leave it out with ${options}`,
  );
}

interface FlowsParts extends Decided {
  readonly connector: Connector;
  readonly direct: Connector;
  readonly observer: Observer;
}

function createFlows({
  configuration,
  connector,
  direct,
  guard,
  names,
  observer,
}: FlowsParts): Flows {
  return new Flows({
    policy: namedPolicy(configuration, createPolicy(configuration), { guard, names }),
    ...createNamedFlows(configuration, { connector, guard, names, observer }),
    direct,
    observer,
  });
}

/** What a tunnel that was killed has left is put right before anything else is changed. */
function repair(observer: Observer): void {
  const { done, failed } = recover(observer);
  for (const what of done) observer.log('notice', `left by a tunnel that was killed: ${what}`);
  for (const what of failed) observer.log('warning', `${what}; run "tunnel clean"`);
}

/** For --ready-fd: whoever reads it gets one line and the end. */
export function announce(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    writeSync(fd, 'READY=1\n');
    closeSync(fd);
  } catch (cause) {
    throw new UsageError(`--ready-fd ${fd} can't be written to`, {
      hint: 'pass an open descriptor',
      cause,
    });
  }
}
