/**
 * What choose.ts wants to know about this machine and a jump host's settings; looked up, nothing is
 * dialled.
 */
import { TunnelError } from '../errors/errors.ts';
import { silentObserver } from '../observe/observer.ts';
import { hopsOf } from '../ssh/hops.ts';
import { isKnownByAuthorityOnly } from '../ssh/hostkeys/verifier.ts';
import { offeredKeyTypes } from '../ssh/identities/identities.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { AuthenticationSettings, SshSettings } from '../ssh/settings.ts';
import { findProgram } from '../system/path.ts';
import type { TransportFacts } from './choose.ts';

/** `embeddedFailure`: with which code the embedded client has failed in this run. */
export async function gatherFacts(
  { sshCommand, transport }: Pick<SshOptions, 'sshCommand' | 'transport'>,
  settings: SshSettings,
  embeddedFailure: string | undefined,
): Promise<TransportFacts> {
  // What was asked for by name is not looked into.
  const open = transport === 'auto';
  return {
    opensshInstalled: sshCommand !== undefined || findProgram('ssh') !== undefined,
    customCommand: sshCommand !== undefined,
    identityTypes: open ? await identityTypes(settings.authentication) : [],
    hostOnlyByAuthority: open && (await anyKnownByAuthorityOnly(settings)),
    embeddedFailure,
  };
}

async function identityTypes(
  settings: AuthenticationSettings,
): Promise<Awaited<ReturnType<typeof offeredKeyTypes>>> {
  try {
    return await offeredKeyTypes({ settings, observer: silentObserver });
  } catch (error) {
    // A key file that can't be used is told by the transport that would need it.
    if (error instanceof TunnelError) return [];
    throw error;
  }
}

async function anyKnownByAuthorityOnly(settings: SshSettings): Promise<boolean> {
  for (const { hostKeys, hostName, port } of hopsOf(settings)) {
    if (await isKnownByAuthorityOnly(hostKeys, hostName, port)) return true;
  }
  return false;
}
