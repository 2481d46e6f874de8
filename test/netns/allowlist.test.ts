/**
 * --allow and --dry-run with each command that has them: the jump host permits more than the list
 * does, so the tunnel stopped any connection that doesn't arrive. `direct.lab.example` is a name
 * that the client's own resolver knows, for a server outside the tunnel.
 */
import assert from 'node:assert/strict';
import { chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  API1,
  API1_NAME,
  API2,
  API2_NAME,
  CLIENT4,
  UPLINK6,
  UplinkPort,
} from '../support/addresses.ts';
import { UID } from '../support/etc.ts';
import { NO_USER_NAMESPACES } from '../support/execlab.ts';
import { labUnavailable } from '../support/lab.ts';
import { createNamesLab, type NamesLab, WWW } from '../support/nameslab.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** The limit for the program's answer, shorter than a client's own timeout. */
const AT_ONCE_MS = 1_000;
const DIRECT = `direct.lab.example:${UplinkPort.peer}`;
const TARGETS = [API1_NAME, API2_NAME];
const BESIDE6 = `[${UPLINK6}]:${UplinkPort.peer}`;
/**
 * Says for each whether it was reached: the HTTP servers send an object, the server outside the
 * tunnel sends the client's address.
 */
const ASK = (...places: readonly string[]) =>
  places
    .map(
      (place) => `echo ${place} $(curl -sS -m 10 -p --http0.9 http://${place}/ 2>&1 | cut -c 1-60)`,
    )
    .join('\n');

