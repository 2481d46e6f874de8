/**
 * The lab: a small internet in network namespaces, with the system's sshd on its jump host. Tests,
 * quickstart and benchmarks run the program in it against real parts; all traffic stays on this
 * machine.
 *
 *   client ---veth--- uplink ---veth or delay line--- jumphost ---bridge "private"---+--- api1
 *   192.0.2.2         192.0.2.1                       198.51.100.10    10.77.0.1     |
 *   2001:db8:1::2     198.51.100.1                    2001:db8:2::10                 +--- api2
 *                                                     sshd
 *
 *   api1 is 10.77.0.11 and 10.77.1.1-20, api2 is 10.77.0.12 and 10.77.2.1-20.
 *
 * - The client's default route is the uplink, which forwards, but has no route to 10.77.0.0/16 and
 *   2001:db8:77::/64 and answers "unreachable". The jump host doesn't forward. So everything that
 *   reaches an API host came through sshd, and the API host sees the jump host's private address as
 *   its peer.
 * - Devices are named for what is at the other end: `uplink` in the client, `client` and `jumphost`
 *   in the uplink, ...
 * - A veth pair between uplink and jump host has no delay; `rtt`, `loss` and `bandwidth` replace it
 *   with the delay line (delayline.c).
 * - The API hosts run apiserver.ts; addresses.ts has all addresses and ports, including those that
 *   refuse, drop or don't exist.
 * - sshd comes in two variants, can be killed and restarted, and its log can be read (sshd.ts).
 * - Several labs can exist at a time. `close` removes everything; so does the end of the process
 *   that made the lab, and after SIGKILL the next lab or `Lab.sweep` (janitor.ts).
 *
 *   const lab = await Lab.create({ rtt: 50, sshd: 'hardened' });
 *   await lab.client.exec(['curl', '-sS', `http://${API1}/`]);
 *   await lab.close();
 *
 * Limits: needs root and a kernel with veth, bridge, TUN and nftables; loss and bandwidth need the
 * delay line.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Port } from './addresses.ts';
import { type Credentials, makeCredentials } from './credentials.ts';
import {
  type KnownLab,
  knownLabs,
  labDirectory,
  namespaceName,
  registerLab,
  removeLab,
  sweepLabs,
} from './janitor.ts';
import { LabError } from './laberror.ts';
import { Namespace } from './namespace.ts';
import type { Child } from './process.ts';
import { labUnavailable } from './requirements.ts';
import { Sshd, type SshdOptions, type SshdVariant } from './sshd.ts';
import { build, HOSTS, type Host, type LineOptions, type Namespaces } from './topology.ts';

export { labUnavailable } from './requirements.ts';

const APISERVER = fileURLToPath(new URL('./apiserver.js', import.meta.url));
const CLOSE_TIMEOUT_MS = 5_000;
/** The client's known_hosts has these ports, so that a test may move sshd there. */
const KNOWN_PORTS = [22, 2222];

export interface LabOptions extends LineOptions {
  readonly sshd?: SshdVariant | SshdOptions;
  /** Of other servers at the jump host: the client's known_hosts has its keys for them, too. */
  readonly knownPorts?: readonly number[];
  /** The lab was made by scripts/lab; `scripts/lab down` may remove it. */
  readonly forPerson?: boolean;
}

/** The parts of a lab; `Lab.create` assembles them. */
interface Parts {
  readonly id: string;
  readonly namespaces: Namespaces;
  readonly credentials: Credentials;
  readonly sshd: Sshd;
  readonly line: Child | undefined;
  readonly servers: readonly Child[];
}

export class Lab {
  readonly id: string;
  /** The directory of all the lab's files. */
  readonly directory: string;
  readonly client: Namespace;
  readonly uplink: Namespace;
  readonly jumphost: Namespace;
  readonly api1: Namespace;
  readonly api2: Namespace;
  /**
   * HOME of programs in the client; its .ssh has the authorised key and the right known_hosts under
   * their default names.
   */
  readonly clientHome: string;
  readonly credentials: Credentials;
  readonly sshd: Sshd;
  /**
   * The delay line, if there is one; after `close` its stderr has the counts of packets passed,
   * lost and dropped.
   */
  readonly line: Child | undefined;
  readonly #servers: readonly Child[];

