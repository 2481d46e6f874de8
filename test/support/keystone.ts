/**
 * A cloud in the lab: Debian's Keystone, and stand-ins for other services, behind a TLS front on
 * the API host api1.
 *
 *   client ... jump host ---- api1: nginx 10.77.0.11:443, 9292, 9696, 8776  (a virtual host for
 *                              |      each service, private CA, admits 10.77.0.1 only, logs the
 *                              |      source of each request)
 *                              +----> 127.0.0.1:5000  Keystone (keystoneserver.py; sqlite, fernet
 *                                                     tokens)
 *                              +----> 127.0.0.1:8000  stand-ins for nova, glance, neutron, cinder
 *                                                     (cloudstandins.ts)
 *
 * - The names are only in the jump host's /etc/hosts. Programs in the client ask a resolver that
 *   doesn't exist (`withResolver`).
 * - Keystone's database and keys are made once (some 25 s) and kept in dist/keystone-lab, under a
 *   hash of their inputs.
 * - Needs python3-keystone, python3-openstackclient and nginx-light; `keystoneUnavailable` says
 *   what is missing.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { API1, JUMPHOST_PRIVATE4, UPLINK4 } from './addresses.ts';
import { makeCertificates } from './certificates.ts';
import { withEtc } from './etc.ts';
import {
  ADMIN_PASSWORD,
  AUTH_URL,
  CLOUD_HOSTS,
  CLOUD_HOSTS_FILE,
  DEMO_PASSWORD,
  KEYSTONE_HOST,
} from './keystonecatalog.ts';
import { Lab, type LabOptions, labUnavailable } from './lab.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SERVER = join(ROOT, 'test/support/keystoneserver.py');
const SEED = fileURLToPath(new URL('./keystoneseed.js', import.meta.url));
const STANDINS = fileURLToPath(new URL('./cloudstandins.js', import.meta.url));
const CACHE = join(ROOT, 'dist/keystone-lab');
const PYTHON = '/usr/bin/python3';
const SETUP_TIMEOUT_MS = 120_000;

/** False, or what is missing. */
export function keystoneUnavailable(): string | false {
  return labUnavailable('keystone-manage', 'openstack', 'nginx', 'openssl');
}

export interface AccessLogEntry {
  readonly source: string;
  readonly host: string;
  readonly request: string;
  readonly status: number;
}

interface ApplicationCredential {
  readonly id: string;
  readonly secret: string;
}

interface Seeded {
  readonly lasting: ApplicationCredential;
  readonly expired: ApplicationCredential;
}

export class CloudLab {
  readonly lab: Lab;
  readonly caFile: string;
  readonly seeded: Seeded;
  /** The directory of all the cloud's files. */
  readonly directory: string;
  /**
   * Wraps a command of the client, so that its resolver is one on the network, as on most machines.
   */
  readonly withResolver: (argv: readonly string[]) => string[];

  private constructor(lab: Lab, directory: string, seeded: Seeded) {
    this.lab = lab;
    this.directory = directory;
    this.caFile = join(directory, 'ca.pem');
    this.seeded = seeded;
    const files = { 'resolv.conf': `nameserver ${UPLINK4}\noptions timeout:1 attempts:1\n` };
    this.withResolver = withEtc(directory, files, lab.clientHome, 0o444);
  }