describe('the allow-list', {
  skip:
    labUnavailable('openssl', 'unshare', 'curl', 'python3', 'dnsmasq', 'tcpdump') ||
    closedToOthers(MAIN),
}, () => {
  let names: NamesLab;
  before(async () => {
    names = await createNamesLab();
  });
  after(() => names?.close());

  function listOf(name: string, ...rules: readonly string[]): string {
    const path = join(names.exec.home, name);
    writeFileSync(path, `${rules.join('\n')}\n`);
    return path;
  }

  /** The destinations that the jump host connected to meanwhile. */
  async function opened<T>(work: () => Promise<T>): Promise<{ result: T; hosts: Set<string> }> {
    const packets = await names.exec.lab.jumphost.capture(
      'private',
      'tcp[tcpflags] & tcp-syn != 0 and dst net 10.77.0.0/24',
    );
    const result = await work();
    const hosts = new Set((await packets.stop()).map(({ destination }) => destination));
    return { result, hosts: new Set([...hosts].map((text) => text.replace(/\.(\d+)$/, ':$1'))) };
  }

  const denials = (stderr: string) =>
    stderr.split('\n').filter((line) => /denied by the allow-list/.test(line));

  describe('of exec', () => {
    const inside = (
      options: readonly string[],
      script: string,
      setup?: string,
    ): Promise<ExecResult> =>
      names.exec.exec(
        [...options, '--', 'sh', '-c', script],
        setup === undefined ? {} : { script: setup },
      );

    it('applies to connections through the tunnel, and to those past it', async () => {
      const list = listOf('exec.allow', `${API1_NAME}:80`, DIRECT);
      const script = ASK(`${API1_NAME}:80`, `${API2_NAME}:80`, `${API2_NAME}:80`, DIRECT, BESIDE6);
      const begun = performance.now();
      const { result, hosts } = await opened(() => inside(['--allow', list, ...TARGETS], script));
      const { stdout, stderr, status } = result;
      assert.equal(status, 0, stderr);
      const [api1, api2, , direct, beside6] = stdout.split('\n');
      assert.match(api1 ?? '', /"peer":"10\.77\.0\.1"|2001:db8:77::1/);
      assert.match(api2 ?? '', /No route to host|Failed to connect|Could(?:n't| not) connect/);
      assert.equal(direct, `${DIRECT} ${CLIENT4}`);
      assert.match(
        beside6 ?? '',
        /Permission denied|No route to host|Failed to connect|Could(?:n't| not) connect/,
      );
      assert.deepEqual(
        denials(stderr).map((line) => line.replace(/^.*the rule to add: /, '')),
        [`${API2_NAME}:80`, BESIDE6],
      );
      assert.ok(
        [...hosts].every((host) => host === `${API1}:80`),
        [...hosts].join(' '),
      );
      assert.ok(performance.now() - begun < 10 * AT_ONCE_MS);
    });

    it('is learned by a dry run, and then suffices', async () => {
      const file = join(names.exec.home, 'learned.allow');
      const script = ASK(`${API1_NAME}:80`, `${API2_NAME}:80`, DIRECT);
      const dry = await inside(['--dry-run', ...TARGETS], script);
      const rules = [
        '# what this run has asked for',
        `${API1_NAME}:80`,
        `${API2_NAME}:80`,
        DIRECT,
        '',
      ];
      // Standard output belongs to the command.
      assert.doesNotMatch(dry.stdout, /#/);
      assert.match(dry.stdout, new RegExp(`^${DIRECT} ${CLIENT4}$`, 'm'));
      assert.ok(dry.stderr.endsWith(rules.join('\n')), dry.stderr);
      const kept = await inside(['--dry-run-to', file, ...TARGETS], script);
      assert.equal(kept.stdout, dry.stdout);
      assert.equal(readFileSync(file, 'utf8'), rules.join('\n'));
      const { stdout, stderr } = await inside(['--allow', file, ...TARGETS], script);
      assert.equal(stdout, dry.stdout);
      assert.deepEqual(denials(stderr), []);
    });

    it("applies to the tunnel's own queries", async () => {
      const list = listOf('queries.allow', `${WWW}:80`);
      const options = ['--dns-server', API1, '--domain', 'corp.example', '10.77.0.0/16'];
      const without = await opened(() => inside(['--allow', list, ...options], ASK(`${WWW}:80`)));
      assert.match(without.result.stdout, /resolve host/);
      assert.match(denials(without.result.stderr).join(), /10\.77\.0\.11:53$/);
      assert.deepEqual(without.hosts, new Set());
      // A rule by name permits the address that a resolver behind the jump host has given for it.
      writeFileSync(list, `${WWW}:80\n${API1}:53\n`);
      const { stdout, stderr } = await inside(['--allow', list, ...options], ASK(`${WWW}:80`));
      assert.match(stdout, /"peer":"10\.77\.0\.1"/, stderr);
    });

    it('applies to the proxy where there are no namespaces, and says what it does not cover', async () => {
      const list = listOf('proxy.allow', `${API1_NAME}:80`, DIRECT);
      const script = ASK(`${API1_NAME}:80`, `${API2_NAME}:80`, DIRECT, BESIDE6);
      // With a target that is an address, other names are decided by their addresses.
      const { result, hosts } = await opened(() =>
        inside(['--allow', list, ...TARGETS, '10.99.0.0/16'], script, NO_USER_NAMESPACES),
      );
      const [api1, api2, direct, beside6] = result.stdout.split('\n');
      assert.match(api1 ?? '', /"peer":/, result.stderr);
      assert.match(api2 ?? '', /response 403/);
      assert.equal(direct, `${DIRECT} ${CLIENT4}`);
      assert.match(beside6 ?? '', /response 403/);
      assert.match(result.stderr, /what does not use the proxy is not held to the allow-list/);
      assert.ok(
        [...hosts].every((host) => host === `${API1}:80`),
        [...hosts].join(' '),
      );
    });
  });

  describe('of connect', () => {
    async function withTunnel(
      options: readonly string[],
      work: (tunnel: Child) => Promise<void>,
    ): Promise<void> {
      const argv = names.exec.userArgv([process.execPath, MAIN, '-r', REMOTE, ...options], {
        root: true,
      });
      const tunnel = await names.exec.lab.client.spawn(argv);
      try {
        await tunnel.waitForLine(/tunnel: ready\n/, 20_000);
        await work(tunnel);
      } finally {
        await tunnel.stop('SIGINT');
      }
    }

    const ask = async (...places: readonly string[]): Promise<string[]> => {
      const argv = names.exec.userArgv(['sh', '-c', ASK(...places)], { root: true });
      return (await names.exec.lab.client.exec(argv, { timeout: 30_000 })).stdout.split('\n');
    };

    it('applies to targets, and says once which rule is missing', async () => {
      const list = listOf('connect.allow', '*.lab.example:443', `${API1_NAME}:80`);
      await withTunnel(['--allow', list, '*.lab.example', API2], async (tunnel) => {
        const begun = performance.now();
        const { result, hosts } = await opened(() =>
          ask(`${API1_NAME}:80`, `${API2_NAME}:80`, `${API2_NAME}:80`, `${API2}:80`),
        );
        const [api1, byName, again, byAddress] = result;
        assert.match(api1 ?? '', /"peer":/);
        for (const answer of [byName, again, byAddress])
          assert.match(
            answer ?? '',
            /No route to host|Failed to connect|Could(?:n't| not) connect/,
          );
        assert.ok(performance.now() - begun < 4 * AT_ONCE_MS);
        assert.ok(
          [...hosts].every((host) => host === `${API1}:80`),
          [...hosts].join(' '),
        );
        assert.deepEqual(
          denials(tunnel.stderr).map((line) => line.replace(/^.*the rule to add: /, '')),
          [`${API2_NAME}:80`, `${API2}:80`],
        );
      });
    });

    it('is printed at the end of a dry run, as the rules that the list lacks', async () => {
      const list = listOf('connect.allow', `${API1_NAME}:80`);
      let stopped: Child | undefined;
      await withTunnel(['--allow', list, '--dry-run', '*.lab.example'], async (tunnel) => {
        stopped = tunnel;
        const [api1, api2] = await ask(`${API1_NAME}:80`, `${API2_NAME}:80`);
        for (const answer of [api1, api2]) assert.match(answer ?? '', /"peer":/);
        assert.equal(tunnel.stdout, '');
      });
      const rules = [
        '# what this run has asked for',
        `${API1_NAME}:80`,
        `${API2_NAME}:80  # denied by the current list`,
      ];
      assert.equal(stopped?.stdout, `${rules.join('\n')}\n`);
    });
  });

  it('of a proxy is reported to its clients', async () => {
    const { lab, home } = names.exec;
    const list = listOf('proxy.allow', `${API1_NAME}:80`);
    chownSync(list, UID, UID);
    const proxy = await lab.client.spawn(
      // curl is root's here.
      names.exec.userArgv([
        ...[process.execPath, MAIN, 'proxy', '-r', REMOTE, '--proxy-shared', '--allow', list],
      ]),
      { env: { HOME: home } },
    );
    try {
      await proxy.waitForLine(/tunnel: ready\n/, 20_000);
      const { hosts } = await opened(async () => {
        for (const [scheme, host, expected] of [
          ['socks5h', API1_NAME, /"peer":/],
          ['http', API1_NAME, /"peer":/],
          ['socks5h', API2_NAME, /not allowed|[Cc]an(?:'t|not) complete SOCKS5 connection.*\(2\)/],
          ['http', API2_NAME, /allow-list has no rule for api2\.lab\.example:80/],
        ] as const) {
          const { stdout, stderr } = await lab.client.exec(
            ['curl', '-sS', '-x', `${scheme}://127.0.0.1:1080`, `http://${host}/`],
            { timeout: 10_000 },
          );
          assert.match(stdout + stderr, expected, `${scheme} ${host}`);
        }
      });
      assert.ok(
        [...hosts].every((host) => host === `${API1}:80`),
        [...hosts].join(' '),
      );
      assert.equal(denials(proxy.stderr).length, 1);
    } finally {
      await proxy.stop('SIGINT');
    }
  });
});
