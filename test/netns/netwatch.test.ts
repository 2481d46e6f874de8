/**
 * How the kernel reports network changes, and how we gather its reports; and what TCP_USER_TIMEOUT
 * does.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { JUMPHOST4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { until } from '../support/until.ts';

const NATIVE = new URL('../../src/native/addon.js', import.meta.url).href;
const NETWATCH = new URL('../../src/system/watch/network.js', import.meta.url).href;
const USERTIMEOUT = new URL('../../src/ssh/dial/tcpoptions.js', import.meta.url).href;
/** NETWATCH_QUIET_MS of native/netwatch.h, and a little more. */
const QUIET_MS = 250 + 50;
/** Within this all is said, also on a busy machine. */
const TOLD_MS = 250 + 500;
/** NETWATCH_SETTLE_MS of native/netwatch.h, with a margin for a busy machine. */
const SETTLED_MS = 1_000 + 500;

describe('netwatch', { skip: labUnavailable() }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create();
  });
  after(async () => {
    await lab?.close();
  });

  /**
   * A process in the client that prints `changed` for each call; `ignored` is a device of the
   * client.
   */
  async function watcher(ignored: string): Promise<Child> {
    const script = `
      import { watchNetwork } from '${NETWATCH}';
      const observer = { log: (level, message) => console.log(message), count() {} };
      const options = { ignoredDevice: process.argv[1], changed: () => console.log('changed'), observer };
      const end = watchNetwork(options);
      process.stdin.on('data', () => { end(); end(); console.log('ended'); });
      console.log('watching');`;
    const child = await lab.client.spawn(
      [process.execPath, '--input-type=module', '-e', script, ignored],
      {
        stdin: 'open',
      },
    );
    await child.waitForLine(/watching\n/);
    return child;
  }

  const changes = (child: Child) => child.stdout.match(/changed\n/g)?.length ?? 0;

  it('reports devices, addresses and routes, of both families, once for changes that come together', async () => {
    const child = await watcher('');
    let reports = 0;
    for (const lines of [
      ['link add bridge0 type bridge'],
      ['addr add 203.0.113.1/24 dev bridge0'],
      ['addr add 2001:db8:9::1/64 dev bridge0 nodad'],
      ['route add 2001:db8:a::/48 via 2001:db8:1::1'],
      Array.from({ length: 100 }, (_, i) => `route add 203.0.113.${i + 10}/32 via 192.0.2.1`),
      ['addr del 203.0.113.1/24 dev bridge0', 'link del bridge0'],
    ]) {
      await lab.client.configure(lines);
      reports++;
      await until(() => changes(child) >= reports, `nothing of ${lines[0]}`);
      await sleep(QUIET_MS);
      assert.equal(changes(child), reports, lines[0]);
    }
    child.write('\n');
    await child.waitForLine(/ended\n/);
    await lab.client.configure(['link add bridge1 type bridge', 'link del bridge1']);
    await sleep(TOLD_MS);
    assert.equal(changes(child), reports, 'after its end');
    await child.stop('SIGKILL');
  });

  it('reports an endless series of changes in time', async () => {
    const child = await watcher('');
    const end = performance.now() + SETTLED_MS;
    for (let i = 0; performance.now() < end; i++) {
      await lab.client.configure([
        `route add 203.0.113.${i % 250}/32 via 192.0.2.1 metric ${i + 1}`,
      ]);
      await sleep(50);
    }
    assert.ok(changes(child) >= 1, 'nothing until they end');
    assert.ok(changes(child) <= 2, `${changes(child)} times in ${SETTLED_MS} ms`);
    await child.stop('SIGKILL');
  });

  it('reports nothing about the ignored device', async () => {
    await lab.client.configure(['link add own type bridge']);
    const child = await watcher('own');
    await lab.client.configure([
      'addr add 203.0.113.1/24 dev own',
      'link set own up',
      ...Array.from({ length: 50 }, (_, i) => `route add 198.18.${i}.0/24 dev own`),
      'link set own down',
    ]);
    await sleep(TOLD_MS);
    assert.equal(changes(child), 0);
    await lab.client.configure(['link set lo down', 'link set lo up']);
    await child.waitForLine(/changed\n/);
    await child.stop('SIGKILL');
    await lab.client.configure(['link del own']);
  });

  it('does not keep the process alive, and survives its end and that of a worker', async () => {
    const scripts = [
      `addon().netwatchStart('', () => {});`,
      `addon().netwatchStart('', () => {}); process.exit(0);`,
      `const { Worker } = await import('node:worker_threads');
       const text = "import('${NATIVE}').then(({ addon }) => { addon().netwatchStart('', () => {}); });";
       const worker = new Worker(text, { eval: true });
       setTimeout(() => worker.terminate(), 300);`,
      `for (let i = 0; i < 20; i++) addon().netwatchStart('', () => {});
       setImmediate(() => gc());`,
    ];
    for (const script of scripts) {
      const text = `import { addon } from '${NATIVE}'; ${script}`;
      const argv = [process.execPath, '--expose-gc', '--input-type=module', '-e', text];
      const { status, signal, stderr } = await lab.client.exec(argv, { timeout: 10_000 });
      assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: '' }, script);
    }
  });

  it('TCP_USER_TIMEOUT ends a connection whose data is not acknowledged', async () => {
    const script = `
      import { connect } from 'node:net';
      import { setUserTimeout } from '${USERTIMEOUT}';
      const socket = connect(22, '${JUMPHOST4}', () => {
        console.log(setUserTimeout(socket, 2000));
        console.log('connected');
      });
      process.stdin.on('data', () => socket.write('SSH-2.0-test\\r\\n'));
      socket.on('error', (error) => { console.log(error.code); process.exit(0); });`;
    const child = await lab.client.spawn([process.execPath, '--input-type=module', '-e', script], {
      stdin: 'open',
    });
    await child.waitForLine(/true\nconnected\n/);
    const hole =
      'table inet hole { chain forward { type filter hook forward priority 0; policy drop; }; }';
    assert.equal((await lab.uplink.exec(['nft', '-f', '-'], { input: hole })).status, 0);
    try {
      const begin = performance.now();
      child.write('\n');
      await child.waitForLine(/ETIMEDOUT\n/, 6_000);
      assert.ok(performance.now() - begin >= 1_900);
    } finally {
      await lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'hole']);
      await child.stop('SIGKILL');
    }
  });
});
