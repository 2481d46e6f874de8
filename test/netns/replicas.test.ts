/**
 * Two jump hosts with one host key behind a balancer, as replicas on Kubernetes are: haproxy, which
 * hides the clients' addresses, or the kernel's DNAT, as kube-proxy sets it up. The one that
 * carries the link is killed under load, or falls silent.
 *
 *   client ---- uplink, 198.51.100.1:2022 ----+---- sshd at 198.51.100.10:22
 *               haproxy or DNAT               +---- sshd at 198.51.100.10:2222
 *
 * Both have the drop-in of `tunnel jumphost sshd --behind-proxy`. The program runs without a
 * terminal: a question would end it. Its known_hosts has the balancer's address and nothing else.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LASTING_MS } from '../../src/link/backoff.ts';
import { API1, API1_NAME, JUMPHOST4 } from '../support/addresses.ts';
import type { Credentials } from '../support/credentials.ts';
import { installedOpenssh } from '../support/installedopenssh.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { sessionsOf } from '../support/processtable.ts';
import { Sshd, type SshdOptions } from '../support/sshd.ts';
import { MAIN } from '../support/tunnel.ts';

const USER = 'tunnel';
const BALANCER = '198.51.100.1';
const PORT = 2022;
const PORTS = [22, 2222] as const;
const REMOTE = `${USER}@${BALANCER}:${PORT}`;

/** The longest that new flows may take after one has gone. */
const BOUND_MS = 5_000;
/** Flows that begin while the loss has not been noticed may be cut off. */
const UNNOTICED_MS = 500;
const PROBE_EVERY_MS = 100;
const DOWNLOADS = 4;

const HAPROXY = `
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
listen ssh
  bind ${BALANCER}:${PORT}
  option redispatch 1
  default-server check inter 500ms fall 2 on-marked-down shutdown-sessions
  server one ${JUMPHOST4}:${PORTS[0]}
  server two ${JUMPHOST4}:${PORTS[1]}
`;

/** Connections in turn, whether or not the replica is there: kube-proxy learns that later. */
const DNAT = `
table ip balancer {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr ${BALANCER} tcp dport ${PORT} dnat to numgen inc mod 2 map {
      0 : ${JUMPHOST4} . ${PORTS[0]}, 1 : ${JUMPHOST4} . ${PORTS[1]}
    }
  }
}
`;

/** What comes to this port is dropped, as with a machine that has lost its network. */
const silence = (port: number) => `
table inet silence {
  chain input {
    type filter hook input priority filter - 1;
    tcp dport ${port} drop
  }
}
`;

/** How a client's connections reach the tunnel: arguments of curl. */
type Way = readonly string[];

interface Probe {
  /** Of performance.now(). */
  readonly began: number;
  readonly ms: number;
  readonly failure: string | undefined;
}

