/**
 * A client that can reach its jump host in many ways, for tests that capture the jump host's
 * address. What a test changes is undone after it.
 *
 *   client --uplink-- uplink --- jumphost     192.0.2.0/24, as in every lab
 *          --second-- uplink                  203.0.113.0/24: another uplink, or another VPN
 *          --lan----- jumphost                10.88.0.0/24: the jump host and its neighbours
 */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from './lab.ts';
import type { Child } from './process.ts';
import { MAIN } from './tunnel.ts';

const START_TIMEOUT_MS = 20_000;
/** An event is looked at within NETWATCH_SETTLE_MS; the rest is a margin for a busy machine. */
const NOTICED_MS = 5_000;
/** The local network that the client and the jump host share. */
export const LAN = {
  client4: '10.88.0.2',
  client6: '2001:db8:88::2',
  jumpHost4: '10.88.0.10',
  jumpHost6: '2001:db8:88::10',
  jumpHostLinkLocal: 'fe80::10',
  /** It is the jump host's, too, but nobody dials it as such. */
  neighbour4: '10.88.0.20',
  neighbour6: '2001:db8:88::20',
} as const;
/** Of the jump host, in 10/8, behind the client's gateway. */
export const FAR4 = '10.99.0.10';
export const SECOND = { client4: '203.0.113.2', gateway4: '203.0.113.1' } as const;

/** What is lost with a device that goes down. It may be there already. */
const LOST: Readonly<Record<string, readonly string[]>> = {
  uplink: [
    '-6 addr add 2001:db8:1::2/64 dev uplink nodad',
    '-6 addr add fe80::2/64 dev uplink nodad',
    'route add default via 192.0.2.1',
    '-6 route add default via 2001:db8:1::1',
  ],
  lan: [`-6 addr add ${LAN.client6}/64 dev lan nodad`, '-6 addr add fe80::2/64 dev lan nodad'],
};

const REACH = `const { connect } = require('node:net');
const socket = connect(Number(process.argv[2]), process.argv[1]);
socket.setTimeout(5000, () => socket.destroy(new Error('nothing came')));
socket.once('data', (data) => { console.log(socket.localAddress, String(data).trim()); socket.destroy(); });
socket.once('error', (error) => { console.log(error.code ?? error.message); });`;

export class CapturedJumpHostLab {
  #lab: Lab | undefined;
  #undo: string[] = [];
  #tunnel: Child | undefined;

