/**
 * `tunnel doctor`: looks at everything, says what is in the way, and starts nothing.
 *
 *   this machine   TUN, namespaces, routes, firewall, resolver, ...         system/doctor/
 *   jump host      settings -> addresses -> one login, as connect makes it   doctor/login.ts
 *                  -> targets of a cloud -> each target is opened once       doctor/forwarding.ts
 *                  -> round trip, windows, keepalive                         doctor/path.ts
 *                  -> resolvers of --dns                                     doctor/resolvers.ts
 *
 * There is one login and no session channel, so that no server sees more than of a tunnel. What
 * fails ends only the checks that need it.
 */
import { isLinux, needsLinux, systemName } from '../base/platform.ts';
import { NAMESPACE_MTU, namespaceAddresses } from '../capture/namespace/namespace.ts';
import type { Configuration, TargetRules } from '../config/configuration.ts';
import { tunnelResolvers } from '../config/dnsoptions.ts';
import type { DoctorConfiguration } from '../config/doctoroptions.ts';
import { createGuard, guardedConnector } from '../connect/guarded.ts';
import { samplesOf, tryForwarding } from '../doctor/forwarding.ts';
import { describeLogin, loginFailure } from '../doctor/login.ts';
import { describePath, measureRoundTrip, tcpBuffers, tryFullPackets } from '../doctor/path.ts';
import { tryResolvers } from '../doctor/resolvers.ts';
import type { TunnelError } from '../errors/errors.ts';
import { streamOf } from '../flow/conduitstream.ts';
import type { Connector } from '../flow/connector.ts';
import type { Located } from '../link/dialler.ts';
import { isAddress } from '../net/address.ts';
import { formatDestination } from '../net/destination.ts';
import { type Prefix, parsePrefix } from '../net/prefix.ts';
import { silentObserver } from '../observe/observer.ts';
import { capturedPrefixes } from '../policy/policy.ts';
import { addressToExclude } from '../ssh/dial/addresses.ts';
import { isDescribable } from '../ssh/established.ts';
import { hopsOf } from '../ssh/hops.ts';
import { checkIdentityFiles } from '../ssh/identities/identities.ts';
import { forwardingOfKind, OPENSSH_FORWARDING, serverKind } from '../ssh/servers.ts';
import type { Transport } from '../ssh/transport.ts';
import type { CaptureDiagnosis, Diagnosis, Finding } from '../system/doctor/diagnosis.ts';
import { failure } from '../system/doctor/diagnosis.ts';
import {
  lookAtHelper,
  lookAtKernel,
  lookAtNamespaces,
  lookAtTunDevice,
} from '../system/doctor/machine.ts';
import { lookAtPermission } from '../system/doctor/permission.ts';
import { lookAtProxies } from '../system/doctor/proxies.ts';
import { linux, type Machine } from './machine.ts';
import { answersQueries } from './names.ts';
import { inSession, type Session } from './session.ts';
import { prepareTargets } from './targets.ts';
import type { RunOptions } from './tunnel.ts';

/** For the resolver of this machine with --offline, in seconds: somebody waits for the report. */
const PATIENCE = 10;

type DoctorOptions = Omit<RunOptions, 'learned'>;

