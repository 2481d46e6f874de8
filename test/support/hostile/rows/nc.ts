/** `tunnel nc`: what jump servers, destinations and the other ends of its pipes can do to it. */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type NcRow, onChannel, pour, until } from '../local.ts';
import type { HostilePeer } from '../peer.ts';
import type { Row } from '../row.ts';
import { ECHO_HOST, type ServedChannel, serve } from '../server.ts';
import { NASTY } from './identification.ts';

const MIB = 1024 * 1024;
/** More than all buffers on the way take. */
const MUCH = 64 * MIB;

const upload = (bytes: number): Buffer => Buffer.alloc(bytes, 'x');

/** What a row has seen of its channel. */
let seen: ServedChannel | undefined;
const kept =
  (fault: (channel: ServedChannel, peer: HostilePeer) => void | Promise<void>) =>
  (channel: ServedChannel, peer: HostilePeer) => {
    seen = channel;
    return fault(channel, peer);
  };

const sends = (bytes: number): Row['attack'] =>
  onChannel(
    kept(async (channel) => {
      channel.confirm();
      await pour(channel, bytes);
      channel.eof();
      channel.close();
    }),
  );

export const NC_ROWS: readonly NcRow[] = [
  {
    name: 'nc: silent after accept',
    does: 'a jump server accepts the connection and says nothing',
    attack: (peer) => peer.closed,
    arguments: ['--connect-timeout', '1'],
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      assert.equal(await trial.ended(child), 5);
      assert.match(trial.stderr, /error \[jumphost-slow\]/);
      assert.equal(trial.stdout, 0);
    },
    told: 'nothing within --connect-timeout',
    ends: '`jumphost-slow`, 5',
  },
  {
    name: 'nc: open without an answer',
    does: 'a jump server never answers the open',
    attack: onChannel(kept(() => {})),
    async run(trial) {
      const child = trial.start();
      child.stdin?.write(upload(MIB));
      await until(() => seen !== undefined, 'it asks');
      seen = undefined;
      await delay(300);
      assert.equal(child.exitCode, null, 'it waits');
      child.kill('SIGTERM');
      assert.equal(await trial.ended(child), 143);
    },
    told: 'nothing: it waits, as ssh -W does, until a signal comes',
    ends: 'nothing',
  },
  {
    name: 'nc: controls in a refusal',
    does: 'a jump server refuses with controls and forged lines',
    attack: onChannel((channel) => channel.fail(2, `${NASTY}\r\ntunnel: ready\n`)),
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      child.stdin?.end(upload(MIB));
      assert.equal(await trial.ended(child), 1);
      assert.match(trial.stderr, /^tunnel: error \[connect-[a-z]+\]: fault\.test:7: /m);
      assert.equal(trial.stdout, 0);
    },
    told: 'why, on one line, without controls',
    ends: '`connect-refused`, 1',
  },
  {
    name: 'nc: zero window',
    does: 'a jump server never grants a window for 64 MiB of input',
    attack: onChannel(kept((channel) => channel.confirm({ window: 0 }))),
    async run(trial) {
      const child = trial.start();
      child.stdin?.end(upload(MUCH));
      await trial.says(/connected to fault/);
      await delay(500);
      assert.equal(seen?.received, 0);
      assert.equal(child.exitCode, null);
      await trial.usage?.assertIdle();
      child.kill('SIGINT');
      assert.equal(await trial.ended(child), 130);
    },
    told: 'nothing: the input waits, 1 MiB of it here',
    ends: 'nothing',
  },
  {
    name: 'nc: window overflow',
    does: 'a jump server sends 64 MiB where the window admits 2 MiB, and nobody reads them',
    attack: onChannel(async (channel) => {
      channel.confirm();
      for (let sent = 0; sent < MUCH && !channel.peer.gone; sent += 32 * 1024) {
        channel.data(upload(32 * 1024));
        await channel.peer.drained();
      }
    }),
    async run(trial) {
      const child = trial.start();
      assert.equal(await trial.ended(child), 1);
      assert.match(trial.stderr, /error \[window-exceeded\]/);
    },
    told: 'that it sent more than it was allowed to',
    ends: '`window-exceeded`, 1',
  },
  {
    name: 'nc: closed within the upload',
    does: 'a jump server closes the channel in the middle of 64 MiB of input',
    attack: onChannel(async (channel) => {
      channel.confirm();
      while (channel.received < MIB / 2) await delay(5);
      channel.data('done');
      channel.close();
    }),
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      child.stdin?.write(upload(MUCH));
      assert.equal(await trial.ended(child), 0);
      assert.equal(trial.stdout, 4);
    },
    told: 'nothing',
    ends: 'it, with 0 as ssh -W: SSH does not tell an end from a reset',
  },
  {
    name: 'nc: data after the end',
    does: 'a jump server sends data after EOF and after CLOSE, and EOF a hundred times',
    attack: onChannel(async (channel) => {
      channel.confirm();
      channel.data('all');
      for (let time = 0; time < 100; time++) {
        channel.eof();
        channel.data('more');
      }
      await channel.eofReceived;
      channel.close();
      channel.data('more');
    }),
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      child.stdin?.end('x');
      assert.equal(await trial.ended(child), 0);
      assert.equal(trial.stdout, 3);
    },
    told: 'nothing',
    ends: 'nothing: what comes after the end is dropped',
  },
  {
    name: 'nc: never closes',
    does: 'a jump server ends its half and never gives the channel back',
    attack: onChannel((channel) => {
      channel.confirm();
      channel.data('all');
      channel.eof();
    }),
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      child.stdin?.end('x');
      await until(() => trial.stdout === 3, 'the answer comes');
      await delay(300);
      assert.equal(child.exitCode, null, 'it waits');
      await trial.usage?.assertIdle();
      child.kill('SIGTERM');
      assert.equal(await trial.ended(child), 143);
    },
    told: 'nothing: an upload that the server still has would be lost otherwise',
    ends: 'nothing: it waits until a signal comes',
  },
  {
    name: 'nc: link lost',
    does: 'a jump server resets its connection in the middle of a download',
    attack: onChannel(async (channel, peer) => {
      channel.confirm();
      await pour(channel, MIB);
      peer.socket.resetAndDestroy();
    }),
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      assert.equal(await trial.ended(child), 5);
      assert.match(trial.stderr, /error \[link-lost\]/);
      assert.ok(trial.stdout <= MIB);
    },
    told: 'that the link is lost, and why',
    ends: '`link-lost`, 5: a stream can not go on',
  },
  {
    name: 'nc: link lost before the answer',
    does: 'a jump server resets its connection at the first open, and serves the next login',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        fault: (channel) => {
          if (attempt === 0) peer.socket.resetAndDestroy();
          channel.echoes = true;
          channel.confirm();
        },
      });
    },
    async run(trial) {
      const child = trial.start();
      trial.reads(child);
      child.stdin?.end('echo');
      const status = await trial.ended(child);
      assert.deepEqual([status, trial.stdout], [0, 4]);
    },
    told: 'link lost, and connected again',
    ends: 'nothing: nothing had been sent yet',
  },
  {
    name: 'nc: output not read',
    does: 'a destination sends 64 MiB, and nobody reads standard output at first',
    attack: sends(MUCH),
    async run(trial) {
      const child = trial.start();
      await until(() => seen?.left === 0, 'the window is used up');
      trial.reads(child);
      child.stdin?.end();
      assert.equal(await trial.ended(child), 0);
      await until(() => trial.stdout === MUCH, 'all arrives');
    },
    told: 'nothing: one window of it waits here',
    ends: 'nothing',
  },
  {
    name: 'nc: output closed',
    does: 'whoever reads standard output closes it, while 64 MiB come',
    attack: sends(MUCH),
    async run(trial) {
      const child = trial.start();
      child.stdout?.once('data', () => child.stdout?.destroy());
      assert.equal(await trial.ended(child), 1);
      assert.match(trial.stderr, /error \[output-failed\]: .*(EPIPE|ECONNRESET)/);
    },
    told: "that standard output can't be written: EPIPE, or ECONNRESET of a socket",
    ends: '`output-failed`, 1',
  },
  {
    name: 'nc: output full',
    does: 'standard output is a device without space (/dev/full)',
    attack: sends(MIB),
    async run(trial) {
      const full = openSync('/dev/full', 'w');
      const child = trial.start({ stdio: ['pipe', full] });
      closeSync(full);
      assert.equal(await trial.ended(child), 1);
      assert.match(trial.stderr, /error \[output-failed\]: .*ENOSPC/);
    },
    told: "that standard output can't be written: ENOSPC",
    ends: '`output-failed`, 1',
  },
  {
    name: 'nc: unreadable input',
    does: 'standard input is a folder, and then nothing at all',
    attack: sends(MIB),
    async run(trial) {
      mkdirSync(join(trial.directory, 'folder'));
      const folder = openSync(join(trial.directory, 'folder'), 'r');
      const child = trial.start({ stdio: [folder, 'pipe'] });
      trial.reads(child);
      closeSync(folder);
      assert.equal(await trial.ended(child), 1);
      assert.match(trial.stderr, /error \[input-failed\]: .*EISDIR/);
      trial.stdout = 0;
      const other = trial.start({ stdio: ['ignore', 'pipe'] });
      trial.reads(other);
      assert.equal(await trial.ended(other), 0);
      await until(() => trial.stdout === MIB, 'all arrives');
    },
    told: "that standard input can't be read: EISDIR",
    ends: '`input-failed`, 1; without input it ends its half at once',
  },
  {
    name: 'nc: stopped and continued',
    does: 'somebody stops the program (SIGSTOP) again and again, while it echoes 16 MiB',
    arguments: ['--keepalive', '1'],
    async run(trial) {
      const child = trial.start({ host: ECHO_HOST });
      trial.reads(child);
      await trial.says(/connected to/);
      child.stdin?.end(upload(16 * MIB));
      // Longer than the jump host may be silent.
      for (const stop of [100, 300, 4000]) {
        child.kill('SIGSTOP');
        await delay(stop);
        child.kill('SIGCONT');
        await delay(50);
      }
      assert.equal(await trial.ended(child), 0);
      await until(() => trial.stdout === 16 * MIB, 'all arrives');
    },
    told: 'nothing',
    ends: 'nothing',
  },
  {
    name: 'nc: controls in a name',
    does: 'HOST has controls in it, as the %h of a ProxyCommand may',
    async run(trial) {
      const child = trial.start({ host: NASTY.replaceAll('\u0000', '') });
      assert.equal(await trial.ended(child), 2);
      assert.match(trial.stderr, /is not a host name/);
    },
    told: 'that it is no name, without them',
    ends: '`usage`, 2',
  },
];
