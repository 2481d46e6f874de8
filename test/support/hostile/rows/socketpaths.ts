/**
 * Paths that forwards listen on: what others put there, before the start, at that moment, while the
 * program runs. The metrics' socket is made and removed by the same code (src/base/unixsocket.ts).
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { Child } from '../../process.ts';
import { type ForwardRow, type ForwardTrial, PATIENCE_MS, until } from '../local.ts';
import { ECHO_HOST } from '../server.ts';

const SECRET = 'not yours\n';
const SECRET_MODE = 0o640;
/** How often somebody tries to be first. */
const ROUNDS = 5;

/** A file that nobody may change, or give another mode. */
function secretIn(trial: ForwardTrial): string {
  const secret = join(trial.directory, 'secret');
  if (!existsSync(secret)) writeFileSync(secret, SECRET, { mode: SECRET_MODE });
  return secret;
}

function assertUntouched(secret: string): void {
  assert.equal(readFileSync(secret, 'utf8'), SECRET);
  assert.equal(statSync(secret).mode & 0o777, SECRET_MODE);
}

/** Of what another row's program doesn't listen on. */
async function assertRefused(child: Child, why: RegExp): Promise<void> {
  const { status } = await child.wait(PATIENCE_MS);
  const { stderr } = child;
  assert.equal(status, 6, stderr);
  assert.match(stderr, /^tunnel: error \[forward-listen\]: /m);
  assert.match(stderr, why);
}

function forwardOf(path: string): readonly string[] {
  return ['-o', 'ExitOnForwardFailure=yes', '-L', `${path}:${ECHO_HOST}:7`];
}

async function listeningAt(path: string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who only looks whether anybody listens resets it
    socket.end('another\n');
  });
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** What may be at a path, and what is said of it. */
const THINGS: readonly (readonly [
  name: string,
  make: (path: string, secret: string) => void,
  why: RegExp,
])[] = [
  ['a file', (path) => writeFileSync(path, ''), /which is no socket/],
  ['a directory', (path) => mkdirSync(path), /which is no socket/],
  ['a FIFO', (path) => assert.equal(spawnSync('mkfifo', [path]).status, 0), /which is no socket/],
  ['a link to a file', (path, secret) => symlinkSync(secret, path), /which is no socket/],
  ['a link to nothing', (path) => symlinkSync(`${path}.none`, path), /which is no socket/],
  ['a link to itself', (path) => symlinkSync(path, path), /which is no socket/],
  ['a device', (path) => symlinkSync('/dev/null', path), /which is no socket/],
];

