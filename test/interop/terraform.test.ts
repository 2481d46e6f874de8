/**
 * What `tunnel jumphost terraform` renders, applied by Terraform with its provider for OpenStack to
 * a stand-in of the cloud, which refuses what the API reference doesn't have (standincloud.ts).
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { renderTerraform } from '../../src/jumphost/terraform.ts';
import { mustRun, run, SEARCH_PATH } from '../support/process.ts';
import { StandInCloud } from '../support/standincloud.ts';
import type { Attempt, Port } from '../support/standinneutron.ts';
import type { Server } from '../support/standinnova.ts';
import { Terraform, terraformMissing } from '../support/terraform.ts';
import { ODD_NAME, TERRAFORM_CASES, terraformPlan } from '../support/terraformcases.ts';
import { MAIN } from '../support/tunnel.ts';

const D = '$';
const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB4TzmN9t8UNX/AWAVGNyse4AnXEpT1jd3pMG/HXEbff o"${D}{b}%{c}${D}${D}{d}`;
const LIST = [
  'api.example.com:443',
  '10.0.0.4/30:443,8774',
  '10.0.0.9:8000-8002',
  '10.0.0.20',
  '[2001:db8::5]:443',
];

/** direction, protocol, address, port, and whether it gets through. */
type Row = readonly [Attempt['direction'], Attempt['protocol'], string, number, boolean];

/** With variables that leave nothing open except what is listed by name. */
const CLOSED: readonly string[] = [
  'dns_servers = ["192.0.2.53/32"]',
  'updates_from = ["192.0.2.80/32"]',
  'time_servers = []',
  'more_egress = [{ protocol = "udp", first = 514, last = 514, to = "192.0.2.14/32" }]',
];
const CLOSED_EGRESS: readonly Row[] = [
  ['egress', 'tcp', '10.0.0.4', 443, true],
  ['egress', 'tcp', '10.0.0.7', 8774, true],
  ['egress', 'tcp', '10.0.0.3', 8774, false],
  ['egress', 'tcp', '10.0.0.8', 8774, false],
  ['egress', 'udp', '10.0.0.4', 443, false],
  ['egress', 'tcp', '10.0.0.4', 22, false],
  ['egress', 'tcp', '10.0.0.9', 7999, false],
  ['egress', 'tcp', '10.0.0.9', 8000, true],
  ['egress', 'tcp', '10.0.0.9', 8002, true],
  ['egress', 'tcp', '10.0.0.9', 8003, false],
  ['egress', 'tcp', '10.0.0.20', 1, true],
  ['egress', 'tcp', '10.0.0.20', 65535, true],
  ['egress', 'udp', '10.0.0.20', 5353, false],
  ['egress', 'tcp', '2001:db8::5', 443, true],
  ['egress', 'tcp', '2001:db8::6', 8774, false],
  // By name, so to everywhere.
  ['egress', 'tcp', '198.51.100.1', 443, true],
  ['egress', 'tcp', '2001:db8:1::1', 443, true],
  ['egress', 'udp', '198.51.100.1', 443, false],
  // What the machine itself needs.
  ['egress', 'udp', '192.0.2.53', 53, true],
  ['egress', 'tcp', '192.0.2.53', 53, true],
  ['egress', 'udp', '192.0.2.54', 53, false],
  ['egress', 'tcp', '192.0.2.80', 80, true],
  ['egress', 'tcp', '198.51.100.1', 80, false],
  ['egress', 'udp', '198.51.100.1', 123, false],
  ['egress', 'tcp', '169.254.169.254', 80, true],
  ['egress', 'udp', '192.0.2.14', 514, true],
  ['egress', 'tcp', '192.0.2.14', 514, false],
  ['egress', 'icmp', '198.51.100.1', 0, false],
];

/** All rules of the same, and no other. */
const CLOSED_RULES: readonly string[] = [
  'egress tcp 1-65535 10.0.0.20/32',
  'egress tcp 443-443 0.0.0.0/0',
  'egress tcp 443-443 10.0.0.4/30',
  'egress tcp 443-443 192.0.2.80/32',
  'egress tcp 443-443 2001:db8::5/128',
  'egress tcp 443-443 ::/0',
  'egress tcp 53-53 192.0.2.53/32',
  'egress tcp 80-80 169.254.169.254/32',
  'egress tcp 80-80 192.0.2.80/32',
  'egress tcp 8000-8002 10.0.0.9/32',
  'egress tcp 8774-8774 10.0.0.4/30',
  'egress udp 514-514 192.0.2.14/32',
  'egress udp 53-53 192.0.2.53/32',
];

