/**
 * What doctor says of firewalls, compared with what they do: each ruleset is loaded by nft or
 * iptables, and a connection is made through a device with the name of the tunnel's.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { parsePrefix } from '../../src/net/prefix.ts';
import { lookAtFirewall } from '../../src/system/doctor/firewall.ts';
import { Lab, labUnavailable } from '../support/lab.ts';

const TARGETS = { 4: '10.99.0.1', 6: '2001:db8:99::1' } as const;
const PORT = 443;
const SERVER = `
import socket
s = socket.create_server(('::', ${PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True: s.accept()[0].close()
`;
const CLIENT = `import socket, sys; socket.create_connection((sys.argv[1], ${PORT}), 1)`;

const chain = (hook: string, policy: string, ...rules: readonly string[]) =>
  `chain ${hook} {\n type filter hook ${hook} priority 0; policy ${policy};\n${rules.join('\n')}\n}\n`;
const nft = (...lines: readonly string[]) =>
  `nft -f - <<'END'\ntable inet t {\n${lines.join('\n')}\n}\nEND`;
/** Lines of iptables, for both families. */
const iptables = (...lines: readonly string[]) =>
  lines.map((line) => `iptables ${line} && ip6tables ${line} || exit 1`).join('\n');

type Told = 'ok' | 'note' | 'warning';
const ESTABLISHED = '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT';
const RULESETS: readonly (readonly [what: string, load: string, passes: boolean, told: Told])[] = [
  [
    'ufw, as it is installed',
    iptables(
      '-P INPUT DROP',
      '-N before',
      '-A INPUT -j before',
      '-A before -i lo -j ACCEPT',
      `-A before ${ESTABLISHED}`,
      '-A before -m conntrack --ctstate INVALID -j DROP',
      '-A before -p ipv6-icmp -j ACCEPT',
    ),
    true,
    'ok',
  ],
  [
    'ufw that denies what is outgoing',
    iptables(
      '-P OUTPUT DROP',
      '-A OUTPUT -o lo -j ACCEPT',
      `-A OUTPUT ${ESTABLISHED}`,
      '-A OUTPUT -o wg0 -j ACCEPT',
      '-A OUTPUT -p udp -m multiport --dports 53,123 -j ACCEPT',
      '-A OUTPUT -p ipv6-icmp -j ACCEPT',
      '-A OUTPUT -j REJECT',
    ),
    false,
    'note',
  ],
  [
    'the kill switch of wg-quick',
    iptables('-I OUTPUT ! -o wg0 -m mark ! --mark 0xca6c -m addrtype ! --dst-type LOCAL -j REJECT'),
    false,
    'note',
  ],
  [
    'tailscale',
    [
      iptables('-N ts-input', '-A INPUT -j ts-input', '-A ts-input -i tailscale0 -j ACCEPT'),
      'iptables -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP',
    ].join('\n'),
    true,
    'ok',
  ],
  [
    'limits that are not reached',
    nft(
      'set flood {\n type ipv4_addr; flags dynamic,timeout; timeout 1m;\n}',
      'set flood6 {\n type ipv6_addr; flags dynamic,timeout; timeout 1m;\n}',
      chain('output', 'accept', 'quota over 1000 mbytes drop', 'ct count over 1000 drop'),
      chain(
        'input',
        'accept',
        'update @flood { ip saddr limit rate over 1000/second } drop',
        'update @flood6 { ip6 saddr limit rate over 1000/second } drop',
      ),
    ),
    true,
    'ok',
  ],
  [
    'other protocols than those that are named',
    nft(
      chain('output', 'accept', 'udp dport != { 53, 123 } drop'),
      chain('input', 'accept', 'icmp type != echo-request drop', 'ip saddr != 10.0.0.0/8 drop'),
    ),
    true,
    'ok',
  ],
  ['a table that is off', nft('flags dormant', chain('output', 'drop')), true, 'ok'],
  [
    'devices in a named set',
    nft(
      'set trusted {\n type ifname; elements = { "lo", "eth0" }\n}',
      chain('output', 'drop', 'oifname @trusted accept'),
    ),
    false,
    'warning',
  ],
  [
    'verdict maps',
    nft(
      'map by {\n type ifname : verdict; elements = { "lo" : accept, "eth0" : jump more }\n}',
      'chain more {\n accept\n}',
      chain('input', 'drop', 'ct state vmap { established : accept, invalid : drop }'),
      chain('output', 'drop', 'oifname vmap @by'),
    ),
    false,
    'warning',
  ],
  [
    'verdict maps that permit it',
    nft(
      chain(
        'input',
        'drop',
        'ct state vmap { established : accept, related : accept, invalid : drop }',
        'meta l4proto ipv6-icmp accept',
      ),
    ),
    true,
    'ok',
  ],
  [
    'hooks before and after the usual ones',
    nft(chain('postrouting', 'accept', 'oifname != { "lo", "eth0" } drop')),
    false,
    'warning',
  ],
  [
    'answers that are dropped before routing',
    nft(chain('prerouting', 'accept', 'iifname != { "lo", "eth0" } meta l4proto tcp drop')),
    false,
    'warning',
  ],
  ['users', nft(chain('output', 'drop', 'meta skuid 1234 accept')), false, 'note'],
];

describe('doctor and firewalls', { skip: labUnavailable('nft', 'iptables', 'python3') }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create();
    const { client, api1 } = lab;
    await client.exec(['ip', 'link', 'add', 'tun0', 'type', 'veth', 'peer', 'name', 'moved']);
    await client.exec(['ip', 'link', 'set', 'moved', 'netns', api1.name]);
    for (const [namespace, device, last] of [
      [client, 'tun0', 1],
      [api1, 'moved', 2],
    ] as const) {
      await namespace.exec(['ip', 'addr', 'add', `198.18.0.${last}/24`, 'dev', device]);
      await namespace.exec(['ip', 'addr', 'add', `fd99::${last}/64`, 'dev', device, 'nodad']);
      await namespace.exec(['ip', 'link', 'set', device, 'up']);
    }
    for (const [family, via] of [
      [4, '198.18.0.2'],
      [6, 'fd99::2'],
    ] as const) {
      await api1.exec(['ip', 'addr', 'add', TARGETS[family], 'dev', 'lo']);
      await client.exec(['ip', 'route', 'add', TARGETS[family], 'via', via]);
    }
    const server = await api1.spawn(['python3', '-c', SERVER]);
    await server.waitForLine(/ready/);
  });
  after(() => lab?.close());

  for (const [what, load, passes, told] of RULESETS) {
    it(`${what}: ${told}`, async () => {
      const { client } = lab;
      await client.exec(['nft', 'flush', 'ruleset']);
      const loaded = await client.exec(['sh', '-c', load]);
      assert.equal(loaded.status, 0, loaded.stderr);
      const { stdout: json } = await client.exec(['nft', '-j', 'list', 'ruleset']);
      for (const host of Object.values(TARGETS)) {
        const { status } = await client.exec(['python3', '-c', CLIENT, host]);
        assert.equal(status === 0, passes, `${host}: the ruleset does something else`);
        const ports = [{ first: PORT, last: PORT }];
        const target = { prefix: parsePrefix(host).prefix, ports };
        const found = await lookAtFirewall([target], async () => ({ json }));
        assert.equal(found.state, told, `${host}: ${found.detail}`);
      }
    });
  }
});
