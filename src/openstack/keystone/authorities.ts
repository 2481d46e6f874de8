/**
 * The authorities that may sign the cloud's certificates. The first of these that exists counts:
 * the cloud's own `cacert`, the file named by a variable of the Python or Go clients, the system's
 * bundle, the authorities that come with Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import { printable } from '../../observe/printable.ts';
import type { TlsSettings } from '../settings/cloud.ts';

/** Variables of `requests` (Python), then of crypto/x509 (Go). */
const VARIABLES = ['REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'SSL_CERT_FILE'] as const;
/** Debian, Alpine and Arch; Fedora and its relatives; openSUSE. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
] as const;

/** Throws TunnelError `openstack-tls` when a file can't be read or has no certificate. */
export function secureContextOf(
  { caFile, certFile, keyFile }: TlsSettings,
  env: Readonly<Record<string, string | undefined>>,
): SecureContext {
  const named = caFile ?? VARIABLES.map((name) => env[name]).find((path) => path);
  const bundle = named ?? SYSTEM_BUNDLES.find((path) => existsSync(path));
  try {
    return createSecureContext({
      ca: bundle === undefined ? [...rootCertificates] : readFileSync(bundle),
      // The file of a certificate often contains the key, too.
      ...(certFile !== undefined && {
        cert: readFileSync(certFile),
        key: readFileSync(keyFile ?? certFile),
      }),
      minVersion: 'TLSv1.2',
    });
  } catch (cause) {
    const message = printable(reasonOf(cause));
    throw new TunnelError(
      'openstack-tls',
      `the certificates of the cloud can't be loaded: ${message}`,
      {
        hint: `check ${[bundle, certFile, keyFile].filter((path) => path !== undefined).join(', ')}; in clouds.yaml, a relative path starts in the working directory`,
        cause,
      },
    );
  }
}
