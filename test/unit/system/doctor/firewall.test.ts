/** What nft prints, and whether a packet to a target and its answer pass. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import { type FirewallTarget, lookAtFirewall } from '../../../../src/system/doctor/firewall.ts';

interface ChainSpec {
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
  readonly family?: string;
  readonly rules: readonly (readonly unknown[])[];
}

/** As libnftables-json(5) has it. */
function ruleset(...chains: readonly ChainSpec[]): string {
  const items = chains.flatMap(({ name, hook, policy, family = 'inet', rules }) => [
    { chain: { family, table: 'f', name, ...(hook && { hook, type: 'filter', policy }) } },
    ...rules.map((expr) => ({ rule: { family, table: 'f', chain: name, expr } })),
  ]);
  return JSON.stringify({ nftables: [{ metainfo: { json_schema_version: 1 } }, ...items] });
}

const match = (left: unknown, right: unknown, op = '==') => ({ match: { op, left, right } });
const meta = (key: string) => ({ meta: { key } });
const state = (...states: readonly string[]) => match({ ct: { key: 'state' } }, states, 'in');
const daddr = (right: unknown) => match({ payload: { protocol: 'ip', field: 'daddr' } }, right);
const dport = (right: unknown) => match({ payload: { protocol: 'tcp', field: 'dport' } }, right);
const ACCEPT = { accept: null };
const DROP = { drop: null };
const JUMP = { jump: { target: 'other' } };
const COUNTER = { counter: { packets: 1, bytes: 2 } };
const XT = { xt: null };
const XT_MATCH = { xt: { type: 'match', name: 'conntrack' } };

function target(text = '10.0.0.0/8', port?: number): FirewallTarget {
  const ports = port === undefined ? [] : [{ first: port, last: port }];
  return { prefix: parsePrefix(text).prefix, ports };
}

async function look(json: string, ...targets: readonly FirewallTarget[]): Promise<string> {
  const found = await lookAtFirewall(targets.length === 0 ? [target()] : targets, async () => ({
    json,
  }));
  return found.state;
}

const output = (policy: string, ...rules: readonly (readonly unknown[])[]): ChainSpec => ({
  name: 'out',
  hook: 'output',
  policy,
  rules,
});
const input = (policy: string, ...rules: readonly (readonly unknown[])[]): ChainSpec => ({
  name: 'in',
  hook: 'input',
  policy,
  rules,
});

describe('lookAtFirewall', () => {
  for (const [what, json, expected] of [
    ['no rules', ruleset(), 'ok'],
    ['a policy of drop alone', ruleset(output('drop')), 'warning'],
    [
      'a kill switch that names another device and the jump host',
      ruleset(
        output(
          'drop',
          [match(meta('oifname'), 'lo'), ACCEPT],
          [match(meta('oifname'), 'wg0'), ACCEPT],
          [daddr('192.0.2.1'), dport(22), ACCEPT],
          [state('established', 'related'), ACCEPT],
        ),
      ),
      'warning',
    ],
    [
      'one that permits any tun device',
      ruleset(output('drop', [match(meta('oifname'), 'tun*'), ACCEPT])),
      'ok',
    ],
    [
      'one that permits the target',
      ruleset(output('drop', [daddr({ prefix: { addr: '10.0.0.0', len: 8 } }), ACCEPT])),
      'ok',
    ],
    [
      'one that permits a part of the target',
      ruleset(output('drop', [daddr({ prefix: { addr: '10.1.0.0', len: 16 } }), ACCEPT])),
      'note',
    ],
    ['a set that is not listed', ruleset(output('drop', [daddr('@ok'), ACCEPT])), 'note'],
    ['TCP to anywhere', ruleset(output('drop', [match(meta('l4proto'), 'tcp'), ACCEPT])), 'ok'],
    ['UDP only', ruleset(output('drop', [match(meta('l4proto'), 'udp'), ACCEPT])), 'warning'],
    ['a last rule that drops', ruleset(output('accept', [COUNTER, DROP])), 'warning'],
    [
      'what is rejected unless it goes by another device',
      ruleset(output('accept', [match(meta('oifname'), 'wg0', '!='), { reject: null }])),
      'warning',
    ],
    [
      'an accept in a chain that is jumped to',
      ruleset(output('drop', [JUMP]), { name: 'other', rules: [[ACCEPT]] }),
      'ok',
    ],
    [
      'a chain that returns',
      ruleset(output('drop', [JUMP]), { name: 'other', rules: [[{ return: null }], [ACCEPT]] }),
      'warning',
    ],
    [
      'a goto, after which the policy decides',
      ruleset(output('drop', [{ goto: { target: 'other' } }], [ACCEPT]), {
        name: 'other',
        rules: [],
      }),
      'warning',
    ],
    [
      'conditions of iptables that nft can not show',
      ruleset(output('drop', [XT_MATCH, ACCEPT])),
      'note',
    ],
    ['a match of iptables that nft does not name', ruleset(output('drop', [XT, ACCEPT])), 'note'],
    ['those that take answers from everywhere', ruleset(input('drop', [XT_MATCH, ACCEPT])), 'ok'],
    ['those that drop some answers', ruleset(input('accept', [XT_MATCH, DROP])), 'ok'],
    [
      'the kill switch of wg-quick',
      ruleset(output('accept', [match(meta('oifname'), 'wg0', '!='), XT_MATCH, { reject: null }])),
      'note',
    ],
    [
      'a REJECT of iptables',
      ruleset(output('accept', [{ xt: { type: 'target', name: 'REJECT' } }])),
      'warning',
    ],
    [
      'INPUT that takes what is established',
      ruleset(input('drop', [state('established', 'related'), ACCEPT])),
      'ok',
    ],
    [
      'INPUT that takes it from one device only',
      ruleset(
        input('drop', [match(meta('iifname'), 'eth0'), state('established', 'related'), ACCEPT]),
      ),
      'warning',
    ],
    ['a chain for IPv6', ruleset({ ...output('drop'), family: 'ip6' }), 'ok'],
    ['a chain of another hook', ruleset({ ...output('drop'), hook: 'forward' }), 'ok'],
    [
      'a chain that jumps to itself',
      ruleset({ ...output('drop', [{ jump: { target: 'out' } }]) }),
      'ok',
    ],
    ['something that is no ruleset', '{"nftables": 7}', 'ok'],
  ] as const) {
    it(`${what}: ${expected}`, async () => {
      assert.equal(await look(json), expected);
    });
  }

  it('looks at the port where there is one', async () => {
    const json = ruleset(output('drop', [dport({ set: [22, { range: [80, 90] }] }), ACCEPT]));
    assert.equal(await look(json, target('10.0.0.1', 85)), 'ok');
    assert.equal(await look(json, target('10.0.0.1', 443)), 'warning');
    assert.equal(await look(json, target('10.0.0.1')), 'note');
  });

  it('looks at each family', async () => {
    const json = ruleset({ ...output('drop'), family: 'ip6' });
    assert.equal(await look(json, target(), target('2001:db8::/32')), 'warning');
  });

  it('names the chain, and the rule to add', async () => {
    const found = await lookAtFirewall([target()], async () => ({ json: ruleset(output('drop')) }));
    assert.match(found.detail, /chain out of table inet f/);
    assert.match(found.hint ?? '', /nft insert rule inet f out oifname "tun\*" accept/);
  });

  it('says what it does not know', async () => {
    assert.equal((await lookAtFirewall([])).state, 'note');
    const found = await lookAtFirewall([target()], async () => ({ why: 'nft is not installed' }));
    assert.equal(found.detail, 'not known: nft is not installed');
  });
});
