/**
 * The drop-in of `tunnel jumphost sshd`, rendered by the program and included by a real sshd: what
 * it lists is reached, everything else is not, and administrators log in as before. All of it once
 * more with a newer sshd, where scripts/test could unpack one.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MAX_PERMITTED_BYTES } from '../../src/jumphost/permitted.ts';
import {
  API1,
  API1_6,
  API1_NAME,
  API2,
  API2_6,
  CLIENT4,
  JUMPHOST4,
  Port,
  PRIVATE4,
  PRIVATE6,
} from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { installedOpenssh } from '../support/installedopenssh.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import {
  BY_ADDRESS,
  createNamesLab,
  type NamesLab,
  RESOLV_CONF,
  WWW,
} from '../support/nameslab.ts';
import { type ExecResult, mustRun } from '../support/process.ts';
import {
  ATTEMPTS,
  EVERYTHING_CONFIG,
  openTunDevice,
  prepareAttempts,
  whatWorks,
} from '../support/sshattempts.ts';
import type { SshdOptions } from '../support/sshd.ts';
import { MAIN } from '../support/tunnel.ts';

const USER = 'tunnel';
const NOLOGIN = '/usr/sbin/nologin';
const UID = 2001;
const REMOTE = `${USER}@${JUMPHOST4}`;
const SESSIONS = ATTEMPTS.filter(({ kind }) => kind === 'session').map(({ name }) => name);
/** What an administrator has in sshd_config, below the line that includes the drop-in. */
const OWN_CONFIG = [...EVERYTHING_CONFIG, 'Subsystem sftp internal-sftp'];

interface Server {
  readonly title: string;
  /** The version that is rendered for. */
  readonly openssh: string;
  readonly unpacked?: string;
  readonly skip: string | false;
}
const NEWER = fileURLToPath(new URL('../../openssh-newer', import.meta.url));
const SERVERS: readonly Server[] = [
  { title: 'the sshd of this machine', openssh: installedOpenssh(), skip: false },
  {
    title: 'a newer sshd',
    openssh: '10.0',
    unpacked: NEWER,
    skip: !existsSync(NEWER) && 'no newer sshd here: scripts/test unpacks it on Debian 12',
  },
];

/**
 * What ssh-audit 2.5 (Debian 12) says of what it is too old for, and 3.9 of the key exchanges for
 * clients that have no post-quantum one. And of the lab's RSA host key,
 * which is none of the drop-in's.
 */
const AUDIT_KNOWN = [
  /^\(kex\) sntrup761x25519-sha512@openssh\.com: using experimental algorithm$/,
  /^\(kex\) (mlkem768x25519-sha256|sntrup761x25519-sha512|kex-strict-s-v00@openssh\.com): unknown algorithm$/,
  /^\(kex\) (curve25519-sha256|curve25519-sha256@libssh\.org|diffie-hellman-group1[68]-sha512): does not provide protection against post-quantum attacks$/,
  /^\(key\) rsa-sha2-(256|512): 2048-bit modulus only provides 112-bits of symmetric strength$/,
];

const made: string[] = [];

/** sshd with the drop-in for these destinations. */
async function hardened(
  { openssh, unpacked }: Server,
  list: readonly string[],
  more: SshdOptions = {},
): Promise<SshdOptions> {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-jumphost-'));
  made.push(directory);
  const output = join(directory, 'sshd_config.d');
  const args = ['jumphost', 'sshd', '--output', output, '--openssh', openssh, ...list];
  await mustRun([process.execPath, MAIN, ...args]);
  return {
    logLevel: 'INFO',
    ...(unpacked === undefined ? {} : { unpacked }),
    ...more,
    config: [`Include ${output}/*.conf`, ...(more.config ?? OWN_CONFIG)],
    users: more.users ?? [{ name: USER, shell: NOLOGIN }],
  };
}
after(() => {
  for (const directory of made) rmSync(directory, { recursive: true });
});