  /** Within a `describe`: there is a lab for all its tests. */
  constructor() {
    before(async () => {
      this.#lab = await Lab.create();
      await prepare(this.#lab);
    });
    after(() => this.#lab?.close());
    afterEach(async () => {
      await this.stop();
      for (const line of this.#undo.splice(0).toReversed())
        await this.client.exec(['ip', ...line.split(' ')]);
      for (const device of Object.keys(LOST)) await this.restore(device);
    });
  }

  get lab(): Lab {
    assert.ok(this.#lab !== undefined);
    return this.#lab;
  }

  get client(): Lab['client'] {
    return this.lab.client;
  }

  /** In the client. `reverse` undoes it. */
  async ip(line: string, reverse = line.replace(/\badd\b/, 'del')): Promise<void> {
    await this.client.configure([line]);
    this.#undo.push(reverse);
  }

  /** Brings a device up again, with what the kernel has removed of its configuration. */
  async restore(device: string): Promise<void> {
    await this.client.configure([`link set ${device} up`]);
    for (const line of LOST[device] ?? []) await this.client.exec(['ip', ...line.split(' ')]);
  }

  /** Waits for `look` to say so. */
  async becomes(look: () => Promise<string>, wanted: RegExp): Promise<void> {
    const deadline = performance.now() + NOTICED_MS;
    for (;;) {
      const seen = await look();
      if (wanted.test(seen)) return;
      if (performance.now() > deadline) assert.match(seen, wanted);
      await sleep(50);
    }
  }

  /** `args`: with -r. Until the test ends. */
  async start(args: readonly string[], launcher: readonly string[] = []): Promise<Child> {
    const argv = [...launcher, process.execPath, MAIN, ...args];
    this.#tunnel = await this.client.spawn(argv);
    await this.#tunnel.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
    return this.#tunnel;
  }

  async stop(): Promise<void> {
    await this.#tunnel?.stop('SIGINT');
    this.#tunnel = undefined;
  }

  /** The prefixes that lead into the tunnel. */
  async captured(): Promise<string[]> {
    const outputs = await Promise.all(
      ['-4', '-6'].map((family) =>
        this.client.exec(['ip', family, 'route', 'show', 'table', 'main', 'proto', '116']),
      ),
    );
    return outputs.flatMap(({ stdout }) =>
      stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split(' ')[0] ?? '')
        // The device's own networks.
        .filter((prefix) => !/^(198\.1[89]\.|2001:2:)/.test(prefix)),
    );
  }

  /** `carried` if the API host answers: only through the tunnel it can. */
  async fetch(address: string): Promise<string> {
    const host = address.includes(':') ? `[${address}]` : address;
    const argv = ['curl', '-gsS', '--max-time', '8', `http://${host}/`];
    const { stdout, stderr } = await this.client.exec(argv);
    return stdout === '' ? stderr : 'carried';
  }

  async deviceTo(address: string): Promise<string> {
    const { stdout } = await this.client.exec(['ip', 'route', 'get', address]);
    return / dev (\S+)/.exec(stdout)?.[1] ?? stdout;
  }

  /** The client's own address towards an SSH server that has answered, or what went wrong. */
  async reached(address: string, port = 22): Promise<string> {
    const { stdout } = await this.client.exec(['node', '-e', REACH, '--', address, String(port)]);
    const [local = '', identification = ''] = stdout.trim().split(' ');
    return identification.startsWith('SSH-2.0-') ? local : stdout.trim();
  }

  /** The devices that established connections to SSH servers are bound to; `*`: to none. */
  async boundTo(): Promise<string[]> {
    const { stdout } = await this.client.exec([
      'ss',
      '-Htn',
      'state',
      'established',
      'dport = :22',
    ]);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => /%([^:\]]+)/.exec(line)?.[1] ?? '*');
  }
}

async function prepare({ client, uplink, jumphost, clientHome, credentials }: Lab): Promise<void> {
  const wire = (device: string, peer: { readonly name: string }, name: string) =>
    `link add ${device} type veth peer name ${name} netns ${peer.name}`;
  await client.configure([wire('lan', jumphost, 'lan'), wire('second', uplink, 'second')]);
  const up = (device: string, ...addresses: readonly string[]) => [
    `link set dev ${device} addrgenmode none`,
    ...addresses.map(
      (prefix) => `addr add ${prefix} dev ${device}${prefix.includes(':') ? ' nodad' : ''}`,
    ),
    `link set dev ${device} up`,
  ];
  await jumphost.configure([
    ...up(
      'lan',
      `${LAN.jumpHost4}/24`,
      `${LAN.neighbour4}/24`,
      `${LAN.jumpHost6}/64`,
      `${LAN.neighbour6}/64`,
      `${LAN.jumpHostLinkLocal}/64`,
    ),
    `addr add ${FAR4}/32 dev lo`,
  ]);
  await uplink.configure([
    ...up('second', `${SECOND.gateway4}/24`),
    `route add ${FAR4}/32 via 198.51.100.10`,
  ]);
  await client.configure([
    ...up('lan', `${LAN.client4}/24`, `${LAN.client6}/64`, 'fe80::2/64'),
    ...up('second', `${SECOND.client4}/24`),
  ]);
  const keys = credentials.hostKeys.map((path) => readFileSync(`${path}.pub`, 'utf8').trim());
  appendFileSync(join(clientHome, '.ssh', 'known_hosts'), keys.map((key) => `* ${key}\n`).join(''));
}
