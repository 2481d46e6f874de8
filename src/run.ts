/**
 * The composition root: builds the parts from a Configuration, starts them in order, waits, stops them in order.
 * Nothing outside of it and run/ constructs parts.
 *
 *   run       settings, jump host's addresses -> SSH connection (run/dialling.ts) -> helper -> capture (device, listener,
 *             engine, probe, routes) -> proxies, if asked for -> `tunnel: ready`
 *   runProxy  settings, jump host's addresses -> SSH connection -> proxies -> `tunnel: ready`
 *
 * Nothing on the machine is changed before the SSH connection stands. It runs until it is stopped, the link is lost, or
 * the capture is taken away; then admission stops first, flows are reset, routes and device go, the connection closes.
 */
import { closeSync, writeSync } from 'node:fs';
import { ProxyCapture } from './capture/proxy.ts';
import { Credentials } from './capture/proxyauth.ts';
import { TunCapture } from './capture/tun.ts';
import type { Configuration } from './config/configuration.ts';
import { type TunnelError, UsageError } from './errors.ts';
import { Flows } from './flow/flows.ts';
import { addon } from './native.ts';
import { addressBytes } from './net/address.ts';
import { formatPrefix, type Prefix } from './net/prefix.ts';
import { PrefixSet } from './net/prefixset.ts';
import type { Observer } from './observe/observer.ts';
import { type Beyond, capturedPrefixes, createPolicy } from './policy/policy.ts';
import { Dialler } from './run/dialling.ts';
import { startHelper } from './system/helper.ts';
import { descriptorLimit } from './system/limits.ts';
import { configuredResolvers } from './system/resolvers.ts';
import { DirectConnector } from './transport/direct.ts';
import { lookupName } from './transport/lookup.ts';
import type { Prompter } from './transport/prompter.ts';
import type { Transport } from './transport/transport.ts';

export interface RunOptions {
  readonly observer: Observer;
  readonly prompter: Prompter;
  /** Aborted to stop in order. */
  readonly stop: AbortSignal;
}

/** Runs a tunnel until `stop` is aborted. Rejects with TunnelError when it can't start, or when it is lost. */
export async function run(configuration: Configuration, options: RunOptions): Promise<void> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const { signal } = ending;
  let transport: Transport | undefined;
  let capture: TunCapture | undefined;
  let proxies: ProxyCapture | undefined;
  try {
    const dialler = new Dialler({ ssh: configuration.ssh, prompter: options.prompter, observer });
    const located = await ending.orElse(dialler.locate(signal));
    const prefixes = capturedPrefixes({ ...configuration, always: located.own });
    warnOfCapturedResolvers(prefixes, observer);

    transport = await dialler.dial(located, signal);
    ending.followedBy(transport.ended);
    const host = await startHelper({ observer, signal });
    capture = new TunCapture({ host, prefixes, observer });
    ending.followedBy(capture.ended);
    const flows = createFlows(configuration, transport, directBeside(capture, prefixes), observer);
    await ending.orElse(capture.start((request) => flows.accept(request), signal));

    proxies = createProxies(configuration, observer);
    await ending.orElse(startProxies(proxies, configuration, flows, options, signal));

    observer.log('info', `captured by ${capture.deviceName}: ${prefixes.map(formatPrefix).join(', ')}`);
    announce(configuration.readyFd);
    observer.log('notice', 'ready');
    await ending.orElse(new Promise<never>(() => {}));
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    observer.log('debug', 'stopping', capture?.counters());
    await proxies?.close();
    await capture?.close();
    await transport?.close();
  }
}

/** Runs the proxies alone, without privileges, until `stop` is aborted. Rejects as `run` does. */
export async function runProxy(configuration: Configuration, options: RunOptions): Promise<void> {
  const { observer, stop } = options;
  const ending = new Ending(stop);
  const { signal } = ending;
  let transport: Transport | undefined;
  let proxies: ProxyCapture | undefined;
  try {
    const dialler = new Dialler({ ssh: configuration.ssh, prompter: options.prompter, observer });
    transport = await dialler.dial(await ending.orElse(dialler.locate(signal)), signal);
    ending.followedBy(transport.ended);
    const flows = createFlows(configuration, transport, new DirectConnector(), observer);
    proxies = createProxies(configuration, observer);
    await ending.orElse(startProxies(proxies, configuration, flows, options, signal));
    announce(configuration.readyFd);
    observer.log('notice', 'ready');
    await ending.orElse(new Promise<never>(() => {}));
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    observer.log('debug', 'stopping');
    await proxies?.close();
    await transport?.close();
  }
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
  configuration: Configuration,
  flows: Flows,
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
  await capture.start((request) => flows.accept(request, policy), signal);
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

/** Queries go by UDP, which is not carried: better said at the start than found out by names that don't resolve. */
function warnOfCapturedResolvers(prefixes: readonly Prefix[], observer: Observer): void {
  const captured = new PrefixSet(prefixes);
  const resolvers = configuredResolvers().filter((address) => captured.contains(address));
  if (resolvers.length === 0) return;
  const options = resolvers.map((address) => `-x ${address}`).join(' ');
  observer.log(
    'warning',
    `the targets hold this machine's resolver ${resolvers.join(', ')}, and queries are not carried: names will not resolve; leave it out with ${options}`,
  );
}

/** Dials past the device: what is routed into it is bound to the uplink. */
function directBeside(capture: TunCapture, prefixes: readonly Prefix[]): DirectConnector {
  const native = addon();
  const captured = new PrefixSet(prefixes);
  return new DirectConnector({
    uplinkFor: (address) =>
      captured.contains(address)
        ? native.uplinkFor(addressBytes(address), capture.deviceName ?? '')
        : undefined,
    socketOnDevice: (family, device) => native.socketOnDevice(family, device),
  });
}

function createFlows(
  configuration: Configuration,
  tunnel: Transport,
  direct: DirectConnector,
  observer: Observer,
): Flows {
  return new Flows({
    policy: createPolicy(configuration),
    tunnel,
    direct,
    resolve: lookupName,
    observer,
    descriptors: descriptorLimit(),
  });
}

/** For --ready-fd: whoever reads it gets one line and the end. */
export function announce(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    writeSync(fd, 'READY=1\n');
    closeSync(fd);
  } catch (cause) {
    throw new UsageError(`--ready-fd ${fd} can't be written to`, { hint: 'pass an open descriptor', cause });
  }
}
