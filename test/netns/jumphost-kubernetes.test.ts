/**
 * The manifests of `tunnel jumphost kubernetes`, rendered by the program, and run with their
 * securityContext in namespaces: Debian's sshd of each release that the image is made from, two
 * replicas behind a balancer, and real clients. What kubectl and Kubernetes make of the text:
 * test/interop/jumphost-manifests.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KEYS_COMMAND_PATH } from '../../src/jumphost/keyscommand.ts';
import { API1, API1_6, API2, JUMPHOST4, Port, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { JumpHostFiles, LISTED } from '../support/jumphostfiles.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { imageMissing, type Pod } from '../support/pod.ts';
import { POD_PORT, PodLab } from '../support/podlab.ts';
import { type Child, mustRun } from '../support/process.ts';
import { allProcesses, withDescendants } from '../support/processtable.ts';
import { ATTEMPTS, whatWorks } from '../support/sshattempts.ts';
import { type Attempt, dial, startTunnel } from '../support/tunnel.ts';

const USER = 'tunnel';
const UID = 10022;
const RELEASES = { bookworm: '9.2', trixie: '10.0' } as const;
const FLOWS = 8;
/** New flows work that soon after the loss of a pod. */
const MAX_RECOVERY_MS = 5_000;
const files = new JumpHostFiles();
after(() => files.remove());

const keyOf = (lab: Lab, name: 'authorized' | 'stranger') =>
  readFileSync(`${lab.credentials.keys[name]}.pub`, 'utf8');

/** The HTTP server that answers through the jump host, or what ssh has said. */
async function fetch(lab: Lab, place: string, more: readonly string[] = []): Promise<string> {
  const { sshConfig } = lab.credentials;
  const argv = ['ssh', '-F', sshConfig, '-l', USER, ...more, '-W', place, 'jump'];
  const { stdout, stderr } = await lab.client.exec(argv, { input: 'GET / HTTP/1.0\r\n\r\n' });
  return stdout === '' ? stderr : stdout;
}

/** /proc/PID/status, or nothing where the process has ended: probes come and go. */
function statusOf(pid: number): string[] {
  try {
    return [readFileSync(`/proc/${pid}/status`, 'utf8')];
  } catch (error) {
    assert.match(String(error), /ENOENT|ESRCH/);
    return [];
  }
}

/** A line of it. */
function lineOf(status: string, field: string): string {
  return new RegExp(`^${field}:\\s*(.*?)\\s*$`, 'm').exec(status)?.[1]?.replace(/\s+/g, ' ') ?? '';
}

