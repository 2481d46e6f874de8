/**
 * Key exchanges with servers as they are in use: which one protects a link, that data pass
 * unchanged across many, and what the user is told of it.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Dialler } from '../../src/link/dialler.ts';
import type { HopChain } from '../../src/ssh/embedded/handshake/chain.ts';
import { MLKEM768_X25519 } from '../../src/ssh/embedded/ssh2/exchange.ts';
import { isDescribable } from '../../src/ssh/established.ts';
import { parseHostKeyPin } from '../../src/ssh/keys/pin.ts';
import type { SshOptions } from '../../src/ssh/options.ts';
import { nobody } from '../../src/ssh/prompter.ts';
import { connectStream } from '../support/connectstream.ts';
import { closedPort } from '../support/dialtries.ts';
import { accessTo, accessWith, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../support/loopback-sshd.ts';
import { Child } from '../support/process.ts';
import { testSettings } from '../support/settings.ts';

const NEWER = fileURLToPath(new URL('../../openssh-newer', import.meta.url));
const newerMissing =
  !existsSync(NEWER) && 'no newer sshd here: scripts/test unpacks it on Debian 12';
const MIB = 2 ** 20;

let echo: Server;
before(async () => {
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
});
after(() => echo.close());

/** Sends random bytes there and back. */
async function carries(transport: HopChain, bytes: number): Promise<void> {
  const { port } = echo.address() as AddressInfo;
  const flow = await connectStream(transport, { host: '127.0.0.1', port });
  const sent = randomBytes(bytes);
  const received = createHash('sha256');
  flow.on('data', (chunk: Buffer) => void received.update(chunk));
  flow.end(sent);
  await once(flow, 'end');
  assert.equal(received.digest('hex'), createHash('sha256').update(sent).digest('hex'));
}

describe('a current sshd', { skip: newerMissing, timeout: 60_000 }, () => {
  for (const [who, config, rekey] of [
    ['the server', ['RekeyLimit 1M'], undefined],
    ['the client', [], { bytes: MIB, seconds: undefined }],
  ] as const)
    it(`${MLKEM768_X25519}, also when ${who} exchanges keys again after each MiB`, async () => {
      const sshd = await LoopbackSshd.start({ unpacked: NEWER, config });
      try {
        const settings = { ...settingsFor(sshd, 'newer'), ...(rekey && { rekey }) };
        const transport = await dialEmbedded([settings], { access: () => accessTo(sshd) });
        const { algorithms, software } = transport.describe();
        assert.match(software, /^OpenSSH_10/);
        assert.equal(algorithms?.kex, MLKEM768_X25519);
        await carries(transport, 8 * MIB);
        await transport.close();
        const exchanges = (await sshd.log()).match(/kex: algorithm: \S+/g) ?? [];
        assert.ok(exchanges.length > 4, `${exchanges.length} exchanges`);
        assert.deepEqual([...new Set(exchanges)], [`kex: algorithm: ${MLKEM768_X25519}`]);
      } finally {
        await sshd.stop();
      }
    });
});

it(`x/crypto of Go: ${MLKEM768_X25519}`, {
  skip: goProgramMissing('xcryptoserver'),
  timeout: 60_000,
}, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tunnel-exchange-'));
  const [hostKey, userKey] = [join(directory, 'host'), join(directory, 'user')];
  await Promise.all([hostKey, userKey].map((path) => makeKey(path, 'ed25519')));
  const port = await closedPort();
  const words = [goProgram('xcryptoserver'), String(port), `${userKey}.pub`, hostKey];
  const server = await Child.start(words);
  try {
    await server.waitForLine(/ready/);
    const pin = (await readFile(`${hostKey}.pub`, 'utf8')).trim();
    const settings = testSettings({ hostName: '127.0.0.1', port, user: 'anybody' });
    const transport = await dialEmbedded([settings], { access: () => accessWith(pin, userKey) });
    assert.equal(transport.describe().algorithms?.kex, MLKEM768_X25519);
    await carries(transport, 4 * MIB);
    await transport.close();
  } finally {
    await server.stop();
    await rm(directory, { recursive: true });
  }
});

