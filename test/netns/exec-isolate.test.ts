/**
 * `tunnel exec --isolate`: whatever the command tries, nothing but the SSH connection leaves the
 * machine.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  API1,
  API1_6,
  CLIENT4,
  JUMPHOST_PRIVATE4,
  JUMPHOST4,
  Port,
  PRIVATE4,
  UPLINK4,
  UPLINK6,
  UplinkPort,
} from '../support/addresses.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Packet } from '../support/packets.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN } from '../support/tunnel.ts';

const PYTHON = '/usr/bin/python3';
/**
 * The limit for all attempts together: each would take 10 s if it got no answer. ping waits for a
 * second.
 */
const AT_ONCE_S = 8;

/** Tries to get out in every possible way, and prints the result of each. */
const ESCAPE = `
import errno, os, socket, subprocess, time
begin = time.time()
def attempt(name, work):
    try: result = repr(work())
    except OSError as e: result = errno.errorcode.get(e.errno, type(e).__name__) if not isinstance(e, socket.gaierror) else "gaierror"
    print(name, result, flush=True)
def tcp(host, port):
    s = socket.create_connection((host, port), 10); s.close(); return "open"
def udp(host, port):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10); s.connect((host, port)); s.send(b"x"); return s.recv(9)
attempt("tcp4", lambda: tcp("${UPLINK4}", ${UplinkPort.peer}))
attempt("tcp6", lambda: tcp("${UPLINK6}", ${UplinkPort.peer}))
attempt("jumphost", lambda: tcp("${JUMPHOST4}", 22))
attempt("port", lambda: tcp("${API1}", ${Port.echo}))
attempt("target6", lambda: tcp("${API1_6}", ${Port.http}))
attempt("udp4", lambda: udp("${UPLINK4}", ${UplinkPort.echo}))
attempt("udp6", lambda: udp("${UPLINK6}", ${UplinkPort.echo}))
attempt("dns", lambda: socket.getaddrinfo("direct.lab.example", 80))
attempt("dnsdirect", lambda: udp("${UPLINK4}", 53))
attempt("dnstcp", lambda: tcp("198.18.0.53", 53))
attempt("multicast", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("224.0.0.251", 5353)))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("ping", lambda: subprocess.run(["ping", "-n", "-c", "1", "-W", "1", "${UPLINK4}"], stdout=subprocess.DEVNULL).returncode)
attempt("setns", lambda: os.setns(os.open("/proc/%d/ns/net" % os.getppid(), os.O_RDONLY)) if hasattr(os, "setns") else subprocess.run(["nsenter", "-t", str(os.getppid()), "-n", "true"], stderr=subprocess.DEVNULL).returncode)
attempt("seconds", lambda: time.time() - begin)
attempt("target", lambda: tcp("${API1}", ${Port.http}))
`;

describe('exec --isolate', {
  skip:
    labUnavailable('openssl', 'unshare', 'tcpdump', 'python3', 'ping', 'nsenter') ||
    closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create(
      `nameserver ${UPLINK4}\nnameserver ${UPLINK6}\noptions timeout:1 attempts:1\n`,
    );
    await exec.startUplinkServer();
  });
  after(async () => {
    await exec?.close();
  });

  /**
   * Packets that belong neither to the SSH connection nor to the neighbour discovery of a new lab's
   * kernels.
   */
  function strangers(packets: readonly Packet[]): Packet[] {
    const ssh = `${JUMPHOST4}.22`;
    const own = (end: string) => end.startsWith(`${CLIENT4}.`);
    return packets.filter(
      ({ protocol, source, destination, summary }) =>
        !(own(source) && destination === ssh) &&
        !(source === ssh && own(destination)) &&
        protocol !== 'ARP' &&
        !/neighbor (solicitation|advertisement)|router solicitation|multicast listener/.test(
          summary,
        ),
    );
  }

  async function attempts(
    args: readonly string[],
    root: boolean,
  ): Promise<{ results: Map<string, string>; packets: readonly Packet[] }> {
    const capture = await exec.lab.client.capture('uplink');
    const result = await exec.exec([...args, '--', PYTHON, '-c', ESCAPE], { root });
    const packets = await capture.stop();
    const { stdout } = result;
    // Also a program that was killed on the way has printed results.
    assert.ok(
      result.status === 0 && result.stderr === '' && /^target .+\n$/m.test(stdout),
      JSON.stringify(result, undefined, 1),
    );
    const results = new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => [line.split(' ', 1)[0] ?? '', line.slice(line.indexOf(' ') + 1)]),
    );
    return { results, packets };
  }

  for (const [who, root] of [
    ['an ordinary user', false],
    ['root', true],
  ] as const) {
    it(`lets nothing out for ${who}, and refuses at once`, async () => {
      const { results, packets } = await attempts(['--isolate', `${PRIVATE4}:${Port.http}`], root);
      assert.equal(results.get('target'), "'open'");
      for (const name of ['tcp4', 'jumphost', 'port', 'dnstcp'])
        assert.equal(results.get(name), 'EHOSTUNREACH', name);
      for (const name of ['tcp6', 'target6', 'udp6'])
        assert.equal(results.get(name), 'EACCES', name);
      for (const name of ['udp4', 'dnsdirect'])
        assert.equal(results.get(name), 'EHOSTUNREACH', name);
      assert.equal(results.get('dns'), 'gaierror');
      assert.equal(results.get('raw'), 'EPERM');
      assert.notEqual(results.get('ping'), '0');
      assert.notEqual(results.get('setns'), '0');
      assert.ok(Number(results.get('seconds')) < AT_ONCE_S, `${results.get('seconds')} s`);
      assert.ok(packets.some(({ destination }) => destination === `${JUMPHOST4}.22`));
      assert.deepEqual(strangers(packets), []);
    });
  }

  it('is what stops it: without the option the same attempts get out', async () => {
    const { results, packets } = await attempts([`${PRIVATE4}:${Port.http}`], false);
    for (const name of ['tcp4', 'tcp6', 'jumphost', 'target'])
      assert.equal(results.get(name), "'open'", name);
    assert.equal(results.get('port'), 'EHOSTUNREACH');
    for (const name of ['udp4', 'udp6']) assert.equal(results.get(name), "b'x'", name);
    assert.match(results.get('dns') ?? '', /192\.0\.2\.1/);
    assert.notDeepEqual(strangers(packets), []);
    const api = await exec.exec(['--isolate', PRIVATE4, '--', 'curl', '-sS', `http://${API1}/`]);
    assert.equal(JSON.parse(api.stdout).peer, JUMPHOST_PRIVATE4);
  });
});
