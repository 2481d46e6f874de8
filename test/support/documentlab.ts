/**
 * The world that the documents speak of, made of a lab, so that their lines run as they are
 * written:
 *
 *   names       jumphost, jump.example.com and the like are the lab's jump host: the client's
 *               /etc/hosts; `bastion` and `inner` are Hosts of ssh_config
 *   users       user, you, alice, ... may log in there, with the key at its usual places
 *   addresses   10.0.0.0/8 and 203.0.113.0/24 are api1's, behind the jump host
 *   names there api.example.com, db.internal and others: the jump host's /etc/hosts; those below
 *               corp.example: a resolver at 10.0.0.53. The jump host has a resolver of its own
 *   services    HTTP on the ports that the lines name, HTTPS for api.example.com
 *   clouds      `mycloud` and others have one endpoint and no Keystone
 *   commands    terraform, openstack, psql, rsync and ./deploy fetch a page from where they would
 *               go
 */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { API1, JUMPHOST4, UPLINK4 } from './addresses.ts';
import { makeCertificates } from './certificates.ts';
import { dnsmasqAt } from './dnsmasq.ts';
import { documentFiles } from './documents.ts';
import { ExecLab } from './execlab.ts';
import { type Child, type ExecResult, mustRun, SEARCH_PATH } from './process.ts';
import { MAIN } from './tunnel.ts';

const CHECKOUT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const TLS_SERVER = fileURLToPath(new URL('./tlsnames.js', import.meta.url));
const TIMEOUT_MS = 60_000;

const JUMP_NAMES = [
  ...['jumphost', 'outer', 'other', 'jump.example', 'jump.example.com', 'jump.eu.example.com'],
  ...['jump.us.example.com', 'old.example.com'],
];
const USERS = ['user', 'you', 'deploy', 'ops', 'alice', 'tunnel', 'ubuntu'];
const RESOLVER = '10.0.0.53';
const SERVICE = '10.0.0.5';
const SERVICE_NAMES = [
  ...['api.example.com', 'api.example', 'db.internal', 'keystone.cloud.example'],
  'api.corp.example',
];
/** Besides those that apiserver.ts has. */
const PORTS = [5000, 5432, 8080, 8774];
const HTTP_SERVER = `
const { createServer } = require('node:http');
const ports = process.argv.slice(1).map(Number);
const listening = ports.map((port) => new Promise((done) => {
  createServer((_, response) => response.end('api1\\n')).listen(port, '::', done);
}));
Promise.all(listening).then(() => console.log('ready'));`;

const FETCH = 'exec curl -fsS --max-time 15';
/** By name, the shell script that stands in for a command. */
const COMMANDS: Readonly<Record<string, string>> = {
  terraform: `for url in http://keystone.cloud.example:5000/ http://203.0.113.7/; do
  curl -fsS --max-time 15 "$url" && exit 0
done
exit 1`,
  openstack: `${FETCH} http://keystone.cloud.example:5000/`,
  psql: `${FETCH} "http://$2:5432/"`,
  rsync: `${FETCH} http://10.0.0.7/`,
};
const CLOUD = `    auth_type: none
    auth: {endpoint: "http://keystone.cloud.example:5000"}
`;

export class DocumentLab {
  readonly #exec: ExecLab;
  readonly #home: string;
  /** `SHA256:...` of the jump host. */
  readonly pin: string;
  /** `TYPE BASE64`. */
  readonly hostKey: string;
  #lines = 0;

  private constructor(exec: ExecLab, hostKey: string, pin: string) {
    this.#exec = exec;
    this.#home = exec.lab.clientHome;
    this.hostKey = hostKey;
    this.pin = pin;
  }

  static async create(): Promise<DocumentLab> {
    const exec = await ExecLab.create(
      `nameserver ${UPLINK4}\noptions timeout:2 attempts:1\n`,
      {
        sshd: {
          ports: [22, 2222],
          users: USERS.map((name) => ({ name })),
        },
      },
      { hosts: `127.0.0.1 localhost\n${JUMPHOST4} ${JUMP_NAMES.join(' ')}\n` },
    );
    try {
      const { lab } = exec;
      const publicKey = `${lab.credentials.hostKeys[0]}.pub`;
      const [type, base64] = readFileSync(publicKey, 'utf8').split(' ');
      const fingerprint = await mustRun(['ssh-keygen', '-lf', publicKey]);
      const documents = new DocumentLab(exec, `${type} ${base64}`, fingerprint.split(' ')[1] ?? '');
      documents.#writeHome();
      await documents.#serve();
      return documents;
    } catch (error) {
      await exec.close();
      throw error;
    }
  }

  #writeHome(): void {
    const { credentials } = this.#exec.lab;
    const ssh = join(this.#home, '.ssh');
    appendFileSync(join(ssh, 'known_hosts'), `* ${this.hostKey}\n`);
    writeFileSync(
      join(ssh, 'config'),
      `Host bastion inner\n  HostName ${JUMPHOST4}\n  User user\n`,
      {
        mode: 0o600,
      },
    );
    copyFileSync(credentials.keys.authorized, join(ssh, 'cloud'));
    chmodSync(join(ssh, 'cloud'), 0o600);
    const clouds = ['mycloud', 'other', 'safespring'].map((name) => `  ${name}:\n${CLOUD}`);
    this.#write(this.#home, '.config/openstack/clouds.yaml', `clouds:\n${clouds.join('')}`);
    for (const [name, script] of Object.entries(COMMANDS))
      this.#write(this.#home, `bin/${name}`, `#!/bin/sh\n${script}\n`, 0o755);
  }

