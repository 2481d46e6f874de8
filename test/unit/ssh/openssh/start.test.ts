/**
 * A start of the system's ssh that fails: code and words, from what real servers and the real ssh
 * say.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import { startError } from '../../../../src/ssh/openssh/errors.ts';
import type { StartFailure } from '../../../../src/ssh/openssh/startfailure.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../../../support/loopback-sshd.ts';
import type { Changes } from '../../../support/openssh.ts';
import {
  clients,
  closeAll,
  closedPort,
  dial,
  fails,
  leftovers,
  serve,
} from '../../../support/opensshlab.ts';
import { StoppedListener } from '../../../support/stoppedlistener.ts';

let sshd: LoopbackSshd;
let directory: string;

before(async () => {
  if (sshdMissing !== false) return;
  directory = await mkdtemp(join(tmpdir(), 'tunnel-openssh-test-'));
  sshd = await LoopbackSshd.start();
});

after(async () => {
  if (sshdMissing !== false) return;
  await sshd.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("a start of the system's ssh that fails", { skip: sshdMissing }, () => {
  const at = (port: number): Changes => ({ settings: { port, connectTimeout: 1 } });

  it('jumphost-dns', () =>
    fails(sshd, 'jumphost-dns', /no-such-host\.invalid can't be resolved/, {
      settings: { name: 'no-such-host.invalid', hostName: 'no-such-host.invalid' },
    }));
  it('jumphost-refused', async () => {
    const { port } = await closedPort();
    await fails(sshd, 'jumphost-refused', new RegExp(`127\\.0\\.0\\.1:${port} refused`), at(port));
  });
  it('jumphost-unreachable', () =>
    fails(sshd, 'jumphost-unreachable', /fe80::1/, {
      settings: { name: 'fe80::1', hostName: 'fe80::1' },
    }));
  it('jumphost-timeout', async () => {
    const stopped = await StoppedListener.start();
    try {
      await fails(sshd, 'jumphost-timeout', /does not answer/, at(stopped.destination.port));
    } finally {
      stopped.kill();
    }
  });
  it('jumphost-slow, silent from the start', async () => {
    const { port } = await serve((socket) => socket.resume());
    await fails(sshd, 'jumphost-slow', /accepted the connection/, at(port));
  });
  it('jumphost-slow, silent after its identification', async () => {
    const { port } = await serve((socket) => void socket.resume().write('SSH-2.0-OpenSSH_9.2\r\n'));
    await fails(sshd, 'jumphost-slow', /key exchange/, at(port));
  });
  it('jumphost-no-identification', async () => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const { port } = await serve((socket) => socket[end]());
      const what = /closed the connection before it said anything/;
      await fails(sshd, 'jumphost-no-identification', what, at(port));
    }
  });
  it('jumphost-closed, turned away in words', async () => {
    const { port } = await serve((socket) => socket.end('Exceeded MaxStartups\r\n'));
    await fails(sshd, 'jumphost-closed', /"Exceeded MaxStartups"$/, at(port));
  });
  it('jumphost-proxy, in the words of the ProxyCommand', () =>
    fails(sshd, 'jumphost-proxy', /has ended; it says "no way out"/, {
      settings: { proxy: { kind: 'command', command: 'unused' } },
      given: { options: ["ProxyCommand=sh -c 'echo no way out >&2; exit 3'"] },
    }));
  it('jumphost-refused, if the ProxyCommand says so', () =>
    fails(sshd, 'jumphost-refused', /the ProxyCommand has ended; it says "Ncat: Connection/, {
      settings: { proxy: { kind: 'command', command: 'unused' } },
      given: { options: ["ProxyCommand=sh -c 'echo Ncat: Connection refused. >&2; exit 1'"] },
    }));
  const failure: StartFailure = {
    at: 'jumphost:22',
    seconds: 1,
    lines: [],
    stderr: [],
    exit: { status: 255, signal: null },
    phase: 'identification',
    accepted: false,
    hostKey: undefined,
    offered: [],
    unusedKey: undefined,
    refused: [],
    refusedSignatures: [],
    custom: false,
    unasked: false,
    byCommand: false,
    throughHops: false,
    greeting: undefined,
    pins: [],
    certificates: [],
    keyFiles: new Set(),
  };
  it('no-terminal, where nothing was refused and nobody could be asked', () => {
    const key = '/k ED25519 SHA256:x';
    const code = (more: Partial<StartFailure>, methods: string, ...lines: string[]) =>
      startError({
        ...failure,
        phase: 'authentication',
        unasked: true,
        lines: [...lines, `u@jumphost: Permission denied (${methods}).`],
        ...more,
      }).code;
    const part = 'Authenticated using "publickey" with partial success.';
    assert.equal(code({ offered: [key] }, 'keyboard-interactive', part), 'no-terminal');
    assert.equal(code({}, 'publickey,password'), 'no-terminal');
    assert.equal(code({ offered: [key], unusedKey: key }, 'publickey'), 'no-terminal');
    const asked = { offered: [key], unasked: false };
    assert.equal(code(asked, 'keyboard-interactive', part), 'auth-failed');
    const refused = { offered: [key], refused: ['publickey'] };
    assert.equal(code(refused, 'publickey,password'), 'auth-failed', 'a refused key');
    assert.equal(code(refused, 'publickey,password', part), 'auth-failed', 'a second key');
    const signed = { ...refused, refusedSignatures: [key] };
    assert.equal(code(signed, 'publickey,password'), 'auth-failed', 'a refused signature');
    for (const method of ['gssapi-with-mic', 'hostbased'])
      assert.equal(code({ refused: [method] }, `${method},password`), 'auth-failed', method);
    assert.equal(code({}, 'publickey'), 'auth-failed', 'there was nothing to ask');
  });
  it('jumphost-proxy, when ssh finds it gone as it writes', () => {
    const { code } = startError({
      ...failure,
      lines: ['banner exchange: Connection to UNKNOWN port 65535: Broken pipe'],
      stderr: ['no way out'],
      byCommand: true,
      greeting: 'write: Broken pipe',
    });
    assert.equal(code, 'jumphost-proxy');
  });
  it("takes a hop's words for the cause, but not the banner that comes with authentication", () => {
    const stderr = ['No ED25519 host key is known for you'];
    assert.equal(startError({ ...failure, stderr }).code, 'host-key-unknown');
    assert.equal(
      startError({ ...failure, stderr, phase: 'authentication' }).code,
      'openssh-failed',
    );
  });
  it('jumphost-key-exchange and jumphost-protocol, for what ssh refuses to read', () => {
    const told = (words: string) =>
      startError({
        ...failure,
        lines: [`ssh_dispatch_run_fatal: Connection to 192.0.2.1 port 22: ${words}`],
        phase: 'key exchange',
        hostKey: 'ssh-ed25519 SHA256:x',
      });
    assert.equal(told('incorrect signature').code, 'jumphost-key-exchange');
    assert.match(told('incorrect signature').message, /SHA256:x/);
    assert.equal(told('invalid format').code, 'jumphost-protocol');
    assert.match(told('message authentication code incorrect').message, /in key exchange: message/);
    assert.equal(told('Connection reset by peer').code, 'jumphost-closed');
  });
  it('proposes chmod for a key that the settings name only, and as one word for the shell', () => {
    const own = "/home/it's me/id $(id)";
    const refused = (path: string) =>
      startError({
        ...failure,
        lines: [
          `Permissions 0644 for '${path}' are too open.`,
          'user@jumphost: Permission denied (publickey).',
        ],
        phase: 'authentication',
        keyFiles: new Set([own]),
      });
    assert.equal(refused(own).hint, "run: chmod 600 '/home/it'\\''s me/id $(id)'");
    assert.doesNotMatch(refused('/etc/shadow').hint ?? '', /chmod/);
  });
  it('an argument that the kernel does not take leaves no descriptor behind', async () => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const given = { options: [`User=${'x'.repeat(200_000)}`] };
    await fails(sshd, 'openssh-failed', /can't be started: .*E2BIG/, { given });
    const before = descriptors();
    for (let i = 0; i < 5; i++)
      await fails(sshd, 'openssh-failed', /can't be started: .*E2BIG/, { given });
    assert.equal(descriptors(), before);
  });

  it('jumphost-refused, with how the port of the one that refused is given', () => {
    const stderr = ['ssh: connect to host outer port 23: Connection refused'];
    const told = startError({ ...failure, stderr, throughHops: true });
    assert.deepEqual(
      [told.code, told.message],
      ['jumphost-refused', 'outer:23 refused the connection'],
    );
    assert.match(told.hint ?? '', /-J user@hop:2222, or ProxyJump/);
    assert.doesNotMatch(told.hint ?? '', /-p/);
    assert.match(startError({ ...failure, stderr }).hint ?? '', /\(-p\)/);
  });
  it('jumphost-dns, of whose name', () => {
    const stderr = ['ssh: Could not resolve hostname outer: Name or service not known'];
    const told = (changes: Partial<StartFailure>) => {
      const { code, message } = startError({ ...failure, stderr, ...changes });
      assert.equal(code, 'jumphost-dns');
      return message.replace(/ can't be resolved: .*/, '');
    };
    assert.equal(told({}), "the jump host's name outer");
    assert.equal(told({ throughHops: true }), 'the name outer of a host on the way to jumphost:22');
    assert.equal(told({ byCommand: true }), 'the name outer in the ProxyCommand of jumphost:22');
  });
  it('openssh-not-found, with a hint for whoever gave the command', () => {
    const exit = { status: 127, signal: null };
    assert.match(startError({ ...failure, exit }).hint ?? '', /install OpenSSH/);
    assert.match(startError({ ...failure, exit, custom: true }).hint ?? '', /-e/);
  });
  it('does not log the ProxyCommand, in which there may be a password', async () => {
    const logged: string[] = [];
    const observer = {
      ...silentObserver,
      log: (_level: string, text: string) => void logged.push(text),
    };
    await fails(sshd, 'jumphost-proxy', /has ended/, {
      settings: { proxy: { kind: 'command', command: 'unused' } },
      given: { options: ['ProxyCommand=false sesame'] },
      observer,
    });
    assert.ok(logged.includes('ssh: debug1: Executing proxy command: ...'));
    assert.ok(!logged.some((text) => text.includes('sesame')));
  });
  it('auth-failed, with the keys that were offered', () =>
    fails(
      sshd,
      'auth-failed',
      /Permission denied \(publickey\); 1 key was offered: \S+user_key ED25519 SHA256:/,
      {
        settings: { user: 'nobodyhere' },
      },
    ));
  it('no-terminal, for a key whose passphrase nobody can be asked for', async () => {
    const key = join(directory, 'locked');
    await makeKey(key, 'ed25519', ['-N', 'open sesame']);
    const server = await LoopbackSshd.start({
      authorizedKeys: { lines: [(await readFile(`${key}.pub`, 'utf8')).trim()], only: true },
    });
    try {
      const given = { identityFiles: [key] };
      await fails(
        server,
        'no-terminal',
        /the server would accept the last one, but ssh could not use it/,
        {
          given,
        },
      );
    } finally {
      await server.stop();
    }
  });
  const notRoot = process.getuid?.() === 0 ? false : 'PermitRootLogin is about root';
  it('auth-failed, for a key that the server knows, of a user who may not log in', {
    skip: notRoot,
  }, async () => {
    const server = await LoopbackSshd.start({ config: ['PermitRootLogin no'] });
    try {
      const said = /the server knows \S+user_key ED25519 SHA256:\S+, but refused the signed login$/;
      await fails(server, 'auth-failed', said);
    } finally {
      await server.stop();
    }
  });
  it('no-terminal, for a key that the server has accepted, and something else that it wants', async () => {
    const server = await LoopbackSshd.start({
      config: ['PasswordAuthentication yes', 'AuthenticationMethods publickey,password'],
    });
    try {
      await fails(server, 'no-terminal', /; the server accepted publickey, and wants more$/, {});
    } finally {
      await server.stop();
    }
  });
  it('jumphost-not-ssh', async () => {
    const { port } = await serve((socket) =>
      socket.end('HTTP/1.1 400 Bad\x1b[31m Request\r\n\r\n'),
    );
    await fails(sshd, 'jumphost-not-ssh', /it says "HTTP\/1\.1 400 Bad/, at(port));
  });
  it('jumphost-no-common-algorithm', () =>
    fails(
      sshd,
      'jumphost-no-common-algorithm',
      /key exchange method in common; it offers .*curve25519/,
      {
        given: { options: ['KexAlgorithms=diffie-hellman-group14-sha1'] },
      },
    ));
  it('host-key-unknown', () =>
    fails(sshd, 'host-key-unknown', /ssh-ed25519 SHA256:/, {
      hostKeys: { userFiles: ['/nonexistent'] },
    }));
  it('host-key-changed', async () => {
    const file = await knownHosts('changed', (own) => own.replace(/ssh-ed25519 .*/, otherKey));
    await fails(sshd, 'host-key-changed', /changed:1 has another/, {
      hostKeys: { userFiles: [file] },
    });
  });
  it('host-key-revoked', async () => {
    const file = await knownHosts('revoked', (own) => `@revoked ${own}`);
    await fails(sshd, 'host-key-revoked', /marked as revoked/, { hostKeys: { userFiles: [file] } });
  });
  it('host-key-revoked, though it is pinned', async () => {
    const file = await knownHosts('revoked-pinned', (own) => `# own\n@revoked ${own}`);
    const key = parseHostKeyPin((await sshd.knownHostsLine()).split(' ').slice(1).join(' '));
    for (const pin of [key, parseHostKeyPin(key.fingerprint)]) {
      const hostKeys = { userFiles: ['/nonexistent', file], pins: [pin] };
      await fails(sshd, 'host-key-revoked', /marked as revoked/, { hostKeys });
    }
  });
  it('host-key-changed: another key than the pinned one', () =>
    fails(sshd, 'host-key-changed', /--host-key pins SHA256:/, {
      hostKeys: { pins: [parseHostKeyPin(otherKey)] },
    }));
  it('host-key-changed: another fingerprint than the pinned one', () => {
    const pins = [parseHostKeyPin(`SHA256:${'A'.repeat(43)}`)];
    return fails(sshd, 'host-key-changed', /--host-key pins SHA256:AAAA/, { hostKeys: { pins } });
  });
  it('auth-failed', async () => {
    const key = join(directory, 'stranger');
    await makeKey(key, 'ed25519');
    await fails(sshd, 'auth-failed', /Permission denied \(publickey\)/, {
      given: { identityFiles: [key] },
    });
  });
  it('openssh-not-found, without the arguments of the command', () =>
    fails(sshd, 'openssh-not-found', /^(?!.*sesame)/s, {
      given: { command: ['/nonexistent/sshpass', '-p', 'sesame', 'ssh'] },
    }));
  it('openssh-not-found', () =>
    fails(sshd, 'openssh-not-found', /No such file/, { given: { command: ['/nonexistent/ssh'] } }));
  it('openssh-unusable', () =>
    fails(sshd, 'openssh-unusable', /does not say that it is OpenSSH/, {
      given: { command: ['/bin/true'] },
    }));
  it('openssh-configuration', () =>
    fails(sshd, 'openssh-configuration', /nosuchoption/, {
      given: { options: ['NoSuchOption=1'] },
    }));

  it('an abort ends ssh and removes everything', async () => {
    let connected = () => {};
    const connects = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const { port } = await serve((socket) => {
      socket.resume();
      connected();
    });
    const controller = new AbortController();
    const reason = new Error('nobody waits');
    const failed = assert.rejects(
      dial(sshd, { settings: { port }, signal: controller.signal }),
      reason,
    );
    await connects;
    controller.abort(reason);
    await failed;
    assert.deepEqual(leftovers(), []);
    assert.deepEqual(clients(), []);
    await closeAll();
  });

  const otherKey =
    'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8+5vCpVBMHzvIjnO6Xe4m4bGmJ3uHkDsfHAMmrH5nP';
  async function knownHosts(name: string, change: (own: string) => string): Promise<string> {
    const file = join(directory, name);
    await writeFile(file, change(await sshd.knownHostsLine()));
    return file;
  }
});
