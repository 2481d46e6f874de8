/**
 * What choose.ts wants to know about this machine and a jump host's settings; looked up, nothing is
 * dialled.
 */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TunnelError } from '../errors/errors.ts';
import { silentObserver } from '../observe/observer.ts';
import { hopsOf } from '../ssh/hops.ts';
import { isKnownByAuthorityOnly } from '../ssh/hostkeys/verifier.ts';
import { offeredKeyTypes } from '../ssh/identities/identities.ts';
import type { SshOptions } from '../ssh/options.ts';
import type { AuthenticationSettings, SshSettings } from '../ssh/settings.ts';
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
    opensshInstalled: sshCommand !== undefined || isInPath('ssh', process.env['PATH']),
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

/** As execvp(3) looks for it. `path`: PATH. */
export function isInPath(program: string, path: string | undefined): boolean {
  return (path ?? '/bin:/usr/bin').split(delimiter).some((directory) => {
    const file = join(directory === '' ? '.' : directory, program);
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false; // not there, or not for this user
    }
  });
}
