/**
 * What the pods of the jump host may send and receive. sshd already forwards to nothing but the
 * list; this holds as well if sshd should be broken.
 *
 * A NetworkPolicy knows addresses and ports, as they are after a Service's translation: no names,
 * and no port of a Service that differs from its pods'. So a name that is listed opens its port to
 * every address; PermitOpen still compares the name. Excepted are link-local addresses, and the
 * others at which clouds have the credentials of a node (EC2, Compute Engine and Scaleway by IPv6,
 * Alibaba, Azure's WireServer): a name must not lead there.
 */
import { isAddress } from '../../net/address.ts';
import { hostPrefix, prefixNotation } from '../../net/prefix.ts';
import type { JumpHostPlan, KubernetesPlan } from '../plan.ts';
import { LABELS, SSH_PORT } from './names.ts';
import type { Yaml, YamlMap } from './yaml.ts';

const EVERYWHERE = [
  { cidr: '0.0.0.0/0', except: ['169.254.0.0/16', '100.100.100.200/32', '168.63.129.16/32'] },
  {
    cidr: '::/0',
    except: ['fe80::/10', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:42::42/128'],
  },
];

/** The name that Kubernetes itself gives to a namespace as a label. */
const NAMESPACE_LABEL = 'kubernetes.io/metadata.name';

/** The spec of one NetworkPolicy, that denies everything else in both directions. */
export function networkPolicySpec(plan: JumpHostPlan, kubernetes: KubernetesPlan): YamlMap {
  return {
    podSelector: { matchLabels: LABELS },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [ingress(kubernetes)],
    egress: [...dns(plan), ...keySources(kubernetes), ...destinations(plan)],
  };
}

function ingress({ expose, ingressConfigMap }: KubernetesPlan): YamlMap {
  const ports = [tcp(SSH_PORT)];
  if (expose !== 'tcp-services') return { '#': 'Users, from everywhere.', ports };
  return {
    '#':
      'Users, through the ingress controller. One in the network of its nodes (hostNetwork) has their\n' +
      'addresses: list these as ipBlock instead.',
    from: [inNamespace(ingressConfigMap.namespace)],
    ports,
  };
}

/** Only where something is asked for by name. */
function dns({ permitted, keysFrom }: JumpHostPlan): YamlMap[] {
  if (keysFrom.length === 0 && permitted.every(({ host }) => isAddress(host))) return [];
  return [
    {
      '#': 'Names: the DNS of the cluster, and the cache that some clusters have on each node.',
      to: [
        { ...inNamespace('kube-system'), podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } },
        { ipBlock: { cidr: '169.254.20.10/32' } },
      ],
      ports: [
        { protocol: 'UDP', port: 53 },
        { protocol: 'TCP', port: 53 },
      ],
    },
  ];
}

function keySources({ keySources: sources }: KubernetesPlan): YamlMap[] {
  return sources.map(({ prefix, port, text }) => ({
    '#': `Keys, at ${text}: its port after the Service's translation${prefix === undefined ? ', at any address' : ''}.`,
    to: prefix === undefined ? everywhere() : [{ ipBlock: { cidr: prefixNotation(prefix) } }],
    ports: [tcp(port)],
  }));
}

function destinations({ permitted }: JumpHostPlan): YamlMap[] {
  const names = permitted.filter(({ host }) => !isAddress(host));
  const rules: YamlMap[] = [];
  if (names.length > 0)
    rules.push({
      '#':
        'Listed names. A NetworkPolicy knows none: their ports are open to every address except those\n' +
        "where clouds have the credentials of a node. sshd's PermitOpen still compares the name.",
      to: everywhere(),
      ports: portsOf(names.map(({ port }) => port)),
    });
  // Addresses with the same ports share a rule.
  const portsByHost = new Map<string, (number | '*')[]>();
  for (const { host, port } of permitted) {
    if (isAddress(host)) portsByHost.set(host, [...(portsByHost.get(host) ?? []), port]);
  }
  const hostsByPorts = new Map<string, { ports: (number | '*')[]; hosts: string[] }>();
  for (const [host, ports] of portsByHost) {
    const rule = hostsByPorts.get(ports.join());
    if (rule === undefined) hostsByPorts.set(ports.join(), { ports, hosts: [host] });
    else rule.hosts.push(host);
  }
  for (const [index, { ports, hosts }] of [...hostsByPorts.values()].entries())
    rules.push({
      ...(index === 0 ? { '#': 'Listed addresses.' } : {}),
      to: hosts.map((host) => ({ ipBlock: { cidr: prefixNotation(hostPrefix(host)) } })),
      ports: portsOf(ports),
    });
  return rules;
}

/** Every port is one entry without a port. */
function portsOf(ports: readonly (number | '*')[]): Yaml[] {
  const numbers = ports.filter((port) => port !== '*');
  if (numbers.length < ports.length) return [{ protocol: 'TCP' }];
  return [...new Set(numbers)].sort((a, b) => a - b).map(tcp);
}

function tcp(port: number): YamlMap {
  return { protocol: 'TCP', port };
}

function everywhere(): YamlMap[] {
  return EVERYWHERE.map(({ cidr, except }) => ({ ipBlock: { cidr, except } }));
}

function inNamespace(name: string): YamlMap {
  return { namespaceSelector: { matchLabels: { [NAMESPACE_LABEL]: name } } };
}
