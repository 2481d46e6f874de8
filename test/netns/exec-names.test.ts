/** `tunnel exec` with names that only the jump host knows, and permits by name. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  API1,
  API1_NAME,
  API2,
  API2_NAME,
  JUMPHOST_PRIVATE4,
  JUMPHOST_PRIVATE6,
  PRIVATE4,
  UPLINK4,
  UplinkPort,
} from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { BY_ADDRESS, createNamesLab, type NamesLab, TLS_NAMES, WWW } from '../support/nameslab.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';
import { AT_ONCE_MS } from '../support/until.ts';

const PYTHON = '/usr/bin/python3';
/** The limit for a missing name: the answer must come at once, not after a client's timeout. */

describe('exec by name', {
  skip:
    labUnavailable(
      'openssl',
      'unshare',
      'curl',
      'python3',
      'getent',
      'dig',
      'dnsmasq',
      'tcpdump',
    ) || closedToOthers(MAIN),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
  });
  after(async () => {
    await names?.close();
  });

  async function inside(options: readonly string[], script: string): Promise<string> {
    const { stdout, stderr, status } = await names.exec.exec([
      ...options,
      '--',
      'sh',
      '-c',
      script,
    ]);
    assert.equal(status, 0, `${stdout}${stderr}`);
    return stdout;
  }

  it('curl, Python, the C library and Node find them', async () => {
    const uplink = await names.exec.lab.client.capture('uplink', 'port 53');
    const python = `import socket; s = socket.create_connection(("${API2_NAME}", 80), 5); print(len({a[0] for a in socket.getaddrinfo("${API2_NAME}", 80)}))`;
    // Like browsers: both families and HTTPS records at once.
    const node = `const { resolve4, resolve6, resolve } = require('dns').promises;
      Promise.all([fetch('http://${API1_NAME}/').then((r) => r.json()), resolve4('${API1_NAME}'), resolve6('${API1_NAME}'),
        resolve('${API1_NAME}', 'CAA').catch((e) => e.code)]).then(([a, b, c, d]) => console.log(a.peer, b.length, c.length, d))`;
    const output = await inside(
      ['*.lab.example'],
      `curl -sS http://${API1_NAME}/; echo; ${PYTHON} -c '${python}'; getent ahosts ${API1_NAME} | wc -l; ${process.execPath} -e "${node}"; cat /etc/resolv.conf`,
    );
    const [curl = '', pythonSaid, getent, nodeSaid, ...resolvConf] = output
      .split('\n')
      .filter((line) => line !== '');
    assert.ok([JUMPHOST_PRIVATE4, JUMPHOST_PRIVATE6].includes(JSON.parse(curl).peer), curl);
    assert.equal(pythonSaid, '2');
    assert.equal(getent, '6');
    assert.match(nodeSaid ?? '', /^10\.77\.0\.1 1 1 ENODATA$|^2001:\S+ 1 1 ENODATA$/);
    assert.match(resolvConf.join('\n'), /^nameserver 198\.18\.0\.53$/m);
    assert.deepEqual(await uplink.stop(), []);
  });

  it('two names on one address and port show their own certificates', async () => {
    const script = TLS_NAMES.map(
      (name) => `curl -sS --cacert ${names.authority(name)} https://${name}/`,
    );
    assert.equal(
      await inside(['*.lab.example:443'], script.join(';')),
      'one.lab.example\ntwo.lab.example\n',
    );
  });

  it('a name that does not exist fails as such, and at once', async () => {
    const begun = performance.now();
    const script = [
      'curl -sS http://nobody.corp.example/; echo curl $?',
      'getent hosts nobody.corp.example; echo getent $?',
      'dig +time=2 +tries=1 nobody.corp.example | grep -o "status: [A-Z]*"',
      // No resolver behind the jump host knows it, so the error comes from the jump host at the
      // connect.
      `${PYTHON} -c 'import socket; socket.create_connection(("missing.lab.example", 80), 5)' 2>&1 | tail -1`,
    ].join(';');
    const output = await inside(
      ['--dns-server', API1, '*.corp.example', 'missing.lab.example'],
      script,
    );
    assert.match(output, /curl 6\ngetent 2\nstatus: NXDOMAIN\nOSError: \[Errno 113\]/);
    assert.ok(performance.now() - begun < 2 * AT_ONCE_MS);
  });

  it('are answered over TCP and in reverse, too; HTTPS records never', async () => {
    const script = `dig +tcp +short +time=2 ${API1_NAME}; dig +short -x $(dig +short ${API1_NAME}); dig +short HTTPS ${API1_NAME}; echo end`;
    assert.match(
      await inside([API1_NAME], script),
      /^198\.18\.\d+\.\d+\napi1\.lab\.example\.\nend\n$/,
    );
  });

  it('both forms of a destination are tried, as the jump host permits', async () => {
    const peer = (url: string) => `curl -sS -m 5 ${url} | grep -o '"peer":"[^"]*"'`;
    // First a name whose address is permitted; then an address whose name is permitted.
    assert.match(
      await inside(['--dns-server', API1, BY_ADDRESS], peer(`http://${BY_ADDRESS}/`)),
      /10\.77\.0\.1"/,
    );
    // But not if that form is excluded: then the server's refusal is the answer.
    assert.match(
      await inside(
        ['--dns-server', API1, '-x', API2, BY_ADDRESS],
        `curl -sS -m 5 http://${BY_ADDRESS}/ 2>&1; echo $?`,
      ),
      /\n7\n$/,
    );
    const options = ['--dns-server', API1, '--domain', 'corp.example', PRIVATE4];
    const output = await inside(
      options,
      `getent ahosts ${WWW} | head -1; ${peer(`http://${WWW}/`)}; ${peer(`http://${API2}/`)}`,
    );
    assert.match(output, /^10\.77\.0\.11\s.*\n"peer":"10\.77\.0\.1"\n"peer":"10\.77\.0\.1"\n$/);
  });

  it("other names go to the host's resolvers, or nowhere with --isolate; the tunnel's names never go there", async () => {
    const uplink = await names.exec.lab.client.capture('uplink', 'port 53');
    const script = `curl -sS http://direct.lab.example:${UplinkPort.peer}/ --http0.9; getent hosts ${WWW}; echo $?`;
    const options = ['--dns-server', API1, '--domain', 'corp.example', '*.corp.example'];
    assert.match(
      await inside(options, script),
      /^192\.0\.2\.2\n198\.18\.\S+\s+www\.corp\.example\n0\n$|^192\.0\.2\.2\n2001:2:\S+\s+www\.corp\.example\n0\n$/,
    );
    const asked = (await uplink.stop()).filter(
      ({ destination }) => destination === `${UPLINK4}.53`,
    );
    assert.ok(asked.length > 0);
    assert.deepEqual(
      asked.filter(({ summary }) => !summary.includes('direct.lab.example')),
      [],
    );

    const silent = await names.exec.lab.client.capture('uplink', 'port 53');
    assert.match(
      await inside(
        ['--isolate', ...options],
        `getent hosts direct.lab.example; echo $?; getent hosts ${WWW} | wc -l`,
      ),
      /^2\n1\n$/,
    );
    // A search list goes on to its next suffix.
    assert.match(
      await inside(
        ['--isolate', ...options],
        'LOCALDOMAIN="home.example corp.example" getent hosts www',
      ),
      /\swww\.corp\.example\n$/,
    );
    assert.deepEqual(await silent.stop(), []);
  });

  it('a proxy tries both forms as well, and resolves behind the jump host', async () => {
    const { lab } = names.exec;
    const proxy = await lab.client.spawn(
      names.exec.userArgv([
        process.execPath,
        MAIN,
        ...[
          'proxy',
          '--proxy-shared', // curl runs as root
          '-r',
          REMOTE,
          '--listen',
          '1080',
          '--dns-server',
          API1,
          '--domain',
          'corp.example',
        ],
        PRIVATE4,
      ]),
      { env: { HOME: names.exec.home } },
    );
    try {
      await proxy.waitForLine(/tunnel: ready\n/, 20_000);
      const uplink = await lab.client.capture('uplink', 'port 53');
      // The first is permitted by address, the second by name.
      for (const host of [BY_ADDRESS, WWW]) {
        for (const scheme of ['http', 'socks5h']) {
          const { stdout, stderr } = await lab.client.exec(
            ['curl', '-sS', '-p', '-x', `${scheme}://127.0.0.1:1080`, `http://${host}/`],
            { timeout: 10_000 },
          );
          assert.match(
            stdout,
            /"peer":"10\.77\.0\.1"|"peer":"2001:db8:77::1"/,
            `${host} ${scheme} ${stderr}`,
          );
        }
      }
      assert.deepEqual(await uplink.stop(), []);
    } finally {
      await proxy.stop('SIGINT');
    }
  });
});
