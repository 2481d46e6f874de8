/**
 * `tunnel doctor`: looks at everything, and says what that means for each kind of capture. Changes
 * nothing.
 */
import { NAMESPACE_MTU, namespaceAddresses } from '../capture/namespace/namespace.ts';
import type { DoctorConfiguration } from '../config/doctoroptions.ts';
import { TunnelError } from '../errors/errors.ts';
import { type ResolveContext, resolveSettings } from '../ssh/config/resolve.ts';
import { addressToExclude, resolveJumpHosts } from '../ssh/dial/addresses.ts';
import { hopsOf } from '../ssh/hops.ts';
import { checkIdentityFiles } from '../ssh/identities/identities.ts';
import type { Remote, SshOptions } from '../ssh/options.ts';
import { DEFAULT_PORT } from '../ssh/options.ts';
import type { CaptureDiagnosis, Diagnosis, Finding } from '../system/doctor/diagnosis.ts';
import {
  lookAtHelper,
  lookAtKernel,
  lookAtNamespaces,
  lookAtTunDevice,
} from '../system/doctor/machine.ts';
import { lookAtResolver, lookAtRoutes, lookAtRules } from '../system/doctor/routing.ts';

/** For the name of the jump host, in seconds: somebody waits for the report. */
const PATIENCE = 10;

export async function diagnose({ ssh, targets }: DoctorConfiguration): Promise<Diagnosis> {
  const prefixes = targets.map(({ prefix }) => prefix);
  const tun = lookAtTunDevice();
  const helper = lookAtHelper();
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
      { name: 'proxy', possible: true, why: 'needs nothing; programs must be told of it' },
    ],
    findings: [
      tun,
      helper,
      namespaces,
      lookAtKernel(),
      lookAtRoutes(prefixes),
      lookAtRules(),
      lookAtResolver(prefixes),
      ...(await Promise.all(ssh?.remotes.map((remote) => lookAtRemote(remote, ssh)) ?? [])),
    ],
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

/**
 * Where ssh_config says that it is, and whether there are the keys of -i. Opens no connection: what
 * it permits, it would have to be asked.
 */
export async function lookAtRemote(
  remote: Remote,
  ssh: SshOptions,
  context: ResolveContext = {},
): Promise<Finding> {
  const name = 'jump-host';
  const { text } = remote;
  try {
    const settings = await resolveSettings(remote, ssh, context);
    const [outermost] = hopsOf(settings);
    const found = await resolveJumpHosts([settings], { patience: () => PATIENCE });
    const own = found.flatMap(({ addresses }) =>
      addresses.map(({ host }) => addressToExclude(host) ?? host),
    );
    const where = own.length === 0 ? 'reached by a ProxyCommand' : [...new Set(own)].join(', ');
    const via = outermost === settings ? '' : `reached by way of ${outermost.name}, which is `;
    const port =
      own.length === 0 || outermost.port === DEFAULT_PORT ? '' : `, port ${outermost.port}`;
    await checkIdentityFiles(settings.authentication.identityFiles);
    return { name, state: 'ok', detail: `${text} is ${via}${where}${port}` };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    return {
      name,
      state: 'failed',
      detail: error.message,
      ...(error.hint && { hint: error.hint }),
    };
  }
}