export const SOCKET_PATH_ROWS: readonly ForwardRow[] = [
  {
    name: 'path: something else is there',
    does: 'a file, a directory, a FIFO, links, a device, sockets of others are at the path',
    async run(trial) {
      const secret = secretIn(trial);
      for (const [name, make, why] of THINGS) {
        const path = join(trial.directory, name.replaceAll(' ', '-'));
        make(path, secret);
        const before = lstatSync(path);
        await assertRefused(await trial.another(forwardOf(path)), why);
        assert.deepEqual([lstatSync(path).ino, lstatSync(path).mode], [before.ino, before.mode]);
        assert.ok(!existsSync(`${path}.none`), 'nothing is made through a link');
      }
      const path = join(trial.directory, 'theirs');
      const server = await listeningAt(path);
      await assertRefused(await trial.another(forwardOf(path)), /another program listens there/);
      if (process.geteuid?.() === 0) {
        chownSync(path, 1, 1);
        await assertRefused(await trial.another(forwardOf(path)), /belongs to user 1$/m);
      }
      server.close();
      assertUntouched(secret);
    },
    told: 'what is there, or whose it is',
    ends: 'that forward (with ExitOnForwardFailure `forward-listen`, 6); what is there stays as it is',
  },
  {
    name: 'path: swapped as it appears',
    does: 'whoever else may write to the directory puts a link to a file of the user in its place',
    async run(trial) {
      const secret = secretIn(trial);
      for (let round = 0; round < ROUNDS; round++) {
        const directory = join(trial.directory, `round-${round}`);
        mkdirSync(directory);
        const path = join(directory, 'forward.sock');
        const watcher = watch(directory, () => {
          if (existsSync(path) && lstatSync(path).isSocket()) {
            renameSync(path, `${path}.old`);
            symlinkSync(secret, path);
          }
        });
        const child = await trial.another(forwardOf(path));
        await Promise.race([child.exited, child.waitForLine(/tunnel: ready\n/, PATIENCE_MS)]);
        child.kill('SIGTERM');
        await child.wait(PATIENCE_MS);
        watcher.close();
        assertUntouched(secret);
      }
    },
    told: 'nothing, or that somebody else has put another file in its place',
    ends: 'nothing, or that forward; the file keeps its mode',
    cpu: 4,
  },
  {
    name: 'path: replaced while it runs',
    does: 'somebody puts a socket of their own, a link, or nothing in place of the socket',
    async run(trial) {
      const secret = secretIn(trial);
      const of = async (name: string) => {
        const path = join(trial.directory, name, 'forward.sock');
        mkdirSync(join(trial.directory, name));
        const child = await trial.another(forwardOf(path));
        await child.waitForLine(/tunnel: ready\n/, PATIENCE_MS);
        await trial.client(path).echoes();
        return { path, child };
      };
      const [socket, link, none] = await Promise.all([of('socket'), of('link'), of('none')]);
      rmSync(socket.path);
      const server = await listeningAt(socket.path);
      rmSync(link.path);
      symlinkSync(secret, link.path);
      rmSync(join(none.path, '..'), { recursive: true });
      for (const { child } of [socket, link, none]) {
        child.kill('SIGTERM');
        assert.equal((await child.wait(PATIENCE_MS)).status, 0, child.stderr);
      }
      const client = await trial.client(socket.path).connected();
      await until(() => client.received > 0, 'the other one answers');
      assert.ok(lstatSync(link.path).isSymbolicLink());
      server.close();
      assertUntouched(secret);
    },
    told: 'nothing',
    ends: 'nothing; at its end the program leaves what is not its own',
    cpu: 4,
  },
  {
    name: 'path: taken over by another tunnel',
    does: 'another tunnel of the user takes the path (StreamLocalBindUnlink)',
    async run(trial) {
      const path = join(trial.directory, 'both.sock');
      const unlink = ['-o', 'StreamLocalBindUnlink=yes', ...forwardOf(path)];
      const first = await trial.another(unlink);
      await first.waitForLine(/tunnel: ready\n/, PATIENCE_MS);
      const second = await trial.another(unlink);
      await second.waitForLine(/tunnel: ready\n/, PATIENCE_MS);
      first.kill('SIGTERM');
      assert.equal((await first.wait(PATIENCE_MS)).status, 0);
      await trial.client(path).echoes();
      second.kill('SIGTERM');
      await second.wait(PATIENCE_MS);
      assert.ok(!existsSync(path), 'its owner removes it');
    },
    told: 'nothing, as with ssh',
    ends: 'nothing; the end of the first leaves the socket of the second',
    cpu: 3,
  },
  {
    name: 'path: two begin at once',
    does: 'two tunnels of the user start at the path of one that was killed',
    async run(trial) {
      const path = join(trial.directory, 'stale.sock');
      for (let round = 0; round < 2; round++) {
        const killed = await trial.another(forwardOf(path));
        await killed.waitForLine(/tunnel: ready\n/, PATIENCE_MS);
        killed.kill('SIGKILL');
        await killed.exited;
        const both = [await trial.another(forwardOf(path)), await trial.another(forwardOf(path))];
        const ready = both.map((child) =>
          child.waitForLine(/tunnel: ready\n/, PATIENCE_MS).then(
            () => true,
            () => false,
          ),
        );
        const listening = (await Promise.all(ready)).filter((is) => is).length;
        assert.equal(listening, 1, both.map(({ stderr }) => stderr).join('---\n'));
        await trial.client(path).echoes();
        for (const child of both) {
          child.kill('SIGTERM');
          await child.wait(PATIENCE_MS);
        }
        assert.ok(!existsSync(path));
      }
    },
    told: 'by one of them, that another program listens there',
    ends: 'that forward of one of them',
    cpu: 4,
  },
];
