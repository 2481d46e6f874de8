/**
 * Every kind of client, under `exec` and `connect`, where only the jump host knows the names and
 * permits only names: dig, the C library, curl, Python, Node, Go with both of its resolvers, and a
 * client that behaves like a browser.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, API1_NAME, API2_NAME } from '../support/addresses.ts';
import type { BrowserLike } from '../support/browserlike.ts';
import { dnsmasqAt } from '../support/dnsmasq.ts';
import type { ExecOptions } from '../support/execlab.ts';
import { NO_USER_NAMESPACES } from '../support/execlab.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab, RESOLV_CONF, WWW } from '../support/nameslab.ts';
import type { Child } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const PYTHON = '/usr/bin/python3';
const BROWSER = fileURLToPath(new URL('../support/browserlike.js', import.meta.url));
/**
 * api2's name doesn't exist at the resolver behind the jump host: it is in the jump host's
 * /etc/hosts alone.
 */
const TARGETS = [API1_NAME, API2_NAME, '*.corp.example'];
const OPTIONS = ['--dns-server', API1, '--domain', 'corp.example'];
const PYTHON_FETCH = `import socket, urllib.request, sys
print(*sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80)}))
print(urllib.request.urlopen("http://%s/" % sys.argv[1], timeout=5).read().decode())`;
const V4 = String.raw`198\.18\.\d+\.\d+`;
const V6 = '2001:2:0:8000::[0-9a-f:]+';

const skip =
  labUnavailable('openssl', 'unshare', 'curl', 'python3', 'getent', 'dig', 'dnsmasq') ||
  closedToOthers(MAIN);

type RunScript = (script: string) => Promise<string>;

/** `setUp` returns a function that runs a script behind a tunnel with TARGETS and OPTIONS. */
function clients(
  name: string,
  setUp: () => Promise<{ run: RunScript; close: () => Promise<void> }>,
) {
  describe(name, () => {
    let run: RunScript;
    let close: (() => Promise<void>) | undefined;
    before(async () => {
      ({ run, close } = await setUp());
    });
    after(async () => {
      await close?.();
    });

    it('dig and the C library', async () => {
      const output = await run(
        `dig +short A ${API2_NAME}; dig +short AAAA ${API2_NAME}; getent ahosts ${API2_NAME} | cut -d' ' -f1 | uniq; getent hosts nobody.corp.example; echo $?`,
      );
      assert.match(output, new RegExp(`^${V4}\n${V6}\n${V6}\n${V4}\n2\n$`));
    });

    it('curl, Python and Node', async () => {
      const node = `fetch("http://${API2_NAME}/").then((r) => r.text()).then(console.log)`;
      const output = await run(
        `curl -sS http://${API2_NAME}/; ${PYTHON} -c '${PYTHON_FETCH}' ${API2_NAME}; ${process.execPath} -e '${node}'`,
      );
      assert.match(
        output,
        new RegExp(`^.*"host":"api2".*\n${V4} ${V6}\n.*"host":"api2".*\n+.*"host":"api2"`),
      );
    });

    for (const resolver of ['go', 'cgo']) {
      it(`Go, netdns=${resolver}`, { skip: goProgramMissing('lookup') }, async () => {
        const output = await run(
          [API2_NAME, WWW, 'nobody.corp.example']
            .map((of) => `GODEBUG=netdns=${resolver} ${goProgram('lookup')} ${of}`)
            .join(';'),
        );
        const both = `(?:${V4}\n${V6}|${V6}\n${V4})`;
        // The second has no IPv6 behind the jump host, as its resolver says, and so none here.
        const expected = `^${both}\n.*"host":"api2".*\n${V4}\n.*"host":"api1".*\nnot found\n$`;
        assert.match(output, new RegExp(expected));
      });
    }

    it('browsers: A, AAAA and HTTPS at once, then IPv6 before IPv4', async () => {
      const seen = JSON.parse(
        await run(`${process.execPath} ${BROWSER} ${API2_NAME}`),
      ) as BrowserLike;
      assert.match(seen.body, /"host":"api2"/);
      assert.deepEqual([seen.ipv4.length, seen.ipv6.length, seen.https], [1, 1, [0, 0]]);
      // A target with only IPv4 behind the jump host costs no failed attempt: either address is
      // opened by name.
      assert.equal(seen.connectedTo, seen.ipv6[0]);
      const four = JSON.parse(await run(`${process.execPath} ${BROWSER} ${WWW}`)) as BrowserLike;
      assert.deepEqual([four.ipv4.length, four.ipv6.length, four.https], [1, 0, [0, 0]]);
    });
  });
}

