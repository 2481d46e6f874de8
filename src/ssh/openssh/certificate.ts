/**
 * OpenSSH certificates (PROTOCOL.certkeys): only until when one is valid, for an error that says
 * so. Which one was offered is in ssh's log, where a server can forge lines (log.ts): only files
 * that the settings name are looked into.
 */
import { join, resolve } from 'node:path';
import { homeDirectory } from '../../system/home.ts';
import { readSmallFile } from '../../system/smallfile.ts';
import { parsePublicKey } from '../keys/publickey.ts';
import { WireReader } from '../keys/wire.ts';
import { serverText } from '../servertext.ts';
import type { AuthenticationSettings } from '../settings.ts';

/** What ssh offers where no identity is named (readconf.c, fill_default_options). */
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

/** How many fields of the key stand between the nonce and the serial number. */
const KEY_FIELDS: readonly (readonly [RegExp, number])[] = [
  [/^ssh-ed25519-cert/, 1],
  [/^sk-ssh-ed25519-cert/, 2],
  [/^ecdsa-sha2-\w+-cert/, 2],
  [/^sk-ecdsa-sha2-\w+-cert/, 3],
  [/^(ssh-rsa|rsa-sha2-\d+)-cert/, 2],
];
const FOREVER = 0xffff_ffff_ffff_ffffn;

export interface Validity {
  /** undefined: without limit. */
  readonly from: Date | undefined;
  readonly until: Date | undefined;
}

/**
 * `line`: the content of a `-cert.pub` file. undefined: it isn't a certificate that can be read.
 */
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
  // A field that isn't whole leaves the reader within it: nothing behind it is looked at.
  const before = [
    ...Array.from({ length: 2 + fields }, () => reader.string()), // the type, the nonce, the key
    uint64(), // serial
    reader.uint32(), // user or host
    reader.string(), // key id
    reader.string(), // principals
  ];
  const from = uint64();
  const until = uint64();
  if (before.includes(undefined) || from === undefined || until === undefined) return undefined;
  return {
    from: from === 0n ? undefined : date(from),
    until: until === FOREVER ? undefined : date(until),
  };
}

function date(seconds: bigint): Date | undefined {
  const result = new Date(Number(seconds) * 1000);
  return Number.isNaN(result.getTime()) ? undefined : result;
}

/** Absolute paths of the private keys and of the certificates that the settings stand for. */
export interface NamedFiles {
  readonly keys: ReadonlySet<string>;
  readonly certificates: ReadonlySet<string>;
}

/** `more`: identities that ssh is given besides. Relative paths begin in the working directory. */
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
 * What is wrong with the certificates that ssh has offered, one sentence each: sshd doesn't say
 * what it has against one, but when it has expired, that is seen here. `offered`: as ssh's log
 * names them, by the private key that a certificate is for, or by the file of CertificateFile.
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
    return undefined; // not there: the certificate is one of the agent's, which is in no file
  }
  const { from, until } = (text === undefined ? undefined : certificateValidity(text)) ?? {};
  const shown = serverText(file);
  if (until !== undefined && until <= now)
    return `the certificate ${shown} expired on ${until.toISOString()}`;
  if (from !== undefined && from > now)
    return `the certificate ${shown} is valid from ${from.toISOString()}`;
  return undefined;
}
