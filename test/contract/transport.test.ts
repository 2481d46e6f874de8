import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { after, before } from 'node:test';
import { TunnelError } from '../../src/errors/errors.ts';
import { Supervisor } from '../../src/link/supervisor.ts';
import type { Destination } from '../../src/net/destination.ts';
import { silentObserver } from '../../src/observe/observer.ts';
import { dialSsh2 } from '../../src/ssh/embedded/handshake/dial.ts';
import { dialOpenssh } from '../../src/ssh/openssh/dial.ts';
import type { Transport } from '../../src/ssh/transport.ts';
import { accessTo, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { opensshOptions } from '../support/openssh.ts';
import { StoppedListener } from '../support/stoppedlistener.ts';
import { type TwinStream, TwinTransport } from '../support/twin.ts';
import { type TransportFixture, transportContract } from './transport.contract.ts';

transportContract('the twin', makeTwin);
transportContract('the supervisor over the twin', makeSupervised);
transportContract('ssh2 with a real sshd', makeSsh2, sshdMissing);
transportContract("the system's ssh with a real sshd", makeOpenssh, sshdMissing);

async function makeTwin(): Promise<TransportFixture> {
  const twin = new TwinTransport();
  let port = 1000;
  const next = (): Destination => ({ host: '10.0.0.1', port: ++port });
  const at = ({ host, port: number }: Destination): string => `${host}:${number}`;
  return {
    transport: twin,
    async serve(handler) {
      const destination = next();
      twin.serve(at(destination), handler);
      return destination;
    },
    reset: (far) => (far as TwinStream).reset(),
    refused: async () => next(),
    async prohibited() {
      const destination = next();
      twin.refuse(at(destination), 'prohibited');
      return destination;
    },
    async silent() {
      const destination = next();
      let resolveClosed: () => void = () => {};
      const closed = new Promise<void>((resolve) => {
        resolveClosed = resolve;
      });
      const answer = twin.hang(at(destination), (far) => far.once('close', resolveClosed));
      return { destination, answer, closed };
    },
    lose: async () => twin.lose(),
    stop: () => twin.close(),
  };
}

/** The second dial fails permanently, so here, too, a lost link is the end. */
async function makeSupervised(): Promise<TransportFixture> {
  const twin = await makeTwin();
  const links = [twin.transport];
  const supervisor = new Supervisor({
    hold: 30,
    observer: silentObserver,
    async dial() {
      const link = links.shift();
      if (link === undefined) throw new TunnelError('link-lost', 'there is only one link');
      return link;
    },
  });
  await supervisor.start();
  return { ...twin, transport: supervisor, stop: () => supervisor.close() };
}

let sshd: LoopbackSshd;
before(async () => {
  // PermitOpen compares addresses as text: 127.0.0.2 is reachable, but prohibited. The server often
  // asks for new keys.
  if (sshdMissing === false)
    sshd = await LoopbackSshd.start({ config: ['PermitOpen 127.0.0.1:*', 'RekeyLimit 16M'] });
});
after(async () => {
  if (sshdMissing !== false) return;
  const log = await sshd.log();
  await sshd.stop();
  assert.match(log, /rekeying out/, 'the keys were exchanged anew under load');
});

async function makeSsh2(): Promise<TransportFixture> {
  const transport = await dialSsh2({
    jumpHosts: [
      {
        settings: settingsFor(sshd, '127.0.0.1'),
        addresses: [{ host: '127.0.0.1', port: sshd.port }],
      },
    ],
    access: () => accessTo(sshd),
    observer: silentObserver,
  });
  return sshdFixture(transport);
}

async function makeOpenssh(): Promise<TransportFixture> {
  return sshdFixture(await dialOpenssh(await opensshOptions(sshd)));
}

function sshdFixture(transport: Transport): TransportFixture {
  const cleanups: (() => unknown)[] = [];
  const sockets = new Set<Socket>();
  return {
    transport,
    async serve(handler: (far: Duplex) => void) {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        sockets.add(socket);
        socket.on('error', () => {
          // These tests make resets.
        });
        handler(socket);
      });
      cleanups.push(() => server.close());
      return listen(server);
    },
    reset: (far) => (far as Socket).resetAndDestroy(),
    async refused() {
      const server = createServer();
      const destination = await listen(server);
      server.close();
      await once(server, 'close');
      return destination;
    },
    async prohibited() {
      const server = createServer();
      cleanups.push(() => server.close());
      return listen(server, '127.0.0.2');
    },
    async silent() {
      const listener = await StoppedListener.start();
      cleanups.push(() => listener.kill());
      const { destination, closed } = listener;
      return { destination, closed, answer: () => listener.answer() };
    },
    lose: () => sshd.killConnections(),
    async stop() {
      await transport.close();
      for (const socket of sockets) socket.destroy();
      for (const cleanup of cleanups) await cleanup();
    },
  };
}

async function listen(server: Server, host = '127.0.0.1'): Promise<Destination> {
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return { host, port: address.port };
}
