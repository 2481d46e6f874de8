/**
 * `tunnel doctor -r`: the diagnosis of set-ups that are broken on purpose, each in one way. A row
 * names every check that is not well, so that a wrong alarm fails it as a missed one does.
 */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  ABSENT4,
  API1,
  API1_NAME,
  API2,
  BLACKHOLE4,
  JUMPHOST4,
  Port,
  PRIVATE4,
  SILENT4,
  UNKNOWN_NAME,
  UNREACHABLE4,
} from '../support/addresses.ts';
import { makeCertificates } from '../support/certificates.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { switchOff, switchOn } from '../support/firewall.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { Sshd } from '../support/sshd.ts';
import { paramiko, SshServer } from '../support/sshservers.ts';
import { MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';

const BROKEN = fileURLToPath(new URL('../support/brokenserver.js', import.meta.url));
const SILENT = fileURLToPath(new URL('../support/silentserver.js', import.meta.url));
const ABSENT_JUMPHOST = '203.0.113.9';
const HTTP = `${API1}:${Port.http}`;
const TIMEOUT_MS = 40_000;

interface Finding {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
  readonly hint?: string;
}
interface Report {
  readonly exitStatus: number;
  readonly summary: string;
  readonly findings: readonly Finding[];
}

/** Checks that are not well: `failed` unless a warning is expected. */
type Expected = Readonly<
  Record<string, RegExp | { readonly warning: RegExp } | { readonly note: RegExp }>
>;

interface SetUp {
  readonly what: string;
  readonly args: () => readonly string[];
  readonly expected: Expected;
  readonly exit: number;
  /** Wraps the program. */
  readonly within?: string;
  readonly prepare?: () => Promise<void>;
  readonly undo?: () => Promise<void>;
}

describe('doctor at a jump host', { skip: labUnavailable('openssl', 'unshare') }, () => {
  let lab: Lab;
  let old: Sshd;
  const servers: Child[] = [];
  before(async () => {
    lab = await Lab.create();
    const line = lab.credentials.authorizedKeys.split('\n')[0] ?? '';
    await lab.sshd.restart({
      // Each channel that a client opens is in the log.
      logLevel: 'DEBUG1',
      users: [
        { name: 'nowhere' },
        { name: 'restricted', authorizedKeys: `restrict ${line}` },
        { name: 'narrow', authorizedKeys: `permitopen="${API2}:80" ${line}` },
        { name: 'second', password: 'secret' },
        { name: 'impatient' },
      ],
      match: [
        'Match User nowhere',
        'AllowTcpForwarding no',
        'Match User second',
        'AuthenticationMethods publickey,password',
        'Match User impatient',
        'MaxAuthTries 1',
      ],
    });
    old = new Sshd(lab.jumphost, join(lab.directory, 'old'), lab.credentials, {
      ports: [2299],
      config: ['KexAlgorithms diffie-hellman-group1-sha1'],
    });
    await old.start();
    await makeCertificates(lab.directory, ['DNS:jump.example']);
    const kinds = ['closes', 'silent', 'http', 'tls', 'hangs-up', 'login'];
    const broken = await lab.jumphost.spawn([
      process.execPath,
      BROKEN,
      lab.directory,
      ...kinds.map((kind, n) => `${kind}=${2201 + n}`),
    ]);
    servers.push(broken);
    await broken.waitForLine(/ready/, TIMEOUT_MS);
    const keys = join(lab.directory, 'authorized_keys');
    writeFileSync(keys, lab.credentials.authorizedKeys);
    const silent = await lab.jumphost.spawn(
      [process.execPath, SILENT, 'silent', '2222', keys, ...lab.credentials.hostKeys],
      { stdin: 'open' },
    );
    servers.push(silent);
    await silent.waitForLine(/ready/, TIMEOUT_MS);
    writeFileSync(join(lab.clientHome, 'bad_config'), 'Host *\n  ProxyJump\n');
    copyFileSync(lab.credentials.keys.authorized, join(lab.clientHome, 'open_key'));
    chmodSync(join(lab.clientHome, 'open_key'), 0o644);
  });
  after(async () => {
    for (const server of servers) await server.stop();
    await old?.kill();
    await lab?.close();
  });

  async function doctor(
    args: readonly string[],
    { within = 'exec "$@"' }: Pick<SetUp, 'within'> = {},
  ): Promise<Report> {
    const argv = ['setsid', '-w', process.execPath, MAIN, 'doctor', '--json', ...args];
    const { status, stdout, stderr } = await lab.client.exec(
      ['unshare', '-m', '--propagation', 'private', 'sh', '-c', within, 'sh', ...argv],
      { timeout: TIMEOUT_MS },
    );
    assert.notEqual(stdout, '', stderr);
    const report = JSON.parse(stdout) as Report;
    assert.equal(report.exitStatus, status);
    return report;
  }

  function compare({ findings }: Report, expected: Expected): void {
    const told = JSON.stringify(findings, undefined, 1);
    const bad = findings.filter(({ state }) => state === 'failed' || state === 'warning');
    const wanted = Object.entries(expected).filter(
      ([, value]) => value instanceof RegExp || 'warning' in value,
    );
    assert.deepEqual(
      [...new Set(bad.map(({ name }) => name))].sort(),
      wanted.map(([name]) => name).sort(),
      told,
    );
    for (const [name, value] of Object.entries(expected)) {
      const [state, pattern] =
        value instanceof RegExp
          ? ['failed', value]
          : 'warning' in value
            ? ['warning', value.warning]
            : ['note', value.note];
      const found = findings.find((item) => item.name === name && item.state === state);
      assert.ok(found !== undefined, told);
      assert.match(found.detail, pattern);
      assert.ok(found.hint !== undefined, `${name} has no hint`);
    }
  }

  const at = (port: number) => `${JUMP_USER}@${JUMPHOST4}:${port}`;
  const ip = (line: string) => () => lab.client.configure([line]);
  const firewall = (rules: string) => ({
    prepare: () => switchOn(lab, rules),
    undo: () => switchOff(lab),
  });

  const SET_UPS: readonly SetUp[] = [
    {
      what: 'a name of the jump host that does not resolve',
      args: () => ['-r', 'u@jump.invalid', HTTP],
      expected: { 'jump-host': /jump\.invalid can't be resolved/ },
      exit: 5,
    },
    {
      what: 'a closed port',
      args: () => ['-r', at(2200), HTTP],
      expected: { 'jump-host': /:2200 refused the connection/ },
      exit: 5,
    },
    {
      what: 'a host that does not answer',
      args: () => ['-r', `u@${SILENT4}`, '-o', 'ConnectTimeout=2', HTTP],
      expected: { 'jump-host': /does not answer: no TCP connection within 2 s/ },
      exit: 5,
    },
    {
      what: 'a port that closes at once (a balancer without a server)',
      args: () => ['-r', at(2201), HTTP],
      expected: { 'jump-host': /:2201 closed the connection before/ },
      exit: 5,
    },
    {
      what: 'a port that says nothing',
      args: () => ['-r', at(2202), '-o', 'ConnectTimeout=2', HTTP],
      expected: { 'jump-host': /2202.*identification/ },
      exit: 5,
    },
    {
      what: 'an HTTP server',
      args: () => ['-r', at(2203), HTTP],
      expected: { 'jump-host': /2203.*HTTP/ },
      exit: 5,
    },
    {
      what: 'a TLS port',
      args: () => ['-r', at(2204), HTTP],
      expected: { 'jump-host': /2204.*TLS/ },
      exit: 5,
    },
    {
      what: 'a server that hangs up after its identification',
      args: () => ['-r', at(2205), HTTP],
      expected: { 'jump-host': /2205/ },
      exit: 5,
    },
    {
      what: 'a telnet server',
      args: () => ['-r', at(2206), '-o', 'ConnectTimeout=2', HTTP],
      expected: { 'jump-host': /Welcome to router 7/ },
      exit: 5,
    },
    {
      what: 'a server with SHA-1 algorithms only',
      args: () => ['-r', at(2299), '--transport', 'ssh2', HTTP],
      expected: { algorithms: /diffie-hellman-group1-sha1/ },
      exit: 5,
    },
    {
      what: 'a host key that has changed',
      args: () => [
        '-r',
        REMOTE,
        '-o',
        `UserKnownHostsFile=${lab.credentials.knownHosts.changed}`,
        HTTP,
      ],
      expected: { 'host-key': /has changed|another key/i },
      exit: 4,
    },
    {
      what: 'a host key that nobody knows',
      args: () => [
        '-r',
        REMOTE,
        '-o',
        `UserKnownHostsFile=${lab.credentials.knownHosts.empty}`,
        HTTP,
      ],
      expected: { 'host-key': /is not known/ },
      exit: 4,
    },
    {
      what: 'another key than the pinned one',
      args: () => ['-r', REMOTE, '--host-key', `SHA256:${'A'.repeat(43)}`, HTTP],
      expected: { 'host-key': /A{43}/ },
      exit: 4,
    },
    {
      what: 'a user that is not there',
      args: () => ['-r', `missing@${JUMPHOST4}`, HTTP],
      expected: { authentication: /does not let "missing" in/ },
      exit: 3,
    },
    {
      what: 'a key that is not authorised',
      args: () => [
        '-r',
        REMOTE,
        '-i',
        lab.credentials.keys.stranger,
        '-o',
        'IdentitiesOnly=yes',
        HTTP,
      ],
      expected: { authentication: /does not let "jump" in/ },
      exit: 3,
    },
    {
      what: 'a key file that is not there',
      args: () => ['-r', REMOTE, '-i', '/no/such/key', HTTP],
      expected: { authentication: /\/no\/such\/key can't be read/ },
      exit: 3,
    },
    {
      what: 'a key file that others may read',
      args: () => ['-r', REMOTE, '-i', join(lab.clientHome, 'open_key'), HTTP],
      expected: { authentication: /open_key/ },
      exit: 3,
    },
    {
      what: 'an encrypted key and nobody to ask',
      args: () => [
        '-r',
        REMOTE,
        '-i',
        lab.credentials.keys.encrypted,
        '-o',
        'IdentitiesOnly=yes',
        HTTP,
      ],
      expected: { authentication: /not usable: .*encrypted/ },
      exit: 3,
    },
    {
      what: 'too many keys before the right one',
      args: () => [
        '-r',
        `impatient@${JUMPHOST4}`,
        '-i',
        lab.credentials.keys.stranger,
        '-i',
        lab.credentials.keys.authorized,
        HTTP,
      ],
      expected: { authentication: /MaxAuthTries/ },
      exit: 3,
    },
    {
      what: 'a second factor and nobody to ask',
      args: () => ['-r', `second@${JUMPHOST4}`, HTTP],
      expected: { authentication: /also wants password/ },
      exit: 3,
    },
    {
      what: 'a ProxyCommand that fails',
      args: () => ['-r', REMOTE, '-o', 'ProxyCommand=sh -c "echo no-way >&2; exit 1"', HTTP],
      expected: { 'jump-host': /no-way/ },
      exit: 5,
    },
    {
      what: 'a hop that does not pass on',
      args: () => ['-r', REMOTE, '-J', `nowhere@${JUMPHOST4}`, HTTP],
      expected: { 'jump-host': /via .*: passing on to .* is prohibited there/ },
      exit: 5,
    },
    {
      what: 'a hop that does not let the user in',
      args: () => ['-r', REMOTE, '-J', `missing@${JUMPHOST4}`, HTTP],
      expected: { authentication: new RegExp(`^${JUMPHOST4} does not let "missing" in`) },
      exit: 3,
    },
    {
      what: 'an ssh_config with an error',
      args: () => ['-r', REMOTE, '-F', join(lab.clientHome, 'bad_config'), HTTP],
      expected: { 'jump-host': /bad_config/ },
      exit: 2,
    },
    {
      what: 'AllowTcpForwarding no',
      args: () => ['-r', `nowhere@${JUMPHOST4}`, HTTP],
      expected: { forwarding: /does not permit .*the key that was used|lack the right/ },
      exit: 5,
    },
    {
      what: 'a key that may not forward',
      args: () => ['-r', `restricted@${JUMPHOST4}`, HTTP],
      expected: { forwarding: /the key that was used may not forward/ },
      exit: 5,
    },
    {
      what: 'a key that may not forward, and a range',
      args: () => ['-r', `restricted@${JUMPHOST4}`, PRIVATE4],
      expected: { forwarding: /the key that was used may not forward/ },
      exit: 5,
    },
    {
      what: 'a target that permitopen lacks',
      args: () => ['-r', `narrow@${JUMPHOST4}`, HTTP, `${API2}:80`],
      expected: { forwarding: /does not permit .*it permits others/ },
      exit: 5,
    },
    {
      what: 'a closed port behind the jump host',
      args: () => ['-r', REMOTE, `${API1}:${Port.closed}`],
      expected: { forwarding: /Connection refused/ },
      exit: 5,
    },
    {
      what: 'a host behind the jump host that is not there',
      args: () => ['-r', REMOTE, `${ABSENT4}:80`],
      expected: { forwarding: /No route to host/ },
      exit: 5,
    },
    {
      what: 'a network behind the jump host without a route',
      args: () => ['-r', REMOTE, `${UNREACHABLE4}:80`],
      expected: { forwarding: /no route at the jump host/ },
      exit: 5,
    },
    {
      what: 'a firewall behind the jump host that drops',
      args: () => ['-r', REMOTE, `${BLACKHOLE4}:80`],
      expected: { forwarding: /no answer within 5 s/ },
      exit: 5,
    },
    {
      what: 'a name that the jump host does not know',
      args: () => ['-r', REMOTE, `${UNKNOWN_NAME}:80`],
      expected: { forwarding: /name resolution|not known/ },
      exit: 5,
    },
    {
      what: 'a target that the allow-list lacks',
      args: () => ['-r', REMOTE, '--allow', allowList(`${API2}:80`), HTTP, `${API2}:80`],
      expected: { forwarding: new RegExp(`${API1}:80`) },
      exit: 5,
    },
    {
      what: 'a resolver that does not listen on TCP',
      args: () => ['-r', REMOTE, '--dns-server', API1, HTTP],
      expected: { dns: /does not answer from the jump host: .*refused/i },
      exit: 5,
    },
    {
      what: 'a server that answers no keepalive',
      args: () => ['-r', at(2222), HTTP],
      expected: { keepalive: { note: /does not answer/ } },
      exit: 0,
    },
    {
      what: 'no TUN device',
      args: () => ['-r', REMOTE, HTTP],
      within: 'mount -t tmpfs none /dev/net && exec "$@"',
      expected: { 'tun-device': /no \/dev\/net\/tun/, namespaces: /no TUN device/ },
      exit: 6,
    },
    {
      what: 'a route of this machine that is longer',
      args: () => ['-r', REMOTE, PRIVATE4, HTTP],
      prepare: ip('route add 10.77.0.0/24 via 192.0.2.1'),
      undo: ip('route del 10.77.0.0/24'),
      expected: { routes: { warning: /10\.77\.0\.0\/24 dev uplink wins over 10\.77\.0\.0\/16/ } },
      exit: 0,
    },
    {
      what: 'exclusions that cover all targets',
      args: () => ['-r', REMOTE, PRIVATE4, '-x', '10.0.0.0/8'],
      expected: { routes: /the exclusions cover all the targets/ },
      exit: 2,
    },
    {
      what: 'the jump host as its own target',
      args: () => ['-r', REMOTE, `${JUMPHOST4}:22`],
      expected: { routes: /only the jump host's own addresses are left/ },
      exit: 2,
    },
    {
      what: 'a rule that comes before the main table',
      args: () => ['-r', REMOTE, HTTP],
      prepare: async () =>
        lab.client.configure([
          'route add 10.77.0.0/16 via 192.0.2.1 table 52',
          'rule add lookup 52 priority 5270',
        ]),
      undo: async () => lab.client.configure(['rule del priority 5270', 'route flush table 52']),
      expected: { rules: { warning: /10\.77\.0\.11 goes by table 52/ } },
      exit: 0,
    },
    {
      what: 'a firewall that names the devices that may send',
      args: () => ['-r', REMOTE, HTTP],
      ...firewall(`chain output {
        type filter hook output priority filter; policy drop;
        oifname { "lo", "uplink" } accept
      }
      `),
      expected: { firewall: { warning: /chain output of table inet firewall/ } },
      exit: 0,
    },
    {
      what: 'a firewall that takes answers from one device only',
      args: () => ['-r', REMOTE, HTTP],
      ...firewall(`chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        iifname "uplink" ct state established,related accept
      }
      `),
      expected: { firewall: { warning: /chain input of table inet firewall/ } },
      exit: 0,
    },
    {
      what: 'IPv6 left out of everything',
      args: () => ['-r', REMOTE, '0/0', HTTP, '-x', '10.255.255.53'],
      expected: { ipv6: { warning: /IPv6 is not/ } },
      exit: 0,
    },
    {
      what: 'a resolver among the targets',
      args: () => ['-r', REMOTE, '10.255.255.0/24', HTTP],
      expected: { resolver: { warning: /contain the resolver 10\.255\.255\.53/ } },
      exit: 0,
    },
    {
      what: 'a path that drops full packets',
      // The keys of mlkem768x25519-sha256, of OpenSSH 9.9 and later, are full packets themselves.
      args: () => ['-r', REMOTE, '-o', 'KexAlgorithms=curve25519-sha256', HTTP],
      prepare: async () => {
        const rules =
          'table inet narrow {\nchain forward {\ntype filter hook forward priority 0\nmeta length > 1300 drop\n}\n}\n';
        const { status } = await lab.uplink.exec(['nft', '-f', '-'], { input: rules });
        assert.equal(status, 0);
      },
      undo: async () => {
        await lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'narrow']);
      },
      expected: { mtu: /full packets do not arrive/ },
      exit: 5,
    },
    {
      what: "a proxy's port that is in use",
      args: () => ['-r', REMOTE, '--listen', '127.0.0.1:1080', HTTP],
      within: `${process.execPath} -e 'require("net").createServer().listen(1080, "127.0.0.1", () => console.error("up"))' 2>/tmp/up.$$ & until grep -q up /tmp/up.$$; do sleep 0.05; done; rm /tmp/up.$$; "$@"; status=$?; kill $!; exit $status`,
      expected: { proxies: /127\.0\.0\.1:1080 \(EADDRINUSE\)/ },
      exit: 6,
    },
  ];

  function allowList(...rules: readonly string[]): string {
    const file = join(lab.clientHome, 'allow');
    writeFileSync(file, rules.map((rule) => `${rule}\n`).join(''));
    return file;
  }

  for (const { what, args, expected, exit, within, prepare, undo } of SET_UPS) {
    it(`${what}: ${Object.keys(expected).join(', ')}`, async () => {
      await prepare?.();
      try {
        const report = await doctor(args(), within === undefined ? {} : { within });
        compare(report, expected);
        assert.equal(report.exitStatus, exit);
      } finally {
        await undo?.();
      }
    });
  }

  it('says what a login was asked for, and which address answered', async () => {
    const askpass = join(lab.clientHome, 'askpass');
    writeFileSync(askpass, '#!/bin/sh\necho secret\n', { mode: 0o755 });
    const report = await doctor(
      ['-r', `second@${JUMPHOST4}`, '-r', `second@${JUMPHOST4}:2200`, HTTP],
      { within: `export SSH_ASKPASS=${askpass} SSH_ASKPASS_REQUIRE=force; exec "$@"` },
    );
    const detail = (wanted: string): string =>
      report.findings.find(({ name }) => name === wanted)?.detail ?? '';
    assert.match(detail('authentication'), /it accepted \S+id_ed25519 .*, then password;/);
    assert.match(detail('jump-host'), new RegExp(`; ${JUMPHOST4}:22 answered, which`));
  });

  it('blames a silent destination alone at a server that connects to one after the other', {
    skip: paramiko.missing(),
  }, async () => {
    const server = await SshServer.start(lab, paramiko, 2301);
    try {
      const options = ['-o', 'StrictHostKeyChecking=accept-new'];
      const report = await doctor(['-r', server.remote, ...options, `${BLACKHOLE4}:80`, HTTP]);
      const states = report.findings
        .filter(({ name }) => name === 'forwarding' || name === 'mtu')
        .map(({ name, state }) => `${name} ${state}`);
      assert.deepEqual(states, ['forwarding failed', 'forwarding warning', 'mtu note', 'mtu ok']);
      // It denies port 9.
      const through = ['-J', server.remote, '-r', `${JUMP_USER}@${API1}:${Port.discard}`];
      const { findings } = await doctor([...through, ...options, HTTP]);
      assert.match(findings[0]?.detail ?? '', /passing on to \S+:9 is prohibited there/);
      assert.match(findings[0]?.hint ?? '', /check_channel_direct_tcpip_request/);
    } finally {
      await server.kill();
    }
  });

  it('finds nothing wrong where nothing is, opens no session, and leaves nothing behind', async () => {
    const untouched = await lab.client.hostState();
    const offset = lab.sshd.log().length;
    const report = await doctor(['-r', REMOTE, HTTP, `${API1_NAME}:${Port.http}`]);
    compare(report, {});
    assert.equal(report.exitStatus, 0);
    assert.match(report.summary, /2 destinations forwarded/);
    const log = lab.sshd.log().slice(offset);
    assert.equal(log.match(/server_input_channel_open: ctype direct-tcpip/g)?.length, 2);
    assert.doesNotMatch(log, /server_input_channel_open: ctype session/);
    assert.equal(log.match(/Accepted publickey/g)?.length, 1);
    assert.equal(await lab.client.hostState(), untouched);
    assert.equal(readFileSync(join(lab.clientHome, '.ssh/known_hosts'), 'utf8').length > 0, true);
  });

  it('says the same with the system’s ssh', async () => {
    const report = await doctor(['-r', REMOTE, '--transport', 'openssh', HTTP]);
    compare(report, {});
    const named = (name: string) => report.findings.find((found) => found.name === name);
    assert.match(named('host-key')?.detail ?? '', /is trusted because .*known_hosts/);
    assert.match(named('algorithms')?.detail ?? '', /post-quantum$/);
    assert.match(
      named('authentication')?.detail ?? '',
      /it permits publickey, password; 1 key offered$/,
    );
    assert.match(named('server')?.detail ?? '', /^OpenSSH_/);
    assert.equal(named('latency')?.state, 'ok');
  });

  it('says which of several jump hosts it has connected to', async () => {
    const report = await doctor(['-r', `u@${ABSENT_JUMPHOST}`, '-r', REMOTE, HTTP]);
    const detail = report.findings.find(({ name }) => name === 'jump-host')?.detail ?? '';
    assert.match(detail, /; 198\.51\.100\.10:22 answered, which says nothing about the others$/);
  });

  it('says that the connection was lost, and blames nothing else for it', async () => {
    const offset = lab.sshd.log().length;
    const running = doctor(['-r', REMOTE, `${BLACKHOLE4}:80`]);
    await lab.sshd.waitForLog(/Accepted publickey/, TIMEOUT_MS, offset);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await lab.sshd.dropConnections();
    compare(await running, { 'jump-host': /connection to 198\.51\.100\.10:22/ });
  });

  it('is not needed for what connect says by itself', async () => {
    await switchOn(
      lab,
      `chain output {
        type filter hook output priority filter; policy drop;
        oifname { "lo", "uplink" } accept
      }
      `,
    );
    try {
      const tunnel = await startTunnel(lab.client, [PRIVATE4]);
      await tunnel.waitForLine(/warning: .*chain output of table inet firewall/, TIMEOUT_MS);
      await tunnel.stop();
    } finally {
      await switchOff(lab);
    }
    const quiet = await startTunnel(lab.client, [PRIVATE4]);
    await quiet.stop();
    assert.doesNotMatch(quiet.stderr, /warning/);
  });

  it('prints one line for monitoring', async () => {
    const run = (...more: readonly string[]) =>
      lab.client.exec(['setsid', '-w', process.execPath, MAIN, 'doctor', '-r', REMOTE, ...more], {
        timeout: TIMEOUT_MS,
      });
    const well = await run('--quiet', HTTP);
    assert.deepEqual([well.status, well.stderr], [0, '']);
    assert.match(
      well.stdout,
      /^ok: jump@198\.51\.100\.10, port 22; .*; 1 destination forwarded\n$/,
    );
    const problem = await run('--quiet', '--json', `${API1}:${Port.closed}`);
    assert.equal(problem.status, 5);
    assert.deepEqual(Object.keys(JSON.parse(problem.stdout)), ['state', 'exitStatus', 'summary']);
  });
});
