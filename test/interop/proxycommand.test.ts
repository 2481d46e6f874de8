/** ProxyCommand: real programs between us and a real sshd, and programs that don't work. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TunnelError } from '../../src/errors/errors.ts';
import { resolveJumpHosts } from '../../src/ssh/dial/addresses.ts';
import {
  addressesNamedIn,
  KILL_AFTER_MS,
  MAX_STDERR_LINES,
  openProxyCommand,
} from '../../src/ssh/dial/proxycommand.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import { connectStream } from '../support/connectstream.ts';
import { accessTo, dialEmbedded, LogLines, settingsFor } from '../support/embedded.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { until } from '../support/until.ts';

const missing =
  sshdMissing || (!existsSync('/usr/bin/ncat') && '/usr/bin/ncat is not installed (package ncat)');

describe('ProxyCommand', { skip: missing, timeout: 30_000 }, () => {
  let sshd: LoopbackSshd;
  let directory: string;
  before(async () => {
    sshd = await LoopbackSshd.start();
    directory = mkdtempSync(join(tmpdir(), 'tunnel-proxy-'));
  });
  after(async () => {
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const through = (command: string, overrides: Partial<SshSettings> = {}): SshSettings =>
    settingsFor(sshd, 'proxied', { ...overrides, proxy: { kind: 'command', command } });
  const dial = (settings: SshSettings, observer = new LogLines()) =>
    dialEmbedded([settings], { access: () => accessTo(sshd), observer });

  async function rejected(settings: SshSettings, observer = new LogLines()): Promise<TunnelError> {
    try {
      await (await dial(settings, observer)).close();
    } catch (error) {
      if (error instanceof TunnelError) return error;
      throw error;
    }
    throw new Error('it connected');
  }

  /**
   * Wraps a command so that it first writes its process id to a file; `exec` then keeps that id.
   */
  const recorded = (name: string, command: string): string =>
    `sh -c 'echo $$ > ${join(directory, name)}; exec ${command}'`;
  const running = (name: string): boolean => {
    const pid = readFileSync(join(directory, name), 'utf8').trim();
    return existsSync(`/proc/${pid}`);
  };

  it('carries the connection, and ends with it', async () => {
    const command = recorded('carried', `ncat 127.0.0.1 ${sshd.port}`);
    const [jumpHost] = await resolveJumpHosts([through(command)]);
    assert.deepEqual(
      jumpHost?.addresses,
      [],
      'nothing is resolved: the command may know the name, not we',
    );
    const transport = await dial(through(command, { hostName: 'only.the.proxy.knows' }));
    assert.equal(transport.dialled, undefined);
    const stream = await connectStream(transport, { host: '127.0.0.1', port: sshd.port });
    const [said] = (await stream.take(1).toArray()) as [Buffer];
    assert.match(said.toString(), /^SSH-2\.0-OpenSSH/);
    assert.ok(running('carried'));
    await transport.close();
    assert.equal(await transport.ended, undefined);
    assert.ok(!running('carried'));
  });

  it('leads to the first of several hops', async () => {
    const inner = await LoopbackSshd.start();
    try {
      const hops = [through(`ncat 127.0.0.1 ${sshd.port}`)];
      const settings = settingsFor(inner, 'inner', { proxy: { kind: 'jump', hops } });
      const transport = await dialEmbedded([settings], {
        access: (hop) => accessTo(hop.port === inner.port ? inner : sshd),
      });
      assert.equal(transport.dialled, undefined);
      await transport.close();
    } finally {
      await inner.stop();
    }
  });

  it('that ends early: reports its status and its last lines, without control characters', async () => {
    const observer = new LogLines();
    const error = await rejected(
      through(`sh -c 'printf "one\\ntwo \\033]0;evil\\007" >&2; exit 7'`),
      observer,
    );
    assert.equal(error.code, 'jumphost-proxy');
    assert.match(error.message, /^the ProxyCommand has ended \(exit status 7\); it says "two"$/);
    assert.doesNotMatch(error.message + observer.lines.join(''), /[\u0000-\u001f\u007f]/);
    assert.ok(observer.lines.includes('info: ProxyCommand: one'));
    const killed = await rejected(through(`sh -c 'kill -TERM $$'`));
    assert.match(killed.message, /\(signal SIGTERM\)/);
    const unknown = await rejected(through('no-such-program-here'));
    assert.match(unknown.message, /\(exit status 127\); it says ".*not found"/);
  });

  it('that cannot connect: the next jump host is tried', async () => {
    const transport = await dialEmbedded([through("sh -c 'exit 1'"), settingsFor(sshd, 'direct')], {
      access: () => accessTo(sshd),
    });
    assert.equal(transport.dialled?.port, sshd.port);
    await transport.close();
  });

  it('that sends nothing is ended when the time is over', async () => {
    // Time for a shell to start on a busy machine.
    const settings = through(recorded('silent', 'sleep 60'), { connectTimeout: 3 });
    const error = await rejected(settings);
    assert.equal(error.code, 'jumphost-timeout');
    await until(() => !running('silent'), 'the command goes on');
  });

  it('that is too long for the kernel is an error that says so', () =>
    assert.rejects(openProxyCommand(`true ${'x'.repeat(200_000)}`, { observer: new LogLines() }), {
      code: 'jumphost-proxy',
      hint: /too long/,
    }));

  it('that ignores SIGHUP is killed', async () => {
    const stream = await openProxyCommand(
      `sh -c 'trap "" HUP; echo $$ > ${join(directory, 'deaf')}; exec sleep 60'`,
      {
        observer: new LogLines(),
      },
    );
    while (!existsSync(join(directory, 'deaf'))) await delay(10);
    await delay(50);
    const before = Date.now();
    stream.destroy();
    await new Promise((resolve) => stream.once('close', resolve));
    assert.ok(Date.now() - before > KILL_AFTER_MS - 50);
    assert.ok(!running('deaf'));
  });

  it('that is lost: link-lost, with its status', async () => {
    const transport = await dial(through(recorded('lost', `ncat 127.0.0.1 ${sshd.port}`)));
    process.kill(Number(readFileSync(join(directory, 'lost'), 'utf8')), 'SIGKILL');
    const error = await transport.ended;
    assert.equal(error?.code, 'link-lost');
    assert.match(error.message, /the ProxyCommand has ended \(signal SIGKILL\)/);
  });

  it('that prints without end does not fill the log', async () => {
    const observer = new LogLines();
    await rejected(through(`sh -c 'seq 1 ${MAX_STDERR_LINES * 3} >&2; exit 1'`), observer);
    assert.equal(
      observer.lines.filter((line) => /ProxyCommand: \d+$/.test(line)).length,
      MAX_STDERR_LINES,
    );
    assert.equal(
      observer.counted.filter((name) => name === 'tunnel_proxy_lines_dropped_total').length,
      MAX_STDERR_LINES * 2,
    );
  });

  it('waits for a program that does not read', async () => {
    const stream = await openProxyCommand('sleep 60', { observer: new LogLines() });
    const block = Buffer.alloc(65536);
    let takenBytes = 0;
    while (takenBytes < 64 * 1024 * 1024 && stream.write(block)) takenBytes += block.length;
    assert.ok(takenBytes < 2 * 1024 * 1024, `${takenBytes} bytes`);
    stream.destroy();
    await new Promise((resolve) => stream.once('close', resolve));
  });

  it('the addresses in a command', () => {
    const command = `ncat --proxy 10.1.2.3:3128 --proxy-type http "192.0.2.7" 22 -s fe80::1 [2001:DB8::1]:22 a.example 1.2.3 host=10.0.0.9`;
    assert.deepEqual(addressesNamedIn(command), [
      '10.1.2.3',
      '192.0.2.7',
      'fe80::1',
      '2001:db8::1',
      '10.0.0.9',
    ]);
  });
});
