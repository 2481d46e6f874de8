/**
 * A lab in which only the jump host knows the names, and permits connections by name:
 *
 *   jump host   /etc/hosts knows api1 and api2.lab.example, one, two and slow.lab.example and
 *               www.corp.example; PermitOpen lists names, the resolver, and one address whose name
 *               it doesn't list
 *   api1        dnsmasq for corp.example; HTTPS with separate certificates for
 *               one.lab.example and two.lab.example
 *   uplink      this machine's own resolver (uplinkserver.ts), which knows none of them
 */
import { appendFileSync, chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { API1, API1_NAME, API2, API2_NAME, UPLINK4 } from './addresses.ts';
import { makeCertificates } from './certificates.ts';
import { dnsmasqAt } from './dnsmasq.ts';
import { ExecLab } from './execlab.ts';
import type { SshdOptions } from './sshd.ts';

const TLS_SERVER = fileURLToPath(new URL('./tlsnames.js', import.meta.url));
/** resolv.conf with the client's own resolver and short timeouts, so that a leak shows soon. */
export const RESOLV_CONF = `nameserver ${UPLINK4}\noptions timeout:2 attempts:1\n`;
export const TLS_NAMES = ['one.lab.example', 'two.lab.example'] as const;
export const WWW = 'www.corp.example';
/** The address is permitted, the name isn't. */
export const BY_ADDRESS = 'four.corp.example';

const PERMIT_OPEN = [
  ...[API1_NAME, API2_NAME, WWW].map((name) => `${name}:80`),
  ...TLS_NAMES.map((name) => `${name}:443`),
  'missing.lab.example:80',
  `${API1}:53`,
  `${API2}:80`,
];

const DNSMASQ = dnsmasqAt(
  API1,
  '--local=/corp.example/',
  `--host-record=${WWW},${API1},60`,
  `--host-record=${BY_ADDRESS},${API2},60`,
);

export interface NamesLab {
  readonly exec: ExecLab;
  /** The certificate of the authority that signed the name's certificate. */
  authority(name: string): string;
  close(): Promise<void>;
}

export async function createNamesLab(
  resolvConf = RESOLV_CONF,
  sshd: SshdOptions = { variant: 'hardened', permitOpen: PERMIT_OPEN },
): Promise<NamesLab> {
  const exec = await ExecLab.create(resolvConf, { sshd });
  try {
    const { lab } = exec;
    const directoryOf = (name: string) => join(lab.directory, `tls-${name}`);
    for (const name of TLS_NAMES) {
      mkdirSync(directoryOf(name));
      chmodSync(directoryOf(name), 0o755);
      await makeCertificates(directoryOf(name), [`DNS:${name}`]);
    }
    appendFileSync(
      join(lab.directory, 'jumphost/etc/hosts'),
      `${[...TLS_NAMES, WWW].map((name) => `${API1} ${name}`).join('\n')}\n`,
    );
    await lab.api1.spawn(DNSMASQ);
    const tls = await lab.api1.spawn([process.execPath, TLS_SERVER, ...TLS_NAMES.map(directoryOf)]);
    await tls.waitForLine(/ready\n/);
    await exec.startUplinkServer();
    return {
      exec,
      authority: (name) => join(directoryOf(name), 'ca.pem'),
      close: () => exec.close(),
    };
  } catch (error) {
    await exec.close();
    throw error;
  }
}
