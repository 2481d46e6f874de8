/**
 * Seqera Studios: a connect proxy with several replicas and one host key behind a network load
 * balancer, users named `user@session`, port 2222 (docs/jump-hosts.md). Two real sshds behind
 * haproxy; fronts of layer 7 are haproxy's as well.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { API1, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { makeCertificates } from '../support/certificates.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { Sshd, type SshdOptions } from '../support/sshd.ts';
import {
  assertForwardsOnly,
  assertReached,
  CHANNELS_LOGGED,
  doctor,
  fetchBy,
  start,
  startHaproxy,
  WAYS,
} from '../support/systems.ts';

/** The platform's user, and the session of the Studio. */
const USER = 'alice@a01ac8894';
/** As the page of the platform shows it after `ssh`. */
const SHOWN = ['-r', `${USER}@${JUMPHOST4}`, '-p', '2222'];
const REPLICA_PORTS = [22022, 22023] as const;
const FRONT = { tcp: 2222, http: 2280, https: 2443 } as const;
const TUNNEL_FAILED = 125;
const NOT_REACHABLE = 5;

describe('Seqera Studios: a connect proxy with two replicas', {
  skip: labUnavailable('curl', 'haproxy', 'openssl'),
  timeout: 240_000,
}, () => {
  let lab: Lab;
  let second: Sshd;
  let front: Child;
  const options = (port: number, more: Partial<SshdOptions> = {}): SshdOptions => ({
    ports: [port],
    logLevel: CHANNELS_LOGGED,
    users: [{ name: USER }],
    ...more,
  });
  const restart = async (more: Partial<SshdOptions> = {}) => {
    await lab.sshd.restart(options(REPLICA_PORTS[0], more));
    await second.restart(options(REPLICA_PORTS[1], more));
  };

  before(async () => {
    lab = await Lab.create({ sshd: options(REPLICA_PORTS[0]) });
    second = new Sshd(
      lab.jumphost,
      join(lab.directory, 'second'),
      lab.credentials,
      options(REPLICA_PORTS[1]),
    );
    await second.start();
    await makeCertificates(lab.directory, ['DNS:connect.example.com']);
    const pem = join(lab.directory, 'front.pem');
    writeFileSync(
      pem,
      ['server.pem', 'server.key']
        .map((name) => readFileSync(join(lab.directory, name), 'utf8'))
        .join(''),
    );
    front = await startHaproxy(
      lab,
      `
listen ssh
  bind *:${FRONT.tcp}
  balance roundrobin
  option redispatch
  retries 2
${REPLICA_PORTS.map((port) => `  server s${port} 127.0.0.1:${port} check inter 500\n`).join('')}
frontend plain
  mode http
  bind *:${FRONT.http}
frontend secure
  mode http
  bind *:${FRONT.https} ssl crt ${pem}
`,
      Object.values(FRONT),
    );
  });
  after(async () => {
    await front?.stop('SIGKILL');
    await second?.kill();
    await lab?.close();
  });
  let offsets: readonly [number, number] = [0, 0];
  const logs = () => [lab.sshd.log().slice(offsets[0]), second.log().slice(offsets[1])] as const;
  beforeEach(() => {
    offsets = [lab.sshd.log().length, second.log().length];
  });
  const run = { args: SHOWN, targets: [PRIVATE4] };

  for (const way of WAYS)
    it(`${way}: the line that the platform shows, at either replica`, async () => {
      // In turn: each replica gets one of two logins.
      for (let n = 0; n < 2; n++) assertReached(await fetchBy(way, lab, run), logs().join('\n'));
      for (const log of logs()) {
        assert.match(log, new RegExp(`Accepted publickey for ${USER} `));
        assertForwardsOnly(log);
      }
    });

  it('a replica is lost: the other one carries on, with the same host key', async () => {
    const tunnel = await start('connect', lab, run);
    const get = ['curl', '-sS', '--max-time', '20', `http://${API1}/`];
    try {
      assertReached({ ...(await lab.client.exec(get)), told: tunnel.stderr });
      const [serving] = logs()[0].includes('Accepted') ? [lab.sshd] : [second];
      assert.ok(serving !== undefined);
      await serving.kill();
      await tunnel.waitForLine(/link lost/);
      assertReached({ ...(await lab.client.exec(get)), told: tunnel.stderr });
      await serving.start();
      assert.doesNotMatch(tunnel.stderr, /host.key/);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  describe('a balancer of layer 7 in the way', () => {
    const CASES = [
      ['http', FRONT.http, /HTTP/],
      ['https', FRONT.https, /TLS/],
    ] as const;
    for (const [kind, port, names] of CASES) {
      it(`${kind}: named, with what to do, and nothing is logged in to`, async () => {
        const layer7 = {
          args: ['-r', `${USER}@${JUMPHOST4}`, '-p', String(port)],
          targets: [API1],
        };
        const { status, told } = await fetchBy('exec', lab, layer7);
        assert.equal(status, TUNNEL_FAILED, told);
        assert.match(told, names);
        assert.match(told, /hint: .*(balancer|proxy|layer|TCP)/i);
        const report = await doctor(lab, layer7);
        assert.equal(report.exitStatus, NOT_REACHABLE);
        assert.match(report.of('jump-host'), names);
      });
    }
  });

  describe('where forwarding is not permitted', () => {
    before(() => restart({ match: [`Match User ${USER}`, 'AllowTcpForwarding no'] }));
    after(() => restart());

    for (const way of WAYS)
      it(`${way}: told at the first open`, async () => {
        const began = performance.now();
        const { stdout, told } = await fetchBy(way, lab, {
          ...run,
          args: [...SHOWN, '-v'],
          patience: 5,
        });
        assert.equal(stdout, '');
        assert.ok(performance.now() - began < 10_000);
        assert.match(told, new RegExp(`the jump host does not permit ${API1}:80`));
        assertForwardsOnly(logs().join('\n'));
      });

    it('without -v it is a line as well', async () => {
      const { told } = await fetchBy('connect', lab, { ...run, patience: 5 });
      assert.match(told, new RegExp(`does not permit ${API1}:80`));
    });

    it('doctor says so, and what it may be', async () => {
      const report = await doctor(lab, { args: SHOWN, targets: [`${API1}:${Port.http}`] });
      assert.equal(report.exitStatus, NOT_REACHABLE);
      assert.match(report.of('authentication'), /^ok: /);
      assert.match(
        report.of('forwarding'),
        /failed: the jump host does not permit .*AllowTcpForw/s,
      );
    });
  });
});
