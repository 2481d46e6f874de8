/**
 * The ways in which ssh users name a jump host, through the whole program: ssh_config, chains, both
 * transports, new host keys.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, JUMPHOST_PRIVATE4, JUMPHOST4, JUMPHOST6, PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

/** Settings as on bastion hosts. */
const SESSION_USER = 'ops@session@corp.example';
/** Reachable only from the jump host. */
const INSIDE = JUMPHOST_PRIVATE4;

/**
 * Three hosts, each with its own user; all are the same sshd, at different addresses and ports.
 */
const CHAIN = `Host first
  HostName ${JUMPHOST4}
  User ${JUMP_USER}
Host second
  HostName ${JUMPHOST4}
  Port 2222
  User ${SESSION_USER}
Host inside
  HostName ${INSIDE}
  User third
  HostKeyAlias ${JUMPHOST4}
  ProxyJump first,second
`;

describe('the command line', { skip: labUnavailable('curl') }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({
      sshd: { ports: [22, 2222], users: [{ name: SESSION_USER }, { name: 'third' }] },
    });
    writeFileSync(join(lab.clientHome, '.ssh', 'config'), CHAIN, { mode: 0o600 });
  });
  after(async () => {
    await lab?.close();
  });

  /**
   * Starts it without a terminal, fetches something through it, and stops it. Returns its output
   * and the users who logged in.
   */
  async function use(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ said: string; logins: string[] }> {
    const logged = lab.sshd.log().length;
    const command = ['setsid', '--wait', process.execPath, MAIN, ...args, PRIVATE4];
    const tunnel: Child = await lab.client.spawn(command, {
      env: { HOME: lab.clientHome, ...env },
    });
    try {
      await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
      const page = await lab.client.exec([
        'curl',
        '-sS',
        '-m',
        '5',
        '-o',
        '/dev/null',
        `http://${API1}/`,
      ]);
      assert.equal(page.status, 0, page.stderr);
    } finally {
      await tunnel.stop('SIGTERM').catch(() => undefined);
    }
    const accepted = lab.sshd
      .log()
      .slice(logged)
      .matchAll(/Accepted publickey for (\S+) from (\S+)/g);
    return {
      said: tunnel.stderr,
      logins: [...accepted].map(([, user, from]) => `${user} from ${from}`),
    };
  }

  /** Each hop sees the previous one as its client. */
  const THROUGH_ALL = [
    `${JUMP_USER} from 192.0.2.2`,
    `${SESSION_USER} from ${JUMPHOST4}`,
    `third from ${INSIDE}`,
  ];

  for (const transport of ['ssh2', 'openssh']) {
    it(`a Host of ssh_config behind two others (${transport})`, async () => {
      const { said, logins } = await use(['-v', '--transport', transport, '-r', 'inside']);
      assert.deepEqual(logins, THROUGH_ALL);
      assert.match(said, /as asked for/);
    });

    it(`-J, -F and -o instead of that configuration (${transport})`, async () => {
      const file = join(lab.directory, 'other_config');
      // The same names with other users, which would be refused.
      writeFileSync(
        file,
        CHAIN.replaceAll(/User .*/g, 'User nobody-here').replace(/ {2}ProxyJump .*\n/, ''),
      );
      const { logins } = await use([
        ...['--transport', transport, '-F', file, '-o', `HostKeyAlias=${JUMPHOST4}`],
        ...['-J', `${JUMP_USER}@first,${SESSION_USER}@second`, '-r', `third@${INSIDE}`],
      ]);
      assert.deepEqual(logins, THROUGH_ALL);
    });

    it(`accept-new at an IPv6 literal with a port: the key is remembered (${transport})`, async () => {
      const known = join(lab.directory, `known_${transport}`);
      const options = [
        'StrictHostKeyChecking=accept-new',
        `UserKnownHostsFile=${known}`,
        'HashKnownHosts=no',
      ].flatMap((option) => ['-o', option]);
      const remote = `${JUMP_USER}@[${JUMPHOST6}]:2222`;
      await use(['--transport', transport, ...options, '-r', remote]);
      const lines = readFileSync(known, 'utf8');
      assert.ok(lines.startsWith(`[${JUMPHOST6}]:2222 `), lines);
      await use(['--transport', transport, ...options, '-r', remote]);
      assert.equal(readFileSync(known, 'utf8'), lines);
    });
  }

  it('user@session@domain at another port: -p, and ssh://', async () => {
    const { logins } = await use(['-p', '2222', '-r', `${SESSION_USER}@${JUMPHOST4}`]);
    const uri = await use(['-r', `ssh://${SESSION_USER}@${JUMPHOST4}:2222`]);
    assert.deepEqual([...logins, ...uri.logins], Array(2).fill(`${SESSION_USER} from 192.0.2.2`));
  });

  it('-e: the user’s own command, which gets ssh’s arguments; nothing of ours is left', async () => {
    const runtime = join(lab.directory, 'runtime');
    mkdirSync(runtime, { mode: 0o700 });
    const command = join(lab.directory, 'my ssh');
    writeFileSync(
      command,
      `#!/bin/sh\nprintf '%s\\n' "$@" >'${lab.directory}/arguments'\nexec ssh "$@"\n`,
    );
    chmodSync(command, 0o755);
    const { said } = await use(['-v', '-e', `'${command}' -4`, '-r', `${JUMP_USER}@${JUMPHOST4}`], {
      XDG_RUNTIME_DIR: runtime,
    });
    const words = readFileSync(join(lab.directory, 'arguments'), 'utf8').split('\n');
    assert.equal(words[0], '-4');
    assert.deepEqual(words.slice(-4, -1), [JUMP_USER, '--', JUMPHOST4]);
    assert.match(said, /using the system's ssh/);
    assert.deepEqual(readdirSync(runtime), []);
  });

  it('auto: the embedded client, and the system ssh for an algorithm that only it has', async () => {
    const remote = ['-r', `${JUMP_USER}@${JUMPHOST4}`];
    const plain = await use(['-v', ...remote]);
    assert.match(plain.said, /using the embedded SSH client: nothing needs another/);
    const kex = 'KexAlgorithms=sntrup761x25519-sha512@openssh.com';
    const { said, logins } = await use(['-o', kex, ...remote]);
    assert.match(said, /^tunnel: using the system's ssh: .*algorithms/m);
    assert.deepEqual(logins, [`${JUMP_USER} from 192.0.2.2`]);
  });

  it('several -r: the second if the first does not answer, and only with the key that the first has shown', async () => {
    const closed = `${JUMP_USER}@${JUMPHOST4}:2`;
    const { said, logins } = await use(['-r', closed, '-r', `${JUMP_USER}@${JUMPHOST4}`]);
    assert.match(said, /198\.51\.100\.10:2 refused the connection/);
    assert.deepEqual(logins, [`${JUMP_USER} from 192.0.2.2`]);
  });

  it('a ProxyCommand: the addresses in it are not captured', async () => {
    const command = `ProxyCommand=ssh -F none -i ${lab.credentials.keys.authorized} -o UserKnownHostsFile=${lab.credentials.knownHosts.plain} -W %h:%p ${JUMP_USER}@${JUMPHOST4}`;
    const options = ['-o', command, '-o', `HostKeyAlias=${JUMPHOST4}`];
    const { said, logins } = await use(['-v', ...options, '-r', `third@${INSIDE}`]);
    assert.match(
      said,
      new RegExp(`not captured, because the ProxyCommand of ${INSIDE} names them: `),
    );
    assert.deepEqual(logins, [`${JUMP_USER} from 192.0.2.2`, `third from ${INSIDE}`]);
    assert.ok(!existsSync(join(lab.clientHome, '.ssh', 'known_hosts.old')));
  });
});
