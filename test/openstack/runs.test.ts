/**
 * Runs with --os-cloud (clients.test.ts tests clients in them): the resulting targets, runs whose
 * cloud can't be asked, and a cloud's allow-list.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { NO_USER_NAMESPACES } from '../support/execlab.ts';
import { CloudLab, keystoneUnavailable } from '../support/keystone.ts';
import {
  AUTH_URL,
  DEMO_PASSWORD,
  KEYSTONE_HOST,
  LINKED_ONLY,
  TARGETS,
} from '../support/keystonecatalog.ts';
import type { ExecResult } from '../support/process.ts';
import { MAIN, REMOTE } from '../support/tunnel.ts';

const NEUTRON = 'neutron.cloud.example:9696';
const TIMEOUT_MS = 60_000;
/** The command of exec must only run when everything is set up. */
const COMMANDS = {
  connect: { args: [], tail: [] },
  proxy: { args: ['proxy'], tail: ['--listen', '127.0.0.1:0'] },
  exec: { args: ['exec'], tail: ['--', 'echo', 'the command has run'] },
} as const;

describe('a run with a cloud', { skip: keystoneUnavailable() }, () => {
  let cloud: CloudLab;
  before(async () => {
    cloud = await CloudLab.create({
      sshd: { variant: 'hardened', permitOpen: [...TARGETS, LINKED_ONLY] },
    });
  });
  after(() => cloud?.close());

  const tunnel = (args: readonly string[], env: Record<string, string> = {}): Promise<ExecResult> =>
    cloud.lab.client.exec(cloud.withResolver(['setsid', process.execPath, MAIN, ...args]), {
      timeout: TIMEOUT_MS,
      cwd: cloud.lab.clientHome,
      env,
    });

  const exec = (options: readonly string[], ...command: readonly string[]): Promise<ExecResult> =>
    tunnel(['exec', '-r', REMOTE, '--isolate', ...options, '--', ...command]);

  const openstack = (args: string): string[] => [
    'openstack',
    '--os-cloud',
    'demo',
    ...args.split(' '),
  ];

  const requestsTo = (host: string) =>
    cloud.accessLog().filter((entry) => entry.host === host).length;

  describe('that cannot be asked', () => {
    /** exec has one status for all errors of the tunnel. */
    for (const [name, code, exit] of [
      ['nowhere', 'openstack-cloud', 2],
      ['wrong-password', 'openstack-auth-failed', 3],
      ['expired', 'openstack-auth-failed', 3],
      ['wrong-ca', 'openstack-tls', 1],
      ['wrong-name', 'openstack-unreachable', 1],
      ['no-region', 'openstack-catalog', 1],
    ] as const) {
      it(`ends before anything is captured: ${name}`, async () => {
        const before = await cloud.lab.client.hostState();
        for (const [command, { args, tail }] of Object.entries(COMMANDS)) {
          // They share all code that matters here: one cloud is enough.
          if (command !== 'connect' && name !== 'wrong-password') continue;
          const { status, stdout, stderr } = await tunnel([
            ...[...args, '-r', REMOTE, '-v', '--os-catalog', 'refresh', '--os-cloud', name],
            ...tail,
          ]);
          assert.equal(status, command === 'exec' ? 125 : exit, stderr);
          assert.match(
            stderr,
            new RegExp(`^tunnel: error \\[${code}\\]: .*\\ntunnel: hint: `, 'm'),
          );
          assert.doesNotMatch(stdout + stderr, /captured by|ready|has run|proxy at/);
          assert.ok(!stderr.includes(DEMO_PASSWORD));
        }
        assert.equal(await cloud.lab.client.hostState(), before);
      });
    }

    it('reports errors in its files before the jump host is dialled', async () => {
      const file = join(cloud.directory, 'malformed.yaml');
      writeFileSync(file, 'clouds:\n  demo:\n    auth: {username: "u\n');
      const { status, stderr } = await tunnel(['-r', 'nobody@192.0.2.1:9', '--os-cloud', 'demo'], {
        OS_CLIENT_CONFIG_FILE: file,
      });
      assert.equal(status, 2);
      assert.match(stderr, /\[openstack-config\]: .*malformed\.yaml:\d+:\d+: malformed YAML/);
    });
  });

  it('has the endpoints of the catalog, of its links, or auth_url alone; and reports their age', async () => {
    const counted = async (...options: readonly string[]) => {
      const { status, stderr, stdout } = await exec(
        ['--os-cloud', 'demo', ...options],
        ...['getent', 'hosts', 'nova.cloud.example', LINKED_ONLY.replace(/:.*/, ''), KEYSTONE_HOST],
      );
      const names = stdout.split('\n').map((line) => line.split(/\s+/)[1]?.split('.')[0]);
      return {
        status,
        names: names.filter(Boolean),
        said: /[^:]* of the cloud demo, from .*/.exec(stderr)?.[0].trim(),
      };
    };
    assert.deepEqual(await counted('--os-catalog', 'refresh'), {
      status: 2,
      names: ['nova', 'keystone'],
      said: '5 targets of the cloud demo, from a fresh catalog',
    });
    assert.match(
      (await counted()).said ?? '',
      /^5 targets of the cloud demo, from a catalog \d+ s old$/,
    );
    assert.deepEqual(await counted('--os-follow-links'), {
      status: 0,
      names: ['nova', 'nova-backend', 'keystone'],
      said: '6 targets of the cloud demo, from a fresh catalog',
    });
    const before = cloud.accessLog().length;
    assert.deepEqual(await counted('--os-catalog', 'off'), {
      status: 2,
      names: ['keystone'],
      said: '1 target of the cloud demo, from auth_url alone',
    });
    assert.equal(cloud.accessLog().length, before);
  });

  it('has the endpoints of a catalog that its own client has written, and asks nobody', async () => {
    const saved = join(cloud.directory, 'catalog.json');
    const list = await exec(['--os-cloud', 'demo'], ...openstack('catalog list -f json'));
    assert.equal(list.status, 0, list.stderr);
    writeFileSync(saved, list.stdout);
    const asked = cloud.accessLog().length;
    const from = ['--os-cloud', 'demo', '--os-catalog-file', saved];

    // Without any jump host, and without a password.
    const clouds = join(cloud.directory, 'address-alone.yaml');
    writeFileSync(
      clouds,
      `clouds: {demo: {auth: {auth_url: ${AUTH_URL}}, region_name: RegionOne}}\n`,
    );
    const env = { OS_CLIENT_CONFIG_FILE: clouds, OS_CLIENT_SECURE_FILE: clouds };
    const rendered = await tunnel(['jumphost', 'sshd', ...from], env);
    assert.equal(rendered.status, 0, rendered.stderr);
    const [, permitted = ''] = /^ +PermitOpen (.*)/m.exec(rendered.stdout) ?? [];
    assert.deepEqual(permitted.split(' ').sort(), [...TARGETS].sort(), rendered.stdout);

    const run = await exec(from, 'getent', 'hosts', 'nova.cloud.example', KEYSTONE_HOST);
    assert.equal(run.status, 0, run.stderr);
    assert.ok(run.stderr.includes(`5 targets of the cloud demo, from the catalog of ${saved}\n`));
    const report = await tunnel(['openstack', '-r', REMOTE, ...from, '--format', 'json']);
    const { catalogFile, catalogAge, targets } = JSON.parse(report.stdout);
    assert.deepEqual([catalogFile, catalogAge, targets.length], [saved, null, TARGETS.length]);
    assert.equal(cloud.accessLog().length, asked);
  });

  it('has the endpoints of the cloud that the environment describes, as in a CI job', async () => {
    const { id, secret } = cloud.seeded.lasting;
    const args = [
      'exec',
      '-r',
      REMOTE,
      '--isolate',
      '--os-cloud',
      'envvars',
      '--',
      'openstack',
      'token',
      'issue',
    ];
    const { status, stdout, stderr } = await tunnel([...args, '-f', 'value', '-c', 'id'], {
      OS_AUTH_TYPE: 'v3applicationcredential',
      OS_AUTH_URL: AUTH_URL,
      OS_REGION_NAME: 'RegionOne',
      OS_CACERT: cloud.caFile,
      OS_APPLICATION_CREDENTIAL_ID: id,
      OS_APPLICATION_CREDENTIAL_SECRET: secret,
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^gAAAA/);
    assert.match(stderr, /5 targets of the cloud envvars/);
  });

  it('has them even where exec cannot make a network', async () => {
    // Without capabilities a network namespace needs a user namespace.
    const argv = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', process.execPath, MAIN];
    const wanted = [
      'exec',
      '-r',
      REMOTE,
      '--os-cloud',
      'demo',
      '--',
      ...openstack('image list -f json'),
    ];
    const { status, stdout, stderr } = await cloud.lab.client.exec(
      cloud.withResolver(['sh', '-c', NO_USER_NAMESPACES, 'sh', ...argv, ...wanted]),
      { timeout: TIMEOUT_MS, cwd: cloud.lab.clientHome },
    );
    assert.equal(status, 0, stderr);
    assert.match(stderr, /proxy variables instead/);
    assert.deepEqual(JSON.parse(stdout), []);
  });

  it('obeys an allow-list that lacks an endpoint, and says which', async () => {
    const list = join(cloud.directory, 'allow');
    writeFileSync(list, `${TARGETS.filter((target) => target !== NEUTRON).join('\n')}\n`);
    const before = requestsTo('neutron.cloud.example');
    const options = ['--os-cloud', 'demo', '--allow', list];
    const images = await exec(options, ...openstack('image list -f json'));
    assert.equal(images.status, 0, images.stderr);
    assert.doesNotMatch(images.stderr, /denied/);
    const networks = await exec(options, ...openstack('network list'));
    assert.notEqual(networks.status, 0);
    assert.match(
      networks.stderr,
      new RegExp(`warning: .* denied by the allow-list; the rule to add: ${NEUTRON}\n`),
    );
    assert.equal(networks.stderr.match(/denied by the allow-list/g)?.length, 1);
    assert.equal(requestsTo('neutron.cloud.example'), before);
  });

  it('asks no Keystone that the allow-list does not permit', async () => {
    const list = join(cloud.directory, 'allow-no-keystone');
    writeFileSync(list, `${NEUTRON}\n`);
    const before = cloud.accessLog().length;
    const { status, stderr } = await tunnel([
      ...['-r', REMOTE, '--os-cloud', 'demo', '--os-catalog', 'refresh', '--allow', list],
    ]);
    assert.equal(status, 1);
    assert.match(
      stderr,
      /\[openstack-not-allowed\]: .*the allow-list has no rule for keystone\.cloud\.example:443/,
    );
    assert.match(stderr, /hint: add the rule keystone\.cloud\.example:443 to the file of --allow/);
    assert.equal(cloud.accessLog().length, before);
  });

  it('prints in a dry run what it has asked for, and that list then suffices', async () => {
    const list = join(cloud.directory, 'learned');
    const command = openstack('network list -f json');
    const dry = await exec(['--os-cloud', 'demo', '--dry-run-to', list], ...command);
    assert.equal(dry.status, 0, dry.stderr);
    assert.deepEqual(readFileSync(list, 'utf8').split('\n').slice(1), [
      `${KEYSTONE_HOST}:443`,
      NEUTRON,
      '',
    ]);
    const kept = await exec(
      ['--os-cloud', 'demo', '--os-catalog', 'refresh', '--allow', list],
      ...command,
    );
    assert.equal(kept.status, 0, kept.stderr);
    assert.equal(kept.stdout, dry.stdout);
  });
});
