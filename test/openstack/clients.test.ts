/**
 * The clients that tunnels to a cloud are for: the openstack command, and the library of
 * Terraform's provider, against a real Keystone and stand-ins for the other services, whose front
 * admits the jump host's address only.
 *
 * Each way into the tunnel (`WAYS`) is tested with both. The tunnel gets only the name of the
 * cloud; only the jump host knows the names of its services, and permits them by name.
 */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { JUMPHOST_PRIVATE4 } from '../support/addresses.ts';
import { goProgram, goProgramMissing } from '../support/goprograms.ts';
import { CloudLab, keystoneUnavailable } from '../support/keystone.ts';
import { TARGETS } from '../support/keystonecatalog.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const OPTIONS = ['-r', REMOTE, '--os-cloud', 'demo'];
const PROXY_PORT = 3128;
const CALLS = 20;
const PARALLEL = 10;
/** Ten Python programs at a time take half a minute on a busy machine. */
const CLIENT_TIMEOUT_MS = 120_000;
const START_TIMEOUT_MS = 20_000;

/** One way to bring a client's connections into the tunnel. */
interface Way {
  readonly name: string;
  /** Starts what must run while the clients do. */
  start(cloud: CloudLab): Promise<Child | undefined>;
  /** Turns a client's command into the one to run. */
  wrap(argv: readonly string[]): string[];
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Skips tests with many clients at a time; another test covers that, and each client costs a
   * second of CPU.
   */
  readonly brief?: true;
}

const WAYS: readonly Way[] = [
  {
    name: 'connect',
    start: (cloud) => startTunnel(cloud),
    wrap: (argv) => [...argv],
  },
  {
    name: 'exec',
    start: async () => undefined,
    wrap: (argv) => [process.execPath, MAIN, 'exec', ...OPTIONS, '--isolate', '--', ...argv],
  },
  {
    name: 'an HTTP proxy',
    start: (cloud) =>
      startTunnel(cloud, ['proxy'], ['--http', String(PROXY_PORT), '--only-targets']),
    wrap: (argv) => [...argv],
    env: { HTTPS_PROXY: `http://127.0.0.1:${PROXY_PORT}` },
    brief: true,
  },
];

async function startTunnel(
  { lab, withResolver }: CloudLab,
  command: readonly string[] = [],
  more: readonly string[] = [],
): Promise<Child> {
  const argv = withResolver([process.execPath, MAIN, ...command, ...OPTIONS, ...more]);
  const tunnel = await lab.client.spawn(argv);
  await tunnel.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
  return tunnel;
}

