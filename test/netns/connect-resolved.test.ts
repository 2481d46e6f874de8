/**
 * `tunnel connect` where programs ask a real systemd-resolved: names, restarts, and nothing leaks
 * or is left behind.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { API1, API1_NAME, API2, API2_NAME, UPLINK4, UPLINK6 } from '../support/addresses.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab, WWW } from '../support/nameslab.ts';
import type { Child } from '../support/process.ts';
import { ResolvedDaemon, resolvedMissing, STUB_RESOLV_CONF } from '../support/resolveddaemon.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const OPTIONS = ['--dns-server', API1, '--domain', 'corp.example', '--keepalive', '1'];
/** It has no dot, so systemd-resolved asks nobody for it. */
const SHORT = 'db';
const TARGETS = [API1_NAME, SHORT, '*.corp.example', API2];
const OURS = /api1\.lab\.example|corp\.example|(77\.10|18\.198)\.in-addr\.arpa/;
/** Asks for the tunnel's names without a pause, both cached ones and others. */
const ASK_ALL_THE_TIME = `i=0; while :; do i=$((i+1)); getent hosts ${API1_NAME}; getent hosts x$i.corp.example; done >/dev/null 2>&1`;
/** The tunnel's DNS server, as systemd-resolved knows it. */
const OWN_SERVER = `resolvectl dns | grep -o '198[.]18[.][0-9.]*'`;
const QUERIES = 'port 53 or port 5353 or port 5355';

