/**
 * The composition root: builds the parts from a Configuration, starts them in order, waits, stops them in order.
 * Nothing else constructs parts.
 *
 *   jump host's addresses -> SSH connection (host key, authentication) -> helper -> capture (device, listener, engine,
 *   probe, routes) -> `tunnel: ready`
 *
 * Nothing on the machine is changed before the SSH connection stands. It runs until it is stopped, the link is lost, or
 * the capture is taken away; then admission stops first, flows are reset, routes and device go, the connection closes.
 */
import { closeSync, writeSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { TunCapture } from './capture/tun.ts';
import type { Configuration, Remote, SshOptions } from './config/configuration.ts';
import { TunnelError, UsageError } from './errors.ts';
import { Flows } from './flow/flows.ts';
import { addon } from './native.ts';
import { addressBytes } from './net/address.ts';
import { formatPrefix, hostPrefix } from './net/prefix.ts';
import type { Observer } from './observe/observer.ts';
import { capturedPrefixes, createPolicy } from './policy/policy.ts';
import { startHelper } from './system/helper.ts';
import { DirectConnector } from './transport/direct.ts';
import { loadHostKeyVerifier } from './transport/hostkeys.ts';
import { loadIdentities } from './transport/identities.ts';
import type { Prompter } from './transport/prompter.ts';
import { type RemoteAddress, resolveRemote } from './transport/resolve.ts';
import { dialSsh2 } from './transport/ssh2/dial.ts';
import type { Transport } from './transport/transport.ts';

const DEFAULT_SSH_PORT = 22;

export interface RunOptions {
  readonly observer: Observer;
  readonly prompter: Prompter;
  /** Aborted to stop in order. */
  readonly stop: AbortSignal;
}

interface ResolvedRemote {
  readonly remote: Remote;
  readonly port: number;
  readonly addresses: readonly RemoteAddress[];
}

/** Runs a tunnel until `stop` is aborted. Rejects with TunnelError when it can't start, or when it is lost. */
export async function run(configuration: Configuration, options: RunOptions): Promise<void> {
  const { observer, stop } = options;
  const remotes = await resolveAll(configuration.ssh);
  const always = [...new Set(remotes.flatMap(({ addresses }) => addresses.map(({ host }) => host)))].map(
    hostPrefix,
  );
  const prefixes = capturedPrefixes({ ...configuration, always });

  const stopped = new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener('abort', () => resolve(), { once: true });
  });
  let transport: Transport | undefined;
  let capture: TunCapture | undefined;
  try {
    transport = await dialFirst(remotes, configuration.ssh, options);
    capture = new TunCapture({ host: await startHelper({ observer, signal: stop }), prefixes, observer });
    const flows = createFlows(configuration, transport, capture, observer);
    const lost = Promise.race([rejectedWithError(transport.ended), rejectedWithError(capture.ended)]);
    // The link may be lost while the capture starts: that must not wait for the capture.
    await Promise.race([capture.start((request) => flows.accept(request), stop), lost]);
    observer.log('info', `captured by ${capture.deviceName}: ${prefixes.map(formatPrefix).join(', ')}`);
    announce(configuration.readyFd);
    observer.log('notice', 'ready');
    await Promise.race([stopped, lost]);
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    observer.log('debug', 'stopping', capture?.counters());
    await capture?.close();
    await transport?.close();
  }
}

/** The addresses of the jump host under all the names that were given; those that don't resolve are left out. */
async function resolveAll({
  remotes,
  port: given,
}: SshOptions): Promise<[ResolvedRemote, ...ResolvedRemote[]]> {
  const resolved: ResolvedRemote[] = [];
  let failure: unknown;
  for (const remote of remotes) {
    const port = remote.port ?? given ?? DEFAULT_SSH_PORT;
    try {
      resolved.push({ remote, port, addresses: await resolveRemote(remote.host, port) });
    } catch (error) {
      failure ??= error;
    }
  }
  const [first, ...others] = resolved;
  if (first === undefined) throw failure;
  return [first, ...others];
}

/** Tries the remotes in order. Only an unreachable one is passed over: a wrong key or a refused login ends it. */
async function dialFirst(
  remotes: readonly ResolvedRemote[],
  ssh: SshOptions,
  { observer, prompter, stop }: RunOptions,
): Promise<Transport> {
  const hostKeys = await loadHostKeyVerifier({ pins: ssh.hostKeyPins, observer });
  const identities = await loadIdentities({
    files: ssh.identityFiles,
    agentSocket: process.env['SSH_AUTH_SOCK'],
    home: homedir(),
    observer,
  });
  let failure: unknown;
  for (const { remote, port, addresses } of remotes) {
    try {
      return await dialSsh2({
        addresses,
        hostName: remote.host,
        port,
        user: remote.user ?? userInfo().username,
        hostKeys,
        identities,
        prompter,
        connectTimeout: ssh.connectTimeout,
        authTimeout: ssh.authTimeout,
        observer,
        signal: stop,
      });
    } catch (error) {
      if (!(error instanceof TunnelError) || !error.code.startsWith('jumphost-')) throw error;
      if (remotes.length > 1) observer.log('warning', `${remote.text}: ${error.message}`);
      failure ??= error;
    }
  }
  throw failure;
}

function createFlows(
  configuration: Configuration,
  tunnel: Transport,
  capture: TunCapture,
  observer: Observer,
): Flows {
  const native = addon();
  const direct = new DirectConnector({
    uplinkFor: (address) => native.uplinkFor(addressBytes(address), capture.deviceName ?? ''),
    socketOnDevice: (family, device) => native.socketOnDevice(family, device),
  });
  return new Flows({ policy: createPolicy(configuration), tunnel, direct, observer });
}

/** Rejects when a part has ended with an error; waits for ever when it has ended because it was closed. */
function rejectedWithError(ended: Promise<TunnelError | undefined>): Promise<never> {
  return new Promise((_resolve, reject) => {
    ended.then((error) => {
      if (error !== undefined) reject(error);
    });
  });
}

/** For --ready-fd: whoever reads it gets one line and the end. */
function announce(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    writeSync(fd, 'READY=1\n');
    closeSync(fd);
  } catch (cause) {
    throw new UsageError(`--ready-fd ${fd} can't be written to`, { hint: 'pass an open descriptor', cause });
  }
}
