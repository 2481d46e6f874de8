/**
 * `tunnel exec` as an ordinary user: what a command can reach, how it runs, and what the host
 * notices.
 */
import assert from 'node:assert/strict';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  API1,
  API1_6,
  API2,
  CLIENT4,
  CLIENT6,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  Port,
  PRIVATE4,
  PRIVATE6,
  UNREACHABLE4,
  UPLINK4,
  UPLINK6,
  UplinkPort,
} from '../support/addresses.ts';
import { UID } from '../support/etc.ts';
import { ExecLab, TESTED_LAUNCHER } from '../support/execlab.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { labUnavailable } from '../support/lab.ts';
import { allProcesses, processEntry } from '../support/processtable.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const PYTHON = '/usr/bin/python3';
const RESOLV_CONF = `search lab.example\noptions timeout:1 attempts:1\nnameserver ${UPLINK4}\n`;
const TARGETS = [PRIVATE4, PRIVATE6];

/** Prints what urllib gets without any proxy. */
const FETCH =
  'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())';

/**
 * It uses little of the standard library, so it builds in seconds; Go's runtime makes its system
 * calls itself.
 */
/**
 * Sends datagrams on connected sockets, one for each `ADDRESS PORT BYTES`, and prints the answer or
 * the name of the error.
 */
const UDP = `
import errno, socket, sys
for line in sys.argv[1:]:
    host, port, count = line.split()
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((host, int(port)))
    sent = bytes(i % 251 for i in range(int(count)))
    try:
        s.send(sent)
        print(s.recv(65536) == sent)
    except OSError as e:
        print(errno.errorcode.get(e.errno, str(e)))
`;

/** The build under sanitizers has none. */
const HAS_FILTER = TESTED_LAUNCHER === undefined;

