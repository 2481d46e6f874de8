/** Ports that rules and containers pass on, as nft, iptables and Docker show them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatPorts } from '../../../src/net/ports.ts';
import {
  passedOnPorts,
  portsOfDockerProxy,
  portsOfIptables,
  portsOfRuleset,
} from '../../../src/system/passedonports.ts';

const port = { payload: { protocol: 'tcp', field: 'dport' } };
const match = (right: unknown) => ({ match: { op: '==', left: port, right } });
const rule = (...expr: readonly unknown[]) => ({ rule: { family: 'ip', expr } });
const dnat = { dnat: { addr: '172.17.0.2', port: 80 } };

describe('portsOfRuleset', () => {
  const ports = (...nftables: readonly unknown[]) =>
    formatPorts(portsOfRuleset(JSON.stringify({ nftables })));

  it('takes ports, ranges, sets and maps of rules that translate the destination', () => {
    const map = { map: { key: port, data: { set: [[8081, '172.17.0.3']] } } };
    assert.equal(
      ports(
        { metainfo: { version: '1.0.6' } },
        rule(match(8080), dnat),
        rule(match({ set: [81, { range: [90, 92] }] }), { counter: {} }, dnat),
        rule({ dnat: { addr: map } }),
        rule(match('@named'), dnat),
      ),
      '8080,81,90-92,8081',
    );
  });

  it('takes no other rules', () => {
    const source = { payload: { protocol: 'tcp', field: 'sport' } };
    assert.equal(ports(rule(match(22), { accept: null }), rule({ drop: null })), '');
    assert.equal(ports(rule({ match: { op: '==', left: source, right: 1024 } }, dnat)), '');
  });

  it('takes nothing of what is no ruleset', () => {
    for (const text of ['', '{', 'null', '[]', '{"nftables": 1}', '{"nftables": [null, 1]}'])
      assert.deepEqual(portsOfRuleset(text), []);
  });
});

describe('portsOfIptables', () => {
  it('takes the ports of DNAT', () => {
    const saved = `*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8088 -j DNAT --to-destination 172.17.0.2:80
-A PREROUTING -p tcp -m multiport --dports 80,443,1000:1010 -j DNAT --to-destination 10.0.0.1
-A PREROUTING -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222
-A PREROUTING -d 192.0.2.9/32 -j DNAT --to-destination 10.0.0.2
COMMIT
`;
    assert.equal(formatPorts(portsOfIptables(saved)), '8088,80,443,1000-1010');
  });
});

describe('portsOfDockerProxy', () => {
  it('takes the port of the host', () => {
    const words = '/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip';
    assert.equal(formatPorts(portsOfDockerProxy(words.split(' '))), '8080');
    assert.deepEqual(portsOfDockerProxy(['docker-proxy', '-host-port']), []);
    assert.deepEqual(portsOfDockerProxy(['vi', 'docker-proxy', '-host-port', '80']), []);
  });
});

describe('passedOnPorts', () => {
  it('reads what there is on this machine', async () => {
    assert.ok(Array.isArray(await passedOnPorts()));
  });
});
