/**
 * Names through a real tunnel: the DNS server in the client, dnsmasq and unbound behind the jump
 * host, real clients. The client's resolv.conf names the tunnel's server; nothing else on the
 * client's network resolves names.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, API2, PRIVATE4 } from '../support/addresses.ts';
import type { FrontOptions } from '../support/dnsfront.ts';
import { dnsmasqAt } from '../support/dnsmasq.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { startTunnel } from '../support/tunnel.ts';

const FRONT = fileURLToPath(new URL('../support/dnsfront.js', import.meta.url));
const skip = labUnavailable('dnsmasq', 'unbound', 'dig', 'getent', 'tcpdump', 'python3');

/**
 * Knows corp.example, and refuses all other names; closes each connection after a hundred answers.
 */
const DNSMASQ = dnsmasqAt(
  API1,
  '--local=/corp.example/',
  '--host-record=www.corp.example,10.77.0.11,2001:db8:77::11,60',
  '--host-record=four.corp.example,10.77.0.12',
  '--cname=alias.corp.example,www.corp.example',
  '--mx-host=corp.example,mail.corp.example,10',
  '--ptr-record=11.0.77.10.in-addr.arpa,www.corp.example',
);

/** Knows lab.test: 300 names with an address each, and one with 200. */
const UNBOUND = `server:
  interface: ${API2}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  directory: "/"
  do-not-query-localhost: no
  module-config: "iterator"
  root-hints: ""
  local-zone: "lab.test." static
${Array.from({ length: 300 }, (_, i) => `  local-data: "n${i}.lab.test. 60 IN A 10.77.2.${(i % 250) + 1}"`).join('\n')}
${Array.from({ length: 200 }, (_, i) => `  local-data: "big.lab.test. 60 IN A 10.77.3.${i + 1}"`).join('\n')}
  local-data: "lab.test. 60 IN SOA ns.lab.test. root.lab.test. 1 3600 600 86400 30"
remote-control:
  control-enable: no
`;