  /** `byAddress`: the certificate is for the address, too. */
  static async create(options: LabOptions = {}, byAddress = false): Promise<CloudLab> {
    const lab = await Lab.create(options);
    try {
      const directory = join(lab.directory, 'cloud');
      mkdirSync(directory);
      const names = Object.keys(CLOUD_HOSTS).map((name) => `DNS:${name}`);
      await makeCertificates(directory, [...names, ...(byAddress ? [`IP:${API1}`] : [])]);
      const seeded = await startKeystone(lab, directory);
      const cloud = new CloudLab(lab, directory, seeded);
      await cloud.#startFront();
      cloud.nameAtJumpHost();
      cloud.#writeClouds();
      return cloud;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /**
   * Puts the names into the jump host's hosts file; repeat it after sshd has been restarted.
   */
  nameAtJumpHost(): void {
    appendFileSync(join(this.lab.directory, 'jumphost/etc/hosts'), CLOUD_HOSTS_FILE);
  }

  /** The number of open connections of the front on a port. */
  async established(port: number): Promise<number> {
    const { stdout } = await this.lab.api1.exec([
      'ss',
      '-Htn',
      'state',
      'established',
      `sport = :${port}`,
    ]);
    return stdout.split('\n').filter((line) => line !== '').length;
  }

  accessLog(): AccessLogEntry[] {
    const path = join(this.directory, 'access.log');
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [source = '', host = '', status = '', ...request] = line.split(' ');
        return { source, host, status: Number(status), request: request.join(' ') };
      });
  }

  close(): Promise<void> {
    return this.lab.close();
  }

  async #startFront(): Promise<void> {
    const { lab, directory } = this;
    const config = join(directory, 'nginx.conf');
    writeFileSync(config, frontConfiguration(directory));
    const standIns = await lab.api1.spawn([process.execPath, STANDINS]);
    await standIns.waitForLine(/ready\n/);
    await lab.api1.spawn([
      'nginx',
      '-p',
      directory,
      '-c',
      config,
      '-e',
      join(directory, 'error.log'),
    ]);
    await lab.api1.exec([
      'sh',
      '-c',
      'until ss -Hltn "sport = :443" | grep -q 443; do sleep 0.02; done',
    ]);
  }

  #writeClouds(): void {
    const directory = join(this.lab.clientHome, '.config/openstack');
    mkdirSync(directory, { recursive: true });
    const cloud = (auth: object, more: object = {}) => ({
      auth,
      region_name: 'RegionOne',
      cacert: this.caFile,
      ...more,
    });
    const user = { username: 'demo', password: DEMO_PASSWORD, user_domain_id: 'default' };
    const project = { project_name: 'demo', project_domain_id: 'default' };
    const demo = { auth_url: AUTH_URL, ...user, ...project };
    const credential = ({ id, secret }: ApplicationCredential) => ({
      auth_url: AUTH_URL,
      application_credential_id: id,
      application_credential_secret: secret,
    });
    const byCredential = { auth_type: 'v3applicationcredential' };
    const clouds = {
      demo: cloud(demo),
      admin: cloud({ ...demo, username: 'admin', password: ADMIN_PASSWORD, project_name: 'admin' }),
      unversioned: cloud({ ...demo, auth_url: `https://${KEYSTONE_HOST}` }),
      credential: cloud(credential(this.seeded.lasting), byCredential),
      expired: cloud(credential(this.seeded.expired), byCredential),
      'wrong-password': cloud({ ...demo, password: 'no such password' }),
      'wrong-ca': cloud(demo, { cacert: '/etc/ssl/certs/ca-certificates.crt' }),
      'wrong-name': cloud({ ...demo, auth_url: `https://${API1}/v3` }),
      internal: cloud(demo, { region_name: 'RegionTwo', interface: 'internal' }),
      'no-interface': cloud(demo, { region_name: 'RegionTwo' }),
      'no-region': cloud(demo, { region_name: 'RegionThree' }),
    };
    // JSON is YAML.
    writeFileSync(join(directory, 'clouds.yaml'), JSON.stringify({ clouds }, undefined, 2));
  }
}

