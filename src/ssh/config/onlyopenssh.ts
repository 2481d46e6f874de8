/**
 * Finds the settings in an ssh_config that only the system's ssh supports: ways to log in and to
 * connect that the embedded client doesn't have. They forbid nothing (unobeyed.ts has those). With
 * them, `auto` chooses the system's ssh, and --transport ssh2 reports what is missing.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultIdentityFiles, readSmall } from '../identities/identities.ts';
import { inspectKeyFile } from '../keys/keyfile.ts';
import type { AuthenticationSettings } from '../settings.ts';
import type { Keywords } from './values.ts';

/** In ssh's order. */
const DEFAULT_SECURITY_KEYS = ['id_ecdsa_sk', 'id_ed25519_sk'];

/** Turned on by `yes`. */
const FLAG_KEYWORDS: readonly (readonly [keyword: string, name: string])[] = [
  ['gssapiauthentication', 'GSSAPIAuthentication'],
  ['gssapikeyexchange', 'GSSAPIKeyExchange'],
  ['hostbasedauthentication', 'HostbasedAuthentication'],
  ['proxyusefdpass', 'ProxyUseFdpass'],
];
/** Turned on by any value except `none`. */
const VALUE_KEYWORDS: readonly (readonly [keyword: string, name: string])[] = [
  ['pkcs11provider', 'PKCS11Provider'],
];

/**
 * One phrase for each such setting. Also looks for certificates and security keys next to the
 * identity files.
 */
export async function onlyOpenssh(
  keywords: Keywords,
  authentication: AuthenticationSettings,
  home: string,
): Promise<string[]> {
  const phrases = [
    ...FLAG_KEYWORDS.filter(([keyword]) => keywords.flag(keyword, false)).map(([, name]) => name),
    ...VALUE_KEYWORDS.filter(([keyword]) => keywords.text(keyword) !== undefined).map(
      ([, name]) => name,
    ),
  ];
  if (!authentication.methods.includes('publickey')) return phrases;
  for (const path of authentication.certificateFiles) phrases.push(`the certificate ${path}`);
  const { files, securityKeys } = await identitiesInUse(authentication, home);
  for (const path of [...files, ...securityKeys]) {
    if (await exists(`${path}-cert.pub`)) phrases.push(`the certificate ${path}-cert.pub`);
  }
  for (const path of securityKeys) phrases.push(`the security key ${path}`);
  return phrases;
}

/**
 * A default security key counts only if there is no other default key, since the user may want to
 * use the other key.
 */
async function identitiesInUse(
  { identityFiles, noIdentityFiles }: AuthenticationSettings,
  home: string,
): Promise<{ readonly files: string[]; readonly securityKeys: string[] }> {
  if (identityFiles.length === 0) {
    if (noIdentityFiles === true) return { files: [], securityKeys: [] };
    const files = defaultIdentityFiles(home);
    if (files.length > 0) return { files, securityKeys: [] };
    const names = DEFAULT_SECURITY_KEYS.map((name) => join(home, '.ssh', name));
    return { files, securityKeys: await filterAsync(names, exists) };
  }
  const paths = identityFiles.map(({ path }) => path);
  const securityKeys = await filterAsync(paths, isSecurityKey);
  return { files: paths.filter((path) => !securityKeys.includes(path)), securityKeys };
}

async function isSecurityKey(path: string): Promise<boolean> {
  const text = await readSmall(path);
  const key = text === undefined ? undefined : inspectKeyFile(text, await readSmall(`${path}.pub`));
  return key?.publicKey?.type.startsWith('sk-') === true;
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function filterAsync<T>(
  items: readonly T[],
  test: (item: T) => Promise<boolean>,
): Promise<T[]> {
  const results = await Promise.all(items.map(test));
  return items.filter((_, index) => results[index]);
}
