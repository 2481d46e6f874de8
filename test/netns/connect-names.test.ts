/**
 * `tunnel connect` with names that only the jump host knows, and permits by name; resolv.conf names
 * a resolver on the network.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  API1,
  API1_NAME,
  API2,
  API2_NAME,
  CLIENT4,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  UPLINK4,
  UPLINK6,
  UplinkPort,
} from '../support/addresses.ts';
import type { LoadResult } from '../support/dnsload.ts';
import { labUnavailable } from '../support/lab.ts';
import { BY_ADDRESS, createNamesLab, type NamesLab, TLS_NAMES, WWW } from '../support/nameslab.ts';
import type { PacketCapture } from '../support/packets.ts';
import type { Child } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';
import { AT_ONCE_MS } from '../support/until.ts';

const PYTHON = '/usr/bin/python3';
const LOAD = fileURLToPath(new URL('../support/dnsload.js', import.meta.url));
const TARGETS = [API1_NAME, API2_NAME, ...TLS_NAMES, '*.corp.example'];
const OURS = /(api\d|one|two)\.lab\.example|corp\.example/;
const OPTIONS = ['--dns-server', API1, '--domain', 'corp.example'];
/** Asks for the tunnel's names without a pause, with a process for each query. */
const ASK_ALL_THE_TIME = `while :; do getent hosts ${API1_NAME}; getent hosts ${WWW}; done >/dev/null 2>&1`;

