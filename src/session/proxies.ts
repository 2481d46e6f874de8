/** The proxies of a session: those of `tunnel proxy`, and those beside `connect`. */

import { Credentials } from '../capture/proxy/credentials.ts';
import { MAX_PAC_BYTES } from '../capture/proxy/pac.ts';
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import type { WritePac } from '../capture/proxy/request.ts';
import type { Configuration } from '../config/configuration.ts';
import type { Flows } from '../flow/flows.ts';
import type { Observer } from '../observe/observer.ts';
import { renderPac } from '../policy/pac.ts';
import { type Beyond, createPolicy } from '../policy/policy.ts';
import { descriptorLimit } from '../system/limits.ts';
import { isOwnAddress } from '../system/ownaddress.ts';
import { livePolicy } from './names.ts';
import { adviseAboutOtherUsers, ownUserCheck } from './ownuser.ts';
import type { Session } from './session.ts';
import type { Tunnel } from './tunnel.ts';

/**
 * Starts the proxies that are asked for; none: nothing. They have a policy of their own: they hear
 * of more than what is routed, and of names. Rejects as ProxyCapture.start does.
 */
export async function startProxies(session: Session, tunnel: Tunnel, flows: Flows): Promise<void> {
  const { configuration, observer } = tunnel;
  const { proxies } = configuration;
  if (proxies === undefined) return;
  const { listens, credentials, remoteClients } = proxies;
  const pac = (proxy: string) =>
    renderPac(tunnel.configuration, {
      proxy,
      everything: beyondTargets(tunnel.configuration) === 'tunnel',
    });
  const capture = session.own(
    'the proxies',
    new ProxyCapture({
      listens,
      credentials: credentials.length === 0 ? undefined : new Credentials(credentials),
      isOwnUser: ownUserCheck(observer),
      pac,
      observer,
      descriptors: descriptorLimit(),
    }),
    (it) => it.close(),
  );
  const policy = livePolicy(tunnel, (rules) =>
    createPolicy(rules, {
      beyond: beyondTargets(rules),
      proxied: true,
      remoteClients,
      isOwnAddress,
    }),
  );
  const accept = (request: Parameters<Flows['accept']>[0]) => flows.accept(request, policy);
  await session.within(capture.start({ accept }, session.signal));
  tunnel.overview.proxies = capture.addresses;
  observer.log('notice', `proxy at ${capture.addresses.join(', ')}`);
  if (credentials.length === 0 && listens.some(({ ownUserOnly }) => ownUserOnly))
    adviseAboutOtherUsers(observer);
  tellBrowsers(capture.pacUrl, pac, observer);
  if (!remoteClients) return;
  observer.log(
    'warning',
    credentials.length === 0
      ? 'whoever can connect to the proxy can use the jump host through it'
      : 'the proxy is open to other machines, and passwords and data go to it unencrypted',
  );
}

/** Says where the script for browsers is, or why there is none. */
function tellBrowsers(url: string | undefined, pac: WritePac, observer: Observer): void {
  if (url === undefined) return;
  if (pac(new URL(url).host).length <= MAX_PAC_BYTES) {
    observer.log('notice', `for browsers: ${url}`);
    return;
  }
  observer.log(
    'warning',
    `there is no /proxy.pac for browsers: with these targets it is larger than the ${MAX_PAC_BYTES} bytes that they take`,
    { hint: 'use wider prefixes, and names below a domain (*.example.com)' },
  );
}

function beyondTargets({ targets, nameTargets, proxies }: Configuration): Beyond {
  if (proxies?.onlyTargets === true) return 'refuse';
  return targets.length + nameTargets.length === 0 ? 'tunnel' : 'direct';
}