/** Rejects with the reason of `stop`; what is wrong is in the report. */
export function diagnose(
  configuration: DoctorConfiguration,
  options: DoctorOptions,
): Promise<Diagnosis> {
  const { tunnel } = configuration;
  const { machine: system = linux } = options;
  return inSession(options, async (session) => {
    const [machine, jumpHost] = await session.within(
      Promise.all([
        lookAtCaptures(system),
        tunnel === undefined ? undefined : lookAtJumpHost(session, tunnel, configuration, options),
      ]),
    );
    // The targets of a cloud are known only now.
    const rules = jumpHost?.rules ?? configuration.rules;
    const denied =
      tunnel === undefined || !isLinux() ? undefined : lookAtPermission(wantedPrefixes(rules));
    const { captures, findings } = machine;
    return {
      captures: denied === undefined ? captures : captures.map((it) => withDenied(it, denied)),
      findings: [
        ...(tunnel === undefined ? [] : lookAtCaptured(tunnel, rules, jumpHost?.address)),
        ...(jumpHost?.findings ?? []),
        ...findings,
        ...(denied === undefined ? [] : [denied]),
        ...(await system.lookAtNetwork(rules, {
          jumpHost: jumpHost?.address,
          answersQueries: tunnel !== undefined && answersQueries(tunnel),
        })),
        ...(await lookAtProxies(tunnel?.proxies?.listens ?? [])),
      ],
    };
  });
}

/** What of the targets is captured, if anything. */
function wantedPrefixes(rules: TargetRules): Prefix[] {
  try {
    return capturedPrefixes({ ...rules, always: [], mayBeEmpty: true });
  } catch {
    return []; // more than is ever captured: lookAtCaptured tells it
  }
}

function withDenied(capture: CaptureDiagnosis, { detail: why }: Finding): CaptureDiagnosis {
  return capture.name === 'connect' && capture.possible
    ? { ...capture, possible: false, why }
    : capture;
}

/** A finding if "tunnel connect" would end because nothing, or too much, is left of the targets. */
function lookAtCaptured(
  tunnel: Configuration,
  rules: TargetRules,
  jumpHost: string | undefined,
): Finding[] {
  if (rules.targets.length === 0 || answersQueries(tunnel)) return [];
  const always =
    jumpHost === undefined || !isAddress(jumpHost) ? [] : [parsePrefix(jumpHost).prefix];
  try {
    capturedPrefixes({ ...rules, always });
    return [];
  } catch (error) {
    return [failure('routes', error)];
  }
}

/** On other systems than Linux. */
function lookAtProxyOnly(): Diagnosis {
  const { message } = needsLinux('tunnel connect');
  return {
    captures: [
      { name: 'connect', possible: false, why: message },
      { name: 'exec', possible: false, why: WITHOUT_NAMESPACES },
      PROXY,
    ],
    findings: [{ name: 'kernel', state: 'note', detail: `this is ${systemName()}` }],
  };
}

const PROXY: CaptureDiagnosis = {
  name: 'proxy',
  possible: true,
  why: 'needs nothing; programs must be told of it',
};

async function lookAtCaptures(system: Machine): Promise<Diagnosis> {
  if (!isLinux()) return lookAtProxyOnly();
  const tun = lookAtTunDevice();
  const helper = lookAtHelper(system.privileged !== undefined);
  const namespaces = await lookAtNamespaces({
    ...namespaceAddresses(0),
    isolate: false,
    mtu: NAMESPACE_MTU,
    descriptors: undefined,
    resolvConf: '',
  });
  return {
    captures: [
      needs('connect', 'captures for the whole machine', [tun, helper]),
      needs('exec', 'captures for one command, without root', [namespaces], WITHOUT_NAMESPACES),
      PROXY,
    ],
    findings: [tun, helper, namespaces, lookAtKernel()],
  };
}

const WITHOUT_NAMESPACES = 'commands are told of a proxy instead, and --isolate is refused';

/** `otherwise`: what the command does where it can't capture. */
function needs(
  name: 'connect' | 'exec',
  what: string,
  findings: readonly Finding[],
  otherwise?: string,
): CaptureDiagnosis {
  const missing = findings.filter(({ state }) => state === 'failed');
  if (missing.length === 0) return { name, possible: true, why: what };
  const reasons = missing.map(({ detail }) => detail);
  return {
    name,
    possible: false,
    why: [...reasons, ...(otherwise === undefined ? [] : [otherwise])].join('; '),
  };
}

