/**
 * Users' certificates that have expired, for an error message. ssh's log says which one was
 * offered, but a server can forge lines there (log.ts), so only files that the settings name are
 * read.
 */
import { join, resolve } from 'node:path';
import { homeDirectory } from '../../system/home.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import { parseCertificate } from '../keys/certificate.ts';
import { serverText } from '../servertext.ts';
import type { AuthenticationSettings } from '../settings.ts';

/** What ssh offers when no identity is configured (readconf.c, fill_default_options). */
const DEFAULT_IDENTITIES = [
  'id_rsa',
  'id_ecdsa',
  'id_ecdsa_sk',
  'id_ed25519',
  'id_ed25519_sk',
  'id_xmss',
  'id_dsa',
].map((name) => join('.ssh', name));

/** Far above any certificate: sshd refuses keys of more than 16 KiB. */
const MAX_CERTIFICATE_BYTES = 64 * 1024;

/** Absolute paths of the private keys and certificates that the settings name or imply. */
export interface NamedFiles {
  readonly keys: ReadonlySet<string>;
  readonly certificates: ReadonlySet<string>;
}

/** `more`: further identities that ssh is given. Paths are relative to the working directory. */
export function namedFiles(
  settings: Pick<AuthenticationSettings, 'identityFiles' | 'certificateFiles'>,
  more: readonly string[],
): NamedFiles {
  const defaults = DEFAULT_IDENTITIES.map((name) => join(homeDirectory(), name));
  const keys = [...settings.identityFiles.map(({ path }) => path), ...more, ...defaults];
  return {
    keys: new Set(keys.map((path) => resolve(path))),
    certificates: new Set(settings.certificateFiles.map((path) => resolve(path))),
  };
}

/**
 * What is wrong with the certificates that ssh has offered, one sentence each. sshd doesn't say why
 * it rejects a certificate, but we can see whether it has expired. `offered`: as named in ssh's
 * log, either the private key that the certificate belongs to or the file given as CertificateFile.
 */
export async function expiredCertificates(
  offered: readonly string[],
  { keys, certificates }: NamedFiles,
  now: Date,
): Promise<string[]> {
  const found: string[] = [];
  for (const name of offered) {
    const path = resolve(name);
    const files = [
      ...(keys.has(path) ? [`${path}-cert.pub`] : []),
      ...(certificates.has(path) ? [path] : []),
    ];
    for (const file of files) {
      const sentence = await expiry(file, now);
      if (sentence === undefined) continue;
      found.push(sentence);
      break;
    }
  }
  return found;
}

async function expiry(file: string, now: Date): Promise<string | undefined> {
  let text: string | undefined;
  try {
    text = (await readSmallFile(file, MAX_CERTIFICATE_BYTES))?.text;
  } catch {
    return undefined; // no such file: the certificate comes from the agent
  }
  const { from, until } = (text === undefined ? undefined : parseCertificate(text)) ?? {};
  const shown = serverText(file);
  if (until !== undefined && until <= now)
    return `the certificate ${shown} expired on ${until.toISOString()}`;
  if (from !== undefined && from > now)
    return `the certificate ${shown} is not valid before ${from.toISOString()}`;
  return undefined;
}