describe('names behind the jump host', { skip }, () => {
  let lab: Lab;
  let tunnel: Child;
  const servers: Child[] = [];

  const inside = (...argv: string[]) =>
    lab.client.exec([
      'unshare',
      '-m',
      'sh',
      '-c',
      'mount --bind "$0" /etc/resolv.conf && exec "$@"',
      join(lab.directory, 'resolv.conf'),
      ...argv,
    ]);
  const dig = async (...args: string[]) => {
    const { stdout } = await lab.client.exec(['dig', '@127.0.0.1', '+time=5', '+tries=1', ...args]);
    return {
      text: stdout,
      status: /status: (\w+)/.exec(stdout)?.[1],
      records: (/ANSWER SECTION:\n((?:.+\n)*)/.exec(stdout)?.[1] ?? '')
        .split('\n')
        .filter((line) => line !== ''),
    };
  };
  const startFront = async (options: Partial<FrontOptions>) => {
    const complete: FrontOptions = {
      host: '127.0.0.1',
      port: 53,
      servers: [
        { host: API1, port: 53 },
        { host: API2, port: 53 },
      ],
      nameTargets: ['api.example.com', '*.corp.example'],
      domains: [],
      local: [],
      ...options,
    };
    const front = await lab.client.spawn([process.execPath, FRONT, JSON.stringify(complete)], {
      stdin: 'open',
    });
    await front.waitForLine(/ready\n/);
    return front;
  };

  before(async () => {
    lab = await Lab.create();
    writeFileSync(
      join(lab.directory, 'resolv.conf'),
      'nameserver 127.0.0.1\noptions timeout:3 attempts:1\n',
    );
    writeFileSync(join(lab.directory, 'unbound.conf'), UNBOUND);
    servers.push(await lab.api1.spawn(DNSMASQ));
    servers.push(
      await lab.api2.spawn(['unbound', '-d', '-c', join(lab.directory, 'unbound.conf')]),
    );
    tunnel = await startTunnel(lab.client, [PRIVATE4]);
  });

  after(async () => {
    for (const server of servers) await server.stop();
    await tunnel?.stop();
    await lab?.close();
  });

  describe('with everything through the tunnel', () => {
    let front: Child;
    before(async () => {
      front = await startFront({});
    });
    after(async () => {
      front.endInput();
      await front.wait(5000);
    });

    it('dig gets the far resolver’s answers, and no query leaves outside the tunnel', async () => {
      const uplink = await lab.client.capture('uplink', 'port 53 or port 5353 or port 5355');
      assert.match(
        (await dig('n7.lab.test', 'A')).records[0] ?? '',
        /^n7\.lab\.test\.\s+60\s+IN\s+A\s+10\.77\.2\.8$/,
      );
      assert.equal((await dig('missing.lab.test', 'A')).status, 'NXDOMAIN');
      assert.match((await dig('-x', '10.77.0.11')).records[0] ?? '', /PTR\s+www\.corp\.example\./);
      assert.match((await dig('corp.example', 'MX')).records[0] ?? '', /mail\.corp\.example/);
      assert.deepEqual(await uplink.stop(), []);
    });

    it('a name target has virtual addresses that lead back to it; below a wildcard only existing names do', async () => {
      const [record = ''] = (await dig('api.example.com', 'A')).records;
      const address = /\sA\s+(198\.18\.\S+)$/.exec(record)?.[1] ?? '';
      assert.match((await dig('-x', address)).records[0] ?? '', /PTR\s+api\.example\.com\.$/);
      assert.match((await dig('www.corp.example', 'AAAA')).records[0] ?? '', /2001:2:0:8000::/);
      assert.deepEqual((await dig('four.corp.example', 'AAAA')).records, []);
      assert.equal((await dig('wwww.corp.example', 'A')).status, 'NXDOMAIN');
      const https = await dig('www.corp.example', 'HTTPS');
      assert.deepEqual([https.status, https.records], ['NOERROR', []]);
      assert.match(https.text, /AUTHORITY: 1/);
    });

    it('the C library, Python and Node resolve as always', async () => {
      assert.match((await inside('getent', 'ahosts', 'n9.lab.test')).stdout, /^10\.77\.2\.10\s/m);
      assert.match(
        (await inside('getent', 'ahosts', 'api.example.com')).stdout,
        /^2001:2:0:8000::[\s\S]*^198\.18\./m,
      );
      assert.equal((await inside('getent', 'hosts', 'missing.lab.test')).status, 2);
      const python =
        'import socket,sys; print(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 443)}))';
      assert.match(
        (await inside('python3', '-c', python, 'www.corp.example')).stdout,
        /198\.18\.[\s\S]*2001:2:0:8000:/,
      );
      const node = `Promise.all(['resolve4', 'resolve6', 'resolveMx'].map((f) => require('dns').promises[f]('www.corp.example')
        .catch((e) => e.code))).then((r) => console.log(JSON.stringify(r)))`;
      assert.match(
        (await inside(process.execPath, '-e', node)).stdout,
        /^\[\["198\.18\.[\d.]+"\],\["2001:2:[\da-f:]+"\],"ENODATA"\]/,
      );
      // The answer keeps the case of the question, and some resolvers' clients compare it.
      assert.match((await dig('N7.LaB.TeSt', 'A')).records[0] ?? '', /^N7\.LaB\.TeSt\./);
    });

    it('an answer too large for a datagram is truncated, and comes whole over TCP', async () => {
      const cut = await dig('+ignore', 'big.lab.test', 'A');
      assert.match(cut.text, /flags: [^;]*\btc\b/);
      // What fits comes all the same: musl before 1.2.4 doesn't ask again by TCP.
      assert.ok(cut.records.length > 5 && cut.records.length < 100, String(cut.records.length));
      assert.equal((await dig('big.lab.test', 'A')).records.length, 200);
      assert.equal((await dig('+tcp', 'n1.lab.test', 'A')).records.length, 1);
    });

    it('300 names at once are answered, over one connection to each resolver', async () => {
      const names = Array.from({ length: 300 }, (_, i) => `n${i}.lab.test`);
      const node = `const d = new (require('dns').promises.Resolver)(); Promise.allSettled(${JSON.stringify(names)}.map((n) => d.resolve4(n)))
        .then((r) => console.log(r.filter((x) => x.status === 'fulfilled').length))`;
      const { stdout, stderr } = await inside(process.execPath, '-e', node);
      assert.equal(stdout.trim(), '300', stderr);
      const { stdout: streams } = await lab.client.exec([
        'ss',
        '-Htn',
        'state',
        'established',
        `dst ${API2}`,
      ]);
      assert.ok(streams.trim().split('\n').length <= 1, streams);
    });
  });

  describe('with suffixes', () => {
    it("other names go to this machine's resolver, the tunnel's names never do", async () => {
      // The machine's own resolver, in the client's network: it knows one other name, and would
      // answer for the tunnel's.
      const own = await lab.uplink.spawn(
        dnsmasqAt(
          '192.0.2.1',
          '--address=/public.test/192.0.2.80',
          '--address=/lab.test/192.0.2.66',
        ),
      );
      const front = await startFront({
        domains: ['lab.test'],
        local: [{ host: '192.0.2.1', port: 53 }],
      });
      try {
        const uplink = await lab.client.capture('uplink', 'port 53');
        assert.match((await dig('www.public.test', 'A')).records[0] ?? '', /192\.0\.2\.80$/);
        assert.match((await dig('n3.lab.test', 'A')).records[0] ?? '', /10\.77\.2\.4$/);
        assert.equal((await dig('missing.lab.test', 'A')).status, 'NXDOMAIN');
        const packets = await uplink.stop();
        assert.ok(packets.length > 0);
        assert.deepEqual(
          packets.filter(({ summary }) => summary.includes('lab.test')),
          [],
        );
      } finally {
        front.endInput();
        await front.wait(5000);
        await own.stop();
      }
    });

    it('after a tunnel has ended its names fail, and go nowhere else', async () => {
      const front = await startFront({
        domains: ['lab.test'],
        local: [{ host: '192.0.2.1', port: 53 }],
      });
      try {
        await tunnel.stop();
        const uplink = await lab.client.capture('uplink', 'udp port 53');
        assert.equal((await dig('n5.lab.test', 'A')).status, 'SERVFAIL');
        assert.deepEqual(await uplink.stop(), []);
      } finally {
        front.endInput();
        await front.wait(5000);
      }
    });
  });
});