describe('connect where systemd-resolved is asked', {
  skip:
    resolvedMissing() ||
    labUnavailable('dbus-daemon', 'dig', 'curl', 'getent', 'dnsmasq', 'tcpdump'),
}, () => {
  let names: NamesLab;
  let resolved: ResolvedDaemon;
  let untouched: string;
  let tunnel: Child;
  before(async () => {
    names = await createNamesLab(STUB_RESOLV_CONF);
    resolved = await ResolvedDaemon.start(names.exec);
    untouched = await resolved.status();
  });
  after(async () => {
    await tunnel?.stop('SIGINT');
    await names?.close();
  });

  async function start(): Promise<Child> {
    const { client } = names.exec.lab;
    const child = await client.spawn(
      resolved.argv(process.execPath, MAIN, '-r', REMOTE, ...OPTIONS, ...TARGETS),
    );
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    return child;
  }

  /** Queries for the tunnel's names that have left since then. */
  const leaked = async (
    uplink: Awaited<ReturnType<NamesLab['exec']['lab']['client']['capture']>>,
  ) => (await uplink.stop()).filter(({ summary }) => OURS.test(summary));

  it('no query for its names leaves from "ready" on, even from programs that asked before', async () => {
    const { client } = names.exec.lab;
    const uplink = await client.capture('uplink', QUERIES);
    const asking = await client.spawn(resolved.argv('sh', '-c', ASK_ALL_THE_TIME));
    while (uplink.packets().length === 0) await sleep(20);
    tunnel = await start();
    const ready = Date.now() / 1000;
    await sleep(500);
    const queries = await leaked(uplink);
    await asking.stop();
    assert.ok(queries.length > 0);
    assert.deepEqual(
      queries.filter(({ time }) => time > ready),
      [],
    );
  });

  it('names resolve and are reached; other names resolve as always; reverse look-ups work', async () => {
    const output =
      await resolved.sh(`curl -sS http://${API1_NAME}/; echo; getent ahostsv4 ${WWW} | head -1
      getent hosts direct.lab.example; getent hosts nobody.corp.example; echo $?
      dig +short -x $(dig +short ${API1_NAME} A); dig +short -x $(dig +short ${API1_NAME} AAAA); dig +short -x ${API2}
      dig +short HTTPS ${API1_NAME}; echo end`);
    const [curl = '', ...rest] = output.split('\n');
    assert.match(tunnel.stderr, /asks no server for names without a dot: programs don't find db\b/);
    assert.equal(await resolved.sh(`getent hosts ${SHORT}`), '');
    assert.equal(JSON.parse(curl).host, 'api1');
    assert.match(
      rest.join('\n').trimStart(),
      /^198\.18\..*\n192\.0\.2\.1 .*\n2\napi1\.lab\.example\.\napi1\.lab\.example\.\nfour\.corp\.example\.\nend\n$/,
    );
    const status = await resolved.status();
    assert.match(status, /-DefaultRoute -LLMNR -mDNS -DNSOverTLS DNSSEC=no/);
    assert.match(status, /~corp\.example/);
    // Its own servers are unchanged.
    assert.match(status, /\(uplink\)[\s\S]*DNS Servers: 192\.0\.2\.1/);
  });

  it('recovers from a restart of systemd-resolved, and from settings that somebody removes', async () => {
    await resolved.kill();
    await resolved.begin();
    await resolved.until('settings after a restart', (status) => status.includes('~corp.example'));
    assert.match(await resolved.sh(`curl -sS http://${API1_NAME}/`), /"peer"/);
    const device = /\d: (tun\d+):/.exec(await resolved.sh('ip -o link'))?.[1] ?? '';
    await resolved.must(`resolvectl revert ${device}`);
    await resolved.until('settings that were taken away', (status) =>
      status.includes('~corp.example'),
    );
    assert.match(tunnel.stderr, /has lost .*: setting them again/);
  });

  it('another network: the tunnel asks the servers that systemd-resolved asks from now on', async () => {
    // resolv.conf names the stub before and after.
    await resolved.must(`resolvectl dns uplink ${UPLINK6}`);
    await tunnel.waitForLine(/this machine's resolvers are 2001:db8:1::1 now/);
    assert.match(
      await resolved.sh(`dig +short direct.lab.example @$(${OWN_SERVER})`),
      /^192\.0\.2\.1\n$/,
    );
    await resolved.must(`resolvectl dns uplink ${UPLINK4}`);
    await tunnel.waitForLine(/this machine's resolvers are 192\.0\.2\.1 now/);
  });

  it('two tunnels answer for their own names, and one goes on when the other is killed', async () => {
    const { client } = names.exec.lab;
    const second = await client.spawn(
      resolved.argv(process.execPath, MAIN, '-r', REMOTE, API2_NAME),
    );
    await second.waitForLine(/tunnel: ready\n/, 20_000);
    const both = `for name in ${API1_NAME} ${API2_NAME}; do curl -sS http://$name/; done`;
    assert.match(await resolved.sh(both), /"host":"api1".*"host":"api2"/s);
    // Also the one that isn't theirs passes the question on.
    for (const server of ['198.18.0.53', '198.18.1.53'])
      assert.match(await resolved.sh(`dig +short ${API2_NAME} A @${server}`), /^198\.18\.1[2-9]/);
    await second.stop('SIGKILL');
    assert.match(await resolved.sh(`curl -sS http://${API1_NAME}/`), /"host":"api1"/);
    assert.equal(await resolved.sh(`getent hosts ${API2_NAME}`), '');
  });

  it('no query leaves while the link is lost', async () => {
    const { client } = names.exec.lab;
    const uplink = await client.capture('uplink', QUERIES);
    const asking = await client.spawn(resolved.argv('sh', '-c', ASK_ALL_THE_TIME));
    await names.exec.lab.sshd.kill();
    await sleep(1_500);
    await names.exec.lab.sshd.start();
    await tunnel.waitForLine(/again/i, 15_000);
    assert.match(await resolved.sh(`curl -sS http://${API1_NAME}/`), /"peer"/);
    await asking.stop();
    assert.deepEqual(await leaked(uplink), []);
  });

  it('it stops in order while queries arrive: none leaves before, and nothing is left', async () => {
    const { client } = names.exec.lab;
    const uplink = await client.capture('uplink', QUERIES);
    const asking = await client.spawn(resolved.argv('sh', '-c', ASK_ALL_THE_TIME));
    await sleep(300);
    const stoppedAt = Date.now() / 1000;
    assert.equal((await tunnel.stop('SIGTERM')).status, 0);
    while (uplink.packets().length === 0) await sleep(20);
    await asking.stop();
    assert.deepEqual(
      (await leaked(uplink)).filter(({ time }) => time < stoppedAt),
      [],
    );
    assert.equal(await resolved.status(), untouched);
    assert.match(await resolved.sh('getent hosts direct.lab.example'), /^192\.0\.2\.1 /);
  });

  it('kill -9 leaves systemd-resolved as it was', async () => {
    tunnel = await start();
    assert.notEqual(await resolved.status(), untouched);
    await tunnel.stop('SIGKILL');
    await resolved.until('as before', (status) => status === untouched);
    assert.match(await resolved.sh('getent hosts direct.lab.example'), /^192\.0\.2\.1 /);
  });
});