  async #serve(): Promise<void> {
    const { lab } = this.#exec;
    const { api1, jumphost, directory } = lab;
    await api1.configure([
      'route add local 10.0.0.0/8 dev lo',
      'route add local 203.0.113.0/24 dev lo',
      `address add ${RESOLVER}/32 dev lo`,
    ]);
    await jumphost.configure([
      `route add 10.0.0.0/8 via ${API1}`,
      `route add 203.0.113.0/24 via ${API1}`,
    ]);
    appendFileSync(
      join(directory, 'jumphost/etc/hosts'),
      `${SERVICE} ${SERVICE_NAMES.join(' ')}\n`,
    );
    const tls = join(directory, 'tls-api.example.com');
    mkdirSync(tls);
    await makeCertificates(tls, ['DNS:api.example.com']);
    const servers = [
      await api1.spawn([process.execPath, '-e', HTTP_SERVER, '--', ...PORTS.map(String)]),
      await api1.spawn([process.execPath, TLS_SERVER, tls]),
    ];
    for (const server of servers) await server.waitForLine(/ready\n/);
    await api1.spawn(dnsmasqAt(RESOLVER, `--address=/corp.example/${SERVICE}`));
    await jumphost.spawn(dnsmasqAt('127.0.0.1', `--address=/corp.example/${SERVICE}`));
    await this.#exec.startUplinkServer();
  }

  /** A path in HOME: `~/...`. */
  path(path: string): string {
    return join(this.#home, path.slice(2), path.endsWith('/') ? '/' : '');
  }

  /** Starts `tunnel ARGS` as root in the client, in a new directory with the lines' files. */
  start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Child> {
    return this.#exec.lab.client.spawn(this.#argv([process.execPath, MAIN, ...args]), {
      env: { ...this.#environment(), ...env },
      cwd: this.#directory(),
    });
  }

  /** Runs any program to its end, beside the tunnel. */
  run(argv: readonly string[]): Promise<ExecResult> {
    return this.#exec.lab.client.exec(this.#argv(argv), {
      env: this.#environment(),
      timeout: TIMEOUT_MS,
    });
  }

  /** Runs `tunnel ARGS` to its end. */
  tunnel(args: readonly string[]): Promise<ExecResult> {
    return this.run([process.execPath, MAIN, ...args]);
  }

  close(): Promise<void> {
    return this.#exec.close();
  }

  /** The process ids of its tunnels. */
  running(): readonly number[] {
    if (!existsSync(this.#sockets)) return [];
    return readdirSync(this.#sockets).flatMap((name) => {
      const [, pid] = /^([0-9]+)\.sock$/.exec(name) ?? [];
      return pid === undefined ? [] : [Number(pid)];
    });
  }

  get #sockets(): string {
    return join(this.#exec.lab.directory, 'run-tunnel');
  }

  /**
   * In a view of the machine without the tunnels of others, all of which root's `tunnel status`
   * shows: their sockets are in /run/tunnel, /run/user and /tmp.
   */
  #argv(argv: readonly string[]): string[] {
    const { directory } = this.#exec.lab;
    const own = join(directory, 'own');
    const kept = [directory, CHECKOUT].filter((path) => path.startsWith('/tmp/'));
    const folders = ['/tmp', '/run/user', ...kept].map((path) => join(own, path));
    for (const path of [this.#sockets, ...folders]) mkdirSync(path, { recursive: true });
    chmodSync(this.#sockets, 0o700);
    chmodSync(join(own, 'tmp'), 0o1777);
    const script = [
      'mkdir -p -m 700 /run/tunnel',
      `mount --bind ${this.#sockets} /run/tunnel`,
      `{ [ ! -d /run/user ] || mount --bind ${own}/run/user /run/user; }`,
      ...kept.map((path) => `mount --bind ${path} ${own}${path}`),
      `mount --rbind ${own}/tmp /tmp`,
      'exec "$@"',
    ];
    return this.#exec.userArgv(argv, { root: true, script: script.join(' && ') });
  }

  #environment(): Record<string, string> {
    return {
      HOME: this.#home,
      PATH: `${join(this.#home, 'bin')}:${SEARCH_PATH}`,
      CURL_CA_BUNDLE: join(this.#exec.lab.directory, 'tls-api.example.com/ca.pem'),
      OS_AUTH_TYPE: 'none',
      OS_ENDPOINT: 'http://keystone.cloud.example:5000',
    };
  }

  #directory(): string {
    this.#lines += 1;
    const directory = join(this.#exec.lab.directory, `line-${this.#lines}`);
    mkdirSync(directory);
    for (const [path, text] of Object.entries(documentFiles())) {
      const [, inHome] = /^~\/(.*)$/.exec(path) ?? [];
      if (inHome === undefined) this.#write(directory, path, text);
      else if (this.#lines === 1) this.#write(this.#home, inHome, text);
    }
    this.#write(directory, 'catalog.json', CATALOG);
    this.#write(directory, 'deploy', `#!/bin/sh\n${COMMANDS['openstack']}\n`, 0o755);
    return directory;
  }

  #write(base: string, path: string, text: string, mode = 0o600): void {
    mkdirSync(dirname(join(base, path)), { recursive: true });
    writeFileSync(join(base, path), text);
    chmodSync(join(base, path), mode);
  }
}

/** As `openstack catalog list -f json` prints it. */
const CATALOG = JSON.stringify([
  {
    Name: 'keystone',
    Type: 'identity',
    Endpoints: [
      {
        id: '1',
        interface: 'public',
        region_id: 'RegionOne',
        region: 'RegionOne',
        url: 'http://keystone.cloud.example:5000/v3',
      },
    ],
  },
]);
