/**
 * The exit status of `tunnel exec`, what it says when it can't run the command, and the signals
 * that it passes on.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PRIVATE4 } from '../support/addresses.ts';
import { ExecLab, type ExecOptions, NO_USER_NAMESPACES } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { ExecResult } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, programCommand, REMOTE } from '../support/tunnel.ts';

describe('exec: exit status', {
  skip: labUnavailable('openssl', 'unshare', 'python3') || closedToOthers(MAIN),
}, () => {
  let exec: ExecLab;
  before(async () => {
    exec = await ExecLab.create();
  });
  after(async () => {
    await exec?.close();
  });

  for (const [what, status, ...command] of [
    ['0 of a command that succeeds', 0, 'true'],
    ['7 of a command that fails with 7', 7, 'sh', '-c', 'exit 7'],
    ['2, which is not a usage error then', 2, 'sh', '-c', 'exit 2'],
    ['143 of a command that TERM ends', 143, 'sh', '-c', 'kill -TERM $$'],
    ['137 of a command that KILL ends', 137, 'sh', '-c', 'kill -KILL $$'],
    ['162 of a command that a real-time signal ends', 162, 'sh', '-c', 'kill -34 $$'],
    ['of a script without #!', 5, 'SCRIPT'],
  ] as const) {
    it(`is the command's own: ${what}`, async () => {
      const words = command.map((word) => (word === 'SCRIPT' ? `${exec.home}/script` : word));
      const script = `echo 'exit 5' >${exec.home}/script; chmod 755 ${exec.home}/script; exec "$@"`;
      const result = await exec.exec([PRIVATE4, '--', ...words], { script });
      assert.equal(result.status, status, result.stderr);
      assert.equal(result.stderr, '');
    });
  }

  async function fails(
    status: number,
    code: string,
    args: readonly string[],
    options: ExecOptions = {},
  ): Promise<ExecResult> {
    const result = await exec.exec(args, options);
    assert.equal(result.status, status, result.stderr);
    assert.ok(result.stderr.startsWith(`tunnel: error [${code}]: `), result.stderr);
    assert.equal(result.stdout, '');
    return result;
  }

  it('is 127 where there is no such command', async () => {
    const { stderr } = await fails(127, 'command-not-found', ['no-such-command']);
    assert.match(stderr, /no-such-command: command not found/);
    assert.match(stderr, /check its spelling and PATH; targets come before "--"/);
    await fails(127, 'command-not-found', [PRIVATE4, '--', './no-such-command', '--flag']);
    await fails(127, 'command-not-found', [PRIVATE4, '--', '/etc/passwd/x']);
    // An inaccessible directory in PATH must not change the status.
    await fails(127, 'command-not-found', ['no-such-command'], {
      env: { PATH: '/root:/usr/bin:/bin' },
    });
  });

  it('is 126 for what can not be executed', async () => {
    await fails(126, 'command-not-executable', [PRIVATE4, '--', '/etc/passwd']);
    await fails(126, 'command-not-executable', [PRIVATE4, '--', '/']);
  });

  it('is 125 when the tunnel fails, even for a wrong command line', async () => {
    await fails(125, 'usage', [PRIVATE4]);
    await fails(125, 'usage', [PRIVATE4, 'true']);
    await fails(125, 'usage', ['--no-such-option', 'true']);
    await fails(125, 'jumphost-refused', ['-p', '2', PRIVATE4, '--', 'true']);
    await fails(125, 'host-key-changed', [
      '--host-key',
      `SHA256:${'A'.repeat(43)}`,
      PRIVATE4,
      '--',
      'true',
    ]);
  });

  it('is 125 with --isolate where namespaces are refused, and says what would permit them', async () => {
    const { stderr } = await fails(
      125,
      'namespace-refused',
      ['--isolate', PRIVATE4, '--', 'true'],
      {
        script: NO_USER_NAMESPACES,
      },
    );
    assert.match(stderr, /user\.max_user_namespaces is 0/);
    assert.match(stderr, /hint: .*sysctl user\.max_user_namespaces=/);
  });

  it('is 125 with --isolate where the device may not be opened', async () => {
    const script = 'chmod 600 /dev/net/tun && exec "$@"';
    const { stderr } = await fails(125, 'namespace-no-tun', ['--isolate', PRIVATE4, '--', 'true'], {
      script,
    });
    assert.match(stderr, /only root may open/);
  });

  describe('signals', () => {
    const COUNT = `
import os, signal, sys, time
seen = []
for name in ("HUP", "INT", "TERM", "QUIT", "USR1", "USR2", "WINCH", "CONT"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, frame: seen.append(signal.Signals(number).name))
print("ready", os.getpid(), flush=True)
while "SIGUSR2" not in seen: time.sleep(0.01)
time.sleep(0.1)
print(" ".join(seen), flush=True)
sys.exit(9)`;

    it('that are sent to it reach the command once', async () => {
      const tunnel = await exec.spawn([PRIVATE4, '--', '/usr/bin/python3', '-c', COUNT]);
      await tunnel.waitForLine(/ready/);
      for (const signal of [
        'SIGINT',
        'SIGTERM',
        'SIGHUP',
        'SIGQUIT',
        'SIGUSR1',
        'SIGWINCH',
        'SIGCONT',
      ] as const) {
        tunnel.kill(signal);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      tunnel.kill('SIGUSR2');
      assert.deepEqual(await tunnel.wait(10_000), { status: 9, signal: null });
      assert.equal(
        tunnel.stdout.split('\n')[1],
        'SIGINT SIGTERM SIGHUP SIGQUIT SIGUSR1 SIGWINCH SIGCONT SIGUSR2',
      );
      assert.equal(tunnel.stderr, '');
    });

    it('end the command by default, and the tunnel with it', async () => {
      const tunnel = await exec.spawn([PRIVATE4, '--', 'sh', '-c', 'echo ready; exec sleep 60']);
      await tunnel.waitForLine(/ready/);
      assert.deepEqual(await tunnel.stop('SIGTERM'), { status: 143, signal: null });
    });

    it('that "tunnel stop" sends are said: nothing else tells why the command ended', async () => {
      const tunnel = await exec.spawn([PRIVATE4, '--', 'sh', '-c', 'echo ready; exec sleep 60']);
      await tunnel.waitForLine(/ready/);
      const stop = [...programCommand(), 'stop', String(tunnel.pid)];
      assert.equal((await exec.lab.client.exec(exec.userArgv(stop))).status, 0);
      assert.deepEqual(await tunnel.exited, { status: 143, signal: null });
      assert.equal(tunnel.stderr, 'tunnel: warning: stopped by "tunnel stop"\n');
    });

    it('that come before the command runs stop the tunnel', async () => {
      // Nobody answers there.
      const argv = exec
        .argv([PRIVATE4, '--', 'true'])
        .map((word) => (word === REMOTE ? 'jump@192.0.2.77' : word));
      const tunnel = await exec.lab.client.spawn(argv, { env: { HOME: exec.home } });
      await new Promise((resolve) => setTimeout(resolve, 1000));
      assert.deepEqual(await tunnel.stop('SIGINT'), { status: 130, signal: null });
      assert.equal(tunnel.stderr, '');
    });
  });
});
