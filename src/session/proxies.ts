/** The proxies of a session: those of `tunnel proxy`, and those beside `connect`. */

import { Credentials } from '../capture/proxy/credentials.ts';
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import type { Configuration } from '../config/configuration.ts';
import type { Flows } from '../flow/flows.ts';
import { type Beyond, createPolicy } from '../policy/policy.ts';
import { descriptorLimit } from '../system/limits.ts';
import { isOwnAddress } from '../system/ownaddress.ts';
import { namedPolicy } from './names.ts';
import { ownUserCheck } from './ownuser.ts';
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
  const capture = session.own(
    'the proxies',
    new ProxyCapture({
      listens,
      credentials: credentials.length === 0 ? undefined : new Credentials(credentials),
      isOwnUser: ownUserCheck(observer),
      observer,
      descriptors: descriptorLimit(),
    }),
    (it) => it.close(),
  );
  const policy = namedPolicy(
    tunnel,
    createPolicy(configuration, {
      beyond: beyondTargets(configuration),
      proxied: true,
      remoteClients,
      isOwnAddress,
    }),
  );
  const accept = (request: Parameters<Flows['accept']>[0]) => flows.accept(request, policy);
  await session.within(capture.start({ accept }, session.signal));
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
