/** `tunnel status`, `stop` and `reconnect` with real tunnels at a real sshd. */
import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sshdMissing } from '../support/loopback-sshd.ts';
import { LoopbackLab, proxyPort } from '../support/loopbacklab.ts';
import { type Child, run } from '../support/process.ts';
import { exchange, throughProxy } from '../support/socksclient.ts';

/** More than any machine takes; how long it takes is measured apart. */
const ANSWER_MS = 20_000;

describe('tunnel status', { skip: sshdMissing }, () => {
  let lab: LoopbackLab;
  let echo = 0;

  before(async () => {
    lab = await LoopbackLab.open();
    echo = await lab.echo();
  });
  after(() => lab.close());

  async function start(...args: readonly string[]): Promise<{ child: Child; port: number }> {
    const child = await lab.start('proxy', '--listen', '127.0.0.1:0', ...args);
    return { child, port: proxyPort(child) };
  }

  const tunnel = (...args: readonly string[]) => lab.tunnel(...args);
  const statusOf = (name: string) => lab.status(name);

  it('tells of links, flows and refusals what the relay has done', async () => {
    const { child, port } = await start('--name', 'lab');
    const sockets: Socket[] = [];
    for (let i = 0; i < 5; i++) sockets.push(await throughProxy(port, echo));
    await Promise.all(sockets.map((socket, i) => exchange(socket, 1000 * (i + 1))));
    await assert.rejects(throughProxy(port, 1));
    const status = await statusOf('lab');
    assert.deepEqual([status.command, status.pid, status.ready], ['proxy', child.pid, true]);
    assert.equal(status.link.state, 'up');
    assert.equal(status.link.at, `127.0.0.1:${lab.sshd.port}`);
    assert.match(status.link.server ?? '', /^OpenSSH/);
    assert.ok(status.link.cipher !== undefined && status.link.keyExchange !== undefined);
    const { live, opened, refused, sentBytes, receivedBytes, list } = status.flows;
    assert.deepEqual([live, opened, refused], [5, 5, 1]);
    assert.deepEqual([sentBytes, receivedBytes], [15_000, 15_000]);
    assert.deepEqual(
      list.map((flow) => [flow.state, flow.way, flow.sentBytes, flow.receivedBytes]),
      [1, 2, 3, 4, 5].map((i) => ['open', 'tunnel', 1000 * i, 1000 * i]),
    );
    assert.equal(status.refusals[0]?.refusal, 'refused');
    assert.equal(status.counters['tunnel_flows_opened_total'], 5);
    const text = await tunnel('status', 'lab');
    assert.equal(text.status, 0);
    assert.match(text.stdout, /^lab \(proxy, pid \d+, for \d+ s\)\n {2}link +up for/);
    assert.match(text.stdout, /5 live \(0 being opened\), 5 opened, 1 refused; 15\.0 kB sent/);
    const config = lab.path('config.yaml');
    const profiles = 'profiles:\n  lab: {remote: a}\n  home: {remote: b}\n';
    writeFileSync(config, profiles, { mode: 0o600 });
    const listed = await tunnel('list', '--config', config, '--json');
    assert.deepEqual(
      (JSON.parse(listed.stdout) as { name: string; running: number[] }[]).map((it) => [
        it.name,
        it.running,
      ]),
      [
        ['home', []],
        ['lab', [child.pid]],
      ],
    );
    const complete = fileURLToPath(new URL('../../src/cli/completion/main.js', import.meta.url));
    const words = ['fish', '--', 'stop', 'la'];
    const offered = await run([process.execPath, complete, ...words], {
      env: lab.env,
      timeout: ANSWER_MS,
    });
    assert.match(offered.stdout, /^lab\t/m);
    child.kill('SIGUSR1');
    await child.waitForLine(/^tunnel: zero: /m);
    assert.match(child.stderr, /^tunnel: lab \(proxy, pid \d+, for \d+ s\)\ntunnel: {3}link +up /m);
    assert.match(
      child.stderr,
      /^tunnel: {3}flows +5 live \(0 being opened\), 5 opened, 1 refused/m,
    );
    assert.match(child.stderr, /^tunnel: {5}refused \d+ s ago: /m);
    assert.match(child.stderr, /^tunnel: tunnel_flows_opened_total 5: /m);
    for (const socket of sockets) socket.destroy();
    assert.equal(statSync(lab.path(`${child.pid}.sock`)).mode & 0o777, 0o600);
    const stopped = await tunnel('stop', 'lab', '-v');
    assert.deepEqual([stopped.status, stopped.stdout], [0, '']);
    assert.equal((await child.wait(ANSWER_MS)).status, 0);
    assert.ok(!existsSync(lab.path(`${child.pid}.sock`)));
    const nothing = await tunnel('status', 'lab');
    assert.deepEqual([nothing.status, nothing.stdout], [2, '']);
  });

  it('warns of a second tunnel that is given the same name', async () => {
    const first = await start('--name', 'twice');
    assert.doesNotMatch(first.child.stderr, /another tunnel/);
    const second = await start('--name', 'twice');
    const [, pid] = await second.child.waitForLine(
      /warning: another tunnel is called twice as well, process (\d+): .* the process id only\n/,
    );
    assert.equal(Number(pid), first.child.pid);
    await first.child.stop('SIGTERM');
    await second.child.stop('SIGTERM');
  });

  it('tells several apart, finds none that was killed, and reconnects one', async () => {
    const [one, other] = [await start('--name', 'one'), await start('--name', 'other')];
    const ambiguous = await tunnel('stop');
    assert.equal(ambiguous.status, 2);
    assert.match(ambiguous.stderr, /\[no-such-tunnel\]: several tunnels run: .*one \(pid \d+\)/);
    await one.child.stop('SIGKILL');
    const missing = await tunnel('stop', 'one');
    assert.match(missing.stderr, /no tunnel is called one\n.*these run: .*other/s);
    assert.ok(!existsSync(lab.path(`${one.child.pid}.sock`)));
    const socket = await throughProxy(other.port, echo);
    const before = await statusOf('other');
    const again = await tunnel('reconnect', 'other');
    assert.equal(again.status, 0, again.stderr);
    const now = await statusOf('other');
    assert.ok((now.link.upSince ?? 0) > (before.link.upSince ?? 0));
    assert.equal(now.counters['tunnel_links_lost_total'], 1);
    socket.destroy();
    await exchange(await throughProxy(other.port, echo), 10);
    await other.child.stop('SIGKILL');
    const left = lab.path(`${other.child.pid}.sock`);
    assert.ok(existsSync(left));
    const next = await start('--name', 'next');
    assert.ok(!existsSync(left), 'what a killed tunnel has left goes with the next one');
    await next.child.stop('SIGTERM');
  });
});
