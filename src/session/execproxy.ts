/**
 * `tunnel exec` without namespaces: the command runs in the caller's network and is told of an HTTP
 * proxy. The proxy carries connections to the targets through SSH, and dials everything else
 * itself. With an allow-list it dials only what a rule permits; but what doesn't use the proxy
 * isn't held to it. It serves only processes of the command's user. Where the system doesn't tell
 * whose a connection is, the command is told a password, which others can't know.
 */
import { randomBytes } from 'node:crypto';
import { isLinux } from '../base/platform.ts';
import { Credentials } from '../capture/proxy/credentials.ts';
import { ProxyCapture } from '../capture/proxy/proxy.ts';
import type { ExecConfiguration } from '../config/execoptions.ts';
import { DirectConnector } from '../connect/direct.ts';
import type { FlowRequest } from '../flow/request.ts';
import type { Observer } from '../observe/observer.ts';
import { createPolicy } from '../policy/policy.ts';
import type { CommandSetup } from '../system/launcher/protocol.ts';
import { proxiesOfCaller, proxyVariables } from '../system/launcher/proxyvariables.ts';
import { descriptorLimit } from '../system/limits.ts';
import { createFlows } from './flows.ts';
import { runToEnd } from './job.ts';
import { linux } from './machine.ts';
import { livePolicy, lookupPastTunnel, openProxyNames } from './names.ts';
import { ownUserCheck } from './ownuser.ts';
import { announceReady, readiness } from './ready.ts';
import { serveReloads } from './reload.ts';
import type { Session } from './session.ts';
import { openTunnel, type RunOptions } from './tunnel.ts';

const USER = 'tunnel';
const PASSWORD_BYTES = 16;

/** Resolves with the command's exit status. */
export async function runBehindProxy(
  session: Session,
  { tunnel: wanted, command, proxyShared }: ExecConfiguration,
  setup: CommandSetup,
  options: RunOptions,
): Promise<number> {
  const { observer, stop, machine = linux } = options;
  const { signal } = session;
  const launcher = session.own(
    'the launcher',
    await machine.startInPlace({ command, setup, observer, signal }),
    (it) => it.close(),
  );
  session.endsWith(launcher.ended);
  const ofUser = machine.becomeUser(launcher.user, observer);
  adviseWithoutNamespace(wanted.allow.rules !== undefined, observer);

  const tunnel = await openTunnel(session, wanted, { ...options, sharesError: true });
  const { link } = tunnel;
  session.own('the watch', machine.watch(link, '', observer), (unwatch) => unwatch());
  const names = await openProxyNames(session, tunnel, { machine, direct: new DirectConnector() });
  const flows = createFlows(tunnel, {
    policy: livePolicy(
      tunnel,
      (rules) => createPolicy(rules, { beyond: 'direct', proxied: true }),
      true,
    ),
    direct: new DirectConnector({ lookup: lookupPastTunnel(names) }),
    names,
    keepsLocalNames: true,
  });
  const password =
    proxyShared || isLinux() ? undefined : randomBytes(PASSWORD_BYTES).toString('hex');
  const proxy = session.own(
    'the proxy',
    new ProxyCapture({
      listens: [{ hosts: ['127.0.0.1'], port: 0, protocols: 'http', ownUserOnly: !proxyShared }],
      credentials: password === undefined ? undefined : new Credentials([{ user: USER, password }]),
      isOwnUser: ownUserCheck(observer),
      observer,
      descriptors: descriptorLimit(),
    }),
    (it) => it.close(),
  );
  const accept = (request: FlowRequest) => flows.accept(request);
  await session.within(proxy.start({ accept }, signal));
  tunnel.beginLearning();
  tunnel.overview.proxies = proxy.addresses;
  tunnel.overview.ready = true;
  const said = `${readiness(wanted.ssh)}, proxy at ${proxy.addresses.join(', ')}`;
  await announceReady(session, {
    service: options.service,
    fd: wanted.readyFd,
    say: () => observer.log('info', said),
  });
  signal.throwIfAborted();
  const { reloads } = options;
  serveReloads(session, tunnel, { reloads, first: wanted });
  const login = password === undefined ? '' : `${USER}:${password}@`;
  const ofProxy = proxyVariables(process.env, `http://${login}${proxy.addresses[0]}`);
  return runToEnd(launcher, stop, { ...ofUser, ...ofProxy });
}

function adviseWithoutNamespace(heldToList: boolean, observer: Observer): void {
  const former = proxiesOfCaller(process.env);
  if (former.length > 0)
    observer.log(
      'notice',
      `${former.join(', ')}: not heeded, the command is told of this proxy instead`,
    );
  if (heldToList)
    observer.log('warning', 'what does not use the proxy is not held to the allow-list');
}
