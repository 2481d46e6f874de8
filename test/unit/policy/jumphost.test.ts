import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { besideJumpHost, JumpHostServers } from '../../../src/policy/jumphost.ts';
import { createPolicy } from '../../../src/policy/policy.ts';

const OLD = { host: '10.0.0.5', port: 22 };
const NEW = { host: '2001:db8::5', port: 2222 };

describe('connections to the jump host', () => {
  it('go past the tunnel, to what was dialled last and to what is being dialled', async () => {
    const servers = new JumpHostServers();
    const seen = () => [OLD, NEW].map((one) => servers.contains(one));
    assert.deepEqual(seen(), [false, false]);
    await servers.dialling([OLD]);
    await servers.dialled([OLD]);
    assert.deepEqual(seen(), [true, false]);
    await servers.dialling([NEW]);
    assert.deepEqual(seen(), [true, true]);
    await servers.dialling([]);
    assert.deepEqual(seen(), [true, false], 'what was tried in vain is forgotten');
    await servers.dialled([NEW]);
    assert.deepEqual(seen(), [false, true]);
  });

  it('are only those to its SSH server', async () => {
    const servers = new JumpHostServers();
    await servers.dialled([OLD]);
    const targets = [{ prefix: parsePrefix('10.0.0.0/8').prefix, ports: [] }];
    const policy = besideJumpHost(createPolicy({ targets, exclusions: [] }), servers);
    assert.equal(policy.decide(OLD).kind, 'direct');
    assert.equal(policy.decide({ ...OLD, port: 443 }).kind, 'tunnel');
    assert.equal(policy.decide({ host: '10.0.0.6', port: 22 }).kind, 'tunnel');
    assert.match(JSON.stringify(policy.decide({ host: '192.0.2.1', port: 22 })), /no target/);
  });

  it('wait until what follows their addresses has done so', async () => {
    const servers = new JumpHostServers();
    const seen: string[] = [];
    await servers.dialled([OLD]);
    servers.follow(async () => {
      await Promise.resolve();
      seen.push(servers.addresses.join(' '));
    });
    await servers.dialling([OLD, { ...OLD, port: 2222 }]);
    assert.deepEqual(seen, [], 'the same addresses');
    await servers.dialling([NEW]);
    await servers.dialled([NEW]);
    assert.deepEqual(seen, ['10.0.0.5 2001:db8::5', '2001:db8::5']);
  });
});