interface JumpHostDiagnosis {
  readonly findings: readonly Finding[];
  /** The targets, with those of a cloud. */
  readonly rules: TargetRules;
  /** The address that is dialled. undefined: not known. */
  readonly address: string | undefined;
}

async function lookAtJumpHost(
  session: Session,
  tunnel: Configuration,
  { offline, probes }: DoctorConfiguration,
  options: DoctorOptions,
): Promise<JumpHostDiagnosis> {
  const { observer, prompter, machine = linux } = options;
  const { signal } = session;
  const nothing = { rules: tunnel, address: undefined };
  machine.hideMemory();
  const dialler = machine.dialler({ ssh: tunnel.ssh, prompter, observer });
  let located: Located;
  try {
    located = await dialler.locate(signal, offline ? () => PATIENCE : undefined);
    for (const { settings } of located.jumpHosts)
      await checkIdentityFiles(settings.authentication.identityFiles);
  } catch (error) {
    signal.throwIfAborted();
    return { ...nothing, findings: [loginFailure(error)] };
  }
  const address = addressesOf(located)[0];
  const found: Finding = { name: 'jump-host', state: 'ok', detail: describeLocated(located) };
  if (offline) return { ...nothing, address, findings: [found] };
  let transport: Transport;
  try {
    transport = await dialler.dial(located, signal);
  } catch (error) {
    signal.throwIfAborted();
    const failed = loginFailure(error);
    const reached = failed.name === 'jump-host' ? [] : [found];
    return { ...nothing, address, findings: [...reached, failed] };
  }
  session.own('the SSH connection', transport, (it) => it.close());
  const connected = new ConnectedDoctor({ transport, tunnel, probes, options, signal });
  const { findings, rules } = await connected.examine();
  const at = isDescribable(transport) ? transport.describe().at : undefined;
  return {
    address: dialled(located, at) ?? address,
    rules,
    findings: [answeredBy(found, located, at), ...findings],
  };
}

interface Connected {
  readonly transport: Transport;
  readonly tunnel: Configuration;
  /** Addresses that are tried of each range. */
  readonly probes: number;
  readonly options: DoctorOptions;
  readonly signal: AbortSignal;
}

/** What can be found out over a connection that stands. */
class ConnectedDoctor {
  readonly #parts: Connected;
  readonly #connector: Connector;

  constructor(parts: Connected) {
    this.#parts = parts;
    const guard = createGuard(parts.tunnel.allow, silentObserver);
    this.#connector = guardedConnector(parts.transport, guard, () => []);
  }

  async examine(): Promise<{ findings: Finding[]; rules: TargetRules }> {
    const { transport, probes, signal } = this.#parts;
    const describe = () => (isDescribable(transport) ? transport.describe() : undefined);
    let lost: TunnelError | undefined;
    void transport.ended.then((error) => {
      lost = error;
    });
    const login = describe();
    const { findings: cloud, configuration } = await this.#completed();
    // Alone: whatever else comes from the server would be taken for its answer.
    const roundTrip = await measureRoundTrip(transport);
    const software = login?.software ?? '';
    const forwarding = await tryForwarding(samplesOf(configuration, probes), {
      connector: this.#connector,
      limits: () => describe()?.forwarding ?? forwardingOfKind(software) ?? OPENSSH_FORWARDING,
      server: serverKind(software),
      signal,
    });
    const dns = await this.#resolvers(forwarding.heldUpBy);
    const mtu = lost === undefined ? await tryFullPackets(transport, roundTrip) : undefined;
    // The server's window is known once it has opened a channel.
    const established = describe();
    return {
      rules: configuration,
      findings: [
        ...(login === undefined ? [] : describeLogin(login)),
        ...cloud,
        ...forwarding.findings,
        ...(established === undefined ? [] : describePath(established, roundTrip, tcpBuffers())),
        ...dns,
        // A connection that is lost answers nothing, whatever its packets' size.
        ...(lost === undefined ? (mtu === undefined ? [] : [mtu]) : [failure('jump-host', lost)]),
      ],
    };
  }

