/**
 * The lab itself: its parts answer as addresses.ts says, the delay line is exact, and nothing
 * outlives it.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import * as address from '../support/addresses.ts';
import { pseudoRandomDigest } from '../support/bytes.ts';
import { PASSPHRASE } from '../support/credentials.ts';
import { hostState } from '../support/hoststate.ts';
import { labDirectory, namespaceName } from '../support/janitor.ts';
import { Lab, type LabOptions, labUnavailable } from '../support/lab.ts';
import type { Namespace } from '../support/namespace.ts';
import { Child, type ExecResult } from '../support/process.ts';
import { processEntry } from '../support/processtable.ts';
import { HOSTS } from '../support/topology.ts';

const { Port } = address;
const skip = labUnavailable('curl', 'ping', 'tcpdump', 'iperf3');
const LAB_MODULE = new URL('../support/lab.js', import.meta.url).href;

async function withLab(options: LabOptions, use: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await Lab.create(options);
  try {
    await use(lab);
  } finally {
    await lab.close();
  }
}

/** The real ssh in the client, to the host `jump` or `jump6` of the lab's ssh_config. */
function ssh(lab: Lab, args: readonly string[], input?: string): Promise<ExecResult> {
  return lab.client.exec(
    ['ssh', '-F', lab.credentials.sshConfig, ...args],
    input === undefined ? {} : { input },
  );
}

/** The results of `ping`: the number of answers, and the round-trip times in milliseconds. */
async function ping(
  from: Namespace,
  to: string,
  count: number,
): Promise<{ received: number; times: number[] }> {
  const { stdout } = await from.exec([
    'ping',
    '-n',
    '-i',
    '0.02',
    '-W',
    '1',
    '-c',
    String(count),
    to,
  ]);
  const times = [...stdout.matchAll(/ time=([\d.]+) ms/g)].map((match) => Number(match[1]));
  return { received: times.length, times };
}

/**
 * Connects from the jump host, sends, optionally ends its side, and prints the result within a
 * second as JSON.
 */
async function connect(
  lab: Lab,
  host: string,
  port: number,
  { send = '', end = true } = {},
): Promise<{ received: string; bytes: number; outcome: string }> {
  const script = `
    const [host, port, send, end] = process.argv.slice(1);
    const socket = require('node:net').connect({ host, port: Number(port), allowHalfOpen: true });
    let received = '', bytes = 0;
    const tell = (outcome) => { console.log(JSON.stringify({ received, bytes, outcome })); process.exit(); };
    socket.on('connect', () => { socket.write(send); if (end === 'true') socket.end(); });
    socket.on('data', (chunk) => { bytes += chunk.length; if (received.length < 100) received += chunk; });
    socket.on('end', () => tell('end'));
    socket.on('error', (error) => tell(error.code));
    setTimeout(tell, 1000, 'open');`;
  const result = await lab.jumphost.exec([
    process.execPath,
    '-e',
    script,
    host,
    String(port),
    send,
    String(end),
  ]);
  return JSON.parse(result.stdout) as Awaited<ReturnType<typeof connect>>;
}

test(
  'an open jump host gives a shell and forwards anywhere, and only it reaches the API hosts',
  { skip },
  () =>
    withLab({}, async (lab) => {
      const session = await ssh(lab, ['jump', 'id -un']);
      assert.deepEqual([session.status, session.stdout.trim()], [0, 'jump']);
      for (const jump of ['jump', 'jump6']) {
        for (const host of [
          address.API1,
          `[${address.API1_6}]`,
          address.API2_NAME,
          address.extraAddress4(1, 20),
        ]) {
          const echo = await ssh(lab, ['-W', `${host}:${Port.echo}`, jump], 'hello\n');
          assert.equal(
            echo.stdout,
            'hello\nbye 6 bytes\n',
            `${host} through ${jump}: ${echo.stderr}`,
          );
        }
      }
      const request = 'GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n';
      const page = await ssh(lab, ['-W', `[${address.API2_6}]:${Port.http}`, 'jump'], request);
      const body = JSON.parse(page.stdout.slice(page.stdout.indexOf('\r\n\r\n'))) as unknown;
      assert.deepEqual(body, {
        host: 'api2',
        peer: address.JUMPHOST_PRIVATE6,
        local: address.API2_6,
      });

      const direct = await lab.client.exec(['curl', '-sS', '-m', '5', `http://${address.API1}/`]);
      assert.equal(direct.status, 7, 'the uplink answers unreachable');
      const unknown = await ssh(lab, ['-W', `${address.UNKNOWN_NAME}:80`, 'jump']);
      assert.match(unknown.stderr, /name resolution|not known/);
    }),
);