function frontConfiguration(directory: string): string {
  const servers = Object.entries(CLOUD_HOSTS).map(
    ([name, port]) => `  server {
    listen ${API1}:${port} ssl;
    server_name ${name};
    allow ${JUMPHOST_PRIVATE4};
    deny all;
    location / {
      proxy_pass http://127.0.0.1:${name === KEYSTONE_HOST ? 5000 : 8000};
      proxy_set_header Host $http_host;
      proxy_set_header X-Virtual-Host ${name};
      proxy_set_header X-Forwarded-Proto https;
    }
  }`,
  );
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${directory}/tmp-${kind};`,
  );
  return `daemon off;
user root;
worker_processes 1;
pid ${directory}/nginx.pid;
events {}
http {
  log_format source '$remote_addr $host $status $request_method $request_uri';
  access_log ${directory}/access.log source;
  client_max_body_size 0;
  ssl_certificate ${directory}/server.pem;
  ssl_certificate_key ${directory}/server.key;
${temporary.join('\n')}
${servers.join('\n')}
}
`;
}

/** Starts Keystone on a copy of the prepared database; prepares that first if it doesn't exist. */
async function startKeystone(lab: Lab, directory: string): Promise<Seeded> {
  const state = join(directory, 'keystone');
  const kept = join(CACHE, await cacheKey(lab));
  if (existsSync(kept)) cpSync(kept, state, { recursive: true });
  else await prepare(lab, state, kept);
  await runKeystone(lab, state);
  return JSON.parse(readFileSync(join(state, 'seeded.json'), 'utf8')) as Seeded;
}

async function runKeystone(lab: Lab, state: string) {
  writeFileSync(join(state, 'keystone.conf'), configuration(state));
  const server = await lab.api1.spawn([PYTHON, SERVER, join(state, 'keystone.conf')]);
  await server.waitForLine(/ready\n/, SETUP_TIMEOUT_MS);
  return server;
}

async function cacheKey(lab: Lab): Promise<string> {
  const { stdout } = await lab.api1.exec(['dpkg-query', '-W', 'python3-keystone']);
  const files = [
    SEED,
    fileURLToPath(new URL('./keystonecatalog.js', import.meta.url)),
    fileURLToPath(import.meta.url),
  ];
  const hash = createHash('sha256').update(stdout);
  for (const file of files) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

async function prepare(lab: Lab, state: string, kept: string): Promise<void> {
  mkdirSync(join(state, 'fernet'), { recursive: true });
  mkdirSync(join(state, 'credential'));
  const config = join(state, 'keystone.conf');
  writeFileSync(config, configuration(state));
  const own = ['--keystone-user', 'root', '--keystone-group', 'root'];
  const identity = AUTH_URL;
  for (const args of [
    ['db_sync'],
    ['fernet_setup', ...own],
    ['credential_setup', ...own],
    [
      'bootstrap',
      ...['--bootstrap-password', ADMIN_PASSWORD, '--bootstrap-region-id', 'RegionOne'],
      ...['--bootstrap-public-url', identity, '--bootstrap-internal-url', identity],
    ],
  ]) {
    await must(lab, ['keystone-manage', '--config-file', config, ...args]);
  }
  const server = await runKeystone(lab, state);
  writeFileSync(
    join(state, 'seeded.json'),
    await must(lab, [process.execPath, SEED, ADMIN_PASSWORD]),
  );
  await server.stop('SIGTERM');
  mkdirSync(CACHE, { recursive: true });
  const temporary = `${kept}.${process.pid}`;
  cpSync(state, temporary, { recursive: true });
  try {
    renameSync(temporary, kept);
  } catch {
    // Another run has prepared the same one meanwhile.
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function must(lab: Lab, argv: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await lab.api1.exec(argv, { timeout: SETUP_TIMEOUT_MS });
  if (status !== 0) throw new Error(`${argv.join(' ')}: status ${status}: ${stderr.slice(-2000)}`);
  return stdout;
}

function configuration(state: string): string {
  return `[DEFAULT]
log_file = ${state}/keystone.log
[database]
connection = sqlite:///${state}/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = ${state}/fernet
[credential]
key_repository = ${state}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
[oslo_middleware]
enable_proxy_headers_parsing = true
`;
}
