/**
 * The lab with pods instead of its sshd:
 *
 *   client --- uplink --- jumphost ---bridge "private"---+--- pod1   10.77.3.1, 2001:db8:77:0:3::1
 *                         haproxy, port 22               +--- pod2   10.77.3.2, 2001:db8:77:0:3::2
 *                                                        +--- api1, api2
 *
 * haproxy is the load balancer of the Service: it knows addresses and ports, and nothing of SSH. A
 * pod that refuses a connection is passed over.
 * The pods' host key is one of those that the lab's known_hosts has for the jump host.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, API1_6, API1_NAME, API2, API2_6, API2_NAME } from './addresses.ts';
import { namespaceName } from './janitor.ts';
import type { JumpHostFiles } from './jumphostfiles.ts';
import type { Lab } from './lab.ts';
import { LabError } from './laberror.ts';
import { Namespace } from './namespace.ts';
import { Pod, unpackImage } from './pod.ts';
import { type Child, mustRun } from './process.ts';

export const POD_PORT = 2222;
const POLL_MS = 20;
const FIRST_INDEX = 51;
const HOSTS = [
  '127.0.0.1 localhost',
  '::1 localhost',
  `${API1} ${API1_NAME}`,
  `${API1_6} ${API1_NAME}`,
  `${API2} ${API2_NAME}`,
  `${API2_6} ${API2_NAME}`,
  '',
].join('\n');

export class PodLab {
  readonly lab: Lab;
  readonly pods: readonly Pod[];
  readonly #balancer: Child;

  private constructor(lab: Lab, pods: readonly Pod[], balancer: Child) {
    this.lab = lab;
    this.pods = pods;
    this.#balancer = balancer;
  }

  /**
   * Renders for LISTED, with these options and the lab's key, and starts so many pods. `lab` is
   * closed by the test.
   */
  static async start(
    lab: Lab,
    files: JumpHostFiles,
    count: number,
    args: readonly string[],
  ): Promise<PodLab> {
    await lab.sshd.kill();
    const base = await files.render('kubernetes', '--image', 'jumphost:1', ...args);
    const hostKey = readFileSync(lab.credentials.hostKeys[0] ?? '', 'utf8');
    const image = join(lab.directory, 'image');
    await unpackImage(base, image);
    const pods = await Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const namespace = await connect(lab, i + 1);
        const directory = join(lab.directory, `pod${i + 1}`);
        return Pod.start(namespace, { base, hostKey, directory, image, hosts: HOSTS });
      }),
    );
    return new PodLab(lab, pods, await balance(lab, count));
  }

  /** What all pods have written. */
  log(): string {
    return this.pods.map((pod) => pod.log()).join('');
  }

  /** Closes what isn't the lab's. */
  async close(): Promise<void> {
    await this.#balancer.stop('SIGKILL');
  }
}

/** A namespace of its own on the private network; it goes with the lab. */
async function connect(lab: Lab, number: number): Promise<Namespace> {
  const name = `pod${number}`;
  const pod = new Namespace(namespaceName(lab.id, name), lab.directory);
  const index = FIRST_INDEX + 10 * number;
  const end = (device: string, at: number, namespace: Namespace) =>
    `name ${device} index ${at} netns ${namespace.name}`;
  const lines = [
    `netns add ${pod.name}`,
    `link add ${end(name, index, lab.jumphost)} type veth peer ${end('eth0', index + 1, pod)}`,
  ];
  await mustRun(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  await lab.jumphost.configure([`link set dev ${name} master private`, `link set dev ${name} up`]);
  await pod.configure([
    'link set dev lo up',
    'link set dev eth0 addrgenmode none',
    `addr add ${podAddress(number)}/16 dev eth0`,
    `addr add 2001:db8:77:0:3::${number}/64 dev eth0 nodad`,
    `addr add fe80::3${number}/64 dev eth0 nodad`,
    'link set dev eth0 up',
  ]);
  return pod;
}

function podAddress(number: number): string {
  return `10.77.3.${number}`;
}

async function balance(lab: Lab, count: number): Promise<Child> {
  const servers = Array.from(
    { length: count },
    (_, i) => `  server pod${i + 1} ${podAddress(i + 1)}:${POD_PORT}`,
  );
  const file = join(lab.directory, 'haproxy.cfg');
  writeFileSync(
    file,
    `defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen ssh
  bind :22
  bind :::22 v6only
  balance roundrobin
  option redispatch 1
  retries 2
${servers.join('\n')}
`,
  );
  const balancer = await lab.jumphost.spawn(['haproxy', '-q', '-db', '-f', file]);
  while (!(await lab.jumphost.exec(['ss', '-ltnH'])).stdout.includes('[::]:22 ')) {
    if (balancer.ended !== undefined) throw new LabError('lab-balancer', balancer.stderr);
    await sleep(POLL_MS);
  }
  return balancer;
}
