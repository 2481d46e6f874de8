/**
 * Several addresses and several jump hosts that replace each other, where one doesn't work.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TunnelError } from '../../src/errors/errors.ts';
import { Dialler } from '../../src/link/dialler.ts';
import { JUMP_HOST_DELAY_MS } from '../../src/ssh/dial/race.ts';
import { dialSsh2, HURRIED_SECONDS } from '../../src/ssh/embedded/handshake/dial.ts';
import { parseHostKeyPin } from '../../src/ssh/keys/pin.ts';
import type { Remote, SshOptions } from '../../src/ssh/options.ts';
import { nobody } from '../../src/ssh/prompter.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import { accessTo, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { ipv6Missing } from '../support/requirements.ts';
import { StoppedListener } from '../support/stoppedlistener.ts';
import { AT_ONCE_MS } from '../support/until.ts';

describe('fail-over', { skip: sshdMissing, timeout: 60_000, concurrency: true }, () => {
  let good: LoopbackSshd;
  let other: LoopbackSshd;
  let dropping: StoppedListener;
  const servers: Server[] = [];
  const sockets = new Set<Socket>();

  before(async () => {
    [good, other, dropping] = await Promise.all([
      LoopbackSshd.start(),
      LoopbackSshd.start({ config: ['LogLevel DEBUG2'] }),
      StoppedListener.start(),
    ]);
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
    dropping?.kill();
    await Promise.all([good.stop(), other.stop()]);
  });

  /** A port that accepts; `handler` gets the connection and its number, from 1. */
  async function listener(handler: (socket: Socket, count: number) => void): Promise<number> {
    let count = 0;
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {
        // We give up on these.
      });
      handler(socket, ++count);
    }).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  async function closedPort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }

  /** Dials and closes; how long the dial took in milliseconds, and which port it ended at. */
  async function dialled(
    settings: readonly SshSettings[],
    observer = new LogLines(),
  ): Promise<{ ms: number; port: number | undefined }> {
    const began = performance.now();
    const transport = await dialEmbedded(settings, { access: () => accessTo(good), observer });
    const ms = performance.now() - began;
    await transport.close();
    return { ms, port: transport.dialled?.port };
  }

  it('a first -r that drops SYNs', async () => {
    const { ms, port } = await dialled([
      settingsFor(good, 'dead', dropping.destination),
      settingsFor(good, 'good'),
    ]);
    assert.equal(port, good.port);
    assert.ok(ms >= JUMP_HOST_DELAY_MS - 50 && ms < 5_000, `${ms} ms`);
  });

  it('a first address that drops SYNs', async () => {
    const access = await accessTo(good);
    const began = performance.now();
    const transport = await dialSsh2({
      jumpHosts: [
        {
          settings: settingsFor(good, 'both'),
          addresses: [dropping.destination, { host: '127.0.0.1', port: good.port }],
        },
      ],
      access: async () => access,
      observer: new LogLines(),
    });
    assert.ok(performance.now() - began < AT_ONCE_MS);
    await transport.close();
  });

  it('a first -r that accepts and never sends anything', async () => {
    const silent = await listener(() => {});
    const { ms, port } = await dialled([
      settingsFor(good, 'silent', { port: silent, connectTimeout: 15 }),
      settingsFor(good, 'good'),
    ]);
    assert.equal(port, good.port);
    assert.ok(ms > HURRIED_SECONDS * 1000 - 100 && ms < 10_000, `${ms} ms`);
  });

  it('a first -r that was only slow is tried again when the others do not work', async () => {
    const slow = await listener((socket, count) => {
      if (count === 1) return;
      const through = connect(good.port, '127.0.0.1');
      sockets.add(through);
      through.on('error', () => {
        // Closed with the other side.
      });
      socket.pipe(through).pipe(socket);
    });
    const observer = new LogLines();
    const { port } = await dialled(
      [
        settingsFor(good, 'slow', { port: slow, connectTimeout: 15 }),
        settingsFor(good, 'closed', { port: await closedPort() }),
      ],
      observer,
    );
    assert.equal(port, slow);
    assert.match(observer.lines.join('\n'), /no identification within 5 s; trying others first/);
    assert.deepEqual(
      observer.counted.filter((name) => /slow/.test(name)),
      ['tunnel_dial_slow_total'],
    );
  });

  it("a first -r that sends nothing, through the system's ssh", async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tunnel-failover-'));
    const silent = await listener(() => {});
    const [first, second]: [Remote, Remote] = [
      { text: 'silent', host: 'silent', user: undefined, port: undefined },
      { text: 'good', host: 'good', user: undefined, port: undefined },
    ];
    const configFile = join(directory, 'config');
    await writeFile(
      configFile,
      [
        ...['IdentityAgent none', 'IdentitiesOnly yes', 'HostName 127.0.0.1', `User ${good.user}`],
        ...['Host silent', `Port ${silent}`, 'Host good', `Port ${good.port}`, ''],
      ].join('\n'),
    );
    const observer = new LogLines();
    const ssh: SshOptions = {
      ...{ remotes: [first, second], port: undefined, jump: undefined, configFile, sshOptions: [] },
      ...{ transport: 'openssh', sshCommand: undefined, identityFiles: [good.userKey] },
      hostKeyPins: [
        parseHostKeyPin((await good.knownHostsLine()).split(' ').slice(1).join(' ').trim()),
      ],
      ...{
        connectTimeout: 15,
        authTimeout: 60,
        keepalive: undefined,
        reconnectHold: 30,
        waitAuth: 0,
        waitOnline: 0,
        onDemand: undefined,
        oneKey: false,
        flush: true,
      },
      windows: { maxWindow: undefined, budget: undefined },
    };
    const { signal } = new AbortController();
    try {
      const dialler = new Dialler({ ssh, prompter: nobody('in a test'), observer });
      const located = await dialler.locate(signal);
      const began = performance.now();
      const transport = await dialler.dial(located, signal);
      const ms = performance.now() - began;
      await transport.close();
      assert.ok(ms > HURRIED_SECONDS * 1000 - 100 && ms < 10_000, `${ms} ms`);
      assert.match(
        observer.lines.join('\n'),
        new RegExp(`127.0.0.1:${silent} accepted the connection, but is too slow`),
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('a first -r that is not an SSH server, and one that refuses', async () => {
    const http = await listener((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    for (const port of [http, await closedPort()]) {
      const result = await dialled([settingsFor(good, 'bad', { port }), settingsFor(good, 'good')]);
      assert.equal(result.port, good.port);
      assert.ok(result.ms < JUMP_HOST_DELAY_MS, `${result.ms} ms: the second is tried at once`);
    }
  });

  it('the first -r is taken while it works', async () => {
    const before = (await other.log()).length;
    const { port } = await dialled([settingsFor(good, 'good'), settingsFor(other, 'other')]);
    assert.equal(port, good.port);
    assert.doesNotMatch((await other.log()).slice(before), /Connection from/);
  });

  it('a wrong host key does not lead to the next one', async () => {
    const before = (await other.log()).length;
    await assert.rejects(
      dialEmbedded([settingsFor(good, 'good'), settingsFor(other, 'other')], {
        access: () => accessTo(good, other),
      }),
      { code: 'host-key-changed' },
    );
    assert.doesNotMatch((await other.log()).slice(before), /Connection from/);
  });

  it('none works: all errors are reported, the most informative first', async () => {
    const http = await listener((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const settings = [
      settingsFor(good, 'closed', { port: await closedPort() }),
      settingsFor(good, 'http', { port: http }),
    ];
    await assert.rejects(
      dialEmbedded(settings, { access: () => accessTo(good) }),
      (error) =>
        error instanceof TunnelError &&
        error.code === 'jumphost-not-ssh' &&
        /refused the connection; .*HTTP/.test(error.message),
    );
  });

  it('AddressFamily and an IPv6 literal', { skip: ipv6Missing }, async () => {
    const six = await LoopbackSshd.start({ listen: '::1' });
    try {
      for (const addressFamily of ['any', 'inet6'] as const) {
        const settings = settingsFor(six, 'six', { hostName: '::1', addressFamily });
        const transport = await dialEmbedded([settings], { access: () => accessTo(six) });
        assert.deepEqual(transport.dialled, { host: '::1', port: six.port });
        await transport.close();
      }
      await assert.rejects(
        dialEmbedded([settingsFor(six, 'six', { hostName: '::1', addressFamily: 'inet' })], {
          access: () => accessTo(six),
        }),
        { code: 'jumphost-dns', message: /::1 has no IPv4 address/ },
      );
    } finally {
      await six.stop();
    }
  });

  it('BindAddress', async () => {
    const before = (await good.log()).length;
    await dialled([settingsFor(good, 'bound', { bindAddress: '127.0.0.9' })]);
    assert.match((await good.log()).slice(before), /Connection from 127\.0\.0\.9 port/);
    await assert.rejects(
      dialEmbedded([settingsFor(good, 'bound', { bindAddress: '192.0.2.9' })], {
        access: () => accessTo(good),
      }),
      { code: 'jumphost-unreachable', hint: /BindAddress/ },
    );
    await assert.rejects(
      dialEmbedded([settingsFor(good, 'bound', { bindAddress: '::1' })], {
        access: () => accessTo(good),
      }),
      { code: 'jumphost-dns', hint: /BindAddress/ },
    );
  });
});
