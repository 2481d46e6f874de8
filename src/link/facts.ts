/**
 * Looks up what choose.ts needs to know about this machine and a jump host's settings. Nothing is
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

/** `embeddedFailure`: the code of the error with which the embedded client failed in this run. */
export async function gatherFacts(
  { sshCommand, transport }: Pick<SshOptions, 'sshCommand' | 'transport'>,
  settings: SshSettings,
  embeddedFailure: string | undefined,
): Promise<TransportFacts> {
  // A transport that was asked for by name needs no facts about keys.
  const undecided = transport === 'auto';
  return {
    opensshInstalled: sshCommand !== undefined || findProgram('ssh') !== undefined,
    customCommand: sshCommand !== undefined,
    identityTypes: undecided ? await identityTypes(settings.authentication) : [],
    hostOnlyByAuthority: undecided && (await anyKnownByAuthorityOnly(settings)),
    embeddedFailure,
  };
}

async function identityTypes(
  settings: AuthenticationSettings,
): Promise<Awaited<ReturnType<typeof offeredKeyTypes>>> {
  try {
    return await offeredKeyTypes({ settings, observer: silentObserver });
  } catch (error) {
    // The transport that needs the key file reports that it can't be used.
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
