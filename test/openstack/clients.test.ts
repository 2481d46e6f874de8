/**
 * The clients that a tunnel to a cloud is for: the openstack command, and the library of Terraform's provider, against a
 * real Keystone and stand-ins for the other services, whose front admits the jump host's address only.
 */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, JUMPHOST_PRIVATE4 } from '../support/addresses.ts';
import { buildGophercloud, gophercloudUnavailable } from '../support/gophercloud.ts';
import { CloudLab, keystoneUnavailable } from '../support/keystone.ts';
import { CLOUD_HOSTS } from '../support/keystonecatalog.ts';
import type { Child, ExecResult } from '../support/process.ts';
import { startTunnel } from '../support/tunnel.ts';

const ADDRESSES = [...new Set(Object.values(CLOUD_HOSTS))].map((port) => `${API1}:${port}`);
const CALLS = 20;
const PARALLEL = 10;
const CLIENT_TIMEOUT_MS = 60_000;

/** One way of bringing a client's connections into the tunnel. */
interface Way {
  readonly name: string;
  /** What sshd permits: the forms in which this way names destinations. */
  readonly permitOpen: readonly string[];
  /** Starts what has to run beside the clients. */
  start(cloud: CloudLab): Promise<Child | undefined>;
  /** Turns a client's command into the one to run. */
  wrap(cloud: CloudLab, argv: readonly string[]): string[];
}

const WAYS: readonly Way[] = [
  {
    name: 'connect, with addresses',
    permitOpen: ADDRESSES,
    start: ({ lab }) => startTunnel(lab.client, ADDRESSES),
    wrap: (cloud, argv) => cloud.withNames(argv),
  },
];

for (const way of WAYS) {
  describe(`clients through ${way.name}`, { skip: keystoneUnavailable() }, () => {
    let cloud: CloudLab;
    let tunnel: Child | undefined;
    before(async () => {
      cloud = await CloudLab.create({ sshd: { variant: 'hardened', permitOpen: way.permitOpen } });
      // Terraform's library looks in the working directory; HOME it takes from the passwd file.
      copyFileSync(
        join(cloud.lab.clientHome, '.config/openstack/clouds.yaml'),
        join(cloud.lab.clientHome, 'clouds.yaml'),
      );
    });
    after(async () => {
      await tunnel?.stop('SIGINT');
      await cloud?.close();
    });

    const run = (argv: readonly string[], input?: string): Promise<ExecResult> =>
      cloud.lab.client.exec(way.wrap(cloud, argv), {
        timeout: CLIENT_TIMEOUT_MS,
        cwd: cloud.lab.clientHome,
        ...(input !== undefined && { input }),
      });

    const openstack = (name: string, ...args: string[]) => run(['openstack', '--os-cloud', name, ...args]);

    const succeeds = async (name: string, ...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await openstack(name, ...args);
      assert.equal(status, 0, stderr);
      return stdout;
    };

    it('fail without the tunnel, and the API hears nothing of them', async () => {
      const { status, stderr } = await cloud.lab.client.exec(
        cloud.withNames(['openstack', '--os-cloud', 'demo', 'token', 'issue']),
        { timeout: CLIENT_TIMEOUT_MS, cwd: cloud.lab.clientHome },
      );
      assert.notEqual(status, 0);
      assert.match(stderr, /unreachable|No route|Unable to establish connection/i);
      assert.deepEqual(cloud.accessLog(), []);
    });

    it('openstack: token issue, catalog list, endpoint list', async () => {
      tunnel = await way.start(cloud);
      const [token, catalog, endpoints] = await Promise.all([
        succeeds('demo', 'token', 'issue', '-f', 'value', '-c', 'id'),
        succeeds('credential', 'catalog', 'list', '-f', 'json'),
        succeeds('admin', 'endpoint', 'list', '-f', 'json'),
      ]);
      assert.match(token, /^gAAAA/);
      assert.deepEqual(
        JSON.parse(catalog)
          .map(({ Name }: { Name: string }) => Name)
          .sort(),
        ['cinder', 'glance', 'keystone', 'neutron', 'nova'],
      );
      assert.equal(JSON.parse(endpoints).length, 10);
    });

    it(`openstack: a script of ${CALLS} calls`, async () => {
      const commands = ['token issue', 'network list', 'catalog list', 'image list'];
      const script = Array.from({ length: CALLS }, (_, i) => `${commands[i % commands.length]}\n`).join('');
      const before = cloud.accessLog().length;
      const { stdout, stderr } = await run(['openstack', '--os-cloud', 'demo'], script);
      assert.doesNotMatch(`${stdout}${stderr}`, /Unable|Failed|Error/i);
      assert.equal(stdout.match(/gAAAA/g)?.length, CALLS / commands.length, stderr);
      assert.ok(cloud.accessLog().length - before >= CALLS / 2);
    });

    it(`openstack: ${PARALLEL} at a time`, async () => {
      const tokens = await Promise.all(
        Array.from({ length: PARALLEL }, () => succeeds('demo', 'token', 'issue', '-f', 'value', '-c', 'id')),
      );
      for (const token of tokens) assert.match(token, /^gAAAA/);
    });

    it("the library of Terraform's provider", { skip: gophercloudUnavailable() }, async () => {
      const program = await buildGophercloud();
      for (const name of ['demo', 'credential']) {
        const { status, stdout, stderr } = await run([program, name]);
        assert.equal(status, 0, stderr);
        assert.deepEqual(JSON.parse(stdout), { servers: 0, networks: 0 });
      }
    });

    it('all come from the jump host', () => {
      const log = cloud.accessLog();
      assert.ok(log.length > CALLS + PARALLEL);
      assert.deepEqual(new Set(log.map(({ source }) => source)), new Set([JUMPHOST_PRIVATE4]));
      assert.ok(log.every(({ status }) => status !== 403));
    });
  });
}