describe('clients of a cloud', { skip: keystoneUnavailable() }, () => {
  let cloud: CloudLab;
  before(async () => {
    cloud = await CloudLab.create({ sshd: { variant: 'hardened', permitOpen: TARGETS } });
    // Terraform's library looks in the working directory; it takes HOME from the passwd file.
    const home = cloud.lab.clientHome;
    copyFileSync(join(home, '.config/openstack/clouds.yaml'), join(home, 'clouds.yaml'));
  });
  after(() => cloud?.close());

  const inClient = (
    argv: readonly string[],
    env: Way['env'] = {},
    input?: string,
  ): Promise<ExecResult> =>
    cloud.lab.client.exec(cloud.withResolver(argv), {
      timeout: CLIENT_TIMEOUT_MS,
      cwd: cloud.lab.clientHome,
      env,
      ...(input !== undefined && { input }),
    });

  it('fail without the tunnel, and no request reaches the API', async () => {
    const commands = ['token issue', 'catalog list', 'endpoint list'].map((words) =>
      words.split(' '),
    );
    const attempts = await Promise.all(
      commands.map((words) => inClient(['openstack', '--os-cloud', 'demo', ...words])),
    );
    if (goProgramMissing('gophercloud') === false)
      attempts.push(await inClient([goProgram('gophercloud'), 'demo']));
    for (const { status, stderr } of attempts) {
      assert.notEqual(status, 0);
      assert.match(
        stderr,
        /unreachable|Unable to establish connection|Failed to|no such host|dial tcp/i,
      );
    }
    assert.deepEqual(cloud.accessLog(), []);
  });

  for (const way of WAYS) {
    describe(`through ${way.name}`, () => {
      let beside: Child | undefined;
      before(async () => {
        beside = await way.start(cloud);
      });
      after(() => beside?.stop('SIGINT'));

      const run = (argv: readonly string[], input?: string) =>
        inClient(way.wrap(argv), way.env, input);

      const openstack = async (name: string, ...args: string[]): Promise<string> => {
        const { status, stdout, stderr } = await run(['openstack', '--os-cloud', name, ...args]);
        assert.equal(status, 0, stderr);
        return stdout;
      };

      it('openstack: token issue, catalog list, endpoint list', async () => {
        const [token, catalog, endpoints] = await Promise.all([
          openstack('demo', 'token', 'issue', '-f', 'value', '-c', 'id'),
          openstack('credential', 'catalog', 'list', '-f', 'json'),
          openstack('admin', 'endpoint', 'list', '-f', 'json'),
        ]);
        assert.match(token, /^gAAAA/);
        const names = JSON.parse(catalog).map(({ Name }: { Name: string }) => Name);
        assert.deepEqual(names.sort(), ['cinder', 'glance', 'keystone', 'neutron', 'nova']);
        assert.equal(JSON.parse(endpoints).length, 10);
      });

      it(`openstack: a script of ${CALLS} calls`, async () => {
        const commands = ['token issue', 'network list', 'catalog list', 'image list'];
        const script = Array.from(
          { length: CALLS },
          (_, i) => `${commands[i % commands.length]}\n`,
        ).join('');
        const before = cloud.accessLog().length;
        const { stdout, stderr } = await run(['openstack', '--os-cloud', 'demo'], script);
        assert.doesNotMatch(`${stdout}${stderr}`, /Unable|Failed|Error/i);
        assert.equal(stdout.match(/gAAAA/g)?.length, CALLS / commands.length, stderr);
        assert.ok(cloud.accessLog().length - before >= CALLS / 2);
      });

      const brief = way.brief === true && 'connect and exec show it';
      it(`openstack: ${PARALLEL} at a time`, { skip: brief }, async () => {
        const tokens = await Promise.all(
          Array.from({ length: PARALLEL }, () =>
            openstack('demo', 'token', 'issue', '-f', 'value', '-c', 'id'),
          ),
        );
        for (const token of tokens) assert.match(token, /^gAAAA/);
      });

      it("the library of Terraform's provider", {
        skip: goProgramMissing('gophercloud'),
      }, async () => {
        const program = goProgram('gophercloud');
        for (const name of ['demo', 'credential']) {
          const { status, stdout, stderr } = await run([program, name]);
          assert.equal(status, 0, stderr);
          assert.deepEqual(JSON.parse(stdout), { servers: 0, networks: 0 });
        }
      });
    });
  }

  it(`${PARALLEL} requests in flight fail at once when the link is lost, and later ones succeed`, async () => {
    const tunnel = await startTunnel(cloud);
    try {
      const url = 'https://nova.cloud.example/slow';
      const curl = ['curl', '-sS', '--cacert', cloud.caFile, url];
      const inFlight = Array.from({ length: PARALLEL }, () => inClient(curl));
      for (
        const until = performance.now() + START_TIMEOUT_MS;
        (await cloud.established(443)) < PARALLEL;
      ) {
        assert.ok(performance.now() < until, 'the requests never reach the API');
        await sleep(20);
      }
      const lost = performance.now();
      await cloud.lab.sshd.dropConnections();
      for (const request of inFlight) assert.notEqual((await request).status, 0);
      const took = performance.now() - lost;
      assert.ok(took < 2000, `the last request failed after ${took} ms`);
      const later = ['openstack', '--os-cloud', 'demo', 'token', 'issue'];
      assert.equal((await inClient(later)).status, 0);
    } finally {
      await tunnel.stop('SIGINT');
    }
  });

  it('all come from the jump host', () => {
    const log = cloud.accessLog();
    assert.ok(log.length > WAYS.length * (CALLS / 2 + PARALLEL));
    assert.deepEqual(new Set(log.map(({ source }) => source)), new Set([JUMPHOST_PRIVATE4]));
    assert.ok(log.every(({ status }) => status !== 403));
  });
});
