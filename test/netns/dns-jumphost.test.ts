/**
 * `--dns` on a machine whose resolver is a home router, which means nothing to the jump host: then
 * the jump host's own resolver is asked. And `--dns-server` that doesn't answer.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API2, BLACKHOLE4, PRIVATE4 } from '../support/addresses.ts';
import { dnsmasqAt } from '../support/dnsmasq.ts';
import { ExecLab } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const NAME = 'api1.corp.example';
const OTHER_NAME = 'api2.corp.example';
const ROUTER = '192.168.1.1';
/** The longest that the tries may take, besides the rest of the start. */
const START_MS = 12_000;

const skip =
  labUnavailable('openssl', 'unshare', 'curl', 'getent', 'dnsmasq') || closedToOthers(MAIN);

/** `resolver`: of this machine, whatever of that the jump host reaches. */
function labOf(resolver: string, body: (lab: () => ExecLab) => void): void {
  describe(`this machine asks ${resolver}`, { skip }, () => {
    let exec: ExecLab;
    before(async () => {
      exec = await ExecLab.create(`nameserver ${resolver}\noptions timeout:3 attempts:2\n`);
    });
    after(async () => {
      await exec?.close();
    });
    body(() => exec);
  });
}

/** The jump host's own resolver. */
async function resolverAt(exec: ExecLab, address: string): Promise<Child> {
  const child = await exec.lab.jumphost.spawn(
    dnsmasqAt(
      address,
      '--log-facility=-',
      '--local=/corp.example/',
      `--host-record=${NAME},${API1},60`,
      `--host-record=${OTHER_NAME},${API2},60`,
    ),
  );
  await child.waitForLine(/started/, 10_000);
  return child;
}

const argv = (exec: ExecLab, ...command: readonly string[]) =>
  exec.userArgv(command, { root: true });

async function inClient(exec: ExecLab, script: string): Promise<string> {
  const { stdout, stderr } = await exec.lab.client.exec(argv(exec, 'sh', '-c', script), {
    timeout: 30_000,
  });
  return stdout + stderr;
}

async function connects(exec: ExecLab, ...options: readonly string[]): Promise<Child> {
  const child = await exec.lab.client.spawn(
    argv(exec, process.execPath, MAIN, '-r', REMOTE, '--keepalive', '1', ...options, PRIVATE4),
  );
  await child.waitForLine(/tunnel: ready\n/, START_MS);
  return child;
}

for (const resolver of [ROUTER, BLACKHOLE4])
  labOf(resolver, (lab) => {
    let own: Child | undefined;
    let tunnel: Child | undefined;
    afterEach(async () => {
      await tunnel?.stop('SIGTERM');
      await own?.stop('SIGTERM');
    });

    it("connect asks the jump host's own, says so, and finds it again at another jump host", async () => {
      const exec = lab();
      own = await resolverAt(exec, '127.0.0.1');
      tunnel = await connects(exec, '--dns');
      assert.match(
        tunnel.stderr,
        new RegExp(
          `names are asked of 127\\.0\\.0\\.1:53, the jump host's own resolver: ${resolver}:53: `,
        ),
      );
      assert.match(
        await inClient(exec, `getent hosts ${NAME}; curl -sS http://${NAME}/`),
        /^10\.77\.0\.11 .*\n\{"host":"api1"/,
      );
      // The link is made again, to where another program answers.
      await own.stop('SIGTERM');
      await exec.lab.sshd.kill();
      own = await resolverAt(exec, '127.0.0.53');
      await exec.lab.sshd.start();
      await tunnel.waitForLine(/reconnected/, 15_000);
      // One that is not in the cache.
      assert.match(await inClient(exec, `getent hosts ${OTHER_NAME}`), /^10\.77\.0\.12 /);
      assert.match(tunnel.stderr, /names are asked of 127\.0\.0\.53:53/);
    });

    it('exec does, too', async () => {
      const exec = lab();
      own = await resolverAt(exec, '127.0.0.53');
      const script = `getent hosts ${NAME}; curl -sS http://${NAME}/`;
      const { stdout, stderr } = await exec.exec(['--dns', PRIVATE4, '--', 'sh', '-c', script]);
      assert.match(stdout, /^10\.77\.0\.11 .*\n\{"host":"api1"/, stderr);
      assert.match(stderr, /names are asked of 127\.0\.0\.53:53/);
    });

    it('none answers: it ends before anything is changed, and says what was tried', async () => {
      const exec = lab();
      const before = await inClient(exec, 'ip route; ip link');
      const began = performance.now();
      const said = await inClient(
        exec,
        `${process.execPath} ${MAIN} -r ${REMOTE} --dns ${PRIVATE4} 2>&1; echo $?`,
      );
      assert.ok(performance.now() - began < START_MS);
      assert.match(
        said,
        new RegExp(
          `\\[dns-no-resolver\\]: .*${resolver}:53: .*; 127\\.0\\.0\\.53:53: .*refused.*; 127\\.0\\.0\\.1:53: .*refused.*\n.*hint: .*--dns-server.*\n6\n$`,
          's',
        ),
      );
      assert.equal(await inClient(exec, 'ip route; ip link'), before);
    });
  });

labOf(ROUTER, (lab) => {
  let tunnel: Child | undefined;
  afterEach(async () => {
    await tunnel?.stop('SIGTERM');
  });

  it('a --dns-server that does not answer ends the run, or is passed over with --dns', async () => {
    const exec = lab();
    const own = await resolverAt(exec, '127.0.0.1');
    try {
      const said = await inClient(
        exec,
        `${process.execPath} ${MAIN} -r ${REMOTE} --dns-server ${API2} ${PRIVATE4} 2>&1; echo $?`,
      );
      assert.match(
        said,
        /--dns-server 10\.77\.0\.12:53 gives no answer to the jump host: .*refused/i,
      );
      assert.match(said, /\[dns-no-resolver\].*\n.*hint: .*add --dns.*\n6\n$/s);
      tunnel = await connects(exec, '--dns', '--dns-server', API2);
      assert.match(tunnel.stderr, /names are asked of 127\.0\.0\.1:53/);
      assert.match(await inClient(exec, `getent hosts ${NAME}`), /^10\.77\.0\.11 /);
    } finally {
      await own.stop('SIGTERM');
    }
  });

  it('with --domain it is a warning, and names resolve when it answers', async () => {
    const exec = lab();
    tunnel = await connects(exec, '--dns-server', API2, '--domain', 'corp.example');
    assert.match(tunnel.stderr, /warning.*--dns-server 10\.77\.0\.12:53 gives no answer/i);
    const late = await exec.lab.api2.spawn(
      dnsmasqAt(
        API2,
        '--log-facility=-',
        `--host-record=${NAME},${API1},60`,
        `--host-record=${OTHER_NAME},${API2},60`,
      ),
    );
    try {
      await late.waitForLine(/started/, 10_000);
      assert.match(await inClient(exec, `dig +short ${NAME} @198.18.0.53`), /^10\.77\.0\.11\n/);
    } finally {
      await late.stop('SIGTERM');
    }
  });
});
