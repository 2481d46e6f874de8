/**
 * UDP that goes directly: associations, their limits and their ends, with real sockets on loopback
 * addresses.
 */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  MAX_ASSOCIATIONS,
  UDP_IDLE_MS,
  UdpRelay,
} from '../../../../src/capture/namespace/datagrams.ts';
import type { Datagram } from '../../../../src/flow/datagram.ts';
import type { Destination } from '../../../../src/net/destination.ts';

const APPLICATION = '198.18.0.1';
/** As the application names it; the relay is told where it really is. */
const SERVER: Destination = { host: '192.0.2.9', port: 9999 };

describe('UdpRelay', () => {
  let server: Socket;
  let closed: Destination;
  let received: Datagram[];
  let refused: [Datagram, string][];
  let counts: Map<string, number>;
  let relay: UdpRelay;
  let moved: Destination | undefined;

  beforeEach(async () => {
    server = createSocket('udp4');
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    const gone = createSocket('udp4').bind(0, '127.0.0.1');
    await once(gone, 'listening');
    closed = { host: '127.0.0.1', port: gone.address().port };
    gone.close();
    moved = undefined;
    received = [];
    refused = [];
    counts = new Map();
    relay = new UdpRelay({
      decide: (destination) => {
        if (destination.port === 1) return { kind: 'refuse', refusal: 'prohibited', why: 'test' };
        if (destination.port === 2) return { kind: 'direct', to: closed };
        return { kind: 'direct', to: moved ?? { host: '127.0.0.1', port: server.address().port } };
      },
      send: (datagram) => received.push(datagram),
      refuse: (datagram, refusal) => refused.push([datagram, refusal]),
      observer: { log() {}, count: (name, n = 1) => counts.set(name, (counts.get(name) ?? 0) + n) },
    });
  });
  afterEach(() => {
    relay.close();
    server.close();
  });

  const from = (port: number, text = 'ping', destination = SERVER): Datagram => ({
    source: { host: APPLICATION, port },
    destination,
    payload: Buffer.from(text),
  });

  async function until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 3000;
    while (!condition()) {
      assert.ok(performance.now() < deadline, 'in time');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  it('sends on to another place once that is what the destination stands for', async () => {
    const other = createSocket('udp4').bind(0, '127.0.0.1');
    await once(other, 'listening');
    try {
      const seen: string[] = [];
      server.on('message', (text) => void seen.push(`first ${text}`));
      other.on('message', (text, peer) => {
        seen.push(`second ${text}`);
        other.send('from the second', peer.port, peer.address);
      });
      relay.accept(from(5000, 'one'));
      await until(() => seen.length === 1);
      moved = { host: '127.0.0.1', port: other.address().port };
      relay.accept(from(5000, 'two'));
      await until(() => received.length === 1);
      assert.deepEqual(seen, ['first one', 'second two']);
      assert.equal(relay.size, 1);
    } finally {
      other.close();
    }
  });

  it('sends and answers as the ends that the application knows', async () => {
    server.on('message', (text, peer) => server.send(`re: ${text}`, peer.port, peer.address));
    for (const text of ['one', 'two', 'three']) relay.accept(from(5000, text));
    await until(() => received.length === 3);
    assert.deepEqual(
      received.map(({ payload }) => Buffer.from(payload).toString()),
      ['re: one', 're: two', 're: three'],
    );
    for (const { source, destination } of received) {
      assert.deepEqual([source, destination], [SERVER, { host: APPLICATION, port: 5000 }]);
    }
    assert.equal(relay.size, 1);
  });

  it('hears from nobody but the one that was asked', async () => {
    let peer = 0;
    server.on('message', (_text, sender) => {
      peer = sender.port;
    });
    relay.accept(from(5000));
    await until(() => peer !== 0);
    const stranger = createSocket('udp4');
    stranger.send('forged', peer, '127.0.0.1');
    server.send('real', peer, '127.0.0.1');
    await until(() => received.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    stranger.close();
    assert.deepEqual(
      received.map(({ payload }) => Buffer.from(payload).toString()),
      ['real'],
    );
  });

  it('passes on that a port is closed, and begins anew afterwards', async () => {
    const datagram = from(5000, 'ping', { ...SERVER, port: 2 });
    relay.accept(datagram);
    await until(() => refused.length === 1);
    assert.deepEqual(refused, [[datagram, 'refused']]);
    assert.equal(relay.size, 0);
    relay.accept(datagram);
    await until(() => refused.length === 2);
  });

  it('keeps no association whose socket could not be made', async () => {
    // Link-local addresses can't be connected to without their zone.
    relay = new UdpRelay({
      decide: () => ({ kind: 'direct', to: { host: 'fe80::1', port: 9 } }),
      send: () => assert.fail('nobody answers'),
      refuse: (datagram, refusal) => refused.push([datagram, refusal]),
      observer: { log() {}, count: (name, n = 1) => counts.set(name, (counts.get(name) ?? 0) + n) },
    });
    relay.accept(from(5000));
    relay.accept(from(5000));
    assert.equal(relay.size, 1);
    await until(() => relay.size === 0);
    // Without IPv6 it is said that there is no such network.
    assert.ok(refused.length === 1 || counts.get('tunnel_datagrams_dropped_total') === 2);
  });

  it('refuses what the policy refuses, without a socket', () => {
    const datagram = from(5000, 'ping', { ...SERVER, port: 1 });
    relay.accept(datagram);
    assert.deepEqual(refused, [[datagram, 'prohibited']]);
    assert.equal(relay.size, 0);
    assert.equal(counts.get('tunnel_datagrams_denied_total'), 1);
  });

  it('holds no more than its limit, and ends the one that is idle longest', async () => {
    server.on('message', (_text, peer) => server.send('re', peer.port, peer.address));
    const accept = (port: number) => relay.accept(from(port));
    for (let port = 1; port <= MAX_ASSOCIATIONS; port++) {
      accept(port);
      // The server's buffer must not overflow.
      if (port % 64 === 0) await until(() => received.length === port);
    }
    accept(1); // no longer the oldest
    accept(30_000);
    assert.equal(relay.size, MAX_ASSOCIATIONS);
    assert.equal(counts.get('tunnel_datagram_associations_over_limit_total'), 1);
    await until(() => received.length === MAX_ASSOCIATIONS + 2);
    const before = counts.get('tunnel_datagram_associations_total');
    accept(1);
    assert.equal(counts.get('tunnel_datagram_associations_total'), before, '1 was kept');
    accept(2);
    assert.equal(counts.get('tunnel_datagram_associations_total'), (before ?? 0) + 1, '2 was not');
  });

  it('ends the association of an application that has vanished', async (test) => {
    const now = test.mock.method(performance, 'now');
    relay.accept(from(5000));
    await until(() => received.length === 1 || relay.size === 1);
    const later = performance.now() + UDP_IDLE_MS;
    now.mock.mockImplementation(() => later);
    const deadline = Date.now() + 4000;
    while (relay.size > 0 && Date.now() < deadline) await delay(50);
    assert.equal(relay.size, 0);
    assert.equal(counts.get('tunnel_datagram_associations_idle_total'), 1);
  });

  it('drops what comes while the socket is made and there is no room', () => {
    for (let i = 0; i < 100; i++) relay.accept(from(5000));
    assert.equal(counts.get('tunnel_datagrams_dropped_total'), 84);
  });
});
