/** Servers that exchange keys without end: they never finish, or begin again and again. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from 'ssh2';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import { Ssh2Link } from '../../../../../src/ssh/embedded/channels/link.ts';
import { EXCHANGE_SECONDS } from '../../../../../src/ssh/embedded/channels/rekey.ts';
import {
  isExchangingKeys,
  protocolOf,
  queuedFrom,
} from '../../../../../src/ssh/embedded/ssh2/internals.ts';
import { publicKeyFromKeyObject } from '../../../../../src/ssh/keys/publickey.ts';
import { connectStream } from '../../../../support/connectstream.ts';
import { triesAt } from '../../../../support/dialtries.ts';
import ssh2 from '../../../../support/ssh2.ts';
import type { PeerProtocol } from '../../../../support/ssh2pair.ts';

interface Entry {
  readonly array: readonly string[];
}
const { KexInit } = createRequire(import.meta.url)('ssh2/lib/protocol/kex.js') as {
  readonly KexInit: new (lists: object) => { readonly lists: Record<string, Entry> };
};
const MIB = 2 ** 20;
const DESTINATION = { host: '192.0.2.1', port: 80 };
const HOST_KEY = generateKeyPairSync('rsa', { modulusLength: 2048 });

interface Served {
  readonly port: number;
  /** The last connection's. */
  readonly peer: () => PeerProtocol;
  /** A client has asked to log in. */
  readonly asked: Promise<void>;
  /** From now on the server receives nothing more; it still sends. */
  readonly deafen: () => void;
  close(): void;
}

