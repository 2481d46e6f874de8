/** Options of `tunnel jumphost kubernetes` alone, by the rules of Kubernetes for names. */
import { UsageError } from '../errors/errors.ts';
import { releaseFor } from '../jumphost/kubernetes/containerfile.ts';
import { EXPOSURES, type JumpHostPlan, type KeySourceEnd } from '../jumphost/plan.ts';
import { canonicalName, endsInNumber } from '../net/name.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, oneOf, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import { formatPrefix, parsePrefix } from '../net/prefix.ts';
import { type GivenOptions, once, type Reader, readOptions, repeated } from './option.ts';

/** More pods of one jump host are no plan that somebody means. */
export const MAX_REPLICAS = 100;
const LEAST_REPLICAS = 2;
const DEFAULT_NAMESPACE = 'jumphost';
const DEFAULT_INGRESS = { namespace: 'ingress-nginx', name: 'tcp-services' };
/** --service-node-port-range of kube-apiserver, where nobody has changed it. */
const NODE_PORTS = { first: 30_000, last: 32_767 };
/** Below, only 22 is for ssh; the other ports belong to other services. */
const FIRST_HIGH_PORT = 1023;

export const KUBERNETES_OPTIONS = {
  heading: 'Kubernetes:',
  options: {
    image: once(
      '--image <reference>',
      'the image that you build from the rendered Containerfile (required)',
      readImage,
    ),
    expose: once(
      '--expose <how>',
      `how users reach it: ${EXPOSURES.join(', ')} (default: ${EXPOSURES[0]})`,
      (text, place) => oneOf(EXPOSURES, text, place, `as in: --expose ${EXPOSURES[1]}`),
      EXPOSURES,
    ),
    namespace: once(
      '--namespace <name>',
      `a namespace of its own (default: ${DEFAULT_NAMESPACE})`,
      readNamespace,
    ),
    replicas: once(
      '--replicas <number>',
      `pods at the least (default: ${LEAST_REPLICAS})`,
      readCount('--replicas'),
    ),
    maxReplicas: once(
      '--max-replicas <number>',
      'pods under load; as many as --replicas: no autoscaler (default: four times as many)',
      readCount('--max-replicas'),
    ),
    dnsName: once(
      '--dns-name <name>',
      'its name, which external-dns makes a record of',
      readDnsName,
    ),
    keySource: repeated(
      '--key-source <host:port>',
      'what the source of --keys-from is for a NetworkPolicy: address or prefix, and its own port (repeatable)',
      readKeySourceEnd,
    ),
    ingressConfigMap: once(
      '--ingress-configmap <namespace/name>',
      `of the ingress controller (default: ${DEFAULT_INGRESS.namespace}/${DEFAULT_INGRESS.name})`,
      readConfigMapName,
    ),
  },
} as const;

type Plan = Omit<JumpHostPlan, 'permitted'>;

/** The plan, with what belongs to Kubernetes, and what follows from that. Throws UsageError. */
export function readKubernetesPlan(plan: Plan, given: GivenOptions): Plan {
  const options = readOptions(KUBERNETES_OPTIONS, given);
  const { image, expose, namespace, replicas, maxReplicas, dnsName, keySource } = options;
  if (image === undefined) {
    throw new UsageError('no image is given', {
      hint: 'name the one that you will build from the rendered Containerfile, as in: --image registry.example.com/jumphost:1',
    });
  }
  releaseFor(plan.version);
  const how = expose?.value ?? EXPOSURES[0];
  checkPort(how, plan.port);
  checkKeySources(plan, options);
  if (how !== 'tcp-services' && options.ingressConfigMap !== undefined) {
    throw new UsageError(
      `${filePrefix(options.ingressConfigMap.place)}--ingress-configmap changes nothing with --expose ${how}`,
      { hint: 'leave it out, or write --expose tcp-services' },
    );
  }
  if (how === 'tcp-services' && plan.from.length > 0) {
    throw new UsageError(
      "--from is given with --expose tcp-services, where all users have the ingress controller's address",
      { hint: 'leave --from out, or limit the addresses at the ingress controller' },
    );
  }
  const least = replicas?.value ?? LEAST_REPLICAS;
  const most = maxReplicas?.value ?? Math.min(4 * least, MAX_REPLICAS);
  if (most < least) {
    throw new UsageError(`--max-replicas ${most} is less than --replicas ${least}`, {
      hint: 'write the same number twice for no autoscaler',
    });
  }
  return {
    ...plan,
    behindProxy: plan.behindProxy || how === 'tcp-services',
    kubernetes: {
      image: image.value,
      namespace: namespace?.value ?? DEFAULT_NAMESPACE,
      replicas: least,
      maxReplicas: most,
      expose: how,
      dnsName: dnsName?.value,
      keySources: keySource.map(({ value }) => value),
      ingressConfigMap: options.ingressConfigMap?.value ?? DEFAULT_INGRESS,
    },
  };
}