  /** The configuration with the targets of a cloud. */
  async #completed(): Promise<{ findings: Finding[]; configuration: Configuration }> {
    const { tunnel: configuration, options, signal } = this.#parts;
    if (configuration.cloud === undefined) return { findings: [], configuration };
    const { cloud } = configuration.cloud;
    try {
      const complete = await prepareTargets(configuration, options.observer, options.prompter);
      const completed = await complete(this.#connector, signal);
      const added = completed.targets.length + completed.nameTargets.length;
      const own = configuration.targets.length + configuration.nameTargets.length;
      const detail = `the catalog of ${cloud ?? 'the cloud'} has ${added - own} targets`;
      return { findings: [{ name: 'cloud', state: 'ok', detail }], configuration: completed };
    } catch (error) {
      signal.throwIfAborted();
      return { findings: [failure('cloud', error)], configuration };
    }
  }

  /** `heldUpBy`: a silent destination that keeps the jump host from answering. */
  async #resolvers(heldUpBy: string | undefined): Promise<Finding[]> {
    const { tunnel, options, signal } = this.#parts;
    const { dns } = tunnel;
    const { machine = linux } = options;
    const candidates = tunnelResolvers(dns, machine.resolverPlan().uplinks);
    if (candidates === undefined) return [];
    if (heldUpBy !== undefined)
      return [
        {
          name: 'dns',
          state: 'note',
          detail: `no resolver was asked: the jump host waits for ${heldUpBy}, which does not answer`,
          hint: `leave ${heldUpBy} out, and try again`,
        },
      ];
    try {
      return await tryResolvers({
        ...candidates,
        domains: dns.domains,
        connect: async (destination, options) =>
          streamOf(await this.#connector.connect(destination, options)),
      });
    } catch (error) {
      signal.throwIfAborted();
      return [failure('dns', error)];
    }
  }
}

/** Of several addresses, names the one that this connection leads to. */
function answeredBy(found: Finding, { jumpHosts }: Located, at: string | undefined): Finding {
  const several = jumpHosts.length > 1 || jumpHosts.some(({ addresses }) => addresses.length > 1);
  if (!several) return found;
  const others = jumpHosts.length > 1 ? ', which says nothing about the others' : '';
  const which =
    at === undefined ? 'it is not known which of them answered' : `${at} answered${others}`;
  return { ...found, detail: `${found.detail}; ${which}` };
}

/** The address that a connection `at` (`host:port`) goes to. undefined: `at` has its name. */
function dialled({ jumpHosts }: Located, at: string | undefined): string | undefined {
  const addresses = jumpHosts.flatMap(({ addresses }) => addresses);
  return addresses.find((address) => formatDestination(address) === at)?.host;
}

/**
 * `u@198.51.100.10, port 22`, `u@jump: 198.51.100.10, port 22`, or `u@inner: by way of outer
 * (192.0.2.7), port 2222`
 */
function describeLocated({ jumpHosts }: Located): string {
  return jumpHosts
    .map(({ settings, addresses }) => {
      const [outermost] = hopsOf(settings);
      const who = `${settings.user}@${settings.name}`;
      const hosts = [...new Set(addresses.map(({ host }) => addressToExclude(host) ?? host))];
      if (hosts.length === 0) return `${who}: by a ProxyCommand`;
      const [where, port] = [hosts.join(', '), `port ${outermost.port}`];
      const known = where === outermost.name;
      if (outermost === settings) return `${who}${known ? '' : `: ${where}`}, ${port}`;
      return `${who}: by way of ${outermost.name}${known ? '' : ` (${where})`}, ${port}`;
    })
    .join('; ');
}

function addressesOf({ jumpHosts }: Located): string[] {
  return jumpHosts.flatMap(({ addresses }) => addresses.map(({ host }) => host));
}