function rulesOf({ neutron }: StandInCloud): string[] {
  return [...neutron.rules.values()]
    .map(
      ({ direction, protocol, port_range_min, port_range_max, remote_ip_prefix }) =>
        `${direction} ${protocol} ${port_range_min}-${port_range_max} ${remote_ip_prefix}`,
    )
    .sort();
}

const NOTHING_ELSE: readonly string[] = ['updates_from = []', 'time_servers = []'];

/** As the comment of the file has it. */
const OPEN: readonly string[] = ['updates_from', 'time_servers'].map(
  (name) => `${name} = ["0.0.0.0/0", "::/0"]`,
);

function assertTable(cloud: StandInCloud, port: Port | undefined, rows: readonly Row[]): void {
  assert.ok(port !== undefined);
  for (const [direction, protocol, address, number, expected] of rows) {
    const attempt = { direction, protocol, address, port: number };
    assert.equal(cloud.neutron.permits(port, attempt), expected, JSON.stringify(attempt));
  }
}

describe('the rendered Terraform configuration', { skip: terraformMissing() }, () => {
  let cloud: StandInCloud;
  let terraform: Terraform;
  let rendered = 0;

  beforeEach(async () => {
    cloud = await StandInCloud.start();
    const { neutron } = cloud;
    const pool = neutron.addNetwork('ext', ['203.0.113.0/24'], { external: true });
    neutron.addNetwork('lan', ['10.1.0.0/24'], { routedTo: pool.id });
    neutron.addNetwork('island', ['10.3.0.0/24']);
    neutron.addNetwork('public', ['198.51.100.0/24', '2001:db8:9::/64']);
    neutron.addNetwork('public6', ['2001:db8:8::/64']);
    neutron.addNetwork(ODD_NAME, ['10.2.0.0/24']);
    terraform = new Terraform(cloud.environment);
    writeFileSync(join(terraform.directory, 'key.pub'), `${KEY}\n`);
  });
  afterEach(async () => {
    terraform.remove();
    await cloud.close();
  });

  async function renderFormat(format: string, args: readonly string[]): Promise<string> {
    const output = join(terraform.directory, `${format}-${++rendered}`);
    const key = join(terraform.directory, 'key.pub');
    await mustRun([
      process.execPath,
      MAIN,
      'jumphost',
      format,
      '--key',
      key,
      '--output',
      output,
      ...args,
    ]);
    return output;
  }

  /** Renders it, and gives the variables their values. */
  async function configure(
    args: readonly string[],
    ...variables: readonly string[]
  ): Promise<string> {
    const directory = await renderFormat('terraform', args);
    setVariables(directory, 'debian-12', ...variables);
    await terraform.must(directory, 'init');
    return directory;
  }

  function setVariables(directory: string, image: string, ...variables: readonly string[]): void {
    const all = [`image = "${image}"`, 'flavor = "small"', ...variables];
    writeFileSync(join(directory, 'terraform.tfvars'), `${all.join('\n')}\n`);
  }

  const mainOf = (directory: string) => readFileSync(join(directory, 'main.tf'), 'utf8');

  async function apply(directory: string): Promise<Server> {
    await terraform.must(directory, 'apply', '-auto-approve', '-input=false');
    assert.deepEqual(cloud.refused, []);
    const [server, ...others] = cloud.nova.servers.values();
    assert.ok(server !== undefined);
    assert.equal(others.length, 0);
    return server;
  }

  async function assertUnchanged(directory: string): Promise<void> {
    const { status, stdout, stderr } = await terraform.run(directory, 'plan', '-detailed-exitcode');
    assert.equal(status, 0, stdout + stderr);
  }

  async function destroy(directory: string): Promise<void> {
    await terraform.must(directory, 'destroy', '-auto-approve');
    assert.deepEqual([...cloud.nova.servers.values()], []);
    assert.deepEqual(cloud.neutron.made, []);
    assert.deepEqual(cloud.refused, []);
  }

  it('gives it a floating address, and a second port that nobody reaches by ssh', async () => {
    const options = ['--port', '2222', '--user', 'gate', ...LIST];
    const directory = await configure(
      ['--floating-pool', 'ext', '--private-network', ODD_NAME, ...options],
      'network = "lan"',
      'key_pair = "admin"',
      'ssh_from = ["192.0.2.0/24", "2001:db8:5::/48"]',
      ...CLOSED,
    );
    const server = await apply(directory);
    const { neutron, nova, images } = cloud;

    const userData = await mustRun([
      'cat',
      join(await renderFormat('cloud-init', options), 'user-data'),
    ]);
    assert.equal(server.userData, userData);
    assert.ok(userData.includes(KEY));
    assert.equal(images.get(server.imageRef)?.name, 'debian-12');
    assert.equal(nova.flavors.get(server.flavorRef)?.name, 'small');
    assert.equal(server.key_name, 'admin');
    assert.equal(server.config_drive, true);

    assert.deepEqual(rulesOf(cloud), [
      ...CLOSED_RULES,
      'ingress tcp 2222-2222 192.0.2.0/24',
      'ingress tcp 2222-2222 2001:db8:5::/48',
    ]);
    const [first, second, ...others] = server.ports;
    assert.equal(others.length, 0);
    const nameOf = (port: Port | undefined) => neutron.networks.get(port?.network_id ?? '')?.name;
    assert.deepEqual([nameOf(first), nameOf(second)], ['lan', ODD_NAME]);
    const ssh: readonly Row[] = [
      ['ingress', 'tcp', '192.0.2.7', 2222, true],
      ['ingress', 'tcp', '2001:db8:5::7', 2222, true],
      ['ingress', 'tcp', '198.51.100.7', 2222, false],
      ['ingress', 'tcp', '192.0.2.7', 22, false],
      ['ingress', 'udp', '192.0.2.7', 2222, false],
      ['ingress', 'tcp', '10.2.0.7', 2222, false],
    ];
    assertTable(cloud, first, [...ssh, ...CLOSED_EGRESS]);
    const noSsh = ssh.map(
      ([direction, protocol, address, port]): Row => [direction, protocol, address, port, false],
    );
    assertTable(cloud, second, [...noSsh, ...CLOSED_EGRESS]);

    const [floating] = neutron.floating.values();
    assert.equal(floating?.port_id, first?.id);
    const outputs = await terraform.outputs(directory);
    assert.equal(outputs['address'], floating?.floating_ip_address);
    assert.equal(
      outputs['tunnel'],
      `tunnel -r gate@${outputs['address']}:2222 api.example.com:443 10.0.0.20 ` +
        "10.0.0.4/30:443,8774 10.0.0.9:8000-8002 '[2001:db8::5]:443'",
    );
    assert.ok(outputs['host_key']?.includes(server.id));
    await assertUnchanged(directory);
    await destroy(directory);
  });

  it('puts it on a public network, with the variables that its comment has', async () => {
    const directory = await configure(['--network', 'public', ...LIST], ...OPEN);
    for (const assignment of OPEN)
      assert.ok(mainOf(directory).includes(`\n#     '${assignment}' \\\n`));
    const server = await apply(directory);
    assert.equal(server.ports.length, 1);
    assert.equal(server.key_name, null);
    // The rules for updates on port 443 are those for the name.
    const [, most] = /^# So there are up to ([0-9]+) rules/m.exec(mainOf(directory)) ?? [];
    assert.equal(cloud.neutron.rules.size, Number(most) - 2);
    assert.deepEqual([...cloud.neutron.floating.values()], []);
    assertTable(cloud, server.ports[0], [
      ['ingress', 'tcp', '198.51.100.7', 22, true],
      ['ingress', 'tcp', '2001:db8:5::7', 22, true],
      ['ingress', 'tcp', '198.51.100.7', 2222, false],
      ['ingress', 'icmp', '198.51.100.7', 0, false],
      ['egress', 'tcp', '10.0.0.7', 8774, true],
      ['egress', 'tcp', '10.0.0.8', 8774, false],
      ['egress', 'udp', '198.51.100.1', 53, true],
      ['egress', 'udp', '2001:db8:1::1', 123, true],
      ['egress', 'tcp', '198.51.100.1', 80, true],
      ['egress', 'tcp', '198.51.100.1', 22, false],
      ['egress', 'tcp', '198.51.100.1', 25, false],
      ['egress', 'udp', '198.51.100.1', 443, false],
    ]);
    const outputs = await terraform.outputs(directory);
    assert.match(outputs['address'] ?? '', /^198\.51\.100\./);
    assert.match(outputs['tunnel'] ?? '', /^tunnel -r tunnel@198\.51\.100\.[0-9]+ api/);
    await assertUnchanged(directory);
    await destroy(directory);
  });

  it('has a bracketed address in its command where there is only IPv6', async () => {
    const directory = await configure(
      ['--network', 'public6', '--port', '2222', '10.0.0.5:443'],
      ...NOTHING_ELSE,
    );
    const server = await apply(directory);
    const outputs = await terraform.outputs(directory);
    const [{ ip_address } = { ip_address: '' }] = server.ports[0]?.fixed_ips ?? [];
    assert.equal(outputs['tunnel'], `tunnel -r tunnel@[${ip_address}]:2222 10.0.0.5:443`);
    await destroy(directory);
  });

  it('replaces the machine, and keeps its address, where the list changes', async () => {
    const directory = await configure(['--network', 'public', '10.0.0.5:443'], ...NOTHING_ELSE);
    const old = await apply(directory);
    const before = await terraform.outputs(directory);
    const other = await renderFormat('terraform', ['--network', 'public', '10.0.0.6:8443']);
    await mustRun(['cp', join(other, 'main.tf'), directory]);
    const replaced = await apply(directory);
    const after = await terraform.outputs(directory);
    assert.notEqual(replaced.id, old.id);
    assert.match(replaced.userData, /^ +PermitOpen 10\.0\.0\.6:8443$/m);
    assert.equal(after['address'], before['address']);
    assertTable(cloud, replaced.ports[0], [
      ['egress', 'tcp', '10.0.0.6', 8443, true],
      ['egress', 'tcp', '10.0.0.5', 8443, false],
    ]);
    // A newer image, or an old one under another name, is no reason.
    setVariables(directory, 'debian-13', ...NOTHING_ELSE);
    await assertUnchanged(directory);
    await destroy(directory);
  });

  it('names a rule once that several parts of it need', async () => {
    // Neutron refuses a rule that is there already.
    const args = ['a.example.com:53', 'b.example.com:53,80', '169.254.169.254:80', '10.0.0.1:53'];
    const from = [
      '--keys-from',
      'https://keys.example.com/team',
      '--keys-from',
      'http://[2001:db8::7]:8080/',
    ];
    const directory = await configure(
      ['--network', 'public', ...from, ...args],
      'ssh_from = ["0.0.0.0/0", "0.0.0.0/0"]',
      ...NOTHING_ELSE,
    );
    const server = await apply(directory);
    assertTable(cloud, server.ports[0], [
      ['egress', 'tcp', '198.51.100.1', 443, true],
      ['egress', 'tcp', '2001:db8::7', 8080, true],
      ['egress', 'tcp', '2001:db8::8', 8080, false],
    ]);
    await destroy(directory);
  });

  for (const [what, variables, message] of [
    ['host bits in a prefix', ['ssh_from = ["192.0.2.1/24"]'], /Write prefixes without host bits/],
    ['a name for a prefix', ['dns_servers = ["dns.example.com"]'], /Write prefixes without/],
    [
      'host bits further down',
      ['more_egress = [{ protocol = "tcp", first = 1, last = 2, to = "192.0.2.1/24" }]'],
      /Write prefixes without/,
    ],
  ] as const) {
    it(`refuses ${what} before anything is made`, async () => {
      const directory = await configure(
        ['--network', 'public', '10.0.0.5:443'],
        ...NOTHING_ELSE,
        ...variables,
      );
      const { status, stderr } = await terraform.run(directory, 'apply', '-auto-approve');
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.deepEqual(cloud.neutron.made, []);
    });
  }

  it('wants to know the proxy that is in front', async () => {
    const args = ['--network', 'public', '--behind-proxy', '10.0.0.5:443'];
    const directory = await configure(args, ...NOTHING_ELSE);
    const { status, stderr } = await terraform.run(directory, 'plan', '-input=false');
    assert.equal(status, 1);
    assert.match(stderr, /input variable "ssh_from" is not set/);
  });

  it('opens nothing for updates and clocks that nobody has asked for', async () => {
    const directory = await configure(['--network', 'public', '10.0.0.5:443']);
    const { status, stderr } = await terraform.run(directory, 'plan', '-input=false');
    assert.equal(status, 1);
    for (const name of ['updates_from', 'time_servers'])
      assert.match(stderr, new RegExp(`input variable "${name}" is not set`));
  });

  it('gives no address where no router leads to the pool', async () => {
    const args = ['--floating-pool', 'ext', '10.0.0.5:443'];
    const directory = await configure(args, 'network = "island"', ...NOTHING_ELSE);
    const { status, stderr } = await terraform.run(directory, 'apply', '-auto-approve');
    assert.equal(status, 1);
    assert.match(stderr, /External network \S+ is not reachable from subnet/);
  });

  it('passes the user-data on byte by byte', async () => {
    // Terraform composes accents in all its texts.
    writeFileSync(join(terraform.directory, 'key.pub'), `${KEY} e\u0301 \u212b\n`);
    const list = ['10.0.0.5:443', '--keys-from', "/bin/echo 'e\u0301'"];
    const directory = await configure(['--network', 'public', ...list], ...NOTHING_ELSE);
    const { userData } = await apply(directory);
    const rendered = join(await renderFormat('cloud-init', list), 'user-data');
    assert.equal(userData, readFileSync(rendered, 'utf8'));
    await destroy(directory);
  });

  it('says how the key is pinned that the machine makes', async () => {
    const directory = await configure(['--network', 'public', '10.0.0.5:443'], ...NOTHING_ELSE);
    const { id } = await apply(directory);
    const { host_key = '', known_hosts } = await terraform.outputs(directory);
    assert.equal(known_hosts, undefined);
    const programs = join(terraform.directory, 'programs');
    mkdirSync(programs);
    writeFileSync(
      join(programs, 'openstack'),
      [
        '#!/bin/sh',
        `[ "$*" = "console log show ${id}" ] || exit 1`,
        "printf '\\000 tunnel-jumphost login: \\r\\n'",
        "printf '[ 9.1] cloud-init[7]: tunnel-jumphost: --host-key SHA256:a+/b \\r\\n'",
        "printf 'Invalid user tunnel-jumphost: --host-key SHA256:c\\r\\n'",
      ].join('\n'),
      { mode: 0o755 },
    );
    const env = { PATH: `${programs}:${SEARCH_PATH}` };
    const { stdout } = await run(['sh', '-c', host_key], { env });
    assert.equal(stdout, '--host-key SHA256:a+/b\n');
    await destroy(directory);
  });

  it('says how a given key, and a given certificate, are believed', async () => {
    const file = (name: string) => join(terraform.directory, name);
    const keygen = (...args: readonly string[]) => mustRun(['ssh-keygen', '-q', ...args]);
    for (const name of ['host', 'ca']) await keygen('-t', 'ed25519', '-N', '', '-f', file(name));
    await keygen('-s', file('ca'), '-h', '-I', 'a', '-n', 'jump.example.com', file('host.pub'));
    const found = async (line: string, host: string) => {
      writeFileSync(file('known_hosts'), `${line}\n`);
      return mustRun(['ssh-keygen', '-F', host, '-f', file('known_hosts')]);
    };
    const blobOf = (name: string) => readFileSync(file(`${name}.pub`), 'utf8').split(' ')[1] ?? '';

    const args = ['--network', 'public', '--port', '2222', '10.0.0.5:443'];
    const key = ['--host-private-key', file('host')];
    const pinned = await configure([...args, ...key], ...NOTHING_ELSE);
    const { userData } = await apply(pinned);
    assert.ok(userData.includes('-----BEGIN OPENSSH PRIVATE KEY-----'));
    const { tunnel = '', address, known_hosts = '', host_key } = await terraform.outputs(pinned);
    assert.equal(host_key, undefined);
    const [, fingerprint = ''] = (await keygen('-l', '-f', file('host'))).split(' ');
    assert.equal(tunnel, `tunnel -r tunnel@${address}:2222 --host-key ${fingerprint} 10.0.0.5:443`);
    assert.ok((await found(known_hosts, `[${address}]:2222`)).includes(blobOf('host')));
    await destroy(pinned);

    const certificate = ['--host-certificate', file('host-cert.pub')];
    const named = ['--address', 'jump.example.com'];
    const signed = await configure([...args, ...key, ...certificate, ...named], ...NOTHING_ELSE);
    await apply(signed);
    const outputs = await terraform.outputs(signed);
    assert.equal(outputs['tunnel'], 'tunnel -r tunnel@jump.example.com:2222 10.0.0.5:443');
    const line = await found(outputs['known_hosts'] ?? '', '[jump.example.com]:2222');
    assert.match(line, /^@cert-authority /m);
    assert.ok(line.includes(blobOf('ca')));
    await destroy(signed);
  });

  for (const name of Object.keys(TERRAFORM_CASES)) {
    it(`${name} is formatted and valid`, async () => {
      const directory = join(terraform.directory, name);
      mkdirSync(directory);
      for (const { path, text } of renderTerraform(terraformPlan(name)))
        writeFileSync(join(directory, path), text);
      await terraform.must(directory, 'fmt', '-check', '-diff');
      await terraform.must(directory, 'init');
      await terraform.must(directory, 'validate');
    });
  }

  it('is one text that is good on standard output, too', async () => {
    const key = join(terraform.directory, 'key.pub');
    const args = ['jumphost', 'terraform', '--key', key, '--network', 'public', ...LIST];
    const printed = await mustRun([process.execPath, MAIN, ...args]);
    assert.equal(
      mainOf(await renderFormat('terraform', ['--network', 'public', ...LIST])),
      printed,
    );
  });
});
