import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { besideJumpHost, JumpHostServers } from '../../../src/policy/jumphost.ts';
import { createPolicy } from '../../../src/policy/policy.ts';

const OLD = { host: '10.0.0.5', port: 22 };
const NEW = { host: '2001:db8::5', port: 2222 };

describe('connections to the jump host', () => {
  it('go past the tunnel, to what was dialled last and to what is being dialled', () => {
    const servers = new JumpHostServers();
    const seen = () => [OLD, NEW].map((one) => servers.contains(one));
    assert.deepEqual(seen(), [false, false]);
    servers.dialling([OLD]);
    servers.dialled([OLD]);
    assert.deepEqual(seen(), [true, false]);
    servers.dialling([NEW]);
    assert.deepEqual(seen(), [true, true]);
    servers.dialling([]);
    assert.deepEqual(seen(), [true, false], 'what was tried in vain is forgotten');
    servers.dialled([NEW]);
    assert.deepEqual(seen(), [false, true]);
  });

  it('are only those to its SSH server', () => {
    const servers = new JumpHostServers();
    servers.dialled([OLD]);
    const targets = [{ prefix: parsePrefix('10.0.0.0/8').prefix, ports: [] }];
    const policy = besideJumpHost(createPolicy({ targets, exclusions: [] }), servers);
    assert.equal(policy.decide(OLD).kind, 'direct');
    assert.equal(policy.decide({ ...OLD, port: 443 }).kind, 'tunnel');
    assert.equal(policy.decide({ host: '10.0.0.6', port: 22 }).kind, 'tunnel');
    assert.match(JSON.stringify(policy.decide({ host: '192.0.2.1', port: 22 })), /no target/);
  });
});