describe('two replicas with one host key', {
  skip: labUnavailable('haproxy', 'curl', 'ssh-keyscan', 'setsid'),
  timeout: 240_000,
}, () => {
  let lab: Lab;
  let replicas: readonly [Sshd, Sshd];
  let options: (port: number) => SshdOptions;

  before(async () => {
    lab = await Lab.create();
    const dropIns = join(lab.directory, 'sshd_config.d');
    const version = ['--openssh', installedOpenssh()];
    const args = ['jumphost', 'sshd', '--behind-proxy', ...version, '--output', dropIns];
    await mustRun([process.execPath, MAIN, ...args, `${API1}:80`, `${API1_NAME}:80`]);
    options = (port) => ({
      ports: [port],
      config: [`Include ${dropIns}/*.conf`],
      users: [{ name: USER, shell: '/usr/sbin/nologin' }],
    });
    await lab.sshd.restart(options(PORTS[0]));
    const second = replicaTwo(lab.credentials);
    await second.start();
    replicas = [lab.sshd, second];
    const [hostKey = ''] = lab.credentials.hostKeys;
    const [type, base64] = readFileSync(`${hostKey}.pub`, 'utf8').split(' ');
    writeFileSync(
      join(lab.clientHome, '.ssh/known_hosts'),
      `[${BALANCER}]:${PORT} ${type} ${base64}\n`,
    );
  });
  after(() => lab?.close());
  afterEach(async () => {
    await nft(lab.jumphost.name, 'table inet silence\ndelete table inet silence\n');
    for (const replica of replicas) await replica.restart();
  });

  function replicaTwo(credentials: Credentials): Sshd {
    const directory = join(lab.directory, 'replica');
    return new Sshd(lab.jumphost, directory, credentials, options(PORTS[1]));
  }

  /** Runs `use` with each that is started, and ends them. */
  async function withHaproxy(use: () => Promise<void>): Promise<void> {
    const file = join(lab.directory, 'haproxy.cfg');
    writeFileSync(file, HAPROXY);
    const haproxy = await lab.uplink.spawn(['haproxy', '-q', '-db', '-f', file]);
    try {
      while (!(await lab.uplink.exec(['ss', '-ltn'])).stdout.includes(`:${PORT} `)) {
        assert.equal(haproxy.ended, undefined, haproxy.stderr);
        await sleep(50);
      }
      await use();
    } finally {
      await haproxy.stop('SIGKILL');
    }
  }

  async function withDnat(use: () => Promise<void>): Promise<void> {
    await nft(lab.uplink.name, DNAT);
    try {
      await use();
    } finally {
      await mustRun(['ip', 'netns', 'exec', lab.uplink.name, 'nft', 'delete', 'table', 'balancer']);
    }
  }

  async function start(command: 'connect' | 'proxy'): Promise<{ tunnel: Child; way: Way }> {
    const args = command === 'proxy' ? ['--listen', '127.0.0.1:0'] : [`${API1}:80`];
    const argv = [process.execPath, MAIN, command, '-r', REMOTE, ...args];
    const tunnel = await lab.client.spawn(['setsid', '--wait', ...argv]);
    await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
    if (command === 'connect') return { tunnel, way: [] };
    const [, port] = await tunnel.waitForLine(/proxy at \S+:(\d+)/);
    return { tunnel, way: ['--proxy', `socks5h://127.0.0.1:${port}`] };
  }

  /** The replica that somebody is logged in to, and the other one. */
  function carrier(): readonly [carrying: Sshd, idle: Sshd] {
    const [one, two] = replicas;
    const carries = [one, two].map(({ pid }) => {
      assert.ok(pid !== undefined);
      return sessionsOf(pid, USER).length > 0;
    });
    assert.notEqual(carries[0], carries[1], 'one of them carries the link');
    return carries[0] ? [one, two] : [two, one];
  }

  async function probe(way: Way): Promise<Probe> {
    const began = performance.now();
    const argv = ['curl', '-sS', '-o', '/dev/null', '--max-time', '15', ...way];
    const { status, stderr } = await lab.client.exec([...argv, `http://${API1}/`]);
    const ms = performance.now() - began;
    return { began, ms, failure: status === 0 ? undefined : stderr };
  }

  /**
   * Under load, has `lose` take the replica away that carries the link. The other one takes over:
   * new flows have to work within the bound, and nobody is asked.
   */
  async function losesOne(
    command: 'connect' | 'proxy',
    lose: (replica: Sshd) => Promise<void>,
  ): Promise<Child> {
    const { tunnel, way } = await start(command);
    try {
      const downloads = await Promise.all(
        Array.from({ length: DOWNLOADS }, () =>
          lab.client.spawn(['curl', '-sS', '-o', '/dev/null', ...way, `http://${API1}/bytes/9e10`]),
        ),
      );
      const probes: Promise<Probe>[] = [];
      const probing = setInterval(() => probes.push(probe(way)), PROBE_EVERY_MS);
      await sleep(LASTING_MS + 500);
      const [carrying, idle] = carrier();
      for (const download of downloads) assert.equal(download.ended, undefined, download.stderr);
      const offset = idle.log().length;

      const lost = performance.now();
      await lose(carrying);
      const gone = performance.now();
      await idle.waitForLog(/Accepted publickey for tunnel/, BOUND_MS, offset);
      await sleep(BOUND_MS + UNNOTICED_MS - (performance.now() - lost));
      clearInterval(probing);

      const results = await Promise.all(probes);
      const before = results.filter(({ began, ms }) => began + ms < lost);
      assert.ok(before.length > 5 && before.every(({ failure }) => failure === undefined));
      const since = results.filter(({ began }) => began > gone);
      const back = Math.min(
        ...since.flatMap(({ began, ms, failure }) =>
          failure === undefined ? began + ms - lost : [],
        ),
      );
      assert.ok(back <= BOUND_MS, `the first new flow worked after ${back} ms\n${tunnel.stderr}`);
      const bad = since.filter(
        ({ began, ms, failure }) =>
          ms > BOUND_MS || (failure !== undefined && began > gone + UNNOTICED_MS),
      );
      assert.deepEqual(bad, [], tunnel.stderr);
      // They were on the link.
      for (const download of downloads) assert.notEqual((await download.wait(BOUND_MS)).status, 0);
      assert.equal(tunnel.ended, undefined, tunnel.stderr);
      assert.match(tunnel.stderr, /tunnel: reconnected after/);
      assert.doesNotMatch(tunnel.stderr, /known_hosts|host key|passphrase|password/i);
      return tunnel;
    } finally {
      await tunnel.stop('SIGINT');
    }
  }

  async function killed(replica: Sshd): Promise<void> {
    await replica.kill();
  }

  async function keyOf(host: string, port: number): Promise<string> {
    const argv = ['ssh-keyscan', '-T', '5', '-t', 'ed25519', '-p', String(port), host];
    const { stdout } = await lab.client.exec(argv);
    // OpenSSH 10's also prints the server's identification there.
    return /^\S+ (ssh-ed25519 .*)$/m.exec(stdout)?.[1] ?? stdout;
  }

  it('have the same key, wherever the balancer leads', async () => {
    const own = await keyOf(JUMPHOST4, PORTS[0]);
    assert.match(own, /^ssh-ed25519 /);
    assert.equal(await keyOf(JUMPHOST4, PORTS[1]), own);
    await withHaproxy(async () => assert.equal(await keyOf(BALANCER, PORT), own));
  });

  for (const command of ['connect', 'proxy'] as const) {
    it(`behind haproxy, one is killed: ${command}`, async () => {
      await withHaproxy(async () => {
        await losesOne(command, killed);
      });
    });

    it(`behind haproxy, one falls silent: ${command}`, async () => {
      await withHaproxy(async () => {
        await losesOne(command, async (replica) => {
          const port = replica === replicas[0] ? PORTS[0] : PORTS[1];
          await nft(lab.jumphost.name, silence(port));
        });
      });
    });

    it(`behind the kernel's DNAT, one is killed: ${command}`, { skip: dnatMissing() }, async () => {
      await withDnat(async () => {
        const tunnel = await losesOne(command, async (replica) => {
          // So that it is the turn of the one that is gone.
          await keyOf(BALANCER, PORT);
          await replica.kill();
        });
        assert.match(tunnel.stderr, /refused the connection/);
      });
    });
  }

  it('are not taken for each other when their keys differ', async () => {
    const [first, second] = replicas;
    await second.kill();
    const { stranger } = lab.credentials.keys;
    const other = replicaTwo({ ...lab.credentials, hostKeys: [stranger] });
    await withHaproxy(async () => {
      const { tunnel } = await start('connect');
      await other.start();
      await first.kill();
      const { status } = await tunnel.wait(20_000);
      assert.equal(status, 4, tunnel.stderr);
      assert.match(tunnel.stderr, /host key/);
    });
    await other.kill();
  });
});

async function nft(namespace: string, rules: string): Promise<void> {
  await mustRun(['ip', 'netns', 'exec', namespace, 'nft', '-f', '-'], { input: rules });
}

/** Kernels for containers are often without NAT. */
function dnatMissing(): string | false {
  const { status, stderr } = spawnSync('unshare', ['-n', 'nft', '-f', '-'], {
    input: DNAT,
    encoding: 'utf8',
  });
  return status !== 0 && `this kernel has no DNAT: ${stderr?.split('\n')[0]}`;
}
