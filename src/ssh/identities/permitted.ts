/** Which of the user's keys ssh_config permits: PubkeyAcceptedAlgorithms and RequiredRSASize. */
import { type PublicKey, rsaBits } from '../keys/publickey.ts';
import type { AuthenticationSettings } from '../settings.ts';

export type PermittedKeys = Pick<AuthenticationSettings, 'acceptedAlgorithms' | 'leastRsaBits'>;

/** RFC 8332, the better one first. SHA-1 is never used. */
const RSA_SIGNATURES: Readonly<Record<string, readonly string[]>> = {
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
  'ssh-rsa-cert-v01@openssh.com': [
    'rsa-sha2-512-cert-v01@openssh.com',
    'rsa-sha2-256-cert-v01@openssh.com',
  ],
};

/**
 * The signature algorithms that a key of this type may use, in order of preference. Empty: the key
 * must not be offered.
 */
export function signatureAlgorithms(
  type: string,
  { acceptedAlgorithms }: PermittedKeys,
): readonly string[] {
  const own = RSA_SIGNATURES[type] ?? [type];
  return acceptedAlgorithms?.filter((name) => own.includes(name)) ?? own;
}

/** Why a key must not be offered. undefined: it may be. */
export function whyForbidden(key: PublicKey, permitted: PermittedKeys): string | undefined {
  const bits = rsaBits(key);
  if (bits !== undefined && bits < permitted.leastRsaBits)
    return `it has ${bits} bits, and RequiredRSASize wants ${permitted.leastRsaBits}`;
  return signatureAlgorithms(key.type, permitted).length > 0
    ? undefined
    : `PubkeyAcceptedAlgorithms doesn't permit ${key.type}`;
}
