/**
 * K8shell's SSH proxy: a Go server that forwards by policy, once the workspace of its user has
 * started (docs/jump-hosts.md). The nearest real server is test/support/go/workspaceproxy, with
 * golang.org/x/crypto/ssh as K8shell's, behind haproxy.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LEAST_WAIT_AUTH } from '../../src/ssh/options.ts';
import { API1, JUMPHOST4, Port, PRIVATE4 } from '../support/addresses.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import {
  answering,
  assertReached,
  doctor,
  fetchBy,
  proxied,
  start,
  startHaproxy,
  WAYS,
} from '../support/systems.ts';
import { LONG } from '../support/tuning.ts';

const PORT = 2026;
const USER = 'alice~pod=my-workspace';
const NEWCOMER = 'bob~dev';
const ARGS = ['-r', `${USER}@${JUMPHOST4}`, '-p', String(PORT)];
const START_MS = 4_000;
/** Longer than a wait that nobody wonders about. */
const LONG_START_MS = 7_000;
const SLACK_MS = 4_000;
/** As K8shell is configured by default: maxDirectTCPIPConnections. */
const LIMIT = 15;
const TUNNEL_FAILED = 125;
/** A second attempt of a refused login would show in this time. */
const WATCH_MS = 62_000;
const PARTS = [
  'Onboarding user bob via an identity provider.',
  `To continue, visit: https://login.example.com/device/${'x'.repeat(500)}?code=END-OF-URL`,
  ...Array.from({ length: 60 }, (_, n) => `Rule ${n + 1} of this service is worth reading.`),
  'and enter the code: WDJB-MJHT',
  '(Valid for 900 seconds).',
  '',
  'Press <Enter> to continue or <Ctrl+C> to cancel.',
  '',
];

