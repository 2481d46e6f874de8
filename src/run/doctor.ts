/** `tunnel doctor`: looks at everything, and says what that means for each kind of capture. Changes nothing. */
import { NAMESPACE_MTU, namespaceAddresses } from '../capture/namespace.ts';
import type { Remote } from '../config/configuration.ts';
import type { DoctorConfiguration } from '../config/doctoroptions.ts';
import { TunnelError } from '../errors.ts';
import type { CaptureDiagnosis, Diagnosis, Finding } from '../system/doctor/diagnosis.ts';
import { lookAtHelper, lookAtKernel, lookAtNamespaces, lookAtTunDevice } from '../system/doctor/machine.ts';
import { lookAtResolver, lookAtRoutes, lookAtRules } from '../system/doctor/routing.ts';
import { addressToExclude, resolveRemote } from '../transport/resolve.ts';

const DEFAULT_SSH_PORT = 22;
/** For the name of the jump host, in seconds. */
const RESOLVE_TIMEOUT = 10;

export async function diagnose({ remotes, targets }: DoctorConfiguration): Promise<Diagnosis> {
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
      needs('exec', 'captures for one command, without root', [namespaces]),
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
      ...(await Promise.all(remotes.map(lookAtRemote))),
    ],
  };
}

function needs(name: 'connect' | 'exec', what: string, findings: readonly Finding[]): CaptureDiagnosis {
  const missing = findings.filter(({ state }) => state === 'failed');
  if (missing.length === 0) return { name, possible: true, why: what };
  return { name, possible: false, why: missing.map(({ detail }) => detail).join('; ') };
}

/** Only its name is looked up: what it permits, it would have to be asked. */
async function lookAtRemote({ host, port, text }: Remote): Promise<Finding> {
  const name = 'jump-host';
  try {
    const addresses = await resolveRemote(host, port ?? DEFAULT_SSH_PORT, { timeout: RESOLVE_TIMEOUT });
    const own = addresses.map((address) => addressToExclude(address.host) ?? address.host);
    return { name, state: 'ok', detail: `${text} is ${[...new Set(own)].join(', ')}` };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    return { name, state: 'failed', detail: error.message, ...(error.hint && { hint: error.hint }) };
  }
}