test('a hardened jump host forwards only what PermitOpen lists, with no session', { skip }, () =>
  withLab({ sshd: 'hardened' }, async (lab) => {
    for (const host of [address.API1, `[${address.API2_6}]`]) {
      const echo = await ssh(lab, ['-W', `${host}:${Port.echo}`, 'jump'], 'x');
      assert.equal(echo.stdout, 'xbye 1 bytes\n', echo.stderr);
    }
    for (const place of [`${address.API1}:${Port.discard}`, `${address.API1_NAME}:${Port.echo}`]) {
      const refused = await ssh(lab, ['-W', place, 'jump']);
      assert.match(refused.stderr, /administratively prohibited: open failed/, place);
    }
    const closed = await ssh(lab, ['-W', `${address.API1}:${Port.closed}`, 'jump']);
    assert.match(closed.stderr, /Connection refused/);
    const session = await ssh(lab, ['jump', 'true']);
    assert.notEqual(session.status, 0);
    assert.match(lab.sshd.log(), /no more sessions/);
  }),
);

test('keys and known_hosts files are what their names say', { skip }, () =>
  withLab({ sshd: { ports: [22, 2222] } }, async (lab) => {
    const { keys, knownHosts } = lab.credentials;
    const forward = ['-W', `${address.API1}:${Port.echo}`, 'jump'];
    const files = (file: string) => ['-o', `UserKnownHostsFile=${file}`];
    for (const args of [
      files(knownHosts.plain),
      files(knownHosts.hashed),
      ['-p', '2222', ...files(knownHosts.hashed)],
    ])
      assert.equal((await ssh(lab, [...args, ...forward])).status, 0, args.join(' '));
    const changed = await ssh(lab, [...files(knownHosts.changed), ...forward]);
    assert.match(changed.stderr, /IDENTIFICATION HAS CHANGED/);
    const unknown = await ssh(lab, [...files(knownHosts.empty), ...forward]);
    assert.match(unknown.stderr, /Host key verification failed/);
    const options = [
      'BatchMode=yes',
      'IdentityAgent=none',
      `UserKnownHostsFile=${knownHosts.plain}`,
    ];
    const asStranger = [
      '-F',
      'none',
      ...options.flatMap((option) => ['-o', option]),
      '-i',
      keys.stranger,
    ];
    const stranger = await lab.client.exec([
      'ssh',
      ...asStranger,
      `jump@${address.JUMPHOST4}`,
      'true',
    ]);
    assert.match(stranger.stderr, /Permission denied \(publickey\)/);
    const decrypted = await lab.client.exec([
      'ssh-keygen',
      '-y',
      '-P',
      PASSPHRASE,
      '-f',
      keys.encrypted,
    ]);
    assert.ok(
      lab.credentials.authorizedKeys.includes(decrypted.stdout.trim().split(' ')[1] ?? 'no key'),
    );
    const wrong = await lab.client.exec(['ssh-keygen', '-y', '-P', 'wrong', '-f', keys.encrypted]);
    assert.notEqual(wrong.status, 0);
  }),
);

test('sshd can drop its connections, be killed and come back as another variant', { skip }, () =>
  withLab({}, async (lab) => {
    const connected = async () => {
      const client = await lab.client.spawn([
        'ssh',
        '-v',
        '-N',
        '-F',
        lab.credentials.sshConfig,
        'jump',
      ]);
      await client.waitForLine(/Entering interactive session/);
      return client;
    };
    const first = await connected();
    await lab.sshd.dropConnections();
    assert.equal((await first.wait(20_000)).status, 255);
    const second = await connected();
    await lab.sshd.kill();
    assert.equal((await second.wait(20_000)).status, 255);
    assert.equal(lab.sshd.pid, undefined);
    const down = await ssh(lab, ['jump', 'true']);
    assert.match(down.stderr, /Connection refused/);
    await lab.sshd.restart({
      variant: 'hardened',
      ports: [2222],
      permitOpen: [`${address.API2}:${Port.echo}`],
      users: [{ name: 'second', shell: '/usr/sbin/nologin', password: 'pass word' }],
      config: ['Banner none', 'LogLevel DEBUG1'],
      openFiles: 64,
    });
    const forward = await ssh(
      lab,
      ['-p', '2222', '-l', 'second', '-W', `${address.API2}:${Port.echo}`, 'jump'],
      'y',
    );
    assert.equal(forward.stdout, 'ybye 1 bytes\n', forward.stderr);
    assert.match(lab.sshd.log(), /debug1: /);
    const limits = await lab.jumphost.exec(['grep', 'open files', `/proc/${lab.sshd.pid}/limits`]);
    assert.match(limits.stdout, /^Max open files +64 /);
    const wrong = lab.sshd.restart({ config: ['NoSuchKeyword yes'] });
    await assert.rejects(wrong, /Bad configuration option: NoSuchKeyword/);
  }),
);

