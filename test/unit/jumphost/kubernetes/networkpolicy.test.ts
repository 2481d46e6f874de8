/** The NetworkPolicy, rendered, read back, and asked about attempts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { renderKubernetes } from '../../../../src/jumphost/kubernetes/render.ts';
import type { JumpHostPlan } from '../../../../src/jumphost/plan.ts';
import { kubernetesPlanOf } from '../../../support/jumphostplan.ts';
import {
  type Attempt,
  admits,
  type End,
  type NetworkPolicy,
  tableOf,
} from '../../../support/networkpolicy.ts';

function policyOf(plan: JumpHostPlan): NetworkPolicy {
  const file = renderKubernetes(plan).find(({ path }) => path === 'networkpolicy.yaml');
  return parse(file?.text ?? '');
}

const at = (address: string): End => ({ address });
const inNamespace = (name: string, pod: Readonly<Record<string, string>> = {}): End => ({
  address: '10.244.0.9',
  namespace: { 'kubernetes.io/metadata.name': name },
  pod,
});
const DNS = inNamespace('kube-system', { 'k8s-app': 'kube-dns' });
const USER = at('198.51.100.7');

/** `in` or `out`, the other end, protocol and port, and whether it is admitted. */
type Row = readonly [way: 'in' | 'out', end: End, what: string, admitted: boolean];

function attemptOf([way, end, what]: Row): Attempt {
  const [protocol, port] = what.split(' ');
  return {
    direction: way === 'in' ? 'Ingress' : 'Egress',
    end,
    protocol: protocol as Attempt['protocol'],
    port: Number(port),
  };
}

const CASES: Readonly<Record<string, { plan: JumpHostPlan; rows: readonly Row[] }>> = {
  'addresses alone': {
    plan: kubernetesPlanOf(['10.0.0.5:443', '10.0.0.6:443', '10.0.0.6:80', '[2001:db8::5]:8774']),
    rows: [
      ['in', USER, 'TCP 2222', true],
      ['in', at('2001:db8::9'), 'TCP 2222', true],
      ['in', inNamespace('anything'), 'TCP 2222', true],
      ['in', USER, 'TCP 22', false],
      ['in', USER, 'UDP 2222', false],
      ['out', at('10.0.0.5'), 'TCP 443', true],
      ['out', at('10.0.0.5'), 'TCP 80', false],
      ['out', at('10.0.0.5'), 'UDP 443', false],
      ['out', at('10.0.0.6'), 'TCP 443', true],
      ['out', at('10.0.0.6'), 'TCP 80', true],
      ['out', at('10.0.0.7'), 'TCP 443', false],
      ['out', at('2001:db8::5'), 'TCP 8774', true],
      ['out', at('2001:db8::5'), 'TCP 443', false],
      ['out', at('2001:db8::6'), 'TCP 8774', false],
      ['out', at('169.254.169.254'), 'TCP 80', false],
      // Nothing is asked for by name.
      ['out', DNS, 'UDP 53', false],
      ['out', at('10.96.0.1'), 'TCP 443', false],
    ],
  },
  'every port of an address': {
    plan: kubernetesPlanOf(['10.0.0.5:*', '10.0.0.6:443']),
    rows: [
      ['out', at('10.0.0.5'), 'TCP 1', true],
      ['out', at('10.0.0.5'), 'TCP 65535', true],
      ['out', at('10.0.0.5'), 'UDP 53', false],
      ['out', at('10.0.0.6'), 'TCP 80', false],
    ],
  },
  'a name, whose addresses are not known': {
    plan: kubernetesPlanOf(['api.example.com:443', 'db.example.com:5432', '10.0.0.5:22']),
    rows: [
      ['out', at('203.0.113.9'), 'TCP 443', true],
      ['out', at('10.9.9.9'), 'TCP 5432', true],
      ['out', at('2001:db8::1'), 'TCP 443', true],
      ['out', at('203.0.113.9'), 'TCP 80', false],
      ['out', at('203.0.113.9'), 'TCP 22', false],
      ['out', at('203.0.113.9'), 'UDP 443', false],
      ['out', at('10.0.0.5'), 'TCP 22', true],
      // Where clouds keep the credentials of a node.
      ['out', at('169.254.169.254'), 'TCP 443', false],
      ['out', at('168.63.129.16'), 'TCP 443', false],
      ['out', at('fd00:42::42'), 'TCP 443', false],
      ['out', at('100.100.100.200'), 'TCP 443', false],
      ['out', at('fe80::1'), 'TCP 443', false],
      ['out', at('fd00:ec2::254'), 'TCP 443', false],
      ['out', at('fd20:ce::254'), 'TCP 443', false],
      ['out', DNS, 'UDP 53', true],
      ['out', DNS, 'TCP 53', true],
      ['out', at('169.254.20.10'), 'UDP 53', true],
      ['out', inNamespace('kube-system'), 'UDP 53', false],
      ['out', inNamespace('other', { 'k8s-app': 'kube-dns' }), 'UDP 53', false],
      ['out', at('8.8.8.8'), 'UDP 53', false],
      ['out', DNS, 'TCP 9153', false],
    ],
  },
  'keys from an API server, by its own port': {
    plan: kubernetesPlanOf(
      ['10.0.0.5:443'],
      {
        keySources: [
          { prefix: { family: 4, address: '192.168.0.0', length: 28 }, port: 6443, text: 'x' },
          {
            prefix: { family: 6, address: '2001:db8::a', length: 128 },
            port: 16_443,
            text: 'y',
          },
        ],
      },
      { keysFrom: [{ kind: 'url', url: 'https://kubernetes.default.svc/keys' }] },
    ),
    rows: [
      ['out', at('192.168.0.14'), 'TCP 6443', true],
      ['out', at('192.168.0.16'), 'TCP 6443', false],
      ['out', at('192.168.0.14'), 'TCP 443', false],
      ['out', at('2001:db8::a'), 'TCP 16443', true],
      ['out', at('2001:db8::a'), 'TCP 6443', false],
      ['out', DNS, 'UDP 53', true],
    ],
  },
  'keys from a name': {
    plan: kubernetesPlanOf(
      ['10.0.0.5:80'],
      { keySources: [{ prefix: undefined, port: 443, text: 'keys.example.com:443' }] },
      { keysFrom: [{ kind: 'url', url: 'https://keys.example.com/' }] },
    ),
    rows: [
      ['out', at('203.0.113.9'), 'TCP 443', true],
      ['out', at('203.0.113.9'), 'TCP 80', false],
      ['out', at('169.254.169.254'), 'TCP 443', false],
    ],
  },
  'users through an ingress controller': {
    plan: kubernetesPlanOf(['10.0.0.5:80'], {
      expose: 'tcp-services',
      ingressConfigMap: { namespace: 'edge', name: 'tcp' },
    }),
    rows: [
      ['in', inNamespace('edge'), 'TCP 2222', true],
      ['in', inNamespace('ingress-nginx'), 'TCP 2222', false],
      ['in', USER, 'TCP 2222', false],
      ['in', inNamespace('edge'), 'TCP 22', false],
    ],
  },
};