function checkPort(expose: (typeof EXPOSURES)[number], port: number): void {
  const { first, last } = NODE_PORTS;
  if (expose === 'nodeport') {
    if (port >= first && port <= last) return;
    throw new UsageError(
      `port ${port} is no port of nodes: a cluster gives those from ${first} to ${last}`,
      { hint: `name one of these, as in: --expose nodeport --port ${first + 22}` },
    );
  }
  if (port === 22 || port >= FIRST_HIGH_PORT) return;
  throw new UsageError(`port ${port} belongs to other services than ssh`, {
    hint: `write --port 22, or one from ${FIRST_HIGH_PORT} to 65535`,
  });
}

function checkKeySources(
  { keysFrom }: Plan,
  { keySource }: ReturnType<typeof readOptions<typeof KUBERNETES_OPTIONS.options>>,
): void {
  const [first] = keySource;
  if (first !== undefined && keysFrom.length === 0) {
    throw new UsageError(
      `${filePrefix(first.place)}--key-source changes nothing without --keys-from`,
      {
        hint: 'give both: --keys-from says what is asked for, --key-source what the network must let through',
      },
    );
  }
  if (first === undefined && keysFrom.some(({ kind }) => kind === 'url')) {
    throw new UsageError(
      '--keys-from has an address, and nothing says what the network must let through to it',
      {
        hint: 'name its host and its own port, after the translation of a Service, as in: --key-source 10.0.0.10:6443',
      },
    );
  }
}

/** A label of RFC 1123, as Kubernetes wants names of namespaces (IsDNS1123Label). */
function isLabel(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
}

/** Labels with dots between them (IsDNS1123Subdomain). */
function isSubdomain(text: string): boolean {
  return (
    text.length <= 253 &&
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text)
  );
}

function readNamespace(text: string, place: Place): string {
  if (!isLabel(text)) {
    throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not a name of a namespace`, {
      hint: 'write up to 63 lower-case letters, digits and "-", as in: --namespace jumphost',
    });
  }
  if (text === 'default' || text.startsWith('kube-')) {
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} belongs to others: no pod with privileges starts in the jump host's, and undoing deletes it`,
      { hint: `name one of its own, as in: --namespace ${DEFAULT_NAMESPACE}` },
    );
  }
  return text;
}

function readConfigMapName(text: string, place: Place): { namespace: string; name: string } {
  const [namespace = '', name = '', ...rest] = text.split('/');
  if (isLabel(namespace) && isSubdomain(name) && rest.length === 0) return { namespace, name };
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not NAMESPACE/NAME`, {
    hint: "write what the controller's --tcp-services-configmap has, as in: ingress-nginx/tcp-services",
  });
}

/** As distribution/reference has it: a host maybe, a path in lower case, a tag, a digest. */
function readImage(text: string, place: Place): string {
  const host = '(?:[a-z0-9.-]+(?::[0-9]{1,5})?|\\[[0-9a-f:]+\\](?::[0-9]{1,5})?)';
  const part = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
  const tag = '(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?';
  const form = new RegExp(`^(?:${host}/)?${part}(?:/${part})*${tag}(?:@sha256:[0-9a-f]{64})?$`);
  if (text.length <= 500 && form.test(text)) return text;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not the name of an image`, {
    hint: 'write it as in: --image registry.example.com/jumphost:1',
  });
}

/** Labels and values of external-dns are names without an underscore. */
function readDnsName(text: string, place: Place): string {
  const form = 'write it as in: --dns-name jump.example.com';
  const name = endsInNumber(text) ? '' : readAt(place, text, form, canonicalName);
  if (isSubdomain(name)) return name;
  throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not the name of a host`, {
    hint: form,
  });
}

function readKeySourceEnd(text: string, place: Place): KeySourceEnd {
  const form = 'write it as in: --key-source 10.0.0.10:6443, or [2001:db8::10]:6443';
  const [, bracketed, bare, port = ''] = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(text) ?? [];
  const host = bracketed ?? bare;
  if (host === undefined || host === '') {
    throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not HOST:PORT`, { hint: form });
  }
  const number = readAt(place, port, form, parsePort);
  // What stands in a comment of the manifests is what was understood, not what was written.
  if (/^[0-9./]+$/.test(host) || bracketed !== undefined) {
    const { prefix } = readAt(place, host, form, parsePrefix);
    const shown = formatPrefix(prefix);
    return {
      prefix,
      port: number,
      text: `${shown.includes(':') ? `[${shown}]` : shown}:${number}`,
    };
  }
  const name = readAt(place, host, form, canonicalName);
  return { prefix: undefined, port: number, text: `${name}:${number}` };
}

function readCount(option: string): Reader<number> {
  return (text, place) => {
    const value = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
    if (value >= LEAST_REPLICAS && value <= MAX_REPLICAS) return value;
    throw new UsageError(
      `${formatPlace(place)}: ${quoted(text)} is not a number from ${LEAST_REPLICAS} to ${MAX_REPLICAS}`,
      { hint: `one pod would be away whenever it is replaced; write it as in: ${option} 3` },
    );
  };
}
