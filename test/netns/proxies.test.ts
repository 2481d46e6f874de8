/**
 * `tunnel proxy` with popular clients, against real servers that only the jump host can reach.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  API1,
  API1_6,
  API1_NAME,
  HARDENED_PERMIT_OPEN,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  Port,
  PRIVATE4,
  UNKNOWN_NAME,
  UNREACHABLE4,
} from '../support/addresses.ts';
import { makeCertificates } from '../support/certificates.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { type Child, type ExecResult, mustRun } from '../support/process.ts';
import { moduleMissing } from '../support/requirements.ts';
import { MAIN, REMOTE, startDialer, startTunnel } from '../support/tunnel.ts';

const WEBSERVER = fileURLToPath(new URL('../support/webserver.js', import.meta.url));
/** Debian's own Python, whatever else is in PATH. */
const PYTHON = '/usr/bin/python3';
/** The peers that a server may see: the jump host chooses the family when it resolves the name. */
const FROM_JUMPHOST = [JUMPHOST_PRIVATE4, JUMPHOST_PRIVATE6];
/** An address of the uplink, which the client reaches without any tunnel, and the client's own. */
const UPLINK = '198.51.100.1';
const CLIENT = '192.0.2.2';

interface Proxy {
  readonly child: Child;
  readonly port: number;
}

async function startProxy(lab: Lab, ...args: string[]): Promise<Proxy> {
  const child = await lab.client.spawn([process.execPath, MAIN, 'proxy', '-r', REMOTE, ...args]);
  await child.waitForLine(/tunnel: ready\n/, 20_000);
  const [, port] = await child.waitForLine(/proxy at \S+:(\d+)/);
  return { child, port: Number(port) };
}