describe('the NetworkPolicy for', () => {
  for (const [name, { plan, rows }] of Object.entries(CASES)) {
    it(name, () => {
      const policy = policyOf(plan);
      const answers = rows.map((row) => [...row.slice(0, 3), admits(policy, attemptOf(row))]);
      assert.deepEqual(answers, rows);
    });
  }

  it('a list, as a table: nothing but these lines', () => {
    assert.deepEqual(tableOf(policyOf(kubernetesPlanOf(['api.example.com:443', '10.0.0.5:*']))), [
      'Ingress TCP 2222 *',
      ...['UDP', 'TCP'].map(
        (protocol) =>
          `Egress ${protocol} 53 kubernetes.io/metadata.name=kube-system k8s-app=kube-dns`,
      ),
      'Egress UDP 53 169.254.20.10/32',
      'Egress TCP 53 169.254.20.10/32',
      'Egress TCP 443 0.0.0.0/0 except 169.254.0.0/16 except 100.100.100.200/32 except 168.63.129.16/32',
      'Egress TCP 443 ::/0 except fe80::/10 except fd00:ec2::254/128 except fd20:ce::254/128 except fd00:42::42/128',
      'Egress TCP * 10.0.0.5/32',
    ]);
  });

  it('any list of addresses, as a table: the list', () => {
    const host = fc.oneof(
      fc.nat(30).map((n) => `10.0.0.${n}`),
      fc.nat(30).map((n) => `[2001:db8::${n + 1}]`),
    );
    const entry = fc.tuple(host, fc.integer({ min: 1, max: 65_535 }));
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: String, minLength: 1 }), (list) => {
        const policy = policyOf(kubernetesPlanOf(list.map((both) => both.join(':'))));
        const expected = list.map(([address, port]) => {
          const cidr = address.startsWith('[') ? `${address.slice(1, -1)}/128` : `${address}/32`;
          return `Egress TCP ${port} ${cidr}`;
        });
        const table = tableOf(policy).filter((line) => line.startsWith('Egress'));
        assert.deepEqual(table.sort(), expected.sort());
      }),
    );
  });

  it('the pods of the Deployment, and both directions', () => {
    const { spec } = policyOf(kubernetesPlanOf(['10.0.0.5:80']));
    const deployment = renderKubernetes(kubernetesPlanOf(['10.0.0.5:80'])).find(
      ({ path }) => path === 'deployment.yaml',
    );
    const { template } = parse(deployment?.text ?? '').spec;
    assert.deepEqual(spec.podSelector.matchLabels, template.metadata.labels);
    assert.deepEqual(spec.policyTypes, ['Ingress', 'Egress']);
  });

  it('a destination in two entries of different ports is rendered once for each set of ports', () => {
    const hosts = Array.from({ length: 300 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
    const { spec } = policyOf(kubernetesPlanOf(hosts.map((host) => `${host}:443`)));
    assert.equal(spec.egress?.length, 1);
    assert.equal(spec.egress[0]?.to?.length, 300);
  });
});
