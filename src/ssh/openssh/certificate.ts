/**
 * OpenSSH certificates (PROTOCOL.certkeys). Only the validity period is read, for an error message
 * about an expired certificate. ssh's log says which one was offered, but a server can forge lines
 * there (log.ts), so only files that the settings name are read.
 */
import { join, resolve } from 'node:path';
import { homeDirectory } from '../../system/home.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import { parsePublicKey } from '../keys/publickey.ts';
import { WireReader } from '../keys/wire.ts';
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

/** For each key type, the number of key fields between the nonce and the serial number. */
const KEY_FIELDS: readonly (readonly [RegExp, number])[] = [
  [/^ssh-ed25519-cert/, 1],
  [/^sk-ssh-ed25519-cert/, 2],
  [/^ecdsa-sha2-\w+-cert/, 2],
  [/^sk-ecdsa-sha2-\w+-cert/, 3],
  [/^(ssh-rsa|rsa-sha2-\d+)-cert/, 2],
];
const FOREVER = 0xffff_ffff_ffff_ffffn;

export interface Validity {
  /** undefined: no limit. */
  readonly from: Date | undefined;
  readonly until: Date | undefined;
}

/** `line`: the content of a `-cert.pub` file. Returns undefined if it isn't a valid certificate. */
export function certificateValidity(line: string): Validity | undefined {
  const key = parsePublicKey(line);
  const fields = KEY_FIELDS.find(([type]) => type.test(key?.type ?? ''))?.[1];
  if (key === undefined || fields === undefined) return undefined;
  const reader = new WireReader(key.blob);
  const uint64 = (): bigint | undefined => {
    const high = reader.uint32();
    const low = reader.uint32();
    return high === undefined || low === undefined
      ? undefined
      : (BigInt(high) << 32n) | BigInt(low);
  };
  // If a field is cut off, the reader stays in it, and the fields after it are not used.
  const skipped = [
    ...Array.from({ length: 2 + fields }, () => reader.string()), // the type, the nonce, the key
    uint64(), // serial
    reader.uint32(), // user or host
    reader.string(), // key id
    reader.string(), // principals
  ];
  const from = uint64();
  const until = uint64();
  if (skipped.includes(undefined) || from === undefined || until === undefined) return undefined;
  return {
    from: from === 0n ? undefined : date(from),
    until: until === FOREVER ? undefined : date(until),
  };
}

function date(seconds: bigint): Date | undefined {
  const result = new Date(Number(seconds) * 1000);
  return Number.isNaN(result.getTime()) ? undefined : result;
}

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
  const { from, until } = (text === undefined ? undefined : certificateValidity(text)) ?? {};
  const shown = serverText(file);
  if (until !== undefined && until <= now)
    return `the certificate ${shown} expired on ${until.toISOString()}`;
  if (from !== undefined && from > now)
    return `the certificate ${shown} is not valid before ${from.toISOString()}`;
  return undefined;
}
