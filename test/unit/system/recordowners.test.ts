import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { constants } from 'node:os';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Destination } from '../../../src/net/destination.ts';
import {
  type AskForOwners,
  BURST_MS,
  MAX_WANTED,
  type Owned,
  RecordOwners,
} from '../../../src/system/recordowners.ts';
import { machineAddresses } from '../../../src/system/sockettables.ts';

const ME = process.getuid?.() ?? 0;
const HERE = { isHere: () => true, sourceOf: () => undefined };

function owned(port: number, socketPeer: Destination = { host: '10.0.0.1', port: 443 }) {
  const source = { host: '127.0.0.1', port };
  return { source, socketPeer, user: undefined, process: undefined, over: false } as {
    -readonly [Key in keyof Owned]: Owned[Key];
  };
}

/** Every socket is ours, and its inode is its port. */
const ours: AskForOwners = (questions, count, octets) => {
  const owners = new Uint32Array(octets.buffer);
  for (let i = 0; i < count; i++) owners.set([ME, questions.readUInt16BE(i * 40 + 2)], 2 * i);
};

/** Notes the inodes of each search, of which each takes `spent` milliseconds. */
function searches(spent: number) {
  const seen: string[][] = [];
  return {
    seen,
    async search<Asked>(
      asked: Iterable<readonly [string, Asked]>,
      found: (asked: Asked, process: string) => void,
    ): Promise<number> {
      const all = [...asked];
      seen.push(all.map(([inode]) => inode));
      for (const [inode, one] of all) found(one, `${inode} (test)`);
      return spent;
    },
  };
}

async function until(done: () => boolean): Promise<void> {
  for (const limit = performance.now() + 20_000; !done(); await turn())
    assert.ok(performance.now() < limit);
}

test('the real kernel tells whose many sockets are, of both families, and of nobody', async (t) => {
  const all: Owned[] = [];
  for (const host of ['127.0.0.1', '::1'].filter((it) => machineAddresses().has(it))) {
    const server = createServer((accepted) => accepted.on('error', () => {})).listen(0, host);
    t.after(() => server.close());
    await once(server, 'listening');
    const peer = { host, port: (server.address() as AddressInfo).port };
    for (let i = 0; i < 40; i++) {
      const socket = connect(peer);
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      all.push({
        ...owned(socket.localPort ?? 0, peer),
        source: { host, port: socket.localPort ?? 0 },
      });
      all.push({ ...owned(1, peer), source: { host, port: 1 } });
    }
  }
  const sources = { isHere: () => true, sourceOf: () => assert.fail('the kernel can be asked') };
  new RecordOwners({ sources, user: ME + 1 }).find(all);
  for (const [i, one] of all.entries())
    assert.equal(one.user, i % 2 === 0 ? ME : undefined, `${i}`);
});

test('names, and sockets that are not of this machine, are not asked for', () => {
  const ask = () => assert.fail();
  const owners = new RecordOwners({ sources: { ...HERE, isHere: () => false }, ask });
  owners.find([owned(1)]);
  new RecordOwners({ sources: HERE, ask }).find([owned(1, { host: 'db.example.com', port: 1 })]);
});

test('where the kernel can not be asked, its tables tell, and nobody asks it again', async () => {
  let asked = 0;
  const processes = searches(1);
  const owners = new RecordOwners({
    sources: {
      isHere: () => true,
      sourceOf: async ({ port }) => ({ user: ME, inode: `${port}`, process: undefined }),
    },
    ask() {
      asked++;
      throw new Error('EINVAL');
    },
    processes,
  });
  const [one, other] = [owned(7), owned(8)];
  owners.find([one]);
  owners.find([other]);
  await until(() => one.process !== undefined && other.process !== undefined);
  assert.equal(asked, 1);
  assert.equal(one.user, ME);
  assert.equal(other.process, '8 (test)');
});

test('what fails once is asked again at once, and no table is read', () => {
  let asked = 0;
  const counted: string[] = [];
  const owners = new RecordOwners({
    sources: { isHere: () => true, sourceOf: () => assert.fail('a table is read') },
    ask(...question) {
      if (asked++ === 0) throw Object.assign(new Error('ask'), { errno: constants.errno.ENOBUFS });
      ours(...question);
    },
    user: ME + 1,
    observer: { log() {}, count: (name) => counted.push(name) },
  });
  const all = [owned(7), owned(8)];
  owners.find(all);
  assert.deepEqual(
    all.map(({ user }) => user),
    [ME, ME],
  );
  assert.equal(asked, 2);
  assert.deepEqual(counted, ['tunnel_socket_questions_failed_total']);
});

test('without descriptors the tables tell, until the kernel can be asked again', async () => {
  let [asked, looked, short] = [0, 0, true];
  const owners = new RecordOwners({
    sources: {
      isHere: () => true,
      async sourceOf() {
        looked++;
        return { user: ME + 2, process: undefined };
      },
    },
    ask(...question) {
      asked++;
      if (short) throw Object.assign(new Error('ask'), { errno: constants.errno.EMFILE });
      ours(...question);
    },
    user: ME + 1,
  });
  const first = owned(7);
  owners.find([first]);
  for (let port = 8; port < 1000; port++) owners.find([owned(port)]);
  await until(() => first.user !== undefined);
  assert.equal(first.user, ME + 2);
  assert.ok(asked < 20 && looked > 900, `asked ${asked} times, looked ${looked} times`);
  short = false;
  const last = owned(7);
  while (last.user !== ME) {
    owners.find([last]);
    await turn();
  }
});

test('processes are looked for at once, until what was saved up is used', async () => {
  const processes = searches(BURST_MS + 1);
  const owners = new RecordOwners({ sources: HERE, ask: ours, processes });
  const one = owned(1);
  owners.find([one]);
  await until(() => one.process !== undefined);
  const next = owned(2);
  owners.find([next]);
  for (let i = 0; i < 1000; i++) await turn();
  assert.equal(next.process, undefined, 'it has to be saved up again');
});

test('the latest are looked for, without those that are over', async () => {
  const processes = searches(1);
  const owners = new RecordOwners({ sources: HERE, ask: ours, processes });
  const all = Array.from({ length: MAX_WANTED + 10 }, (_, i) => owned(1000 + i));
  owners.find(all);
  for (const one of all.slice(-5)) one.over = true;
  await until(() => processes.seen.length > 0);
  const wanted = all.slice(10, -5).map(({ source }) => `${source.port}`);
  assert.deepEqual(processes.seen[0]?.sort(), wanted);
});
