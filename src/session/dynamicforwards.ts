/**
 * DynamicForward of ssh_config: SOCKS proxies that carry everything through the jump host, as those
 * of `ssh -D`, beside whatever else captures. Targets and exclusions don't matter; the allow-list
 * does.
 *
 *   DynamicForward ─► where it listens (GatewayPorts) ─► ProxyCapture, one for each
 *                  ─► flows, always through the tunnel
 *
 * Who may use them is as with all our proxies, not as with ssh: on loopback the tunnel's own user
 * (--proxy-shared: all users), or whoever has a password of --proxy-auth. Other addresses need a
 * password.
 */
import { Credentials } from '../capture/proxy/credentials.ts';
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import type { Configuration } from '../config/configuration.ts';
import { TunnelError } from '../errors/errors.ts';
import type { FlowRequest } from '../flow/request.ts';
import type { DynamicForward } from '../ssh/settings.ts';
import { descriptorLimit } from '../system/limits.ts';
import { isLoopback, listenHosts } from './listenhosts.ts';
import { adviseAboutOtherUsers, ownUserCheck } from './ownuser.ts';
import type { Session } from './session.ts';
import type { Tunnel } from './tunnel.ts';

/**
 * `accept`: takes their flows. Resolves with those that listen, as people read them. One that can't
 * is a warning, or with ExitOnForwardFailure the end: rejects with TunnelError `forward-listen`.
 */
export async function startDynamicForwards(
  session: Session,
  tunnel: Tunnel,
  accept: (request: FlowRequest) => void,
): Promise<readonly string[]> {
  const { forwards: settings, observer, configuration } = tunnel;
  const { dynamic, exitOnFailure } = settings;
  const listening: string[] = [];
  for (const forward of dynamic) {
    const hosts = listenHosts(forward.listen.host, settings);
    try {
      const capture = session.own(
        `the ${forward.text}`,
        proxyFor(forward, hosts, tunnel, dynamic.length),
        (it) => it.close(),
      );
      await session.within(capture.start({ accept }, session.signal));
      listening.push(...capture.addresses.map((it) => `${it} -> anything, by SOCKS`));
    } catch (cause) {
      if (!(cause instanceof TunnelError) || session.signal.aborted) throw cause;
      observer.count('tunnel_forward_listen_failures_total');
      const error = failure(forward, cause);
      if (exitOnFailure) throw error;
      observer.log('warning', error.message, { hint: error.hint });
    }
  }
  if (listening.length > 0 && servesOwnUserOnly(configuration)) adviseAboutOtherUsers(observer);
  return listening;
}

/** Throws TunnelError. */
function proxyFor(
  { listen: { port } }: DynamicForward,
  hosts: readonly [string, ...string[]],
  { configuration, observer }: Tunnel,
  count: number,
): ProxyCapture {
  const credentials = configuration.proxies?.credentials ?? [];
  if (credentials.length === 0 && !hosts.every(isLoopback)) {
    throw new TunnelError('capture-listen', 'other machines could use the jump host through it', {
      hint: 'give it an address of loopback, or use "--socks ADDRESS:PORT" with --proxy-auth or --allow-remote-clients',
    });
  }
  const ownUserOnly = servesOwnUserOnly(configuration);
  return new ProxyCapture({
    listens: [{ hosts, port, protocols: 'socks', ownUserOnly }],
    credentials: credentials.length === 0 ? undefined : new Credentials(credentials),
    isOwnUser: ownUserCheck(observer),
    observer,
    descriptors: Math.floor(descriptorLimit() / count),
  });
}

/** As the other proxies of the run. */
function servesOwnUserOnly({ proxies }: Configuration): boolean {
  return proxies?.listens.some(({ ownUserOnly }) => ownUserOnly) ?? true;
}

function failure({ text }: DynamicForward, cause: TunnelError): TunnelError {
  const { hint } = cause;
  return new TunnelError('forward-listen', `${text} is not opened: ${cause.message}`, {
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}
