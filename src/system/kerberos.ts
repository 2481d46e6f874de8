/**
 * Whether the user has Kerberos tickets, with which `GSSAPIAuthentication yes` may let them in. The
 * environment names their cache, or it is MIT's default, a file in /tmp. Where the default is
 * another one (KCM or KEYRING, as on Fedora), only klist(1) finds it.
 */
import { execFile } from 'node:child_process';
import { accessSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** It reads a local cache. A daemon that has it may not answer. */
const KLIST_TIMEOUT_MS = 2_000;

export async function hasKerberosTickets(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<boolean> {
  if ((environment['KRB5CCNAME'] ?? '') !== '') return true;
  return isReadable(`/tmp/krb5cc_${process.getuid?.()}`) || (await listsTickets(environment));
}

function isReadable(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false; // no tickets there
  }
}

/** `klist -s` ends with 0 if there are tickets that haven't expired. false also without klist. */
function listsTickets(environment: Readonly<Record<string, string | undefined>>): Promise<boolean> {
  // Most machines have none, and to try to start it takes some milliseconds of each start.
  const folders = (environment['PATH'] ?? '').split(delimiter);
  if (!folders.some((folder) => isReadable(join(folder, 'klist')))) return Promise.resolve(false);
  return new Promise((resolve) => {
    const options = { env: { ...environment }, timeout: KLIST_TIMEOUT_MS };
    execFile('klist', ['-s'], options, (error) => resolve(error === null));
  });
}
