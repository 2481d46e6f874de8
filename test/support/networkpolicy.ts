/**
 * A NetworkPolicy, read as Kubernetes reads it (networking.k8s.io/v1), apart from the code that
 * renders it: what its pods may send and receive, as a table, and as an answer for one attempt.
 */
import { BlockList, isIPv6 } from 'node:net';

interface Labels {
  readonly matchLabels?: Readonly<Record<string, string>>;
}
interface Peer {
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
  readonly namespaceSelector?: Labels;
  readonly podSelector?: Labels;
}
interface Port {
  readonly protocol?: string;
  readonly port?: number;
  readonly endPort?: number;
}
interface Rule {
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
  readonly ports?: readonly Port[];
}
export interface NetworkPolicy {
  readonly spec: {
    readonly podSelector: Labels;
    readonly policyTypes: readonly ('Ingress' | 'Egress')[];
    readonly ingress?: readonly Rule[];
    readonly egress?: readonly Rule[];
  };
}

/** The other end, outside of the cluster or a pod of it, with its address. */
export interface End {
  readonly address: string;
  readonly namespace?: Readonly<Record<string, string>>;
  readonly pod?: Readonly<Record<string, string>>;
}
export interface Attempt {
  readonly direction: 'Ingress' | 'Egress';
  readonly end: End;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
}

/** Whether the policy, alone, lets its pods do it. */
export function admits({ spec }: NetworkPolicy, attempt: Attempt): boolean {
  if (!spec.policyTypes.includes(attempt.direction)) return true;
  return rulesOf(spec, attempt.direction).some(
    ({ peers, ports }) =>
      // No list, or an empty one, is everything.
      (peers.length === 0 || peers.some((peer) => isPeer(peer, attempt.end))) &&
      (ports.length === 0 || ports.some((port) => isPort(port, attempt))),
  );
}

/** A line for each peer and port: `Egress TCP 443 10.0.0.5/32`. */
export function tableOf({ spec }: NetworkPolicy): string[] {
  return spec.policyTypes.flatMap((direction) =>
    rulesOf(spec, direction).flatMap(({ peers, ports }) =>
      (peers.length === 0 ? [undefined] : peers).flatMap((peer) =>
        (ports.length === 0 ? [undefined] : ports).map(
          (port) =>
            `${direction} ${port?.protocol ?? 'TCP'} ${port?.port ?? '*'} ${peer === undefined ? '*' : peerText(peer)}`,
        ),
      ),
    ),
  );
}

function rulesOf(spec: NetworkPolicy['spec'], direction: 'Ingress' | 'Egress') {
  const rules = (direction === 'Ingress' ? spec.ingress : spec.egress) ?? [];
  return rules.map(({ from, to, ports = [] }) => ({
    peers: (direction === 'Ingress' ? from : to) ?? [],
    ports,
  }));
}

function isPort({ protocol = 'TCP', port, endPort }: Port, attempt: Attempt): boolean {
  if (protocol !== attempt.protocol) return false;
  return port === undefined || (attempt.port >= port && attempt.port <= (endPort ?? port));
}

function isPeer({ ipBlock, namespaceSelector, podSelector }: Peer, end: End): boolean {
  if (ipBlock !== undefined)
    return (
      contains(ipBlock.cidr, end.address) &&
      !(ipBlock.except ?? []).some((cidr) => contains(cidr, end.address))
    );
  // A selector selects pods; without one for namespaces, of the policy's own.
  if (end.pod === undefined || end.namespace === undefined) return false;
  if (namespaceSelector === undefined) throw new TypeError('pods of the own namespace');
  return hasLabels(namespaceSelector, end.namespace) && hasLabels(podSelector ?? {}, end.pod);
}

function hasLabels({ matchLabels = {} }: Labels, labels: Readonly<Record<string, string>>) {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
}

function contains(cidr: string, address: string): boolean {
  const [network = '', length = ''] = cidr.split('/');
  const [of, family] = [
    isIPv6(network) ? 'ipv6' : 'ipv4',
    isIPv6(address) ? 'ipv6' : 'ipv4',
  ] as const;
  const list = new BlockList();
  list.addSubnet(network, Number(length), of);
  return of === family && list.check(address, family);
}

function peerText({ ipBlock, namespaceSelector, podSelector }: Peer): string {
  if (ipBlock !== undefined) return [ipBlock.cidr, ...(ipBlock.except ?? [])].join(' except ');
  const labels = [namespaceSelector, podSelector].flatMap((selector) =>
    Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`),
  );
  return labels.join(' ');
}