describe('tunnel proxy', {
  skip: labUnavailable('curl', 'git', 'openssl'),
  timeout: 120_000,
}, () => {
  let lab: Lab;
  let files: string;
  const running: Child[] = [];
  /** Without targets. */
  let all: Proxy;

  before(async () => {
    const names = [
      `${API1_NAME}:80`,
      `${API1_NAME}:443`,
      `${API1_NAME}:${Port.closed}`,
      `${UNKNOWN_NAME}:80`,
    ];
    const permitOpen = [...HARDENED_PERMIT_OPEN, ...names, `${API1}:443`, `${UNREACHABLE4}:80`];
    lab = await Lab.create({ sshd: { variant: 'hardened', permitOpen } });
    files = join(lab.directory, 'web');
    mkdirSync(join(files, 'www'), { recursive: true });
    await makeCertificates(files, [`DNS:${API1_NAME}`, `IP:${API1}`]);
    writeFileSync(join(files, 'www', 'hello'), 'hello over TLS\n');
    const web = await lab.api1.spawn([process.execPath, WEBSERVER, files]);
    running.push(web);
    await web.waitForLine(/ready\n/);
    // A server reached without the tunnel: it sends its peer's address.
    const direct = await lab.uplink.spawn([
      'ncat',
      '-lk',
      UPLINK,
      '8080',
      '-c',
      'echo $NCAT_REMOTE_ADDR',
    ]);
    running.push(direct);
    all = await startProxy(lab, '--listen', '127.0.0.1:0');
    running.push(all.child);
  });
  after(async () => {
    for (const child of running.reverse())
      await child.stop('SIGTERM').catch(() => child.kill('SIGKILL'));
    await lab?.close();
  });

  const curl = (...args: string[]): Promise<ExecResult> =>
    lab.client.exec([
      'curl',
      '-gsS',
      '--max-time',
      '20',
      '--cacert',
      join(files, 'ca.pem'),
      ...args,
    ]);
  const socks = (scheme: string, port = all.port) => ['--proxy', `${scheme}://127.0.0.1:${port}`];

  it('serves curl with all proxy protocols, by address and by name', async () => {
    const ways = [
      ['socks5', `http://${API1}/`],
      ['socks5', `http://[${API1_6}]/`],
      ['socks5h', `http://${API1_NAME}/`],
      ['socks4', `http://${API1}/`],
      ['socks4a', `http://${API1_NAME}/`],
      ['http', `http://${API1}/`],
      ['http', `http://[${API1_6}]/`],
      ['http', `http://${API1_NAME}/`],
    ] as const;
    for (const [scheme, url] of ways) {
      const { stdout, stderr } = await curl(...socks(scheme), url);
      assert.equal(stderr, '', `${scheme} ${url}`);
      const { host, peer } = JSON.parse(stdout);
      assert.equal(host, 'api1');
      assert.ok(FROM_JUMPHOST.includes(peer), `${scheme} ${url} came from ${peer}`);
    }
    for (const scheme of ['socks5h', 'socks4a', 'http']) {
      const { stdout, stderr } = await curl(...socks(scheme), `https://${API1_NAME}/hello`);
      assert.equal(stdout, 'hello over TLS\n', stderr);
    }
    const tunnelled = await curl(...socks('http'), '--proxytunnel', `http://${API1_NAME}/`);
    assert.ok(FROM_JUMPHOST.includes(JSON.parse(tunnelled.stdout).peer));
  });

  it('carries bodies whole, both ways', async () => {
    const body = join(files, 'body');
    writeFileSync(body, Buffer.alloc(8 << 20, 'some body '));
    const expected = await mustRun(['sha256sum', body]);
    for (const scheme of ['http', 'socks5h']) {
      for (const framing of [[], ['-H', 'Transfer-Encoding: chunked']]) {
        const { stdout, stderr } = await curl(
          ...socks(scheme),
          ...framing,
          '-T',
          body,
          '-X',
          'POST',
          `http://${API1}/sha256`,
        );
        assert.equal(JSON.parse(stdout).sha256, expected.slice(0, 64), stderr);
      }
      const there = JSON.parse(
        (await curl(...socks(scheme), `http://${API1}/sha256/9000000`)).stdout,
      ).sha256;
      const here = await lab.client.exec([
        'sh',
        '-c',
        `curl -sS --proxy ${scheme}://127.0.0.1:${all.port} http://${API1}/bytes/9000000 | sha256sum`,
      ]);
      assert.equal(here.stdout.slice(0, 64), there);
    }
  });

  it('answers refused, unreachable, unknown and prohibited with their codes', async () => {
    const table: readonly (readonly [string, string, number])[] = [
      [`${API1}:${Port.closed}`, '(5)', 502],
      [`${API1_NAME}:${Port.closed}`, '(5)', 502],
      [`${UNREACHABLE4}:80`, '(4)', 502],
      [`${UNKNOWN_NAME}:80`, '(4)', 502],
      [`${API1}:${Port.discard}`, '(2)', 403],
    ];
    for (const [at, code, status] of table) {
      const refused = await curl(...socks('socks5h'), `http://${at}/`);
      assert.equal(refused.status, 97, refused.stderr);
      assert.ok(refused.stderr.includes(code), `${at}: ${refused.stderr}`);
      const plain = await curl(...socks('http'), '-w', '%{http_code}', `http://${at}/`);
      assert.match(plain.stdout, new RegExp(`^tunnel: .*\\n[A-Z].*\\.\\n${status}$`), at);
      const tunnelled = await curl(
        ...socks('http'),
        '-w',
        '%{http_connect}',
        '-p',
        `http://${at}/`,
      );
      assert.equal(tunnelled.status, 56);
      assert.equal(tunnelled.stdout, String(status), at);
    }
  });

  it('serves urllib by its environment', { skip: moduleMissing(PYTHON, 'urllib') }, async () => {
    const program = `
import json, sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).read().decode().strip())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip().splitlines()[0])
    except urllib.error.URLError as error:
        print(error)
`;
    const proxy = `http://127.0.0.1:${all.port}`;
    const { stdout, stderr } = await lab.client.exec(
      [
        PYTHON,
        '-c',
        program,
        `http://${API1_NAME}/`,
        `https://${API1_NAME}/hello`,
        `http://${API1}:${Port.closed}/`,
      ],
      { env: { http_proxy: proxy, https_proxy: proxy, SSL_CERT_FILE: join(files, 'ca.pem') } },
    );
    const [first = '', second, third = ''] = stdout.split('\n');
    assert.ok(FROM_JUMPHOST.includes(JSON.parse(first).peer), stderr);
    assert.equal(second, 'hello over TLS');
    assert.match(third, /^502 tunnel: .*refused/i);
  });

  it('serves requests, with a persistent session', {
    skip: moduleMissing(PYTHON, 'requests', 'socks'),
  }, async () => {
    const program = `
import requests, sys
for proxy in sys.argv[1:3]:
    session = requests.Session()
    session.proxies = {'http': proxy, 'https': proxy}
    for n in range(5):
        assert session.post(sys.argv[3] + 'echo', data='x' * 100000 * n).text == 'x' * 100000 * n
        assert session.get(sys.argv[4], verify=sys.argv[5]).text == 'hello over TLS\\n'
print('done')
`;
    const at = `127.0.0.1:${all.port}`;
    const { stdout, stderr } = await lab.client.exec([
      ...[PYTHON, '-c', program, `http://${at}`, `socks5h://${at}`],
      ...[`http://${API1_NAME}/`, `https://${API1_NAME}/hello`, join(files, 'ca.pem')],
    ]);
    assert.equal(stdout, 'done\n', stderr);
  });

  it('serves git over https', async () => {
    const work = join(files, 'work');
    const git = (...args: string[]) =>
      mustRun(['git', '-c', 'user.name=Test', '-c', 'user.email=test@example.com', ...args]);
    await git('init', '-q', work);
    writeFileSync(join(work, 'file'), 'from afar\n');
    await git('-C', work, 'add', 'file');
    await git('-C', work, 'commit', '-qm', 'first');
    await git('clone', '-q', '--bare', work, join(files, 'www', 'repository.git'));
    await git('-C', join(files, 'www', 'repository.git'), 'update-server-info');
    for (const scheme of ['http', 'socks5h']) {
      const clone = join(files, `clone-${scheme}`);
      const { status, stderr } = await lab.client.exec(
        ['git', 'clone', '-q', `https://${API1_NAME}/repository.git`, clone],
        {
          env: {
            https_proxy: `${scheme}://127.0.0.1:${all.port}`,
            GIT_SSL_CAINFO: join(files, 'ca.pem'),
          },
        },
      );
      assert.equal(status, 0, stderr);
      assert.equal(readFileSync(join(clone, 'file'), 'utf8'), 'from afar\n');
    }
  });

  it('serves a Go program by its environment', { skip: goProgramMissing('fetch') }, async () => {
    const program = goProgram('fetch');
    for (const scheme of ['http', 'socks5']) {
      const proxy = `${scheme}://127.0.0.1:${all.port}`;
      const env = { HTTP_PROXY: proxy, HTTPS_PROXY: proxy, SSL_CERT_FILE: join(files, 'ca.pem') };
      const tls = await lab.client.exec([program, `https://${API1_NAME}/hello`], { env });
      assert.equal(tls.stdout, '200 hello over TLS\n', tls.stderr);
      const plain = await lab.client.exec([program, `http://${API1_NAME}/`], { env });
      assert.match(plain.stdout, /^200 .*api1/);
    }
  });

  it('sends targets through the tunnel and the rest directly, or nowhere', async () => {
    const mixed = await startProxy(lab, '--http', '127.0.0.1:0', PRIVATE4, '*.lab.example');
    running.push(mixed.child);
    const strict = await startProxy(
      lab,
      '--listen',
      '127.0.0.1:0',
      '--only-targets',
      PRIVATE4,
      API1_NAME,
    );
    running.push(strict.child);
    for (const { port } of [mixed, strict]) {
      for (const url of [`http://${API1}/`, `http://${API1_NAME}/`]) {
        const { stdout, stderr } = await curl(...socks('http', port), url);
        assert.ok(FROM_JUMPHOST.includes(JSON.parse(stdout).peer), stderr);
      }
    }
    const beyond = (port: number) =>
      lab.client.exec([
        'ncat',
        '--proxy',
        `127.0.0.1:${port}`,
        '--proxy-type',
        'http',
        '--recv-only',
        UPLINK,
        '8080',
      ]);
    assert.equal((await beyond(mixed.port)).stdout.trim(), CLIENT);
    assert.equal((await beyond(strict.port)).stdout, '');
    const refused = await curl(
      ...socks('http', strict.port),
      '-w',
      '%{http_code}',
      `http://${UPLINK}:8080/`,
    );
    assert.match(refused.stdout, /no target contains it\n.*\n403$/);
    const unknown = await curl(
      ...socks('http', mixed.port),
      '-w',
      '%{http_code}',
      'http://other.example/',
    );
    assert.match(
      unknown.stdout,
      /^tunnel: the name other\.example can't be resolved here: .*\n.*\n502$/,
    );
    // Loopback means this machine, not the jump host.
    const own = await curl(
      ...socks('http', mixed.port),
      '-w',
      '%{http_code}',
      'http://127.0.0.1:1/',
    );
    assert.match(own.stdout, /dialled directly: .*refused.*\n.*\n502$/i);
  });

  it('serves its own user, and others only with --proxy-shared', async () => {
    const shared = await startProxy(lab, '--listen', '127.0.0.1:0', '--proxy-shared');
    const own = await startProxy(lab, '--listen', 'localhost:0');
    running.push(shared.child, own.child);
    const nobody = ['setpriv', '--reuid=65534', '--clear-groups', 'curl', '-gsS', '-m', '10'];
    for (const host of ['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]']) {
      const proxy = ['--proxy', `http://${host}:${own.port}`, `http://${API1}/`];
      const { stdout } = await lab.client.exec(nobody.concat(proxy));
      assert.match(stdout, /another\n.*--proxy-shared/, host);
      assert.match((await curl(...proxy)).stdout, /"host":"api1"/, host);
    }
    await own.child.waitForLine(/warning: the proxy client \S+ was turned away: it is uid 65534/);
    const socks5 = ['--proxy', `socks5h://127.0.0.1:${own.port}`, `http://${API1}/`];
    assert.equal((await lab.client.exec(nobody.concat(socks5))).stdout, '');
    const admitted = ['--proxy', `http://127.0.0.1:${shared.port}`, `http://${API1}/`];
    assert.match((await lab.client.exec(nobody.concat(admitted))).stdout, /"host":"api1"/);
  });

  it('demands a password from clients on other machines, and dials nothing on this machine for them', async () => {
    const users = join(files, 'users');
    writeFileSync(users, 'ann:secret\n', { mode: 0o600 });
    const { child, port } = await startProxy(
      lab,
      '--listen',
      `${CLIENT}:0`,
      '--proxy-auth',
      users,
      PRIVATE4,
    );
    running.push(child);
    await child.waitForLine(/warning: the proxy is open to other machines/);
    const remote = (...args: string[]) =>
      lab.uplink.exec(['curl', '-gsS', '-w', '%{http_code}', ...args]);
    const known = ['--proxy-user', 'ann:secret'];
    for (const scheme of ['http', 'socks5h']) {
      const { stdout } = await remote(
        '--proxy',
        `${scheme}://${CLIENT}:${port}`,
        ...known,
        `http://${API1}/`,
      );
      assert.match(stdout, /"host":"api1"[\s\S]*200$/);
    }
    const proxy = ['--proxy', `http://${CLIENT}:${port}`];
    assert.match((await remote(...proxy, `http://${API1}/`)).stdout, /407$/);
    assert.match(
      (await remote(...proxy, '--proxy-user', 'ann:wrong', `http://${API1}/`)).stdout,
      /407$/,
    );
    assert.match(
      (await remote(...proxy, ...known, 'http://localhost:22/')).stdout,
      /loopback[\s\S]*403$/,
    );
    assert.match(
      (await remote(...proxy, ...known, `http://${CLIENT}:22/`)).stdout,
      /an address of this machine[\s\S]*403$/,
    );
  });

  it('runs beside the capture, under the same targets', async () => {
    const tunnel = await startTunnel(lab.client, [PRIVATE4, '--listen', '127.0.0.1:0']);
    running.push(tunnel);
    const [, port] = await tunnel.waitForLine(/proxy at \S+:(\d+)/);
    for (const args of [[], ['--proxy', `http://127.0.0.1:${port}`]]) {
      const { stdout, stderr } = await curl(...args, `http://${API1}/`);
      assert.equal(JSON.parse(stdout).peer, JUMPHOST_PRIVATE4, stderr);
    }
    assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
  });

  it('survives ten thousand clients that send nothing', async () => {
    const status = () => readFileSync(`/proc/${all.child.pid}/status`, 'utf8');
    const limit = Number(
      /Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024,
    );
    const count = Math.min(10_000, limit - 200);
    const holder = await startDialer(lab.client, 'hold', '127.0.0.1', all.port, count);
    try {
      await holder.waitForLine(/held/, 30_000);
      for (const scheme of ['http', 'socks5h']) {
        const { stdout, stderr } = await curl(...socks(scheme), `http://${API1}/`);
        assert.equal(JSON.parse(stdout).host, 'api1', stderr);
      }
      const resident = Number(/VmRSS:\s+(\d+)/.exec(status())?.[1]) / 1024;
      assert.ok(resident < 300, `${resident} MiB for ${count} idle clients`);
    } finally {
      await holder.stop('SIGKILL');
    }
    assert.equal(all.child.ended, undefined, all.child.stderr);
    assert.equal((await curl(...socks('http'), `http://${API1}/`)).status, 0);
  });

  it('stops in order, and says at once when a port is not free', async () => {
    const other = await startProxy(lab, '--socks', '0');
    const again = await lab.client.exec([
      process.execPath,
      MAIN,
      'proxy',
      '-r',
      REMOTE,
      '--http',
      `127.0.0.1:${other.port}`,
    ]);
    assert.equal(again.status, 6);
    assert.match(again.stderr, /error \[capture-listen\]: .*the port is in use/);
    assert.deepEqual(await other.child.stop('SIGTERM'), { status: 0, signal: null });
  });
});