describe('connect by name', {
  skip: labUnavailable(
    'openssl',
    'unshare',
    'curl',
    'python3',
    'getent',
    'dig',
    'dnsmasq',
    'tcpdump',
  ),
}, () => {
  let names: NamesLab;
  let tunnel: Child;
  before(async () => {
    names = await createNamesLab();
    tunnel = await start();
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await names?.close();
  });

  /** As root, with the client's resolv.conf. */
  const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });

  async function start(): Promise<Child> {
    const { client } = names.exec.lab;
    const child = await client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, '--keepalive', '1', ...OPTIONS, ...TARGETS),
    );
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    return child;
  }

  async function run(script: string): Promise<string> {
    const { stdout, stderr } = await names.exec.lab.client.exec(argv('sh', '-c', script), {
      timeout: 30_000,
    });
    return stdout + stderr;
  }

  it('curl, Python, the C library and Node find them', async () => {
    const python = `import socket; s = socket.create_connection(("${API2_NAME}", 80), 5); print(s.getpeername()[0][:7])`;
    // Like browsers: both families at once.
    const node = `const { resolve4, resolve6 } = require('dns').promises;
      Promise.all([fetch('http://${API1_NAME}/').then((r) => r.json()), resolve4('${API1_NAME}'), resolve6('${API1_NAME}')])
        .then(([a, b, c]) => console.log(a.peer, b.length, c.length))`;
    const [curl = '', pythonSaid = '', ahosts, nodeSaid = ''] = (
      await run(
        `curl -sS http://${API1_NAME}/; echo; ${PYTHON} -c '${python}'; getent ahosts ${WWW} | wc -l; ${process.execPath} -e "${node}"`,
      )
    )
      .split('\n')
      .filter((line) => line !== '');
    assert.ok([JUMPHOST_PRIVATE4, JUMPHOST_PRIVATE6].includes(JSON.parse(curl).peer), curl);
    assert.match(pythonSaid, /^198\.18\.|^2001:2:/);
    // Only the families that the name has behind the jump host: no IPv6.
    assert.equal(ahosts, '3');
    assert.match(nodeSaid, /^\S+ 1 1$/);
  });

  it('two names on one address and port show their own certificates', async () => {
    const script = TLS_NAMES.map(
      (name) => `curl -sS --cacert ${names.authority(name)} https://${name}/`,
    );
    assert.equal(await run(script.join(';')), 'one.lab.example\ntwo.lab.example\n');
  });

  it('a missing name fails as such; UDP to a name falls back at once; the other form is tried', async () => {
    const begun = performance.now();
    const udp = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(4); s.connect(("${WWW}", 443)); s.send(b"x"); s.recv(9)`;
    const output = await run(
      `curl -sS http://nobody.corp.example/; echo $?; dig +tcp +short +time=2 -x $(dig +short ${WWW}); ${PYTHON} -c '${udp}' 2>&1 | tail -1; curl -sS http://${BY_ADDRESS}/`,
    );
    assert.match(
      output,
      /6\nwww\.corp\.example\.\nConnectionRefusedError: .*\n\{.*"peer":"10\.77\.0\.1"/s,
    );
    assert.ok(performance.now() - begun < 2 * AT_ONCE_MS);
  });

  it("other names go to this machine's resolver, by UDP and TCP, and its other ports are reached", async () => {
    const script = [
      'dig +short direct.lab.example',
      'dig +short +notcp direct.lab.example @198.18.0.53',
      'dig +tcp +short +time=2 direct.lab.example',
      // Its answer is truncated over UDP.
      'dig +short big.lab.example',
      `curl -sS --http0.9 http://${UPLINK4}:${UplinkPort.peer}/`,
    ];
    assert.equal(await run(script.join(';')), `${`${UPLINK4}\n`.repeat(4)}${CLIENT4}\n`);
  });

  it('a second tunnel for the same name is refused by that name', async () => {
    const output = await run(`${process.execPath} ${MAIN} -r ${REMOTE} ${API2_NAME} 2>&1; echo $?`);
    assert.match(
      output,
      /\[already-running\]: another tunnel, tun0, already answers for api2\.lab\.example/,
    );
    assert.match(output, /hint: .*"tunnel exec".*\n7\n$/);
    assert.match(await run(`getent hosts ${API1_NAME}`), /198\.18\.|2001:2:/);
  });

  it('5,000 queries a second through the device do no harm', async () => {
    const load = await names.exec.lab.client.exec(
      [
        process.execPath,
        LOAD,
        '198.18.0.53',
        '53',
        '5000',
        '1',
        API1_NAME,
        WWW,
        'nobody.corp.example',
      ],
      { timeout: 20_000 },
    );
    const { sent, answered } = JSON.parse(load.stdout) as LoadResult;
    // `scripts/bench names` measures the speed.
    assert.ok(answered >= sent / 10, `${answered} of ${sent}`);
    assert.match(await run(`curl -sS http://${API1_NAME}/`), /"peer"/);
  });

  it('another network: the resolvers in the new resolv.conf are captured and asked, the old ones stay captured', async () => {
    const { client } = names.exec.lab;
    // Like NetworkManager: a new file replaces the old one.
    const write = (server: string) =>
      run(
        `cp -a /etc/resolv.conf /etc/kept; echo "nameserver ${server}" > /etc/resolv.new; mv /etc/resolv.new /etc/resolv.conf`,
      );
    await write(UPLINK6);
    await tunnel.waitForLine(/this machine's resolvers are 2001:db8:1::1 now/);
    const uplink = await client.capture('uplink', 'port 53');
    const output = await run(
      `dig +short api3.corp.example; dig +short ${WWW}; dig +short ${WWW} @${UPLINK4}; dig +short direct.lab.example`,
    );
    assert.match(output, /^198\.18\.\d+\.\d+\n198\.18\.\d+\.\d+\n192\.0\.2\.1\n$/);
    const asked = await uplink.stop();
    assert.ok(asked.some(({ destination }) => destination === `${UPLINK6}.53`));
    assert.deepEqual(
      asked.filter(({ summary }) => OURS.test(summary)),
      [],
    );
    await run('mv /etc/kept /etc/resolv.conf');
    await tunnel.waitForLine(/this machine's resolvers are 192\.0\.2\.1 now/);
  });

  it('no query for them leaves, even while the link is lost, until it is stopped', async () => {
    const { client } = names.exec.lab;
    const uplink = await client.capture('uplink', 'port 53');
    const asking = await client.spawn(argv('sh', '-c', ASK_ALL_THE_TIME));
    await names.exec.lab.sshd.kill();
    await sleep(1_500);
    await names.exec.lab.sshd.start();
    await tunnel.waitForLine(/reconnected after/, 30_000);
    assert.match(await run(`curl -sS http://${API1_NAME}/`), /"peer"/);

    // A query that waits when it stops gets a failure, so it doesn't go to the next resolver.
    await names.exec.lab.sshd.kill();
    const device = await client.capture('tun0', 'port 53');
    const pending = run('dig +tries=1 +time=15 pending.corp.example');
    await seen(device, /pending/);
    const stoppedAt = Date.now() / 1000;
    await tunnel.stop('SIGTERM');
    await device.stop();
    await names.exec.lab.sshd.start();
    const answer = await pending;
    assert.match(answer, /status: SERVFAIL/);
    // Before it would have failed by itself: a resolver has 4 s. dig counts from its query on.
    const [, waited] = /Query time: (\d+) msec/.exec(answer) ?? [];
    assert.ok(Number(waited) < 3_500, answer);
    await asking.stop();
    assert.deepEqual(
      (await uplink.stop()).filter(({ summary, time }) => OURS.test(summary) && time < stoppedAt),
      [],
    );
    // Now everything is as before.
    assert.match(
      await run(`dig +short direct.lab.example; ip route get ${API2}; ip route get ${UPLINK4}`),
      /^192\.0\.2\.1\n.* via 192\.0\.2\.1 .*\n.*\n192\.0\.2\.1 dev uplink/s,
    );
  });

  it('no query for them leaves from "ready" on, even by programs that asked before', async () => {
    const { client } = names.exec.lab;
    const uplink = await client.capture('uplink', 'port 53');
    const asking = await client.spawn(argv('sh', '-c', ASK_ALL_THE_TIME));
    await seen(uplink, OURS);
    tunnel = await start();
    const ready = Date.now() / 1000;
    await sleep(500);
    await asking.stop();
    assert.deepEqual(
      (await uplink.stop()).filter(({ summary, time }) => OURS.test(summary) && time > ready),
      [],
    );
  });
});