test('the API hosts answer, refuse, drop and stall as described for their ports', { skip }, () =>
  withLab({}, async (lab) => {
    const { API1, API1_6 } = address;
    const long = 'x'.repeat(address.RESET_AFTER_BYTES);
    const [echo, discard, reset, kept, stall, flood, chargen, half] = await Promise.all([
      connect(lab, API1_6, Port.echo, { send: 'abc' }),
      connect(lab, API1, Port.discard, { send: 'abc' }),
      connect(lab, API1, Port.reset, { send: long, end: false }),
      connect(lab, API1, Port.reset, { send: long.slice(1), end: false }),
      connect(lab, API1, Port.stall, { send: 'abc' }),
      connect(lab, API1_6, Port.flood, { send: 'abc' }),
      connect(lab, address.API2, Port.chargen, { end: false }),
      connect(lab, API1, Port.half, { send: 'abc' }),
    ]);
    assert.deepEqual([echo.received, echo.outcome], ['abcbye 3 bytes\n', 'end']);
    assert.deepEqual([discard.bytes, discard.outcome], [0, 'end']);
    assert.deepEqual([reset.outcome, kept.outcome], ['ECONNRESET', 'open']);
    assert.deepEqual([stall.bytes, stall.outcome], [0, 'open']);
    assert.ok(
      flood.bytes > 1e6 && flood.outcome === 'open',
      `flood: ${flood.bytes} bytes, ${flood.outcome}`,
    );
    assert.match(chargen.received, /^ !"#\$%/);
    assert.match(half.received, /^half \d+\n$/);

    const [closed, unreachable, absent, blackhole, filtered] = await Promise.all([
      connect(lab, API1, Port.closed),
      connect(lab, address.UNREACHABLE6, 80),
      connect(lab, address.ABSENT4, 80),
      connect(lab, address.BLACKHOLE6, Port.http),
      connect(lab, API1, Port.blackhole),
    ]);
    assert.equal(closed.outcome, 'ECONNREFUSED');
    assert.equal(unreachable.outcome, 'EHOSTUNREACH');
    assert.equal(absent.outcome, 'open', 'still looking for its neighbour after a second');
    assert.deepEqual([blackhole.outcome, filtered.outcome], ['open', 'open']);

    const curl = async (...args: string[]) =>
      (await lab.jumphost.exec(['curl', '-sS', ...args])).stdout;
    const base = `http://${API1}`;
    const report = JSON.parse(
      await curl(`${base}/half/${half.received.slice(5).trim()}`),
    ) as Record<string, unknown>;
    assert.deepEqual([report['bytes'], report['ended']], [3, true]);
    const length = 3_000_001;
    const fetch = `curl -sS '${base}/bytes/${length}?seed=s' | sha256sum`;
    const download = await lab.jumphost.exec(['sh', '-c', fetch]);
    const digest = pseudoRandomDigest(length, 's');
    assert.equal(download.stdout.split(' ')[0], digest);
    assert.deepEqual(JSON.parse(await curl(`${base}/sha256/${length}?seed=s`)), {
      sha256: digest,
      bytes: length,
    });
    assert.equal(await curl('--data-binary', 'body', `${base}/echo`), 'body');
    const posted = JSON.parse(await curl('--data-binary', 'abc', `${base}/sha256`)) as Record<
      string,
      unknown
    >;
    // RFC 6234's test vector for "abc"
    assert.match(String(posted['sha256']), /^ba7816bf8f01cfea/);
    const slow = await curl('-o', '/dev/null', '-w', '%{time_total}', `${base}/slow?ms=200`);
    assert.ok(Number(slow) >= 0.2 && Number(slow) < 1, slow);
    assert.match(await curl('-w', '%{http_code}', `${base}/bytes/-1`), /400$/);
  }),
);

test('the delay line keeps its time and carries bulk data whole, v4 and v6', { skip }, () =>
  withLab({ rtt: 50 }, async (lab) => {
    for (const to of [address.JUMPHOST4, address.JUMPHOST6]) {
      const { received, times } = await ping(lab.client, to, 20);
      const median = times.sort((a, b) => a - b)[10] ?? 0;
      assert.equal(received, 20);
      assert.ok(Math.min(...times) >= 50 && median < 51, `${to}: ${times.join(' ')}`);
    }
    // A whole segment passes, and the sender gets an error for anything larger.
    const large = (size: number) =>
      lab.client.exec([
        'ping',
        '-n',
        '-c',
        '1',
        '-W',
        '2',
        '-M',
        'do',
        '-s',
        String(size),
        address.JUMPHOST4,
      ]);
    assert.equal((await large(1472)).status, 0);
    assert.match((await large(1473)).stderr, /too long/i);
    for (const option of [[], ['-R']]) {
      const server = await lab.jumphost.spawn(['iperf3', '-s', '-1', '--forceflush']);
      await server.waitForLine(/Server listening/);
      const to = option.length === 0 ? address.JUMPHOST4 : address.JUMPHOST6;
      const flow = await lab.client.exec(['iperf3', '-J', '-t', '2', '-c', to, ...option]);
      const { end } = JSON.parse(flow.stdout) as {
        end: { sum_received: { bits_per_second: number } };
      };
      // One flow reaches some 60 MB/s (tcp_wmem); a line that drops or reorders stays far below
      // this.
      assert.ok(
        end.sum_received.bits_per_second > 80e6,
        `${to}: ${end.sum_received.bits_per_second} bit/s`,
      );
      await server.exited;
    }
    await lab.close();
    assert.match(
      lab.line?.stderr ?? '',
      /left to right: \d{3,} packets, \d{8,} bytes, 0 lost at random, 0 dropped/,
    );
  }),
);

test('the delay line loses the requested share, and keeps to its rate', { skip }, async () => {
  await withLab({ rtt: 2, loss: 0.2 }, async (lab) => {
    const { received } = await ping(lab.client, address.JUMPHOST4, 150);
    // In both directions: 0.64 of 150 are 96, with a standard deviation of 6.
    assert.ok(received > 66 && received < 126, `${received} of 150`);
  });
  await withLab({ bandwidth: 2e6 }, async (lab) => {
    const script = `head -c 2000000 /dev/zero | ssh -F ${lab.credentials.sshConfig} jump 'cat >/dev/null'`;
    const start = performance.now();
    assert.equal((await lab.client.exec(['sh', '-c', script])).status, 0);
    const seconds = (performance.now() - start) / 1000;
    assert.ok(seconds > 0.95 && seconds < 2.5, `2 MB at 2 MB/s took ${seconds} s`);
  });
});

test('the host state is stable, and shows changes', { skip }, () =>
  withLab({ rtt: 1 }, async (lab) => {
    const namespaces = [lab.client, lab.uplink, lab.jumphost, lab.api1];
    const states = () => Promise.all(namespaces.map((namespace) => namespace.hostState()));
    const first = await states();
    await ping(lab.client, address.JUMPHOST6, 2);
    // The kernel reports a late carrier once a second.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(await states(), first);
    for (const [change, undo] of [
      ['ip rule add pref 5 lookup 77', 'ip rule del pref 5'],
      [
        'ip -6 route add unreachable 2001:db8:99::/64',
        'ip -6 route del unreachable 2001:db8:99::/64',
      ],
      ['nft add table inet left', 'nft delete table inet left'],
      ['ip link add dev left type veth', 'ip link del dev left'],
    ] as const) {
      await lab.client.exec(['sh', '-c', change]);
      assert.notEqual(await lab.client.hostState(), first[0], change);
      await lab.client.exec(['sh', '-c', undo]);
      assert.equal(await lab.client.hostState(), first[0], undo);
    }
  }),
);

test('a capture has the packets of a device', { skip }, () =>
  withLab({}, async (lab) => {
    const capture = await lab.uplink.capture('client', 'icmp or icmp6');
    await ping(lab.client, address.JUMPHOST4, 3);
    await lab.client.exec(['ping', '-c', '1', address.API1]);
    const packets = await capture.stop();
    const echoes = packets.filter((packet) => packet.summary.includes('echo request'));
    assert.deepEqual(
      echoes.map((packet) => [packet.protocol, packet.source, packet.destination]),
      [...Array(3).fill(['IP', '192.0.2.2', address.JUMPHOST4]), ['IP', '192.0.2.2', address.API1]],
    );
    assert.match(packets.at(-1)?.summary ?? '', /net 10\.77\.0\.11 unreachable/);
  }),
);

/** Starts another process that makes a lab and keeps it. */
async function otherOwner(): Promise<{ owner: Child; id: string }> {
  const script = `import { Lab } from '${LAB_MODULE}';
    const lab = await Lab.create({ rtt: 5 });
    await lab.client.spawn(['sleep', '1000']);
    console.log('made ' + lab.id);
    process.stdin.on('data', () => { throw new Error('as asked'); });`;
  const owner = await Child.start([process.execPath, '--input-type=module', '-e', script], {
    stdin: 'open',
  });
  return { owner, id: (await owner.waitForLine(/made (\S+)\n/))[1] ?? '' };
}

/** Which parts of a lab exist: namespaces, directory, delay line. */
function remains(id: string): string[] {
  const names = HOSTS.map((host) => namespaceName(id, host));
  return [
    ...readdirSync('/run/netns').filter((name) => names.includes(name)),
    ...readdirSync('/tmp').filter((name) => labDirectory(id) === `/tmp/${name}`),
  ];
}

test('close removes all of one lab and nothing of another', { skip }, async () => {
  const before = await hostState();
  const [first, second] = await Promise.all([Lab.create({ rtt: 3 }), Lab.create()]);
  try {
    const server = await first.startIperf();
    const sleeper = await first.client.spawn(['sh', '-c', 'sleep 1000 & sleep 1000']);
    const pids = [server.pid, sleeper.pid, first.sshd.pid, first.line?.pid];
    assert.equal(remains(first.id).length, HOSTS.length + 1);
    for (const lab of [first, second]) {
      const echo = await ssh(lab, ['-W', `${address.API1}:${Port.echo}`, 'jump']);
      assert.equal(echo.status, 0, echo.stderr);
    }
    await first.close();
    assert.deepEqual(remains(first.id), []);
    for (const pid of pids)
      assert.ok(pid !== undefined && processEntry(pid) === undefined, `process ${pid}`);
    const stays = await ssh(second, ['-W', `${address.API1}:${Port.echo}`, 'jump']);
    assert.equal(stays.status, 0, stays.stderr);
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
  assert.deepEqual(remains(second.id), []);
  assert.equal(await hostState(), before);
});

test('a lab ends with its process, and after SIGKILL with the next sweep', { skip }, async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { owner, id } = await otherOwner();
    const ended = await owner.stop(signal);
    assert.equal(ended.signal, signal, owner.stderr);
    assert.deepEqual(remains(id), []);
  }
  const thrown = await otherOwner();
  thrown.owner.write('throw\n');
  assert.equal((await thrown.owner.wait(5000)).status, 1);
  assert.deepEqual(remains(thrown.id), []);

  const killed = await otherOwner();
  assert.ok(!Lab.sweep().includes(killed.id), 'its owner lives');
  await killed.owner.stop('SIGKILL');
  assert.equal(remains(killed.id).length, HOSTS.length + 1);
  assert.ok(Lab.list().some((lab) => lab.id === killed.id && !lab.ownerAlive));
  assert.ok(Lab.sweep().includes(killed.id));
  assert.deepEqual(remains(killed.id), []);
});

test('a lab that cannot be completed leaves nothing', { skip }, async () => {
  const own = () => Lab.list().filter((lab) => lab.record?.pid === process.pid);
  await withLab({}, async () => assert.equal(own().length, 1));
  await assert.rejects(Lab.create({ rtt: 2, sshd: { config: ['NoSuchKeyword yes'] } }), {
    code: 'sshd-log',
  });
  assert.deepEqual(own(), []);
});