describe('clients by name', { skip }, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
  });
  after(async () => {
    await names?.close();
  });

  const inExec =
    (options: ExecOptions = {}): RunScript =>
    async (script) => {
      const { stdout, stderr } = await names.exec.exec(
        [...OPTIONS, ...TARGETS, '--', 'sh', '-c', script],
        options,
      );
      return stdout === '' ? stderr : stdout;
    };

  clients('exec', async () => ({ run: inExec(), close: async () => {} }));

  clients('connect', async () => {
    const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });
    const { client } = names.exec.lab;
    const tunnel: Child = await client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, ...OPTIONS, ...TARGETS),
    );
    await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
    return {
      async run(script) {
        const { stdout, stderr } = await client.exec(argv('sh', '-c', script));
        return stdout === '' ? stderr : stdout;
      },
      async close() {
        await tunnel.stop('SIGINT');
      },
    };
  });

  it('without namespaces, exec hands names to the proxy, and the jump host resolves them', async () => {
    const run = inExec({ script: NO_USER_NAMESPACES });
    assert.match(
      await run(`curl -sS http://${API2_NAME}/; curl -sS http://${WWW}/`),
      /"api2".*"api1"/s,
    );
    // The list is compared before the name is resolved.
    const refused = await run('curl -sS http://nobody.corp.example/');
    assert.match(refused, /does not permit nobody\.corp\.example:80/);
  });
});

describe('--dns and 0/0 with a resolver on the local network', { skip }, () => {
  let names: NamesLab;
  before(async () => {
    // Of the resolvers the jump host permits its own only.
    names = await createNamesLab(RESOLV_CONF, {
      variant: 'hardened',
      permitOpen: ['127.0.0.1:53'],
    });
    await names.exec.lab.jumphost.spawn(
      dnsmasqAt('127.0.0.1', '--host-record=direct.lab.example,203.0.113.9,60'),
    );
  });
  after(async () => {
    await names?.close();
  });

  it("no query is sent to it, although its network's own route is more specific than 0/0", async () => {
    const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });
    const { client } = names.exec.lab;
    const run = async (script: string) => (await client.exec(argv('sh', '-c', script))).stdout;
    const tunnel = await client.spawn(argv(process.execPath, MAIN, '-r', REMOTE, '--dns', '0/0'));
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      assert.match(
        tunnel.stderr,
        /asked of 127\.0\.0\.1:53, the jump host's own resolver: 192\.0\.2\.1:53: the jump host does not permit 192\.0\.2\.1:53/,
      );
      const uplink = await client.capture('uplink', 'port 53');
      assert.equal(await run('dig +short +tries=1 direct.lab.example'), '203.0.113.9\n');
      assert.deepEqual(await uplink.stop(), []);
    } finally {
      await tunnel.stop('SIGINT');
    }
    assert.match(await run('dig +short direct.lab.example'), /^192\.0\.2\.1\n$/);
  });
});

describe('--dns without a server', { skip }, () => {
  // Only the jump host reaches the machine's resolver.
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab(`nameserver ${API1}\noptions timeout:2 attempts:1\n`);
  });
  after(async () => {
    await names?.close();
  });

  const SCRIPT = `getent hosts ${WWW}; curl -sS http://${WWW}/; getent hosts nobody.corp.example; echo $?; dig +tcp +short ${WWW}`;
  const SAID = /^10\.77\.0\.11 .*\n\{"host":"api1".*\}\n2\n10\.77\.0\.11\n$/;

  it("asks this machine's resolvers from the jump host: exec", async () => {
    const { stdout, stderr } = await names.exec.exec([
      '--dns',
      '10.77.0.0/16',
      '--',
      'sh',
      '-c',
      SCRIPT,
    ]);
    assert.match(stdout, SAID, stderr);
  });

  it('connect', async () => {
    const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });
    const { client } = names.exec.lab;
    const tunnel = await client.spawn(
      argv(process.execPath, MAIN, '-r', REMOTE, '--dns', '10.77.0.0/16'),
    );
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      const { stdout, stderr } = await client.exec(argv('sh', '-c', SCRIPT));
      assert.match(stdout, SAID, stderr);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });
});