  private constructor(parts: Parts) {
    this.id = parts.id;
    this.directory = labDirectory(parts.id);
    this.client = parts.namespaces.client;
    this.uplink = parts.namespaces.uplink;
    this.jumphost = parts.namespaces.jumphost;
    this.api1 = parts.namespaces.api1;
    this.api2 = parts.namespaces.api2;
    this.clientHome = this.client.home;
    this.credentials = parts.credentials;
    this.sshd = parts.sshd;
    this.line = parts.line;
    this.#servers = parts.servers;
  }

  /**
   * Makes a lab; when the promise resolves, sshd and all servers listen. Throws `LabError` with
   * code `lab-unavailable` if `labUnavailable` gives a reason; nothing is left after a failure.
   */
  static async create(options: LabOptions = {}): Promise<Lab> {
    const unavailable = labUnavailable();
    if (unavailable !== false) throw new LabError('lab-unavailable', unavailable);
    sweepLabs();
    const id = registerLab(options.forPerson ?? false);
    try {
      return new Lab(await assemble(id, options));
    } catch (error) {
      removeLab(id);
      throw error;
    }
  }

  /** Removes what is left of labs whose owners no longer exist; returns their ids. */
  static sweep(): string[] {
    return sweepLabs();
  }

  /** All labs on this machine, including those of other processes. */
  static list(): KnownLab[] {
    return knownLabs();
  }

  /** Starts `iperf3 -s` in api1, on all its addresses; stopped with the lab or by `stop`. */
  async startIperf(port: number = Port.iperf): Promise<Child> {
    const server = await this.api1.spawn(['iperf3', '-s', '-p', String(port), '--forceflush']);
    await server.waitForLine(/Server listening/);
    return server;
  }

  /** Ends all processes in the lab and removes its namespaces and files. May be repeated. */
  async close(): Promise<void> {
    await this.line?.stop('SIGTERM', CLOSE_TIMEOUT_MS);
    removeLab(this.id);
    await Promise.all(this.#servers.map((server) => server.wait(CLOSE_TIMEOUT_MS)));
  }
}

async function startApiServer(namespace: Namespace, name: string): Promise<Child> {
  const server = await namespace.spawn([process.execPath, APISERVER, name]);
  await server.waitForLine(/ready\n/);
  return server;
}

async function assemble(id: string, options: LabOptions): Promise<Parts> {
  const directory = labDirectory(id);
  const namespaceOf = (host: Host) => {
    const home = join(directory, 'home', host);
    mkdirSync(home, { recursive: true, mode: 0o755 });
    return new Namespace(namespaceName(id, host), home);
  };
  const namespaces = Object.fromEntries(
    HOSTS.map((host) => [host, namespaceOf(host)]),
  ) as Namespaces;
  const sshdOptions: SshdOptions =
    typeof options.sshd === 'string' ? { variant: options.sshd } : (options.sshd ?? {});
  const { knownPorts = [] } = options;
  const ports = [...new Set([...KNOWN_PORTS, ...knownPorts, ...(sshdOptions.ports ?? [])])];

  const network = build(namespaces, options);
  const work = [
    makeCredentials(join(directory, 'credentials'), namespaces.client.home, ports),
    network,
    network.then(() => startApiServer(namespaces.api1, 'api1')),
    network.then(() => startApiServer(namespaces.api2, 'api2')),
  ] as const;
  // Report a failure only when all parts have settled: the removal would miss anything that starts
  // after it.
  await Promise.allSettled(work);
  const [credentials, line, ...servers] = await Promise.all(work);
  const sshd = new Sshd(namespaces.jumphost, join(directory, 'jumphost'), credentials, sshdOptions);
  await sshd.start();
  return { id, namespaces, credentials, sshd, line, servers };
}