for (const server of SERVERS) {
  const skip = labUnavailable('ncat', 'nsenter', 'curl') || server.skip;

  describe(`a jump host with ${server.title}: what is tried`, { skip, timeout: 180_000 }, () => {
    let lab: Lab;
    let options: SshdOptions;
    before(async () => {
      options = await hardened(server, [`${API1_NAME}:80`, `${API1}:80`, `[${API1_6}]:80`]);
      lab = await Lab.create({ sshd: options });
      await prepareAttempts(lab, UID);
    });
    after(() => lab?.close());

    const ssh = (args: readonly string[], input = ''): Promise<ExecResult> =>
      lab.client.exec(['ssh', '-F', lab.credentials.sshConfig, ...args], {
        input,
        timeout: 20_000,
      });
    const fetch = (place: string) =>
      ssh(['-l', USER, '-W', place, 'jump'], 'GET / HTTP/1.0\r\n\r\n');

    /** The lines of sshd's effective configuration for a user. */
    async function effective(user: string): Promise<string[]> {
      const at = ['-C', `user=${user},host=x,addr=${CLIENT4}`];
      const { program, configFile } = lab.sshd;
      const { stdout, stderr } = await lab.sshd.exec([program, '-T', '-f', configFile, ...at]);
      assert.notEqual(stdout, '', stderr);
      return stdout.split('\n');
    }

    it('takes it without a word, for its group and for nobody else', async () => {
      const check = await lab.sshd.exec([lab.sshd.program, '-t', '-f', lab.sshd.configFile]);
      assert.deepEqual([check.status, check.stderr], [0, '']);
      const group = await effective(USER);
      for (const line of [
        'allowtcpforwarding local',
        `permitopen ${API1_NAME}:80 ${API1}:80 [${API1_6}]:80`,
        'permitlisten none',
        'maxsessions 0',
        'forcecommand /bin/false',
        'authenticationmethods publickey',
      ])
        assert.ok(group.includes(line), `${line} in:\n${group.join('\n')}`);
      const administrator = await effective(JUMP_USER);
      for (const line of [
        'allowtcpforwarding no',
        'permittunnel no',
        'maxsessions 10',
        'permittty yes',
      ])
        assert.ok(administrator.includes(line), `${line} in:\n${administrator.join('\n')}`);
    });

    it('reaches what is listed, by name and address', async () => {
      for (const place of [`${API1_NAME}:80`, `${API1}:80`, `[${API1_6}]:80`])
        assert.match((await fetch(place)).stdout, /^HTTP\/1/, place);
    });

    it('refuses everything else, and records what it can', async () => {
      const offset = lab.sshd.log().length;
      assert.deepEqual(await whatWorks(lab, USER), []);
      for (const { name, recorded } of ATTEMPTS) {
        if (recorded === undefined) continue;
        const line = await lab.sshd.waitForLog(recorded, 5_000, offset).catch(() => undefined);
        assert.ok(
          line !== undefined,
          `${name}: no ${recorded} in\n${lab.sshd.log().slice(offset)}`,
        );
      }
      // By the port of a refusal the key is found that has asked for it.
      const log = lab.sshd.log().slice(offset);
      const [, port] = log.match(/Received request from \S+ port (\d+) to connect/) ?? [];
      const key = await mustRun(['ssh-keygen', '-lf', lab.credentials.keys.authorized]);
      const [, fingerprint = '?'] = key.split(' ');
      const login = `Accepted publickey for ${USER} from ${CLIENT4} port ${port} ssh2: ED25519 ${fingerprint}`;
      assert.ok(log.includes(login), login);
    });

    it('leaves administrators their sessions, and no forwards', async () => {
      assert.deepEqual(await whatWorks(lab, JUMP_USER), SESSIONS);
    });

    it('records neither what it permits nor refused listeners and devices, unless told to', async () => {
      const quiet = lab.sshd.log().length;
      await fetch(`${API1}:80`);
      await lab.sshd.waitForLog(/Transferred: sent \d+, received \d+ bytes/, 5_000, quiet);
      await whatWorks(
        lab,
        USER,
        ATTEMPTS.filter((attempt) => attempt.recorded === undefined),
      );
      assert.doesNotMatch(lab.sshd.log().slice(quiet), /10\.77|forward|tun[^n]|(?<!pid )\b777/);

      // As docs/hardening.md has it.
      const verbose = 'LogVerbose serverloop.c:server_request_direct_tcpip():*';
      await lab.sshd.restart({ ...options, config: [...(options.config ?? []), verbose] });
      const loud = lab.sshd.log().length;
      await fetch(`${API1}:80`);
      await lab.sshd.waitForLog(/target 10\.77\.0\.11 port 80/, 5_000, loud);
      await lab.sshd.restart(options);
      await openTunDevice(lab);
    });

    it('takes no other way of logging in, and no other key', async () => {
      const methods = 'password,keyboard-interactive,hostbased,gssapi-with-mic';
      const without = await ssh([
        '-l',
        USER,
        '-o',
        `PreferredAuthentications=${methods}`,
        '-N',
        'jump',
      ]);
      assert.match(without.stderr, /Permission denied \(publickey\)/);
      const { stranger } = lab.credentials.keys;
      const offset = lab.sshd.log().length;
      const other = await ssh([
        '-l',
        USER,
        '-o',
        `IdentityFile=${stranger}`,
        '-F',
        'none',
        '-o',
        `UserKnownHostsFile=${lab.credentials.knownHosts.plain}`,
        '-N',
        JUMPHOST4,
      ]);
      assert.match(other.stderr, /Permission denied \(publickey\)/);
      const [, fingerprint = '?'] = (await mustRun(['ssh-keygen', '-lf', stranger])).split(' ');
      await lab.sshd.waitForLog(/Failed publickey for tunnel/, 5_000, offset);
      assert.ok(lab.sshd.log().slice(offset).includes(fingerprint));
    });

    /** What ssh-audit warns of, but not what it is too old for. */
    async function warnings(): Promise<string[]> {
      const argv = ['ssh-audit', '-n', JUMPHOST4];
      const { stdout } = await lab.client.exec(argv, { timeout: 60_000 });
      assert.match(stdout, /^\(kex\) curve25519-sha256 /m);
      let about = '';
      return stdout.split('\n').flatMap((line) => {
        about = /^\(\w+\) \S+/.exec(line)?.[0] ?? about;
        const [, why] = /\[(?:warn|fail)\] (.*)/.exec(line) ?? [];
        const warning = `${about}: ${why}`;
        return why === undefined || AUDIT_KNOWN.some((known) => known.test(warning))
          ? []
          : [warning];
      });
    }

    it('gives ssh-audit nothing to warn of that it knows', {
      skip: labUnavailable('ssh-audit'),
    }, async () => {
      assert.deepEqual(await warnings(), []);
      for (const more of [['--mfa'], ['--behind-proxy'], ['--mfa', '--behind-proxy']]) {
        await lab.sshd.restart(await hardened(server, [...more, `${API1}:80`]));
        assert.deepEqual(await warnings(), [], more.join(' '));
      }
      await lab.sshd.restart(options);
    });

    it('lets an open sshd do all of it: no attempt is one that fails anyway', async () => {
      const { unpacked } = options;
      await lab.sshd.restart({
        ...(unpacked === undefined ? {} : { unpacked }),
        config: OWN_CONFIG,
        users: [{ name: USER }],
      });
      await openTunDevice(lab);
      assert.deepEqual(
        await whatWorks(lab, USER),
        ATTEMPTS.map(({ name }) => name),
      );
      if (labUnavailable('ssh-audit') === false) assert.notDeepEqual(await warnings(), []);
    });

    it('needs an account whose password never ages', async () => {
      const shadow = join(lab.directory, 'jumphost/etc/shadow');
      const pam =
        'auth required pam_permit.so\naccount required pam_unix.so\nsession required pam_permit.so\n';
      await lab.sshd.restart({ ...options, pam });
      const aged = (days: string) =>
        writeFileSync(
          shadow,
          readFileSync(shadow, 'utf8').replace(/^tunnel:.*$/m, `tunnel:*:19000:0:${days}:7:::`),
        );
      aged('90');
      assert.doesNotMatch((await fetch(`${API1}:80`)).stdout, /^HTTP/);
      aged(''); // as useradd writes it for PASS_MAX_DAYS=-1
      assert.match((await fetch(`${API1}:80`)).stdout, /^HTTP\/1/);
    });

    it('takes as long a list as is rendered', async () => {
      const list = Array.from({ length: 16 }, (_, i) => `10.78.${i}.0/24`);
      await lab.sshd.restart(await hardened(server, [...list.slice(1), `${API1}:80`]));
      assert.match((await fetch(`${API1}:80`)).stdout, /^HTTP\/1/);
      assert.doesNotMatch((await fetch(`${API2}:80`)).stdout, /^HTTP/);
    });

    it('lets users and administrators in with as many bytes as are rendered', async () => {
      const long = Array.from({ length: 3 }, () => 'a'.repeat(63)).join('.');
      const count = Math.floor((0.99 * MAX_PERMITTED_BYTES) / `${long}.h1000.example:443 `.length);
      const directory = mkdtempSync(join(tmpdir(), 'tunnel-jumphost-'));
      made.push(directory);
      const list = join(directory, 'list');
      const names = Array.from({ length: count }, (_, i) => `${long}.h${i + 1000}.example:443`);
      writeFileSync(list, [...names, `${API1}:80`, ''].join('\n'));
      await lab.sshd.restart(await hardened(server, ['-s', list]));
      assert.match((await fetch(`${API1}:80`)).stdout, /^HTTP\/1/);
      assert.equal((await ssh(['jump', 'echo in'])).stdout, 'in\n');
    });

    it('is not widened by authorized_keys, nor by a Match of the administrator', async () => {
      const [key = ''] = lab.credentials.authorizedKeys.split('\n');
      const wide = `permitopen="*:*",permitlisten="*:*",pty,agent-forwarding,tunnel="7",command="/bin/sh" ${key}\n`;
      await lab.sshd.restart({
        ...options,
        users: [{ name: USER, authorizedKeys: wide }],
        match: [
          `Match User ${USER}`,
          'PermitTTY yes',
          'MaxSessions 9',
          'PermitOpen any',
          'PermitTunnel yes',
          'ForceCommand none',
        ],
      });
      await openTunDevice(lab);
      assert.deepEqual(await whatWorks(lab, USER), []);
      // The key's own list is taken beside the drop-in's.
      assert.match((await fetch(`${API1}:80`)).stdout, /^HTTP\/1/);
    });
  });

  describe(`a jump host with ${server.title}: what is idle`, { skip, timeout: 60_000 }, () => {
    it('ends no link that carries no flow, whatever sshd_config says', async (t) => {
      const list = [`${API1}:80`];
      const lab = await Lab.create({
        sshd: await hardened(server, list, {
          // Of sshd_config; the drop-in comes before it.
          config: ['UnusedConnectionTimeout 1s'],
        }),
      });
      t.after(() => lab.close());
      const argv = ['ssh', '-F', lab.credentials.sshConfig, '-l', USER];
      const idle = await lab.client.spawn([...argv, '-N', 'jump']);
      await lab.sshd.waitForLog(/Accepted publickey for tunnel/);
      await sleep(4_000);
      assert.equal(idle.ended, undefined);
      // sshd does end those of others.
      const other = await lab.client.exec(['ssh', '-F', lab.credentials.sshConfig, '-N', 'jump']);
      assert.equal(other.status, 255);
      await lab.sshd.waitForLog(/terminating inactive connection/);
      await idle.stop();
    });
  });

  describe(`a jump host with ${server.title}: what it is for`, {
    skip: skip || labUnavailable('openssl', 'unshare', 'python3', 'dnsmasq'),
    timeout: 120_000,
  }, () => {
    let names: NamesLab;
    before(async () => {
      const list = [
        `${API1_NAME}:80`,
        // Permitted by its name, and asked for by its address.
        `${WWW}:80`,
        `${API1}:53`,
        // Permitted by its address, and asked for by its name.
        `${API2}:80`,
        `[${API2_6}]:80`,
      ];
      names = await createNamesLab(RESOLV_CONF, await hardened(server, list));
    });
    after(() => names?.close());

    const tunnel = (...args: readonly string[]) => [process.execPath, MAIN, ...args];
    const options = ['-r', REMOTE, '--dns-server', API1, '--domain', 'corp.example'];
    const targets = [PRIVATE4, PRIVATE6, API1_NAME];
    const LISTED = [API1_NAME, WWW, BY_ADDRESS, API2, `[${API2_6}]`];
    const ask = (curl: string) =>
      [...LISTED.map((host) => `${host}:80`), `${API2}:${Port.echo}`, `${API1}:${Port.closed}`]
        .map((place) => `echo "${place} $(${curl} -m 10 http://${place}/ | grep -c '"peer"')"`)
        .join('\n');
    const ANSWERS = [
      ...LISTED.map((host) => `${host}:80 1`),
      `${API2}:${Port.echo} 0`,
      `${API1}:${Port.closed} 0`,
      '',
    ].join('\n');

    it('carries exec', async () => {
      const argv = tunnel('exec', ...options, ...targets, '--', 'sh', '-c', ask('curl -sS'));
      const { stdout, stderr } = await names.exec.lab.client.exec(names.exec.userArgv(argv), {
        timeout: 60_000,
        env: { HOME: names.exec.home },
      });
      assert.equal(stdout, ANSWERS, stderr);
    });

    it('carries connect', async () => {
      const { client } = names.exec.lab;
      const root = (argv: readonly string[]) => names.exec.userArgv(argv, { root: true });
      const connect = await client.spawn(root(tunnel(...options, ...targets)));
      await connect.waitForLine(/tunnel: ready\n/, 20_000);
      const { stdout, stderr } = await client.exec(root(['sh', '-c', ask('curl -sS')]), {
        timeout: 60_000,
      });
      await connect.stop('SIGINT');
      assert.equal(stdout, ANSWERS, stderr + connect.stderr);
    });

    it('carries proxy', async () => {
      const { client } = names.exec.lab;
      const proxy = await client.spawn(tunnel('proxy', ...options, ...targets, '*.corp.example'));
      await proxy.waitForLine(/tunnel: ready\n/, 20_000);
      const [, port] = await proxy.waitForLine(/proxy at \S+:(\d+)/);
      const script = ask(`curl -sS --socks5-hostname 127.0.0.1:${port}`);
      const { stdout, stderr } = await client.exec(['sh', '-c', script], { timeout: 60_000 });
      await proxy.stop('SIGINT');
      assert.equal(stdout, ANSWERS, stderr + proxy.stderr);
    });
  });
}
