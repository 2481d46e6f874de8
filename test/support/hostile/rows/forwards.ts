/** Forwards: what other local users, destinations and jump servers can do to them. */
import assert from 'node:assert/strict';
import { MAX_FORWARD_CONNECTIONS } from '../../../../src/capture/forward/places.ts';
import { type ForwardRow, type LocalClient, onChannel, pour, until } from '../local.ts';
import type { HostilePeer } from '../peer.ts';
import { type ServedChannel, serve } from '../server.ts';
import { NASTY } from './identification.ts';

const MIB = 1024 * 1024;
/** More than all buffers on the way take. */
const MUCH = 64 * MIB;
/** Of clients that come and go. */
const ROUNDS = 150;

/** A server that counts the channels to FAULT_HOST which the client has closed again. */
function counted(fault: (channel: ServedChannel) => void | Promise<void>) {
  const seen = { opened: 0, closed: 0 };
  const attack = onChannel(async (channel) => {
    seen.opened++;
    void channel.closeReceived.then(() => seen.closed++);
    await fault(channel);
  });
  return { seen, attack };
}

const resets = counted(async (channel) => {
  channel.confirm();
  await pour(channel, MIB);
  await channel.eofReceived;
  channel.eof();
});

/** Whoever resets its connection, and when. */
const STAGES: readonly ((client: LocalClient) => Promise<void>)[] = [
  // Before it is accepted.
  async (client) => client.reset(),
  async (client) => {
    await client.connected();
    client.reset();
  },
  async (client) => {
    await client.connected();
    await client.end();
    client.reset();
  },
  async (client) => {
    client.upload(MIB);
    await until(() => client.received > 0, 'something comes');
    client.reset();
  },
  async (client) => {
    await until(() => client.received > 0, 'something comes');
    await client.end();
    client.reset();
  },
];

const ends: readonly ((channel: ServedChannel) => void)[] = [
  (channel) => channel.fail(2, `${NASTY}\r\ntunnel: ready\n`),
  (channel) => {
    channel.confirm();
    channel.close();
  },
  (channel) => {
    channel.confirm();
    channel.data('x');
    channel.close();
  },
  (channel) => {
    channel.confirm();
    channel.data('x');
    channel.eof();
    channel.close();
  },
];

const drained: ServedChannel[] = [];
const stalled: ServedChannel[] = [];
let cut: HostilePeer | undefined;

