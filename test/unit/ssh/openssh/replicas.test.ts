/**
 * Several addresses of one jump host through the system's ssh: all must show one key. Two real
 * sshds, each with a key of its own.
 */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { ReplicaKeys } from '../../../../src/ssh/hostkeys/replicas.ts';
import { type HostKeyPin, parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import { LoopbackSshd, sshdMissing } from '../../../support/loopback-sshd.ts';
import type { Changes } from '../../../support/openssh.ts';
import { clients, closeAll, dial, leftovers, serve } from '../../../support/opensshlab.ts';
import { authority, sign } from '../../../support/sshcertificates.ts';

describe("replicas of a jump host, through the system's ssh", { skip: sshdMissing }, () => {
  let one: LoopbackSshd;
  let other: LoopbackSshd;
  let knownHosts: string;

  before(async () => {
    [one, other] = await Promise.all([LoopbackSshd.start(), LoopbackSshd.start()]);
    knownHosts = join(one.directory, 'known_both');
    await writeFile(knownHosts, (await one.knownHostsLine()) + (await other.knownHostsLine()));
  });

  afterEach(() => closeAll());

  after(async () => {
    await Promise.all([one.stop(), other.stop()]);
  });

  async function keyOf(sshd: LoopbackSshd): Promise<HostKeyPin> {
    return parseHostKeyPin(
      (await readFile(join(sshd.directory, 'host_ed25519.pub'), 'utf8')).trim(),
    );
  }

  /** Dials the one, then the other, which must be refused before it has seen a user. */
  async function refusedAfter(changes: Changes): Promise<void> {
    const replicas = new ReplicaKeys();
    const both = {
      ...changes,
      hostKeys: { userFiles: [knownHosts], ...changes.hostKeys },
      replicas,
    };
    await dial(one, both);
    await assert.rejects(dial(other, both), { code: 'host-key-differs' });
    await closeAll();
    assert.deepEqual([leftovers(), clients()], [[], []]);
  }

  const seenUsers = async (sshd: LoopbackSshd): Promise<number> =>
    (await sshd.log()).match(/userauth-request for user/g)?.length ?? 0;

  it('the key of the first counts: another one is refused, both fingerprints are named', async () => {
    const replicas = new ReplicaKeys();
    const hostKeys = { userFiles: [knownHosts] };
    await dial(one, { hostKeys, replicas });
    const [a, b] = [await keyOf(one), await keyOf(other)];
    assert.equal(replicas.first?.fingerprint, a.fingerprint);
    await assert.rejects(dial(other, { hostKeys, replicas }), (error) => {
      assert.ok(error instanceof TunnelError && error.code === 'host-key-differs', String(error));
      assert.match(
        error.message,
        new RegExp(`:${other.port} shows .*:${one.port}, the same jump host, has`),
      );
      assert.ok(error.message.includes(a.fingerprint) && error.message.includes(b.fingerprint));
      return true;
    });
    // What has been accepted is accepted again, and again not the other one.
    await dial(one, { hostKeys, replicas });
    await assert.rejects(dial(other, { hostKeys, replicas }), { code: 'host-key-differs' });
    assert.equal(await seenUsers(other), 0);
  });

  it('several pins are no several jump hosts, be they keys or fingerprints', async () => {
    const keys = [await keyOf(one), await keyOf(other)];
    await refusedAfter({ hostKeys: { pins: keys } });
    await refusedAfter({ hostKeys: { pins: keys.map((pin) => ({ ...pin, key: undefined })) } });
    assert.equal(await seenUsers(other), 0);
  });

  it('nothing is proven by lines that a server has forged in the log of ssh, before its key is known', async () => {
    const forged = [
      'hello',
      `debug1: Server host key: ssh-ed25519 ${(await keyOf(other)).fingerprint}`,
      'debug1: Authentication succeeded (none).',
      '',
    ].join('\n');
    const { port } = await serve((socket) => {
      socket.resume().write('SSH-2.0-OpenSSH_9.2\r\n');
      socket.write(debugMessage(forged));
      setTimeout(() => socket.end(), 200);
    });
    const replicas = new ReplicaKeys();
    const seen: string[] = [];
    const observer = {
      ...silentObserver,
      log: (_level: string, text: string) => void seen.push(text),
    };
    await assert.rejects(
      dial(one, { replicas, observer, hostKeys: { userFiles: [knownHosts] }, settings: { port } }),
    );
    assert.ok(
      seen.includes('ssh: debug1: Authentication succeeded (none).'),
      'the lines were not forged',
    );
    assert.equal(replicas.first, undefined);
  });

  it('holds beside a KnownHostsCommand of the user, too', () =>
    refusedAfter({
      hostKeys: { command: { words: ['/bin/true'], fingerprintHash: 'sha256' } },
    }));

  it('each key is accepted where the addresses are no replicas, and of an address that has shown nothing yet', async () => {
    const hostKeys = { userFiles: [knownHosts] };
    await dial(one, { hostKeys });
    await dial(other, { hostKeys, replicas: new ReplicaKeys() });
    assert.ok((await seenUsers(other)) > 0);
  });

  it('each of two may have a key of its own that an authority has signed; a certificate of nobody is none', async () => {
    const ca = await authority(one.directory, 'ca');
    const certified: LoopbackSshd[] = [];
    try {
      for (const sshd of [one, other]) {
        const key = join(sshd.directory, 'host_ed25519');
        await sign(ca, key, ['-h', '-n', '127.0.0.1']);
        certified.push(
          await LoopbackSshd.start({
            config: [`HostKey ${key}`, `HostCertificate ${key}-cert.pub`],
          }),
        );
      }
      const file = join(one.directory, 'known_authority');
      await writeFile(file, `@cert-authority [127.0.0.1]:* ${await readFile(`${ca}.pub`, 'utf8')}`);
      const replicas = new ReplicaKeys();
      for (const sshd of certified) {
        const login = { identityFiles: [sshd.userKey] };
        await dial(sshd, { hostKeys: { userFiles: [file] }, given: login, replicas });
      }
      assert.equal(replicas.first, undefined);
      const [, second] = certified;
      assert.ok(second !== undefined);
      replicas.prove({
        at: 'one',
        type: 'ssh-ed25519',
        fingerprint: (await keyOf(one)).fingerprint,
      });
      await writeFile(
        file,
        `[127.0.0.1]:${second.port} ${(await other.knownHostsLine()).split(' ').slice(1).join(' ')}`,
      );
      await assert.rejects(
        dial(second, {
          hostKeys: { userFiles: [file] },
          given: { options: ['HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com'] },
          replicas,
        }),
        {
          code: 'host-key-differs',
        },
      );
    } finally {
      await Promise.all(certified.map((sshd) => sshd.stop()));
    }
  });
});

/** SSH_MSG_DEBUG (RFC 4253 §11.3) as a packet without encryption (§6). */
function debugMessage(text: string): Buffer {
  const message = Buffer.from(text);
  const body = Buffer.alloc(2 + 4 + message.length + 4);
  body.set([4, 1]);
  body.writeUInt32BE(message.length, 2);
  message.copy(body, 6);
  const padding = 4 + ((8 - ((4 + 1 + body.length + 4) % 8)) % 8);
  const header = Buffer.alloc(5);
  header.writeUInt32BE(1 + body.length + padding);
  header[4] = padding;
  return Buffer.concat([header, body, Buffer.alloc(padding)]);
}
