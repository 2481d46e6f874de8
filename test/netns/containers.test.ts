/**
 * Programs in containers of this machine, on a bridge with the rules that Docker makes: their
 * packets are routed by this machine, and so captured like those of its own programs.
 *
 *   container 172.17.0.2 --- docker0 172.17.0.1, client: forward, masquerade --- tunN or uplink
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API1_NAME, Port, PRIVATE4, UNREACHABLE4, UPLINK4 } from '../support/addresses.ts';
import { type Bridge, bridgeIn } from '../support/bridge.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab } from '../support/nameslab.ts';
import type { Child } from '../support/process.ts';
import { type Attempt, dial, MAIN, REMOTE, startTunnel } from '../support/tunnel.ts';

const READY_MS = 20_000;
const FETCH = ['curl', '-sS', '--max-time', '10'];

describe('a container on a bridge', { skip: labUnavailable('curl') }, () => {
  let lab: Lab;
  let bridge: Bridge;
  let tunnel: Child | undefined;
  before(async () => {
    lab = await Lab.create();
    bridge = await bridgeIn(lab);
  });
  afterEach(async () => {
    await tunnel?.stop('SIGINT');
    tunnel = undefined;
  });
  after(() => lab?.close());

  const fetched = async (...argv: readonly string[]): Promise<string> => {
    const { stdout, stderr } = await bridge.container.exec([...FETCH, ...argv]);
    return stdout + stderr;
  };
  const outcome = async (host: string, port: number): Promise<string | undefined> => {
    const [attempt] = await dial<Attempt[]>(bridge.container, 'connect', host, port);
    return attempt?.outcome;
  };

  for (const target of [PRIVATE4, '0/0']) {
    it(`is captured by ${target}, and told the truth`, async () => {
      tunnel = await startTunnel(lab.client, [target]);
      assert.match(await fetched(`http://${API1}/`), /"host":"api1"/);
      assert.equal(await outcome(API1, Port.closed), 'ECONNREFUSED');
      assert.equal(await outcome(UNREACHABLE4, 80), 'EHOSTUNREACH');
      // The bridge is a network of this machine, which stays local.
      const answered = await bridge.container.exec(['ping', '-c', '1', '-W', '5', bridge.gateway]);
      assert.equal(answered.status, 0, answered.stdout);
    });
  }

  it('is not captured without a tunnel', async () => {
    assert.doesNotMatch(await fetched('--max-time', '2', `http://${API1}/`), /api1/);
  });

  it('reaches a proxy at the address of the bridge, with a password', async () => {
    const file = join(lab.directory, 'users');
    writeFileSync(file, 'ci:secret\n', { mode: 0o600 });
    const argv = ['--socks', `${bridge.gateway}:1080`, '--proxy-auth', file, '-r', REMOTE];
    tunnel = await lab.client.spawn([process.execPath, MAIN, 'proxy', ...argv]);
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    const proxy = `socks5h://ci:secret@${bridge.gateway}:1080`;
    assert.match(await fetched('-x', proxy, `http://${API1}/`), /"host":"api1"/);
    const refused = await fetched('-x', `socks5h://${bridge.gateway}:1080`, `http://${API1}/`);
    assert.doesNotMatch(refused, /"host"/);
  });
});

describe('a container that asks the resolver of its machine', {
  skip: labUnavailable('openssl', 'unshare', 'curl', 'dig', 'dnsmasq'),
}, () => {
  let names: NamesLab;
  let tunnel: Child | undefined;
  before(async () => {
    names = await createNamesLab();
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await names?.close();
  });

  it('gets addresses that stand for names, which it reaches', async () => {
    const { lab } = names.exec;
    const { container } = await bridgeIn(lab);
    const argv = [process.execPath, MAIN, '-r', REMOTE, API1_NAME];
    tunnel = await lab.client.spawn(names.exec.userArgv(argv, { root: true }));
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    // Docker gives a container the resolvers of its machine, unless they are on loopback.
    const asked = await container.exec(['dig', '+short', `@${UPLINK4}`, API1_NAME]);
    assert.match(asked.stdout, /^198\.18\.\S+\n$/);
    const address = asked.stdout.trim();
    const url = [`--resolve`, `${API1_NAME}:80:${address}`, `http://${API1_NAME}/`];
    const { stdout, stderr } = await container.exec([...FETCH, ...url]);
    assert.match(stdout, /"host":"api1"/, stderr);
  });
});