export const FORWARD_ROWS: readonly ForwardRow[] = [
  {
    name: 'forward: more clients than places',
    does: 'a local user connects 2,300 times to one forward, and sends nothing',
    async run(trial) {
      const clients = await trial.clients(2300, trial.echo);
      const beyond = () => clients.filter(({ error }) => error === 'ECONNRESET').length;
      await until(() => beyond() === 2300 - MAX_FORWARD_CONNECTIONS, 'the others are reset');
      await trial.client(trial.fault).echoes();
      await trial.client(trial.socket).echoes();
      for (const client of clients) if (client.error === undefined) await client.echoes();
      const some = clients.filter(({ error }) => error === undefined).slice(0, 100);
      for (const client of some) client.reset();
      // Its places are free again, although not all at the same moment.
      let next = trial.client(trial.echo);
      await until(() => {
        if (next.error !== undefined) next = trial.client(trial.echo);
        return !next.socket.connecting && next.error === undefined;
      }, 'there is a place');
    },
    told: 'once a second, that clients are turned away, and how many are connected',
    ends: 'those beyond 2048 are reset; other forwards have places of their own',
    counter: 'tunnel_forward_over_limit_total',
    memory: 160,
    cpu: 15,
  },
  {
    name: 'forward: client reads nothing',
    does: 'a destination sends 64 MiB, and the client reads none of it at first',
    attack: onChannel(async (channel) => {
      channel.confirm();
      drained.push(channel);
      await pour(channel, MUCH);
      channel.eof();
      channel.close();
    }),
    async run(trial) {
      const client = trial.client(trial.fault);
      client.socket.pause();
      await client.connected();
      await until(() => drained.length > 0, 'the channel opens');
      await trial.client(trial.echo).echoes();
      await until(() => drained[0]?.left === 0, 'the window is used up');
      client.socket.resume();
      await until(() => client.over, 'it ends');
      assert.equal(client.received, MUCH);
    },
    told: 'nothing: the window of its channel is what waits for it',
    ends: 'nothing',
  },
  {
    name: 'forward: destination reads nothing',
    does: 'a jump server grants no window; the client sends 64 MiB, and resets',
    attack: onChannel((channel) => {
      channel.confirm({ window: 0 });
      stalled.push(channel);
    }),
    async run(trial) {
      const client = await trial.client(trial.fault).connected();
      client.upload(MUCH);
      await until(() => stalled.length > 0, 'the channel opens');
      await trial.client(trial.echo).echoes();
      assert.equal(stalled[0]?.received, 0);
      client.reset();
      // Nothing is read of a client whose window is used up. Its end is seen once there is one,
      // and that it is a reset when something is written to it, as with ssh.
      const [channel] = stalled;
      channel?.grant(MUCH);
      let [ended, closed] = [false, false];
      void channel?.eofReceived.then(() => {
        ended = true;
      });
      void channel?.closeReceived.then(() => {
        closed = true;
      });
      await until(() => ended || closed, 'its end is passed on');
      if (!closed) channel?.data('x');
      await until(() => closed, 'the channel is closed');
    },
    told: "nothing: what is sent waits in the client's own kernel",
    ends: 'nothing; the reset is an end, and seen when there is a window',
  },
  {
    name: 'forward: resets by clients',
    does: 'clients reset their connections at every stage, 750 times',
    attack: resets.attack,
    async run(trial) {
      for (let round = 0; round < ROUNDS; round++)
        await Promise.all(STAGES.map((stage) => stage(trial.client(trial.fault))));
      await until(() => resets.seen.closed === resets.seen.opened, 'each channel is closed');
      assert.ok(resets.seen.opened >= 2 * ROUNDS, String(resets.seen.opened));
    },
    told: 'nothing',
    ends: 'those connections; each channel is given back',
    cpu: 12,
  },
  {
    name: 'forward: ends at every stage',
    does: 'a jump server refuses with controls and forged lines, and closes at every stage',
    attack: (() => {
      let count = 0;
      return onChannel((channel) => ends[count++ % ends.length]?.(channel));
    })(),
    arguments: ['-vv'],
    async run(trial) {
      for (let round = 0; round < 25; round++)
        for (const index of ends.keys()) {
          const client = trial.client(trial.fault);
          await until(() => client.over, 'it ends');
          assert.equal(client.error, index === 0 ? 'ECONNRESET' : undefined);
          assert.equal(client.received, index < 2 ? 0 : 1);
        }
    },
    told: 'with -vv, why, without controls',
    ends: 'those connections: what is refused is reset, the others end with all data',
  },
  {
    name: 'forward: half closed at once',
    does: 'clients end their half before the jump server has answered; it sends 1 MiB then',
    attack: onChannel(async (channel) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      channel.confirm();
      await channel.eofReceived;
      await pour(channel, MIB);
      channel.eof();
      channel.close();
    }),
    async run(trial) {
      const clients = await trial.clients(30, trial.fault);
      for (const { socket } of clients) socket.end();
      await until(() => clients.every(({ over }) => over), 'they end');
      for (const { received, error } of clients)
        assert.deepEqual([received, error], [MIB, undefined]);
    },
    told: 'nothing',
    ends: 'nothing: all of it arrives',
  },
  {
    name: 'forward: opens without an answer',
    does: 'a jump server never answers; 300 clients of one forward wait, and leave',
    attack: onChannel(() => {}),
    async run(trial) {
      const clients = await trial.clients(300, trial.fault);
      await trial.client(trial.echo).echoes();
      await trial.client(trial.socket).echoes();
      assert.equal(clients.filter(({ over }) => over).length, 0, 'they wait');
      for (const client of clients) client.reset();
    },
    told: 'nothing: its clients wait, and those of other forwards are served',
    ends: 'nothing',
  },
  {
    name: 'forward: link lost',
    does: 'a jump server resets its connection while 300 clients of a forward are connected',
    attack: async (peer, attempt) => {
      if (attempt === 0) cut = peer;
      await peer.welcome();
      await serve(peer);
    },
    async run(trial) {
      const clients = await trial.clients(300, trial.fault);
      for (const client of clients) await client.echoes();
      cut?.socket.resetAndDestroy();
      await until(() => clients.every(({ error }) => error === 'ECONNRESET'), 'they are reset');
      // It waits for the link.
      await trial.client(trial.fault).echoes();
      assert.match(trial.program.stderr, /link lost: /);
    },
    told: 'link lost, and connected again',
    ends: 'its connections are reset; new ones wait for the link',
    cpu: 3,
  },
];