/** A packet like that has been captured. Rejects if none is within 10 s. */
async function seen(capture: PacketCapture, what: RegExp): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!capture.packets().some(({ summary }) => what.test(summary))) {
    assert.ok(performance.now() < deadline, `no packet like ${what}`);
    await sleep(20);
  }
}

describe('a tunnel with names beside another program in 198.18.0.0/15', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'getent', 'dnsmasq'),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
    await names.exec.lab.client.exec(['ip', 'address', 'add', '198.18.0.1/30', 'dev', 'lo']);
  });
  after(async () => {
    await names?.close();
  });

  it('names it, and leaves it the range if it is told to', async () => {
    const { client } = names.exec.lab;
    const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });
    const start = async (...options: readonly string[]) => {
      const child = await client.spawn(
        argv(process.execPath, MAIN, '-r', REMOTE, ...options, API1_NAME),
      );
      await child.waitForLine(/tunnel: ready\n/, 20_000);
      return child;
    };
    const beside = await start();
    assert.match(beside.stderr, /lo has 198\.18\.0\.1\/30.*mihomo/);
    await beside.stop('SIGTERM');
    const apart = await start('--virtual-range', '100.127.0.0/18');
    assert.doesNotMatch(apart.stderr, /mihomo/);
    const { stdout: address } = await client.exec(argv('getent', 'ahostsv4', API1_NAME));
    assert.match(address, /^100\.127\./);
    const { stdout } = await client.exec(argv('curl', '-4sS', `http://${API1_NAME}/`));
    assert.match(stdout, /"peer"/);
    await apart.stop('SIGTERM');
  });
});

describe('connect by name where programs ask a resolver on this machine', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'getent', 'dnsmasq'),
}, () => {
  const BEFORE = 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n';
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab(BEFORE);
    mkdirSync(join(names.exec.lab.directory, 'state'));
  });
  after(async () => {
    await names?.close();
  });

  /** Root's journal is the lab's. */
  const argv = (...command: readonly string[]) => {
    const script = `mount --bind ${names.exec.lab.directory}/state /var/lib && exec "$@"`;
    return names.exec.userArgv(command, { root: true, script });
  };
  const run = async (...command: readonly string[]) =>
    (await names.exec.lab.client.exec(argv(...command), { timeout: 20_000 })).stdout;
  const start = async () => {
    const child = await names.exec.lab.client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, API1_NAME),
    );
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    assert.match(child.stderr, /resolv\.conf is rewritten: programs ask 127\.0\.0\.1/);
    return child;
  };

  it('resolv.conf names the tunnel while it runs, and is as before afterwards, however it ended', async () => {
    let tunnel = await start();
    assert.match(
      await run('cat', '/etc/resolv.conf'),
      /^options timeout:1 attempts:1\nnameserver 198\.18\.63\.53$/m,
    );
    assert.match(await run('curl', '-sS', `http://${API1_NAME}/`), /"peer"/);
    await tunnel.stop('SIGTERM');
    assert.equal(await run('cat', '/etc/resolv.conf'), BEFORE);

    tunnel = await start();
    await tunnel.stop('SIGKILL');
    assert.notEqual(await run('cat', '/etc/resolv.conf'), BEFORE);
    assert.match(await run(process.execPath, MAIN, 'clean'), /resolv\.conf is as before/);
    assert.equal(await run('cat', '/etc/resolv.conf'), BEFORE);
    assert.equal(await run(process.execPath, MAIN, 'clean'), 'nothing to repair\n');
  });
});

describe('connect by name behind a strict reverse-path filter', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'dig', 'dnsmasq'),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
    mkdirSync(join(names.exec.lab.directory, 'state'));
    await names.exec.lab.client.configure([], ['net/ipv4/conf/all/rp_filter=1']);
  });
  after(async () => {
    await names?.close();
  });

  it("answers the tunnel's names, and this machine's resolver the others", async () => {
    const script = `mount --bind ${names.exec.lab.directory}/state /var/lib && exec "$@"`;
    const argv = (...command: readonly string[]) =>
      names.exec.userArgv(command, { root: true, script });
    const { client } = names.exec.lab;
    const tunnel = await client.spawn(argv(process.execPath, MAIN, '-r', REMOTE, API1_NAME));
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.match(tunnel.stderr, /resolv\.conf is rewritten: .* \(rp_filter\)/);
      const ask = `dig +short direct.lab.example; curl -sS http://${API1_NAME}/`;
      const { stdout } = await client.exec(argv('sh', '-c', ask), { timeout: 20_000 });
      assert.match(stdout, new RegExp(`^${UPLINK4.replaceAll('.', '\\.')}\n.*"peer"`, 's'));
    } finally {
      await tunnel.stop('SIGTERM');
    }
  });
});
