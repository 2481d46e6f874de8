/**
 * --fail-closed with names: this machine's resolver is asked past the tunnel while it runs, and
 * the addresses that stand for names lead nowhere afterwards.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API1_NAME, UPLINK4 } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab } from '../support/nameslab.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const READY_MS = 20_000;

describe('--fail-closed with names', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'getent', 'dig', 'dnsmasq'),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
  });
  after(() => names?.close());

  /** As root, with the client's resolv.conf. */
  const argv = (...command: readonly string[]) => names.exec.userArgv(command, { root: true });

  async function run(...command: readonly string[]): Promise<string> {
    const { stdout, stderr } = await names.exec.lab.client.exec(argv(...command));
    return (stdout + stderr).trim();
  }

  // The resolver is in the connected network 192.0.2.0/24: in a prefix that is wider, and in one
  // that is narrower and would be the first that the kernel comes to.
  for (const [target, neighbour] of [
    ['0/0', 'uplink'],
    ['192.0.2.0/25', 'tun'],
  ] as const) {
    it(`asks the resolver past the tunnel, inside ${target}`, async () => {
      const { client } = names.exec.lab;
      const initial = await client.hostState();
      const command = [process.execPath, MAIN, '-r', REMOTE, '--fail-closed', API1_NAME, target];
      const child = await client.spawn(argv(...command));
      await child.waitForLine(/tunnel: ready\n/, READY_MS);
      assert.match(child.stderr, /answer for api1\.lab\.example again/);
      try {
        const [address = ''] = (await run('getent', 'ahostsv4', API1_NAME)).split(/\s/);
        assert.match(address, /^198\.18\./);
        assert.equal(await run('dig', '+short', 'direct.lab.example'), UPLINK4);
        assert.match(await run('ip', 'route', 'get', '192.0.2.77'), new RegExp(`dev ${neighbour}`));
        await child.stop('SIGKILL');
        assert.match(await run('ip', 'route', 'get', address), /No route to host/);
        assert.match(await run('ip', 'route', 'get', UPLINK4), /dev uplink/);
        assert.equal(await run('dig', '+short', 'direct.lab.example'), UPLINK4);
        assert.match(
          await run('ip', 'route', 'get', '192.0.2.77'),
          neighbour === 'tun' ? /No route/ : /dev uplink/,
        );
      } finally {
        await child.stop('SIGKILL');
        await run(process.execPath, MAIN, 'clean');
      }
      assert.equal(await client.hostState(), initial);
    });
  }
});
