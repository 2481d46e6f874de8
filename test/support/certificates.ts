/** The test's own certificate authority, and a server's certificate. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun } from './process.ts';

/**
 * Makes `ca.pem`, `server.pem` and `server.key` in `directory`; `names` as in subjectAltName
 * (`DNS:...`, `IP:...`).
 */
export async function makeCertificates(directory: string, names: readonly string[]): Promise<void> {
  const at = (name: string) => join(directory, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const ca = [
    '-x509',
    '-subj',
    '/CN=Test authority',
    // Python 3.13 takes no authority that doesn't say what its key is for (RFC 5280 §4.2.1.3).
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
    '-days',
    '2',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  ];
  await mustRun(['openssl', 'req', ...key, ...ca]);
  const request = [
    '-subj',
    '/CN=Test server',
    '-keyout',
    at('server.key'),
    '-out',
    at('server.csr'),
  ];
  await mustRun(['openssl', 'req', ...key, ...request]);
  const identifiers = 'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n';
  writeFileSync(at('server.ext'), `subjectAltName=${names.join(',')}\n${identifiers}`);
  const signing = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2'];
  const files = ['-in', at('server.csr'), '-extfile', at('server.ext'), '-out', at('server.pem')];
  await mustRun(['openssl', 'x509', '-req', ...signing, ...files]);
}
