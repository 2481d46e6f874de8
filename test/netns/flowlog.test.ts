/** What the flow log holds, whatever happens to the program and to its disk. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { API1, Port, PRIVATE4 } from '../support/addresses.ts';
import { JUMP_USER } from '../support/credentials.ts';
import { Lab, labUnavailable } from '../support/lab.ts';

import type { Child } from '../support/process.ts';
import { MAIN, REMOTE, runTunnel, startTunnel } from '../support/tunnel.ts';

const BYTES = 300_000;

type Line = Readonly<Record<string, string | number | undefined>>;

/** Until `check` passes. */
async function eventually(check: () => void): Promise<void> {
  const limit = performance.now() + 20_000;
  for (;;) {
    try {
      check();
      return;
    } catch (error) {
      if (performance.now() > limit) throw error;
    }
    await delay(50);
  }
}

function linesOf(path: string): Line[] {
  const text = readFileSync(path, 'utf8');
  assert.ok(text.endsWith('\n'), text);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

function of(lines: readonly Line[], event: string): Line[] {
  return lines.filter((line) => line['event'] === event);
}

describe('the flow log', { skip: labUnavailable('curl'), timeout: 180_000 }, () => {
  let lab: Lab;
  let number = 0;
  let running: Child | undefined;
  before(async () => {
    lab = await Lab.create();
  });
  afterEach(() => running?.stop('SIGKILL'));
  after(() => lab?.close());

  const place = (): string => join(lab.directory, `flows-${++number}.log`);
  /** The number of bytes that came. */
  const fetch = (url: string, ...options: readonly string[]) =>
    lab.client.exec([
      ...['curl', '-sS', '--max-time', '10', '-o', '/dev/null', '-w', '%{size_download}'],
      ...[...options, url],
    ]);
  const start = async (path: string): Promise<Child> => {
    running = await startTunnel(lab.client, ['--flow-log', path, PRIVATE4]);
    return running;
  };

  it('says who opened what through which jump host, with the bytes that were carried', async () => {
    const path = place();
    const tunnel = await start(path);
    // Slowly: whose it is can be found out while there is a process.
    const got = await fetch(`http://${API1}/bytes/${BYTES}`, '--limit-rate', String(BYTES / 3));
    assert.equal(got.stdout, String(BYTES));
    assert.notEqual((await fetch(`http://${API1}:${Port.closed}/`)).status, 0);
    await eventually(() => assert.equal(of(linesOf(path), 'closed').length, 1));
    await tunnel.stop('SIGINT');
    const lines = linesOf(path);
    assert.equal(lines[0]?.['event'], 'started');
    assert.equal(lines[0]?.['remote'], REMOTE);
    const [up] = of(lines, 'link-up');
    assert.equal(up?.['jump_user'], JUMP_USER);
    assert.match(String(up?.['host_key']), /^ssh-\S+ SHA256:/);
    const [opened] = of(lines, 'opened');
    const [closed] = of(lines, 'closed');
    assert.equal(opened?.['destination_address'], API1);
    assert.equal(opened?.['destination_port'], 80);
    assert.equal(opened?.['way'], 'tunnel');
    assert.equal(opened?.['uid'], 0);
    assert.equal(opened?.['user'], 'root');
    assert.match(String(closed?.['process']), /^\d+ \(curl\)$/);
    assert.equal(opened?.['id'], closed?.['id']);
    assert.ok(Number(closed?.['received_bytes']) > BYTES); // with the head of the answer
    assert.ok(Number(closed?.['received_bytes']) < BYTES + 1000);
    assert.equal(closed?.['reason'], 'in order');
    const [refused] = of(lines, 'refused');
    assert.equal(refused?.['refusal'], 'refused');
    assert.equal(refused?.['refused_by'], 'far side');
    const last = lines.at(-1);
    assert.equal(last?.['event'], 'ended');
    assert.equal(last?.['opened'], 1);
    assert.equal(last?.['refused'], 1);
    assert.equal(last?.['missing'], 0);
    assert.equal(of(lines, 'link-down').length, 1);
  });

  it('is whole after kill -9, but for the last second, and is then continued', async () => {
    const path = place();
    const tunnel = await start(path);
    await fetch(`http://${API1}/bytes/10`);
    const done = performance.now();
    await eventually(() => assert.equal(of(linesOf(path), 'closed').length, 1));
    assert.ok(performance.now() - done < 5000);
    await tunnel.stop('SIGKILL');
    const lines = linesOf(path);
    assert.equal(of(lines, 'ended').length, 0);
    writeFileSync(path, '{"time":"2026', { flag: 'a' });
    const next = await start(path);
    await next.stop('SIGINT');
    const all = linesOf(path);
    assert.equal(of(all, 'repaired')[0]?.['torn'], '{"time":"2026');
    assert.equal(of(all, 'started').length, 2);
    assert.notEqual(of(all, 'started')[0]?.['run'], of(all, 'started')[1]?.['run']);
  });

  it('goes on when the disk is full, says so once, and says what is missing', async () => {
    const disk = join(lab.directory, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
    try {
      const path = join(disk, 'flows.log');
      const filler = join(disk, 'filler');
      const tunnel = await start(path);
      await eventually(() => assert.equal(of(linesOf(path), 'link-up').length, 1));
      assert.throws(() => writeFileSync(filler, Buffer.alloc(128 * 1024)), { code: 'ENOSPC' });
      // More than what is left of the log's last page.
      for (let i = 0; i < 12; i++) assert.equal((await fetch(`http://${API1}/bytes/10`)).status, 0);
      await tunnel.waitForLine(/warning: --flow-log \S+ can't be written to: .*no space/i);
      assert.equal((await fetch(`http://${API1}/bytes/10`)).status, 0);
      linesOf(path);
      rmSync(filler);
      await tunnel.waitForLine(/is written again/);
      await eventually(() => assert.equal(of(linesOf(path), 'closed').length, 13));
      await tunnel.stop('SIGINT');
      assert.equal(tunnel.stderr.match(/can't be written to/g)?.length, 1);
      assert.equal(linesOf(path).at(-1)?.['missing'], 0);
    } finally {
      execFileSync('umount', [disk]);
    }
  });

  it('is refused at the start where it can not be written', async () => {
    const fifo = place();
    execFileSync('mkfifo', [fifo]);
    for (const file of [fifo, '/dev/full', join(lab.directory, 'none', 'flows.log')]) {
      const { status, stderr } = await runTunnel(lab.client, [
        ...['-r', REMOTE, '--flow-log', file, PRIVATE4],
      ]);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /--flow-log \S+: it /);
      assert.match(stderr, /\n\s*hint|\n.*(name|make) /);
    }
  });

  it('is written by proxy and exec as well', async () => {
    const path = place();
    const proxy = await lab.client.spawn([
      ...[process.execPath, MAIN, 'proxy', '-r', REMOTE, '--listen', '127.0.0.1:1099'],
      ...['--flow-log', path],
    ]);
    await proxy.waitForLine(/tunnel: ready\n/, 20_000);
    const argv = ['curl', '-sS', '-x', 'socks5h://127.0.0.1:1099', `http://${API1}/bytes/10`];
    assert.equal((await lab.client.exec(argv)).status, 0);
    await proxy.stop('SIGINT');
    const [opened] = of(linesOf(path), 'opened');
    assert.equal(opened?.['destination_address'], API1);
    assert.equal(opened?.['peer_port'], 1099);
    assert.equal(opened?.['user'], 'root');

    const inside = place();
    const exec = await lab.client.exec([
      ...[process.execPath, MAIN, 'exec', '-r', REMOTE, '--flow-log', inside, PRIVATE4, '--'],
      ...['curl', '-sS', `http://${API1}/bytes/10`],
    ]);
    assert.equal(exec.status, 0, exec.stderr);
    const lines = linesOf(inside);
    assert.equal(of(lines, 'opened')[0]?.['destination_address'], API1);
    // Known without a look: its process may have ended before any.
    for (const event of ['opened', 'closed']) assert.equal(of(lines, event)[0]?.['uid'], 0);
    assert.equal(of(lines, 'ended')[0]?.['opened'], 1);
  });
});