describe('exec', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'python3') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create(RESOLV_CONF);
    await exec.startUplinkServer();
  });
  after(async () => {
    await exec?.close();
  });

  async function output(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await exec.exec(args);
    assert.equal(stderr, '');
    assert.equal(status, 0);
    return stdout;
  }

  const peerOf = (json: string): string => JSON.parse(json).peer;

  it('lets curl and Python reach targets by address, without proxy variables', async () => {
    const v4 = `http://${API1}/`;
    const v6 = `http://[${API1_6}]/`;
    const script = `curl -sS ${v4}; curl -gsS ${v6}; ${PYTHON} -c '${FETCH}' ${v4}; env | grep -ci proxy`;
    const { stdout, stderr } = await exec.exec([...TARGETS, '--', 'sh', '-c', script]);
    assert.equal(stderr, '');
    const lines = stdout.split('\n').filter((line) => line !== '');
    assert.deepEqual(lines.slice(0, 3).map(peerOf), [
      JUMPHOST_PRIVATE4,
      JUMPHOST_PRIVATE6,
      JUMPHOST_PRIVATE4,
    ]);
    assert.equal(lines[3], '0');
  });

  it('lets a Go program reach targets', { skip: goProgramMissing('dial') }, async () => {
    const program = goProgram('dial');
    const answer = await output(PRIVATE4, '--', program, `${API1}:${Port.http}`);
    assert.equal(peerOf(answer.split('\r\n\r\n')[1] ?? ''), JUMPHOST_PRIVATE4);
  });

  it('sends everything through the jump host when no target is given', async () => {
    assert.equal(peerOf(await output('curl', '-sS', `http://${API2}/`)), JUMPHOST_PRIVATE4);
    assert.equal(
      await output('curl', '-sS', '--http0.9', `http://${UPLINK4}:${UplinkPort.peer}/`),
      '198.51.100.10\n',
    );
  });

  it('dials other destinations directly', async () => {
    for (const [host, client] of [
      [UPLINK4, CLIENT4],
      [`[${UPLINK6}]`, CLIENT6],
    ] as const) {
      const url = `http://${host}:${UplinkPort.peer}/`;
      assert.equal(await output(...TARGETS, '--', 'curl', '-gsS', '--http0.9', url), `${client}\n`);
    }
  });

  it('keeps connects truthful', async () => {
    const script = `
import errno, socket
for host, port in (("${API1}", ${Port.closed}), ("${UNREACHABLE4}", 80), ("${UPLINK4}", 9), ("198.18.0.9", 80), ("127.0.0.1", 22)):
    s = socket.socket(); s.settimeout(5)
    print(errno.errorcode[s.connect_ex((host, port))])`;
    const stdout = await output(PRIVATE4, '--', PYTHON, '-c', script);
    assert.deepEqual(stdout.trim().split('\n'), [
      'ECONNREFUSED',
      'EHOSTUNREACH',
      'ECONNREFUSED',
      'EHOSTUNREACH',
      'ECONNREFUSED',
    ]);
  });

  it("resolves names through the host's resolvers, over UDP and TCP, with its search list", async () => {
    const script =
      'for name in direct behind.lab.example big.lab.example missing; do getent ahostsv4 $name | head -n 1; done';
    const stdout = await output(PRIVATE4, '--', 'sh', '-c', script);
    const found = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/)[0]);
    assert.deepEqual(found, [UPLINK4, API1, UPLINK4]);
    const body = await output(PRIVATE4, '--', 'curl', '-sS', 'http://behind.lab.example/');
    assert.equal(peerOf(body), JUMPHOST_PRIVATE4);
  });

  it('carries other UDP directly, and learns that a port is closed', async () => {
    const attempts = [
      [UPLINK4, UplinkPort.echo, 0, 'True'],
      [UPLINK4, UplinkPort.echo, 4, 'True'],
      [UPLINK6, UplinkPort.echo, 1200, 'True'],
      [UPLINK4, UplinkPort.echo, 40_000, 'True'],
      [UPLINK4, UplinkPort.closed, 4, 'ECONNREFUSED'],
      [UPLINK6, UplinkPort.closed, 4, 'ECONNREFUSED'],
      [API1, Port.echo, 4, 'ECONNREFUSED'],
    ] as const;
    const lines = attempts.map(([host, port, bytes]) => `${host} ${port} ${bytes}`);
    const stdout = await output(...TARGETS, '--', PYTHON, '-c', UDP, ...lines);
    assert.deepEqual(
      stdout.trim().split('\n'),
      attempts.map(([, , , outcome]) => outcome),
    );
  });

  it('has a device queue long enough for what many connections send at once', async () => {
    // /sys shows the network of the process that mounted it; rtnetlink shows the device itself.
    assert.match(await output(PRIVATE4, '--', 'ip', 'link', 'show', 'dev', 'tun0'), / qlen 8192\b/);
  });

  it('answers ping with "filtered"', { skip: labUnavailable('ping') }, async () => {
    const { stdout } = await exec.exec([PRIVATE4, '--', 'ping', '-n', '-c', '1', '-W', '3', API1]);
    assert.match(stdout, /Packet filtered/);
  });

  for (const [who, root] of [
    ['the user', false],
    ['root', true],
  ] as const) {
    it(`runs as ${who}, without capabilities, with the caller's directory, environment and input`, async () => {
      const script =
        'id -u; id -g; pwd; echo $MARK; cat; grep -E "^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp)[:]" /proc/self/status';
      const options = { root, cwd: exec.home, env: { MARK: 'here' }, input: 'typed\n' };
      const { status, stdout, stderr } = await exec.exec(
        [PRIVATE4, '--', 'sh', '-c', script],
        options,
      );
      assert.equal(stderr, '');
      assert.equal(status, 0);
      const id = root ? '0' : String(UID);
      const [uid, gid, directory, mark, input, ...rest] = stdout.trim().split('\n');
      assert.deepEqual([uid, gid, directory, mark, input], [id, id, exec.home, 'here', 'typed']);
      assert.deepEqual(
        rest.map((line) => Number.parseInt(line.split(/\s+/)[1] ?? '', 16)),
        [0, 0, 0, 0, 1, HAS_FILTER ? 2 : 0],
      );
    });
  }

  it('passes on the descriptors that the arguments name', async () => {
    const argv = exec.argv([PRIVATE4, '--', 'cat', '/dev/fd/63']);
    const file = join(exec.home, 'passed');
    writeFileSync(file, 'passed\n');
    const script = `exec 63<${file}; exec "$@"`;
    const { stdout } = await exec.lab.client.exec(['bash', '-c', script, 'bash', ...argv], {
      env: { HOME: exec.home },
    });
    assert.equal(stdout, 'passed\n');
  });

  it('changes nothing on the host, even with two of them side by side', async () => {
    const untouched = await exec.lab.client.hostState();
    const first = await exec.spawn(
      [PRIVATE4, '--', 'sh', '-c', 'echo running $$; read line; curl -sS $line'],
      {
        stdin: 'open',
      },
    );
    const [, pid = ''] = await first.waitForLine(/running (\d+)\n/);
    const hosts = readFileSync(`/proc/${first.pid}/root/etc/resolv.conf`, 'latin1');
    assert.equal(hosts, RESOLV_CONF);
    assert.match(
      readFileSync(`/proc/${pid}/root/etc/resolv.conf`, 'latin1'),
      /^nameserver 198\.18\.0\.53$/m,
    );
    assert.notEqual(readlinkSync(`/proc/${pid}/ns/net`), readlinkSync(`/proc/${first.pid}/ns/net`));
    assert.equal(await exec.lab.client.hostState(), untouched);

    // A target of one is dialled directly in the other, and fails there.
    assert.equal(
      peerOf(await output(PRIVATE6, '--', 'curl', '-gsS', `http://[${API1_6}]/`)),
      JUMPHOST_PRIVATE6,
    );
    const other = await exec.exec([PRIVATE6, '--', 'curl', '-sS', '-m', '5', `http://${API1}/`]);
    assert.notEqual(other.status, 0);
    first.write(`http://${API1}/\n`);
    assert.deepEqual(await first.wait(10_000), { status: 0, signal: null });
    assert.equal(peerOf(first.stdout.split('\n')[1] ?? ''), JUMPHOST_PRIVATE4);
    assert.equal(await exec.lab.client.hostState(), untouched);
  });

  it('leaves processes that outlive the command without a network', async () => {
    const log = join(exec.home, 'outlived');
    const outlive = `
import errno, socket, sys, time
s = socket.create_connection(("${API1}", ${Port.echo}))
print("connected", flush=True)
def outcome(work):
    try: return repr(work())
    except OSError as e: return errno.errorcode[e.errno]
ended = outcome(lambda: s.recv(1))
time.sleep(0.2)
after = outcome(lambda: socket.create_connection(("${API1}", ${Port.echo}), 5))
open("${log}", "w").write(ended + " " + after + "\\n")`;
    const script = `${PYTHON} -c '${outlive}' >${log}.out & while [ ! -s ${log}.out ]; do sleep 0.05; done; exit 3`;
    const { status } = await exec.exec([PRIVATE4, '--', 'sh', '-c', script]);
    assert.equal(status, 3);
    const deadline = performance.now() + 5000;
    let found = '';
    while (found === '' && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      try {
        found = readFileSync(log, 'utf8');
      } catch {
        // not written yet
      }
    }
    assert.equal(found, 'ECONNRESET ENETUNREACH\n');
  });

  it('leaves no network behind when it is killed', async () => {
    const untouched = await exec.lab.client.hostState();
    const tunnel = await exec.spawn([PRIVATE4, '--', 'sh', '-c', 'echo $$; exec sleep 60']);
    const [, pid = ''] = await tunnel.waitForLine(/^(\d+)\n/);
    await tunnel.stop('SIGKILL');
    assert.equal(await exec.lab.client.hostState(), untouched);
    const { stdout } = await exec.lab.client.exec([
      'nsenter',
      '-t',
      pid,
      '-U',
      '-n',
      '--preserve-credentials',
      'ip',
      '-o',
      'link',
    ]);
    assert.match(stdout, /\blo\b/);
    assert.doesNotMatch(stdout, /tun/);
    process.kill(Number(pid), 'SIGKILL');
    assert.ok(allProcesses().every(({ parent }) => parent !== tunnel.pid));
    assert.equal(processEntry(tunnel.pid), undefined);
  });
});