describe('what the user is told', { skip: sshdMissing, timeout: 60_000 }, () => {
  /** The lines about the exchange, of two links of one run; `exchange` is what they have. */
  async function told(
    sshd: LoopbackSshd,
    transport: SshOptions['transport'],
  ): Promise<{ lines: readonly string[]; kex: string | undefined; client: string | undefined }> {
    const configFile = join(sshd.directory, 'ssh_config');
    await writeFile(configFile, 'IdentityAgent none\nIdentitiesOnly yes\n');
    const observer = new LogLines();
    const ssh: SshOptions = {
      remotes: [{ text: 'it', host: '127.0.0.1', user: sshd.user, port: sshd.port }],
      ...{ port: undefined, jump: undefined, configFile, sshOptions: [] },
      ...{ transport, sshCommand: undefined, identityFiles: [sshd.userKey] },
      hostKeyPins: [
        parseHostKeyPin((await sshd.knownHostsLine()).split(' ').slice(1).join(' ').trim()),
      ],
      ...{ connectTimeout: 15, authTimeout: 60, keepalive: undefined, reconnectHold: 30 },
      ...{ waitAuth: 0, waitOnline: 0, onDemand: undefined, oneKey: false, flush: true },
      windows: { maxWindow: undefined, budget: undefined },
    };
    const prompter = nobody('in a test');
    const dialler = new Dialler({ ssh, prompter, observer, adviceLevel: 'notice' });
    const { signal } = new AbortController();
    let kex: string | undefined;
    let client: string | undefined;
    for (let link = 0; link < 2; link++) {
      const made = await dialler.dial(await dialler.locate(signal), signal);
      if (isDescribable(made)) {
        const established = made.describe();
        kex = established.algorithms?.kex;
        ({ client } = established);
      }
      await made.close();
    }
    return { lines: observer.lines.filter((line) => /protected by/.test(line)), kex, client };
  }

  async function withSshd(
    options: Parameters<typeof LoopbackSshd.start>[0],
    use: (sshd: LoopbackSshd) => Promise<void>,
  ): Promise<void> {
    const sshd = await LoopbackSshd.start(options);
    try {
      await use(sshd);
    } finally {
      await sshd.stop();
    }
  }

  it('of a post-quantum exchange: its name', { skip: newerMissing }, () =>
    withSshd({ unpacked: NEWER }, async (sshd) => {
      const { lines } = await told(sshd, 'auto');
      assert.deepEqual(lines, [`info: protected by ${MLKEM768_X25519}`]);
    }),
  );

  it('of another one: once, and that --transport openssh has a better one; auto stays', () =>
    withSshd(
      { config: ['KexAlgorithms curve25519-sha256,sntrup761x25519-sha512@openssh.com'] },
      async (sshd) => {
        const { lines, kex, client } = await told(sshd, 'auto');
        assert.equal(kex, 'curve25519-sha256');
        assert.equal(client, 'the embedded client');
        assert.deepEqual(lines, [
          'notice: protected by curve25519-sha256, which is not post-quantum: what is recorded today could be read one day; --transport openssh may use sntrup761x25519-sha512@openssh.com, which the jump host offers',
        ]);
      },
    ));

  it('of a server without any: what it needs', () =>
    withSshd({ config: ['KexAlgorithms curve25519-sha256'] }, async (sshd) => {
      const { lines } = await told(sshd, 'auto');
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', /offers no such exchange.*needs OpenSSH 9\.9, or 8\.5 with/);
    }));

  it("of the system's ssh: what its log says", () =>
    withSshd({ config: ['KexAlgorithms sntrup761x25519-sha512@openssh.com'] }, async (sshd) => {
      const { lines } = await told(sshd, 'openssh');
      assert.deepEqual(lines, ['info: protected by sntrup761x25519-sha512@openssh.com']);
    }));

  it("of the system's ssh with another one: what the jump host needs", () =>
    withSshd({ config: ['KexAlgorithms curve25519-sha256'] }, async (sshd) => {
      const { lines } = await told(sshd, 'openssh');
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', /^notice: protected by curve25519-sha256, .*OpenSSH 8\.5/);
    }));
});