/** An ssh2 server behind a relay. `lets`: it lets everybody in; otherwise no login ends. */
async function serve(lets: boolean): Promise<Served> {
  let connection: Connection | undefined;
  let wasAsked = (): void => {};
  const asked = new Promise<void>((resolve) => {
    wasAsked = resolve;
  });
  const pem = HOST_KEY.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
  const server = new ssh2.Server({ hostKeys: [pem] }, (incoming) => {
    connection = incoming;
    incoming.on('authentication', (context) => {
      if (lets) context.accept();
      wasAsked();
    });
    incoming.on('tcpip', (accept) => {
      const echo = accept() as Duplex;
      echo.on('error', () => echo.destroy());
      echo.pipe(echo);
    });
    incoming.on('error', () => {
      // The client gives the link up.
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets: [client: Socket, server: Socket][] = [];
  const relay = createServer((client) => {
    const behind = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => behind.destroy()).on('close', () => behind.destroy());
    behind.on('error', () => client.destroy());
    client.pipe(behind).pipe(client);
    sockets.push([client, behind]);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  return {
    port: (relay.address() as AddressInfo).port,
    asked,
    peer: () => (connection as unknown as { readonly _protocol: PeerProtocol })._protocol,
    deafen() {
      for (const [client, behind] of sockets) {
        client.unpipe(behind);
        client.resume();
      }
    },
    close() {
      for (const pair of sockets) for (const socket of pair) socket.destroy();
      relay.close();
      server.close();
    },
  };
}

interface Linked extends Served {
  readonly link: Ssh2Link;
  readonly counts: string[];
  readonly lines: string[];
  readonly protocol: ReturnType<typeof protocolOf>;
}

async function link(): Promise<Linked> {
  const served = await serve(true);
  const socket = connect(served.port, '127.0.0.1');
  const client = new ssh2.Client();
  client.connect({ sock: socket, username: 'test' });
  await once(client, 'ready');
  client.removeAllListeners();
  const counts: string[] = [];
  const lines: string[] = [];
  const observer = {
    ...silentObserver,
    count: (name: string) => void counts.push(name),
    log: (level: string, text: string) => void lines.push(`${level}: ${text}`),
  };
  const keepalive = { interval: 0, count: 2 };
  return {
    ...served,
    link: new Ssh2Link({ client, socket, at: 'it', keepalive, observer }),
    counts,
    lines,
    protocol: protocolOf(client),
  };
}

describe('a server that never finishes a key exchange', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
  afterEach(() => mock.timers.reset());

  for (const who of ['the client', 'the server'])
    it(`begun by ${who}: writers wait, memory is flat, and the link ends after 60 s`, async () => {
      const { link: transport, peer, protocol, counts, deafen, close } = await link();
      try {
        const flow = await connectStream(transport, DESTINATION);
        flow.on('error', () => {
          // The flow ends with the link.
        });
        if (who === 'the server') peer().rekey();
        else protocol.rekey();
        deafen();
        while (!isExchangingKeys(protocol)) await delay(1);
        const piece = Buffer.alloc(64 * 1024);
        let accepted = 0;
        for (let idle = 0; idle < 50; idle++) {
          while (!flow.writableNeedDrain) {
            flow.write(piece);
            accepted += piece.length;
            assert.ok(accepted < 4 * MIB, 'the writer is not stopped');
          }
          await delay(2);
        }
        const waiting = queuedFrom(protocol, 0).reduce((sum, { length }) => sum + length, 0);
        assert.ok(waiting < 1024, `${waiting} bytes wait in ssh2`);
        mock.timers.tick(1000 * EXCHANGE_SECONDS);
        const error = await transport.ended;
        assert.equal(EXCHANGE_SECONDS, 60);
        assert.equal(error?.code, 'link-lost');
        assert.match(error.message, /has not finished exchanging keys within 60 s/);
        assert.ok(counts.includes('tunnel_ssh_exchange_time_limit_total'));
      } finally {
        close();
      }
    });

  it('and wants answers meanwhile: the link ends before they fill memory', async () => {
    const { link: transport, peer, protocol, counts, deafen, close } = await link();
    try {
      let over = false;
      const ended = transport.ended.finally(() => {
        over = true;
      });
      protocol.rekey();
      deafen();
      const before = process.memoryUsage().rss;
      let largest = before;
      for (let round = 0; !over; round++) {
        assert.ok(round < 2000, 'the queue has no limit');
        for (let question = 0; question < 500; question++) peer().ping();
        await new Promise(setImmediate);
        largest = Math.max(largest, process.memoryUsage().rss);
      }
      const error = await ended;
      assert.match(error?.message ?? '', /wants too many answers while it exchanges keys/);
      assert.ok(counts.includes('tunnel_ssh_exchange_queue_limit_total'));
      assert.ok(largest - before < 128 * MIB, `${Math.round((largest - before) / MIB)} MiB more`);
    } finally {
      close();
    }
  });
});

/** From now on ssh2's server offers this method only. */
function offerOnly(peer: PeerProtocol, kex: string): void {
  const party = peer as unknown as { _offer: { readonly lists: Record<string, Entry> } };
  const { lists } = party._offer;
  const names = ({ array }: Entry) => array;
  const direction = ({ cipher, mac, compress, lang }: Record<string, Entry>) => ({
    cipher: cipher && names(cipher),
    mac: mac && names(mac),
    compress: compress && names(compress),
    lang: lang && names(lang),
  });
  party._offer = new KexInit({
    kex: [kex],
    serverHostKey: lists['serverHostKey']?.array,
    cs: direction(lists['cs'] as unknown as Record<string, Entry>),
    sc: direction(lists['sc'] as unknown as Record<string, Entry>),
  });
}

it('a server that takes another method later on: the user is told, once', async () => {
  const { peer, protocol, lines, close } = await link();
  try {
    const first = protocol._kex?.negotiated.kex;
    assert.deepEqual(lines, []);
    for (const kex of ['ecdh-sha2-nistp256', 'ecdh-sha2-nistp384']) {
      offerOnly(peer(), kex);
      peer().rekey();
      while (protocol._kex?.negotiated.kex !== kex || isExchangingKeys(protocol)) await delay(1);
    }
    assert.deepEqual(lines, [
      `warning: it has exchanged keys again, by ecdh-sha2-nistp256 instead of ${first}`,
    ]);
  } finally {
    close();
  }
});

describe('a server that exchanges keys again and again', () => {
  async function storm(peer: PeerProtocol, over: () => boolean): Promise<number> {
    let begun = 0;
    for (; !over(); await new Promise(setImmediate)) {
      if (peer._kexinit !== undefined) continue;
      assert.ok(begun++ < 500, 'there is no limit');
      try {
        peer.rekey();
      } catch {
        break; // the client has ended the connection
      }
    }
    return begun;
  }

  it('on a link', async () => {
    const { link: transport, peer, counts, close } = await link();
    try {
      let over = false;
      const ended = transport.ended.finally(() => {
        over = true;
      });
      const begun = await storm(peer(), () => over);
      assert.ok(begun < 100, `${begun} exchanges`);
      assert.match((await ended)?.message ?? '', /exchanges keys again and again/);
      assert.ok(counts.includes('tunnel_ssh_exchange_storm_limit_total'));
    } finally {
      close();
    }
  });

  it('before the login is done', async () => {
    const served = await serve(false);
    const key = publicKeyFromKeyObject(HOST_KEY.publicKey);
    const { rejected } = triesAt(() => ({
      directory: '/nonexistent',
      port: served.port,
      user: 'nobody',
      knownHostsLine: async () => `jump.test ssh-rsa ${key?.blob.toString('base64')}\n`,
    }));
    try {
      let over = false;
      const failure = rejected({}).finally(() => {
        over = true;
      });
      await served.asked;
      await storm(served.peer(), () => over);
      const error = await failure;
      assert.equal(error.code, 'jumphost-key-exchange');
      assert.match(error.message, /again and again before the login is done/);
    } finally {
      served.close();
    }
  });
});