describe("K8shell's SSH proxy", {
  skip: labUnavailable('curl', 'haproxy') || goProgramMissing('workspaceproxy'),
  timeout: LONG ? 1_200_000 : 400_000,
}, () => {
  let lab: Lab;
  let keys: string;
  let port = 22100;

  before(async () => {
    lab = await Lab.create();
    keys = join(lab.directory, 'workspace-keys');
    writeFileSync(keys, lab.credentials.authorizedKeys);
    const publicKey = readFileSync(`${lab.credentials.hostKeys[0]}.pub`, 'utf8');
    writeFileSync(join(lab.clientHome, '.ssh/known_hosts'), `[${JUMPHOST4}]:${PORT} ${publicKey}`);
  });
  after(() => lab?.close());

  /** Runs a server with these options behind a TCP proxy while `body` runs. */
  async function withProxy(
    options: readonly string[],
    body: (server: Child, cut: () => Promise<void>) => Promise<void>,
  ): Promise<void> {
    port++;
    const [hostKey = ''] = lab.credentials.hostKeys;
    const server = await lab.jumphost.spawn([
      ...[goProgram('workspaceproxy'), String(port), keys, hostKey],
      ...options,
    ]);
    await server.waitForLine(/ready\n/);
    const section = `listen edge\n  bind *:${PORT}\n  server proxy 127.0.0.1:${port}\n`;
    let edge = await startHaproxy(lab, section, [PORT]);
    /** All connections are lost; new ones are served. */
    const cut = async () => {
      await edge.stop('SIGKILL');
      edge = await startHaproxy(lab, section, [PORT]);
    };
    try {
      await body(server, cut);
      assert.doesNotMatch(server.stdout, /^channel /m, 'no other channel than direct-tcpip');
    } finally {
      await edge.stop('SIGKILL');
      await server.stop('SIGKILL');
    }
  }
  const count = (server: Child, line: RegExp): number =>
    [...server.stdout.matchAll(new RegExp(line, 'gm'))].length;

  for (const way of WAYS) {
    it(`${way}: the first connection waits for its workspace, later ones do not`, async () => {
      await withProxy([`start=${START_MS}ms`], async (server) => {
        const began = performance.now();
        assertReached(await fetchBy(way, lab, { args: ARGS, targets: [PRIVATE4] }), server.stdout);
        assert.ok(performance.now() - began > START_MS);
        assert.equal(count(server, /^login alice~pod=my-workspace$/), 1);
      });
    });

    it(`${way}: what a slow server refuses is told when it is known`, async () => {
      const options = [`start=${START_MS}ms`, 'confirm=late', `permit=${Port.http}`];
      await withProxy(options, async () => {
        const url = `http://${API1}:${Port.echo}/`;
        const run = { args: [...ARGS, '-v'], targets: [PRIVATE4], url };
        const began = performance.now();
        const { stdout, told } = await fetchBy(way, lab, run);
        const ms = performance.now() - began;
        assert.ok(ms > START_MS && ms < START_MS + 2 * SLACK_MS, `${ms} ms`);
        assert.equal(stdout, '');
        assert.match(told, new RegExp(`does not permit ${API1}:7 \\(denied by policy\\)`));
      });
    });
  }

  for (const way of WAYS)
    it(`${way}: a workspace that takes long is said to be waited for`, async () => {
      await withProxy([`start=${LONG_START_MS}ms`, 'confirm=late'], async (server) => {
        const fetched = await fetchBy(way, lab, { args: ARGS, targets: [PRIVATE4] });
        assertReached(fetched, server.stdout);
        assert.match(fetched.told, new RegExp(`waiting for the jump host to open ${API1}:80 `));
        assert.match(fetched.told, new RegExp(`${API1}:80 is open, after ([7-9]|1\\d) s`));
      });
    });

  it('a link that rejects all global requests lives, idle and in use', async () => {
    await withProxy([], async (server) => {
      const args = [...ARGS, '--keepalive', '1'];
      const tunnel = await start('connect', lab, { args, targets: [PRIVATE4] });
      try {
        await sleep(6_000);
        const get = await lab.client.exec(['curl', '-sS', '--max-time', '10', `http://${API1}/`]);
        assertReached({ ...get, told: tunnel.stderr });
        assert.ok(count(server, /^request keepalive@openssh.com$/) >= 2, server.stdout);
        assert.equal(count(server, /^login /), 1, tunnel.stderr);
        assert.doesNotMatch(tunnel.stderr, /lost/);
      } finally {
        await tunnel.stop('SIGINT');
      }
    });
  });

  it('more connections than the proxy carries at a time are refused with its words', async () => {
    await withProxy([], async () => {
      const tunnel = await start('proxy', lab, { args: [...ARGS, '-v'], targets: [PRIVATE4] });
      const slow = `http://${API1}/slow?ms=12000`;
      try {
        const all = await Promise.all(
          Array.from({ length: LIMIT + 3 }, () =>
            lab.client.exec(['curl', '-sS', '--max-time', '40', slow, ...proxied(tunnel)]),
          ),
        );
        const refused = all.filter(({ status }) => status !== 0);
        assert.equal(refused.length, 3, refused.map(({ stderr }) => stderr).join(''));
        assert.match(tunnel.stderr, /maximum direct-tcpip connections exceeded \(15\)/);
      } finally {
        await tunnel.stop('SIGINT');
      }
    });
  });

  it('doctor: what is known of the server, and that a confirmation says little', async () => {
    await withProxy([`permit=${Port.http}`], async (server) => {
      const targets = [`${API1}:${Port.http}`, `${API1}:${Port.echo}`];
      const report = await doctor(lab, { args: ARGS, targets });
      // The echo is not permitted: confirmed like all, and then ended.
      assert.equal(report.exitStatus, 5, JSON.stringify(report));
      assert.match(
        report.of('server'),
        /note: .*K8shell.*confirms each connection.* 15 connections/,
      );
      assert.match(
        report.of('forwarding'),
        /note: .*:80: confirmed, which this server does before/,
      );
      assert.match(report.of('forwarding'), /failed: .*:7: confirmed, .* ended without a byte/);
      assert.match(report.of('keepalive'), /^ok: /);
      assert.equal(count(server, /^login /), 1);
    });
  });

  it('doctor: no forwarding at all', async () => {
    await withProxy(['refuse=port forwarding is disabled'], async () => {
      const report = await doctor(lab, { args: ARGS, targets: [`${API1}:80`] });
      assert.equal(report.exitStatus, 5);
      assert.match(report.of('forwarding'), /failed: .*port forwarding is disabled/);
    });
  });

  for (const way of WAYS)
    it(`${way}: a new user sees the whole text with its URL, and logs in`, async () => {
      const ask = join(lab.directory, 'ask');
      writeFileSync(ask, PARTS.join('\n'));
      await withProxy([`new=${NEWCOMER}`, `ask=${ask}`], async (server) => {
        const shown = join(lab.directory, `shown-${way}`);
        const env = answering(lab, '', shown);
        const args = ['-r', `${NEWCOMER}@${JUMPHOST4}`, '-p', String(PORT)];
        const fetched = await fetchBy(way, lab, { args, targets: [PRIVATE4], env });
        assertReached(fetched, server.stdout);
        const { stdout } = await lab.client.exec(['cat', shown]);
        for (const part of PARTS) assert.ok(stdout.includes(part), `${part} in\n${stdout}`);
      });
    });

  describe('a login that is refused after the link was lost', () => {
    /** Runs `body` once that has happened; it gets the tunnel and the server. */
    async function refused(body: (tunnel: Child, server: Child) => Promise<void>): Promise<void> {
      await withProxy([], async (server, cut) => {
        const tunnel = await start('connect', lab, { args: ARGS, targets: [PRIVATE4] });
        try {
          writeFileSync(keys, '');
          await cut();
          await server.waitForLine(/refused alice/);
          await body(tunnel, server);
        } finally {
          writeFileSync(keys, lab.credentials.authorizedKeys);
          await tunnel.stop('SIGINT');
        }
      });
    }

    it('is not tried again within a minute, whoever waits for it', async () => {
      await refused(async (tunnel, server) => {
        for (const end = performance.now() + WATCH_MS; performance.now() < end; ) {
          await lab.client.exec(['curl', '-sS', '--max-time', '3', `http://${API1}/`]);
          await sleep(1_000);
        }
        assert.equal(count(server, /^refused /), 1, tunnel.stderr);
        assert.equal(count(server, /^connection$/), 2, tunnel.stderr);
      });
    });

    it('then silence: a possible block, with the time of the next attempt', {
      skip: !LONG && 'takes 7 minutes: TUNNEL_LONG=1',
      timeout: 600_000,
    }, async () => {
      await refused(async (tunnel) => {
        const unblock = await block();
        try {
          await tunnel.waitForLine(/may block this address since it refused/, 480_000);
          assert.match(tunnel.stderr, /may block this address.*\d+ s/);
        } finally {
          await unblock();
        }
      });
    });
  });

  /** As SSH Shield shuts an address out: by a packet filter. */
  async function block(): Promise<() => Promise<unknown>> {
    const drop = `table inet shield { chain input {
      type filter hook input priority filter; policy accept;
      tcp dport ${PORT} drop;
    }; }`;
    const { status, stderr } = await lab.jumphost.exec(['nft', '-f', '-'], { input: drop });
    assert.equal(status, 0, stderr);
    return () => lab.jumphost.exec(['nft', 'delete', 'table', 'inet', 'shield']);
  }

  it('--wait-auth: who is shut out after a refusal is told of a possible block', async () => {
    const stranger = ['-i', lab.credentials.keys.stranger, '-o', 'IdentitiesOnly=yes'];
    const patience = ['--wait-auth', String(LEAST_WAIT_AUTH), '--connect-timeout', '3'];
    await withProxy([], async (server) => {
      const run = { args: [...ARGS, ...stranger, ...patience], targets: [API1] };
      const running = fetchBy('exec', lab, run);
      await server.waitForLine(/refused alice/);
      const unblock = await block();
      const { status, told } = await running;
      await unblock();
      assert.equal(status, TUNNEL_FAILED, told);
      assert.match(told, /\[auth-failed\].*since then: .*\n.*it may have blocked this address/);
      assert.equal(count(server, /^refused /), 1);
    });
  });

  it('a session would be noticed', async () => {
    await assert.rejects(
      withProxy([], async (server) => {
        const ssh = ['ssh', '-p', String(PORT), '-o', 'BatchMode=yes', '-l', USER];
        const { status } = await lab.client.exec([
          ...ssh,
          ...['-i', lab.credentials.keys.authorized, '-o', 'StrictHostKeyChecking=no'],
          ...['-o', 'UserKnownHostsFile=/dev/null', JUMPHOST4, 'true'],
        ]);
        assert.equal(status, 255);
        assert.equal(count(server, /^channel session$/), 1);
      }),
      /no other channel than direct-tcpip/,
    );
  });

  it('exec ends at the first refusal, after one attempt', async () => {
    const stranger = ['-i', lab.credentials.keys.stranger, '-o', 'IdentitiesOnly=yes'];
    await withProxy([], async (server) => {
      const run = { args: [...ARGS, ...stranger], targets: [API1] };
      const { status, told } = await fetchBy('exec', lab, run);
      assert.equal(status, TUNNEL_FAILED, told);
      assert.match(told, /\[auth-failed\]/);
      assert.equal(count(server, /^refused /), 1);
    });
  });
});
