/** `tunnel openstack` against a real Keystone behind a real sshd that permits it by name. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { JUMPHOST_PRIVATE4 } from '../support/addresses.ts';
import { CloudLab, keystoneUnavailable } from '../support/keystone.ts';
import {
  ADMIN_PASSWORD,
  DEMO_PASSWORD,
  KEYSTONE_HOST,
  LINKED_ONLY,
  TARGETS,
} from '../support/keystonecatalog.ts';
import type { ExecResult } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

/** All except the last: cinder. */
const PERMITTED = TARGETS.slice(0, -1);
const PROHIBITED = TARGETS.at(-1) ?? '';

describe('tunnel openstack', { skip: keystoneUnavailable() }, () => {
  let cloud: CloudLab;
  let cache: string;
  before(async () => {
    cloud = await CloudLab.create({ sshd: { variant: 'hardened', permitOpen: PERMITTED } });
    cache = join(cloud.lab.clientHome, '.cache/tunnel/openstack');
  });
  after(() => cloud?.close());

  const runReport = (name: string, mode: string, more: readonly string[]): Promise<ExecResult> =>
    cloud.lab.client.exec(
      [
        process.execPath,
        MAIN,
        'openstack',
        '-r',
        REMOTE,
        '--os-cloud',
        name,
        '--os-catalog',
        mode,
        ...more,
      ],
      { cwd: cloud.lab.clientHome },
    );

  const report = (name: string, ...more: string[]) => runReport(name, 'refresh', more);

  const reportJson = async (name: string, ...more: string[]) => {
    const { status, stdout, stderr } = await report(name, '--format', 'json', ...more);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };

  for (const name of ['demo', 'unversioned', 'credential', 'admin']) {
    it(`finds the targets of a cloud, and which of them the jump host permits (${name})`, async () => {
      const { targets, endpoints, region, permitOpen } = await reportJson(name);
      assert.deepEqual(
        targets.map(({ target }: { target: string }) => target),
        TARGETS,
      );
      for (const { target, permitted, outcome } of targets) {
        assert.equal(permitted, target !== PROHIBITED, target);
        assert.equal(outcome, target === PROHIBITED ? 'prohibited' : 'open', target);
      }
      assert.equal(region, 'RegionOne');
      assert.ok(endpoints.some(({ type }: { type: string }) => type === 'volumev3'));
      assert.equal(permitOpen, `PermitOpen ${TARGETS.join(' ')}`);
    });
  }

  it('asks only through the jump host', () => {
    const log = cloud.accessLog();
    assert.ok(log.length > 0);
    assert.deepEqual(new Set(log.map(({ source }) => source)), new Set([JUMPHOST_PRIVATE4]));
  });

  it('has a format for people and two for programs', async () => {
    const table = await report('demo');
    assert.equal(table.status, 0, table.stderr);
    assert.match(
      table.stdout,
      new RegExp(`${PROHIBITED} +NOT PERMITTED by the jump host +volumev3`),
    );
    assert.match(
      table.stdout,
      /security group rule create .*--dst-port 9696 --remote-ip 198\.51\.100\.10\/32/,
    );
    assert.match(table.stdout, /loadbalancer listener set --allowed-cidr 198\.51\.100\.10\/32/);
    const targets = await report('demo', '--format', 'targets');
    assert.equal(targets.stdout, `${TARGETS.join('\n')}\n`);
    const permitOpen = await report('demo', '--format', 'permitopen');
    assert.equal(permitOpen.stdout, `PermitOpen ${TARGETS.join(' ')}\n`);
  });

  it('reports hosts that only version documents name, and adds them when asked', async () => {
    const without = await reportJson('demo');
    assert.deepEqual(without.linkedOnly, [{ target: LINKED_ONLY, services: ['compute'] }]);
    const followed = await reportJson('demo', '--os-follow-links');
    assert.deepEqual(followed.linkedOnly, []);
    const added = followed.targets.find(({ target }: { target: string }) => target === LINKED_ONLY);
    assert.equal(added.linked, true);
  });

  it('keeps the catalog, and neither keeps nor prints secrets', async () => {
    rmSync(cache, { recursive: true, force: true });
    const { id, secret } = cloud.seeded.lasting;
    const secrets = [ADMIN_PASSWORD, DEMO_PASSWORD, secret];
    for (const name of ['demo', 'credential']) {
      const { status, stdout, stderr } = await report(name, '-vv');
      assert.equal(status, 0, stderr);
      // Fernet tokens begin with the version octet 0x80.
      for (const text of [stdout, stderr]) {
        for (const hidden of secrets) assert.ok(!text.includes(hidden), text);
        assert.doesNotMatch(text, /gAAAA/);
      }
    }
    const files = readdirSync(cache);
    assert.equal(files.length, 2, files.join(' '));
    for (const file of files) {
      const path = join(cache, file);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      const text = readFileSync(path, 'utf8');
      assert.match(text, /nova\.cloud\.example/);
      for (const hidden of [...secrets, id]) assert.ok(!text.includes(hidden), path);
      assert.doesNotMatch(text, /gAAAA/);
    }
    const asked = () =>
      cloud.accessLog().filter(({ request }) => request.includes('/auth/tokens')).length;
    const before = asked();
    const { stdout } = await runReport('demo', 'auto', ['--format', 'json']);
    assert.equal(asked(), before);
    const { catalogAge } = JSON.parse(stdout);
    assert.ok(catalogAge > 0 && catalogAge < 60, String(catalogAge));
  });

  it('takes only auth_url without the catalog', async () => {
    const before = cloud.accessLog().length;
    const { status, stdout } = await runReport('wrong-password', 'off', ['--format', 'targets']);
    assert.equal(status, 0);
    assert.equal(stdout, `${KEYSTONE_HOST}:443\n`);
    assert.equal(cloud.accessLog().length, before);
  });

  for (const [name, exit, code, message, hint] of [
    ['wrong-ca', 1, 'openstack-tls', /self-signed|unable to (get|verify)/i, /cacert/],
    ['wrong-name', 1, 'openstack-unreachable', /10\.77\.0\.11:443/, /PermitOpen 10\.77\.0\.11:443/],
    [
      'expired',
      3,
      'openstack-auth-failed',
      /refuses the credentials of the cloud "expired"/,
      /expired or been deleted/,
    ],
    ['wrong-password', 3, 'openstack-auth-failed', /401/, /check username, password/],
    [
      'no-region',
      1,
      'openstack-catalog',
      /no endpoints in the region "RegionThree"/,
      /"RegionOne", "RegionTwo"/,
    ],
    [
      'no-interface',
      1,
      'openstack-catalog',
      /no public endpoints/,
      /its interfaces are: "internal"/,
    ],
    ['nowhere', 2, 'openstack-cloud', /no cloud "nowhere"/, /"demo"/],
  ] as const) {
    it(`says what is wrong: ${name}`, async () => {
      const { status, stdout, stderr } = await report(name);
      assert.equal(status, exit);
      assert.equal(stdout, '');
      const [error = '', advice = ''] = stderr.trim().split('\n').slice(-2);
      assert.match(error, new RegExp(`error \\[${code}\\]`));
      assert.match(error, message);
      assert.match(advice, hint);
    });
  }

  it('uses the interface in the configuration', async () => {
    const { targets } = await reportJson('internal');
    assert.deepEqual(
      targets.map(({ target }: { target: string }) => target),
      [
        `${KEYSTONE_HOST}:443`,
        ...['nova', 'glance', 'neutron', 'cinder'].map((name) => `${name}.internal.example:8000`),
      ],
    );
  });
});