for (const [release, openssh] of Object.entries(RELEASES)) {
  describe(`two replicas with the sshd of Debian's ${release}`, {
    skip: labUnavailable('haproxy', 'ncat', 'nsenter') || imageMissing(release),
    timeout: 180_000,
  }, () => {
    let lab: Lab;
    let service: PodLab;
    let first: Pod;
    before(async () => {
      lab = await Lab.create();
      const key = `${lab.credentials.keys.authorized}.pub`;
      const args = ['--key', key, '--behind-proxy', '--openssh', openssh];
      service = await PodLab.start(lab, files, 2, args);
      const [pod] = service.pods;
      assert.ok(pod !== undefined);
      first = pod;
    });
    after(async () => {
      await service?.close();
      await lab?.close();
    });

    it('run as their user, without a capability, now and later, in every process', async () => {
      const argv = ['ssh', '-F', lab.credentials.sshConfig, '-l', USER, '-N', 'jump'];
      const session = await lab.client.spawn(argv);
      const processes = () =>
        service.pods.flatMap(({ pid }) => [...withDescendants([pid], allProcesses())]);
      for (let i = 0; processes().length === 2 && i < 100; i++) await sleep(50);
      const running = processes().flatMap(statusOf);
      assert.ok(running.length > 2);
      for (const status of running) {
        const user = ['Uid', 'Gid', 'Groups'].map((field) => lineOf(status, field));
        const four = Array(4).fill(UID).join(' ');
        assert.deepEqual(user, [four, four, String(UID)]);
        for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
          assert.match(lineOf(status, set), /^0+$/, set);
        assert.equal(lineOf(status, 'NoNewPrivs'), '1');
      }
      await session.stop();
    });

    it('can write nowhere', async () => {
      const { stdout } = await first.exec([
        'sh',
        '-c',
        `for path in / /etc /tmp /var/tmp /run /home /etc/tunnel/config /etc/tunnel/keys \\
           /etc/tunnel/host-key /etc/tunnel/host-key/..data/ssh_host_ed25519_key /etc/passwd; do
           if [ -d "$path" ]; then path=$path/written; fi
           (: >>"$path") 2>/dev/null && echo "$path"
         done`,
      ]);
      assert.equal(stdout, '');
    });

    it('have the host key with mode 0440, of root and of the group of sshd', async () => {
      const { stdout } = await first.exec([
        ...['stat', '-L', '-c', '%u:%g %a'],
        '/etc/tunnel/host-key/ssh_host_ed25519_key',
      ]);
      assert.equal(stdout, `0:${UID} 440\n`);
    });

    it('have a configuration that sshd takes without a word, and no other port or user', async () => {
      const [program = '', , , flag = '', config = ''] = first.container.command;
      const check = await first.exec([program, '-t', flag, config]);
      assert.deepEqual([check.status, check.stdout, check.stderr], [0, '', '']);
      const { stdout } = await first.exec([program, '-T', flag, config]);
      const lines = stdout.split('\n');
      for (const line of [
        'port 2222',
        'usepam no',
        `allowusers ${USER}`,
        'allowtcpforwarding local',
        'maxsessions 0',
        'forcecommand /bin/false',
        'authenticationmethods publickey',
        `permitopen ${LISTED.join(' ')}`,
        'persourcemaxstartups none',
      ])
        assert.ok(lines.includes(line), `${line} in:\n${stdout}`);
    });

    it('show one fingerprint, which the comment of the manifests asks for', async () => {
      const key = lab.credentials.hostKeys[0] ?? '';
      const [, fingerprint] = (await mustRun(['ssh-keygen', '-lf', key])).split(' ');
      for (const pod of service.pods) {
        const path = '/etc/tunnel/host-key/ssh_host_ed25519_key';
        const { stdout, stderr } = await pod.exec(['ssh-keygen', '-lf', path]);
        assert.equal(stdout.split(' ')[1], fingerprint, stderr);
      }
    });

    it('are ready and alive by their probes, which write nothing to the log', async () => {
      const { readinessProbe, livenessProbe, lifecycle } = first.container;
      const before = first.log();
      for (let i = 0; i < 5; i++) {
        for (const { exec } of [readinessProbe, livenessProbe])
          assert.equal((await first.exec(exec.command)).status, 0);
      }
      assert.equal(first.log(), before);
      // Where nothing listens, and where a connection has that port.
      for (const { exec } of [readinessProbe, livenessProbe])
        assert.equal((await lab.client.exec(exec.command)).status, 1);
      const [sleeps = ''] = lifecycle.preStop.exec.command;
      assert.equal((await first.exec([sleeps, '0'])).status, 0);
    });

    it('reach what is listed, and nothing else; the log has each attempt', async () => {
      for (const place of LISTED) assert.match(await fetch(lab, place), /^HTTP\/1/, service.log());
      assert.deepEqual(await whatWorks(lab, USER), []);
      const log = service.log();
      for (const { name, recorded } of ATTEMPTS)
        if (recorded !== undefined) assert.match(log, recorded, name);
      assert.match(log, /Accepted publickey for tunnel from \S+ port \d+ ssh2: ED25519 SHA256:/);
    });

    it('take no other key, and no other user', async () => {
      const { keys, knownHosts } = lab.credentials;
      const login = (key: string, user: string) =>
        lab.client.exec([
          ...['ssh', '-F', 'none', '-i', key, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
          ...['-o', `UserKnownHostsFile=${knownHosts.plain}`, '-l', user, '-N', JUMPHOST4],
        ]);
      for (const [key, user] of [
        [keys.stranger, USER],
        [keys.authorized, 'root'],
        [keys.authorized, 'nobody'],
      ] as const)
        assert.match((await login(key, user)).stderr, /Permission denied \(publickey\)/, user);
    });

    it('one is killed under load: new flows work within 5 s, and nobody is asked', async () => {
      const key = lab.credentials.hostKeys[0] ?? '';
      const [, fingerprint = ''] = (await mustRun(['ssh-keygen', '-lf', key])).split(' ');
      const list = ['--host-key', fingerprint, PRIVATE4, PRIVATE6];
      const tunnel = await startTunnel(lab.client, list, `${USER}@${JUMPHOST4}`);
      try {
        for (const host of [API1, API1_6])
          assert.equal((await connects(lab, host)).outcome, 'open');
        assert.equal((await connects(lab, API2)).outcome, 'EHOSTUNREACH');
        const load = await Promise.all(Array.from({ length: FLOWS }, () => startLoad(lab)));
        const carrying = await withSession(service.pods);
        await carrying.kill();
        const attempts = await Promise.all(
          Array.from({ length: FLOWS }, async (_, i) => {
            await sleep(i * 200);
            return connects(lab, API1);
          }),
        );
        const seen = `${JSON.stringify(attempts)}\n${tunnel.stderr}`;
        for (const { outcome, ms } of attempts) {
          assert.equal(outcome, 'open', seen);
          assert.ok(ms <= MAX_RECOVERY_MS, seen);
        }
        // curl sleeps to keep to its rate, newer versions for many seconds.
        for (const flow of load) assert.notEqual((await flow.wait(60_000)).status, 0);
        assert.notEqual(await withSession(service.pods), carrying);
        assert.equal((await connects(lab, API2)).outcome, 'EHOSTUNREACH');
        assert.doesNotMatch(tunnel.stderr, /\?|passphrase|password/i);
        assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
      } finally {
        if (tunnel.ended === undefined) await tunnel.stop('SIGKILL');
      }
    });

    it('end when they are told to, with their sessions', async () => {
      const argv = ['ssh', '-F', lab.credentials.sshConfig, '-l', USER, '-N', 'jump'];
      const session = await lab.client.spawn(argv);
      const pod = await withSession(service.pods);
      await pod.terminate();
      assert.notEqual((await session.wait(5_000)).status, 0);
    });
  });
}

async function connects(lab: Lab, host: string): Promise<Attempt> {
  const [attempt] = await dial<Attempt[]>(lab.client, 'connect', host, Port.http);
  assert.ok(attempt !== undefined);
  return attempt;
}

/** A download that doesn't end by itself, and has begun. */
async function startLoad(lab: Lab): Promise<Child> {
  const load = await lab.client.spawn([
    ...['curl', '-sN', '--limit-rate', '100k', '-D', '-', '-o', '/dev/null'],
    `http://${API1}/bytes/1000000000`,
  ]);
  await load.waitForLine(/^HTTP\/1\S* 200/);
  return load;
}

/** The one pod to which somebody is connected. */
async function withSession(pods: readonly Pod[]): Promise<Pod> {
  for (let i = 0; i < 100; i++, await sleep(50)) {
    const states = await Promise.all(
      pods.map(async (pod) => ({
        pod,
        ...(await pod.namespace.exec([
          'ss',
          '-tnH',
          'state',
          'established',
          `sport = ${POD_PORT}`,
        ])),
      })),
    );
    const [only, ...others] = states.filter(({ stdout }) => stdout !== '');
    if (only !== undefined && others.length === 0) return only.pod;
  }
  return assert.fail('not one pod with a session');
}

const SOURCE_PORT = 8000;
const SERVE = `const { readFileSync } = require('node:fs');
  require('node:http')
    .createServer((_, response) => response.end(readFileSync(process.argv[1])))
    .listen(${SOURCE_PORT}, '${API1}', () => console.log('ready'));`;

describe('a pod with keys from an address', {
  skip: labUnavailable('haproxy', 'nsenter') || imageMissing('bookworm'),
  timeout: 60_000,
}, () => {
  let lab: Lab;
  let service: PodLab;
  let pod: Pod;
  let source: Child;
  const list = join(files.directory, 'list');
  before(async () => {
    lab = await Lab.create();
    writeFileSync(list, keyOf(lab, 'authorized'));
    source = await lab.api1.spawn([process.execPath, '-e', SERVE, list]);
    await source.waitForLine(/ready\n/);
    const place = `${API1}:${SOURCE_PORT}`;
    const keys = ['--keys-from', `http://${place}/`, '--key-source', place];
    service = await PodLab.start(lab, files, 1, [...keys, '--openssh', RELEASES.bookworm]);
    const [only] = service.pods;
    assert.ok(only !== undefined);
    pod = only;
  });
  after(async () => {
    await service?.close();
    await lab?.close();
  });
  const stranger = () => ['-o', `IdentityFile=${lab.credentials.keys.stranger}`];
  const refresh = () => pod.exec([KEYS_COMMAND_PATH, '--refresh']);

  it('these keys log in, and reach what is listed', async () => {
    for (const place of LISTED) assert.match(await fetch(lab, place), /^HTTP\/1/, pod.log());
    assert.match(await fetch(lab, `${API2}:80`), /administratively prohibited/);
    assert.doesNotMatch(pod.log(), /AuthorizedKeysCommand \S+ (failed|returned)|bad ownership/);
  });

  it('the cache is for its user alone', async () => {
    const { stdout } = await pod.exec(['stat', '-c', '%u:%a', '/var/cache/tunnel/tunnel-keys']);
    assert.equal(stdout, `${UID}:2700\n`);
  });

  it('another list counts once it is fetched, as the comment of the manifests says', async () => {
    writeFileSync(list, keyOf(lab, 'stranger'));
    const { status, stderr } = await refresh();
    assert.equal(status, 0, stderr);
    assert.match(await fetch(lab, `${API1}:80`, stranger()), /^HTTP\/1/);
    writeFileSync(list, '# nobody\n');
    await refresh();
    assert.match(await fetch(lab, `${API1}:80`, stranger()), /Permission denied \(publickey\)/);
  });

  it('a source that is down is in the log of the pod, and its keys stay good', async () => {
    writeFileSync(list, keyOf(lab, 'authorized'));
    await refresh();
    await source.stop('SIGKILL');
    assert.equal((await refresh()).status, 1);
    await pod.waitForLog(
      /^tunnel-keys: http:\S+: it does not answer: curl: .*; its keys are used/m,
    );
    assert.match(await fetch(lab, `${API1}:80`), /^HTTP\/1/);
  });

  it('nothing else can be written to', async () => {
    const script = 'for path in / /etc /usr/libexec /usr/libexec/tunnel-authorized-keys; do';
    const { stdout } = await pod.exec(['sh', '-c', `${script} test -w $path && echo $path; done`]);
    assert.equal(stdout, '');
  });
});
