/**
 * The stand-in of a cloud refuses what OpenStack's API reference doesn't have. Otherwise what
 * Terraform makes there (terraform.test.ts) would show nothing.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { StandInCloud } from '../support/standincloud.ts';
import type { Attempt } from '../support/standinneutron.ts';

const ANYWHERE: Attempt = {
  direction: 'egress',
  protocol: 'tcp',
  address: '198.51.100.1',
  port: 25,
};

describe('the stand-in of a cloud', () => {
  let cloud: StandInCloud;
  let network: string;
  beforeEach(async () => {
    cloud = await StandInCloud.start();
    network = cloud.neutron.addNetwork('lan', ['10.1.0.0/24']).id;
  });
  afterEach(() => cloud.close());

  /** Posts `body` under `name`. Returns the status, and the id of what was made. */
  async function post(kind: string, name: string, body: object): Promise<[number, string]> {
    const path = kind === 'servers' ? '/compute/v2.1/servers' : `/network/v2.0/${kind}`;
    const answer = await cloud.request('POST', path, { [name]: body });
    const made = (answer.body as Record<string, { readonly id?: string } | undefined>)[name];
    return [answer.status, made?.id ?? ''];
  }
  const group = async () => (await post('security-groups', 'security_group', { name: 'a' }))[1];
  const rule = async (security_group_id: string, body: object) => {
    const fields = { security_group_id, direction: 'egress', ethertype: 'IPv4', ...body };
    return (await post('security-group-rules', 'security_group_rule', fields))[0];
  };
  const port = async (body: object) => post('ports', 'port', { network_id: network, ...body });
  const remove = async (path: string) =>
    (await cloud.request('DELETE', `/network/v2.0/${path}`)).status;

  it('gives a new group rules that let everything out, until they are deleted', async () => {
    const id = await group();
    const [, portId] = await port({ security_groups: [id] });
    const made = cloud.neutron.ports.get(portId);
    assert.ok(made !== undefined);
    assert.equal(cloud.neutron.permits(made, ANYWHERE), true);
    for (const { id: ruleId } of cloud.neutron.rules.values())
      assert.equal(await remove(`security-group-rules/${ruleId}`), 204);
    assert.equal(cloud.neutron.permits(made, ANYWHERE), false);
    assert.equal(await rule(id, { remote_ip_prefix: '198.51.100.0/24' }), 201);
    assert.equal(cloud.neutron.permits(made, ANYWHERE), true);
    assert.equal(cloud.neutron.permits(made, { ...ANYWHERE, direction: 'ingress' }), false);
  });

  it('gives a port without groups the one of the project, which lets everything out', async () => {
    const allowed = async (body: object) => {
      const made = cloud.neutron.ports.get((await port(body))[1]);
      return made !== undefined && cloud.neutron.permits(made, ANYWHERE);
    };
    assert.equal(await allowed({}), true);
    assert.equal(await allowed({ security_groups: [] }), false);
  });

  it('refuses rules that Neutron refuses', async () => {
    const id = await group();
    const tcp = { protocol: 'tcp', port_range_min: 22, port_range_max: 22 };
    for (const [status, body] of [
      [201, { ...tcp, remote_ip_prefix: '192.0.2.0/24' }],
      [409, { ...tcp, remote_ip_prefix: '192.0.2.0/24' }],
      // The same one with host bits.
      [409, { ...tcp, remote_ip_prefix: '192.0.2.7/24' }],
      [201, { ...tcp, remote_ip_prefix: '192.0.2.0/25' }],
      [400, { ...tcp, remote_ip_prefix: '2001:db8::/32' }],
      [400, { ...tcp, remote_ip_prefix: 'host.example.com' }],
      [400, { ...tcp, remote_ip_prefix: '192.0.2.0/33' }],
      [400, { ...tcp, port_range_min: 23 }],
      [400, { ...tcp, port_range_max: 65536 }],
      [400, { ...tcp, protocol: null }],
      [400, { protocol: 'tcp', port_range_min: 22 }],
      [400, { ...tcp, port: 22 }],
      [400, { ...tcp, direction: 'out' }],
      [400, { ...tcp, ethertype: 'ipv4' }],
      [400, { ...tcp, remote_ip_prefix: '192.0.2.0/26', remote_group_id: id }],
    ] as const)
      assert.equal(await rule(id, body), status, JSON.stringify(body));
    assert.equal(await rule(randomUUID(), tcp), 404);
    cloud.neutron.ruleQuota = cloud.neutron.rules.size;
    assert.equal(await rule(id, { ...tcp, remote_ip_prefix: '192.0.2.0/27' }), 409);
    assert.equal(cloud.refused.length, 15);
  });

  it('refuses ports and floating addresses of unknown or unconnected networks', async () => {
    const id = await group();
    const [status, made] = await port({ name: 'a', security_groups: [id] });
    assert.equal(status, 201);
    assert.equal((await port({ network_id: randomUUID() }))[0], 404);
    assert.equal((await port({ security_groups: [randomUUID()] }))[0], 404);
    assert.equal((await port({ security_group_ids: [id] }))[0], 400);
    assert.equal(await remove(`security-groups/${id}`), 409);
    const external = cloud.neutron.addNetwork('ext', ['203.0.113.0/24'], { external: true }).id;
    const floating = async (floating_network_id: string, port_id: string) =>
      (await post('floatingips', 'floatingip', { floating_network_id, port_id }))[0];
    assert.equal(await floating(network, made), 400);
    assert.equal(await floating(external, made), 404);
    assert.equal(await floating(external, randomUUID()), 404);
  });

  it('refuses servers that Nova refuses', async () => {
    const [, portId] = await port({});
    const [imageRef = ''] = cloud.images.keys();
    const [flavorRef = ''] = cloud.nova.flavors.keys();
    const user_data = Buffer.from('#cloud-config\n').toString('base64');
    const good = { name: 'a', imageRef, flavorRef, networks: [{ port: portId }], user_data };
    const create = async (body: object) => (await post('servers', 'server', body))[0];
    for (const more of [
      { user_data: '#cloud-config' },
      { user_data: 'A'.repeat(65_536) },
      { imageRef: randomUUID() },
      { flavorRef: randomUUID() },
      { key_name: 'nobody' },
      { networks: [{ port: randomUUID() }] },
      { networks: [{ uuid: network }] },
      { networks: [{ port: portId, uuid: randomUUID() }] },
      { image: imageRef },
      { config_drive: 'yes' },
    ])
      assert.equal(await create({ ...good, ...more }), 400, JSON.stringify(more));
    assert.equal(await create(good), 202);
    assert.equal(await create(good), 409);
    assert.equal(await remove(`ports/${portId}`), 409);
    const [server] = cloud.nova.servers.values();
    assert.equal(server?.userData, '#cloud-config\n');
  });

  it('gives a token for its user and project alone', async () => {
    const { OS_USERNAME: name, OS_PASSWORD: password, OS_PROJECT_ID: id } = cloud.environment;
    const good = { name, password, domain: { name: 'Default' } };
    for (const [status, user, scope] of [
      [201, good, { project: { id } }],
      [401, { ...good, password: 'wrong' }, { project: { id } }],
      [401, { ...good, domain: { name: 'Other' } }, { project: { id } }],
      [401, good, { project: { id: 'other' } }],
      [400, good, { project: { name: 'project' } }],
      [400, { name, password }, { project: { id } }],
    ] as const) {
      const identity = { methods: ['password'], password: { user } };
      const body = { auth: { identity, scope } };
      const answer = await cloud.request('POST', '/identity/v3/auth/tokens', body);
      assert.equal(answer.status, status, JSON.stringify(body));
    }
  });

  it('answers nobody without its token, and knows nothing that it does not check', async () => {
    const response = await fetch(`${cloud.url}/network/v2.0/networks`);
    assert.equal(response.status, 401);
    assert.equal((await cloud.request('GET', '/network/v2.0/routers')).status, 501);
    assert.equal((await cloud.request('GET', '/network/v2.0/networks?nam=lan')).status, 400);
    assert.equal(cloud.refused.length, 3);
  });
});
