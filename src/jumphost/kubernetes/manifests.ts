/**
 * The objects of the jump host.
 *
 *   users ─► Service (--expose) ─► pods of the Deployment ─► NetworkPolicy ─► listed destinations
 *                                   │  ▲
 *            HorizontalPodAutoscaler┘  ├─ Secret: one host key for all, made with kubectl
 *            PodDisruptionBudget       ├─ ConfigMap: sshd_config, script of --keys-from
 *                                      └─ ConfigMap: authorized_keys
 *
 * A change of the configuration replaces the pods, since its digest is in their template. A change
 * of the keys reaches running pods within a minute or two, and ends no session.
 */
import { createHash } from 'node:crypto';
import { UsageError } from '../../errors/errors.ts';
import type { JumpHostPlan, KubernetesPlan } from '../plan.ts';
import * as names from './names.ts';
import { networkPolicySpec } from './networkpolicy.ts';
import { authorizedKeys, containerKeysScript, sshdConfig } from './sshdconfig.ts';
import type { Yaml, YamlMap } from './yaml.ts';

/** What Kubernetes takes in one ConfigMap (MaxSecretSize of its validation.go). */
export const MAX_CONFIG_MAP_BYTES = 1024 * 1024;

/** Until every load balancer and node knows that a pod takes no more connections. */
const DRAIN_SECONDS = 15;
const END_SECONDS = 30;
/** The longest that an autoscaler takes: one pod less in 30 min, after an hour of little load. */
const SCALE_DOWN_WINDOW_SECONDS = 3600;
const SCALE_DOWN_PERIOD_SECONDS = 1800;

/** As octal in the manual of Kubernetes; decimal numbers are the same in YAML 1.1 and 1.2. */
const MODE = { key: 0o440, file: 0o444, script: 0o555 } as const;

export interface Manifest {
  /** The file's name, without its ending. */
  readonly file: string;
  /** What it is, in a line. */
  readonly about: string;
  readonly value: YamlMap;
}

/** In the order in which they are applied. Throws UsageError for what is too large. */
export function manifests(plan: JumpHostPlan, kubernetes: KubernetesPlan): Manifest[] {
  const config = {
    [names.CONFIG_FILE]: sshdConfig(plan),
    ...(plan.keysFrom.length === 0 ? {} : { [names.SCRIPT_FILE]: containerKeysScript(plan) }),
  };
  const meta = (name: string = names.NAME): YamlMap => ({
    name,
    namespace: kubernetes.namespace,
    labels: names.LABELS,
  });
  return [
    {
      file: 'namespace',
      about: 'A namespace of its own, in which only pods without privileges start.',
      value: {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: kubernetes.namespace,
          labels: {
            ...names.LABELS,
            'pod-security.kubernetes.io/enforce': 'restricted',
            'pod-security.kubernetes.io/enforce-version': 'latest',
          },
        },
      },
    },
    configMap('config', 'The configuration of sshd.', meta(names.CONFIG_MAP), config),
    ...(plan.keys.length === 0
      ? []
      : [
          configMap(
            'keys',
            'The keys of the users. A change reaches the pods within two minutes, and ends nothing.',
            meta(names.KEYS_MAP),
            { [names.KEYS_FILE]: authorizedKeys(plan) },
          ),
        ]),
    {
      file: 'networkpolicy',
      about: 'What the pods may send and receive. Nothing else: other policies only add to it.',
      value: {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: meta(),
        spec: networkPolicySpec(plan, kubernetes),
      },
    },
    {
      file: 'deployment',
      about: 'The pods: one unprivileged sshd each, all with the same host key.',
      value: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: meta(),
        spec: deploymentSpec(plan, kubernetes, digest(config)),
      },
    },
    {
      file: 'poddisruptionbudget',
      about: 'At most one pod at a time is taken away when nodes are emptied.',
      value: {
        apiVersion: 'policy/v1',
        kind: 'PodDisruptionBudget',
        metadata: meta(),
        spec: { maxUnavailable: 1, selector: { matchLabels: names.LABELS } },
      },
    },
    ...(fixed(kubernetes) ? [] : [autoscaler(meta(), kubernetes)]),
    { file: 'service', ...service(plan, kubernetes, meta()) },
    ...(kubernetes.expose === 'tcp-services' ? [tcpServices(plan, kubernetes)] : []),
  ];
}

/** No autoscaler. */
export function fixed({ replicas, maxReplicas }: KubernetesPlan): boolean {
  return replicas === maxReplicas;
}

function configMap(file: string, about: string, metadata: YamlMap, data: YamlMap): Manifest {
  const bytes = Object.entries(data).reduce(
    (sum, [key, text]) => sum + Buffer.byteLength(key) + Buffer.byteLength(String(text)),
    0,
  );
  if (bytes > MAX_CONFIG_MAP_BYTES)
    throw new UsageError(
      `${file} would have ${bytes} bytes, and Kubernetes takes ${MAX_CONFIG_MAP_BYTES} in a ConfigMap`,
      {
        hint:
          file === 'keys'
            ? 'keep the keys elsewhere, and name that with --keys-from'
            : 'list fewer destinations, or every port of a host by leaving its ports out',
      },
    );
  return { file, about, value: { apiVersion: 'v1', kind: 'ConfigMap', metadata, data } };
}

function digest(data: Readonly<Record<string, string>>): string {
  return createHash('sha256').update(JSON.stringify(data)).digest('hex');
}

function deploymentSpec(
  plan: JumpHostPlan,
  kubernetes: KubernetesPlan,
  configuration: string,
): YamlMap {
  return {
    ...(fixed(kubernetes)
      ? { replicas: kubernetes.replicas }
      : {
          '#replicas':
            'No "replicas": the HorizontalPodAutoscaler sets it. A number here would be set back at each\n' +
            'apply, and end the tunnels of the pods that go.',
        }),
    minReadySeconds: 5,
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    selector: { matchLabels: names.LABELS },
    template: {
      metadata: {
        labels: names.LABELS,
        annotations: { 'tunnel/configuration-sha256': configuration },
      },
      spec: podSpec(plan, kubernetes),
    },
  };
}

function podSpec(plan: JumpHostPlan, { image }: KubernetesPlan): YamlMap {
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    securityContext: {
      runAsNonRoot: true,
      runAsUser: names.UID,
      runAsGroup: names.UID,
      fsGroup: names.UID,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    '#drain': `New connections stop first, while the pod waits ${DRAIN_SECONDS} s (preStop). Then its sessions end.`,
    terminationGracePeriodSeconds: DRAIN_SECONDS + END_SECONDS,
    topologySpreadConstraints: ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map(
      (topologyKey) => ({
        maxSkew: 1,
        topologyKey,
        whenUnsatisfiable: 'ScheduleAnyway',
        labelSelector: { matchLabels: names.LABELS },
      }),
    ),
    containers: [container(plan, image)],
    volumes: volumes(plan),
  };
}

function container({ keys, keysFrom }: JumpHostPlan, image: string): YamlMap {
  const probe = (failureThreshold: number): YamlMap => ({
    exec: { command: LISTENS },
    periodSeconds: 10,
    timeoutSeconds: 5,
    failureThreshold,
  });
  return {
    name: 'sshd',
    image,
    command: ['/usr/sbin/sshd', '-D', '-e', '-f', `${names.CONFIG_DIRECTORY}/${names.CONFIG_FILE}`],
    ports: [{ name: names.PORT_NAME, containerPort: names.SSH_PORT, protocol: 'TCP' }],
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    '#probe':
      'Whether sshd listens is read from the kernel. A connection would be a line in the log\n' +
      'each time, and a penalty for the address of the node.',
    readinessProbe: probe(1),
    livenessProbe: probe(3),
    lifecycle: { preStop: { exec: { command: ['sleep', String(DRAIN_SECONDS)] } } },
    resources: {
      requests: { cpu: '250m', memory: '256Mi' },
      '#limits':
        'No limit of the processor: it would delay every tunnel. An idle session takes some 2 MiB, and\n' +
        'each flow up to 2 MiB more while data waits.',
      limits: { memory: '1Gi' },
    },
    volumeMounts: [
      { name: 'config', mountPath: names.CONFIG_DIRECTORY, readOnly: true },
      { name: 'host-key', mountPath: names.HOST_KEY_DIRECTORY, readOnly: true },
      ...(keys.length === 0
        ? []
        : [{ name: 'keys', mountPath: names.KEYS_DIRECTORY, readOnly: true }]),
      ...(keysFrom.length === 0
        ? []
        : [
            {
              '#': 'As a file of the image: sshd runs no program below a directory of mode 0777.',
              name: 'config',
              mountPath: names.SCRIPT_PATH,
              subPath: names.SCRIPT_FILE,
              readOnly: true,
            },
            { name: 'cache', mountPath: names.CACHE_DIRECTORY },
          ]),
    ],
  };
}

/** A socket of state LISTEN (0A) at the port, with any address (proc_net_tcp of Linux). */
const PORT_IN_HEX = names.SSH_PORT.toString(16).toUpperCase().padStart(4, '0');
const LISTENS = [
  'grep',
  '-qsE',
  `^ *[0-9]+: [0-9A-F]+:${PORT_IN_HEX} [0-9A-F]+:0000 0A `,
  '/proc/net/tcp',
  '/proc/net/tcp6',
];

function volumes({ keys, keysFrom }: JumpHostPlan): Yaml[] {
  const script = { key: names.SCRIPT_FILE, path: names.SCRIPT_FILE };
  return [
    {
      name: 'config',
      configMap: {
        name: names.CONFIG_MAP,
        '#mode': `0${MODE.file.toString(8)}`,
        defaultMode: MODE.file,
        ...(keysFrom.length === 0
          ? {}
          : {
              items: [
                { key: names.CONFIG_FILE, path: names.CONFIG_FILE },
                { '#': `0${MODE.script.toString(8)}`, ...script, mode: MODE.script },
              ],
            }),
      },
    },
    {
      name: 'host-key',
      secret: {
        secretName: names.HOST_KEY_SECRET,
        '#mode': `0${MODE.key.toString(8)}, of root and of the group of sshd (fsGroup). sshd refuses keys that a\ngroup can read only where they belong to its own user.`,
        defaultMode: MODE.key,
        items: [{ key: names.HOST_KEY, path: names.HOST_KEY }],
      },
    },
    ...(keys.length === 0
      ? []
      : [
          {
            name: 'keys',
            configMap: {
              name: names.KEYS_MAP,
              '#mode': `0${MODE.file.toString(8)}`,
              defaultMode: MODE.file,
            },
          },
        ]),
    ...(keysFrom.length === 0 ? [] : [{ name: 'cache', emptyDir: { sizeLimit: '64Mi' } }]),
  ];
}

function autoscaler(metadata: YamlMap, { replicas, maxReplicas }: KubernetesPlan): Manifest {
  const metric = (name: string, averageUtilization: number): YamlMap => ({
    type: 'Resource',
    resource: { name, target: { type: 'Utilization', averageUtilization } },
  });
  return {
    file: 'horizontalpodautoscaler',
    about: 'More pods under load. It needs metrics-server; without, the least number stays.',
    value: {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata,
      spec: {
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: names.NAME },
        minReplicas: replicas,
        maxReplicas,
        metrics: [metric('cpu', 70), metric('memory', 80)],
        '#behavior': 'Slowly down: the tunnels of a pod that goes have to connect again.',
        behavior: {
          scaleDown: {
            stabilizationWindowSeconds: SCALE_DOWN_WINDOW_SECONDS,
            policies: [{ type: 'Pods', value: 1, periodSeconds: SCALE_DOWN_PERIOD_SECONDS }],
          },
        },
      },
    },
  };
}

/** The port of the Service in the cluster, where users see another one. */
export const CLUSTER_PORT = 22;

function service(
  { port }: JumpHostPlan,
  { expose, dnsName }: KubernetesPlan,
  metadata: YamlMap,
): Omit<Manifest, 'file'> {
  const entry = (of: number): YamlMap => ({
    name: names.PORT_NAME,
    protocol: 'TCP',
    port: of,
    targetPort: names.PORT_NAME,
  });
  const local = {
    '#policy': "Users keep their addresses in sshd's log. Only nodes with a pod answer.",
    externalTrafficPolicy: 'Local',
  };
  const annotated =
    dnsName === undefined || expose === 'tcp-services'
      ? metadata
      : {
          ...metadata,
          '#dns': 'external-dns makes the record from this.',
          annotations: { 'external-dns.alpha.kubernetes.io/hostname': dnsName },
        };
  const of = (type: string, spec: YamlMap, ports: YamlMap): YamlMap => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: annotated,
    spec: { type, ...spec, selector: names.LABELS, ports: [ports] },
  });
  switch (expose) {
    case 'loadbalancer':
      return {
        about: `A load balancer, at port ${port}.`,
        value: of('LoadBalancer', local, entry(port)),
      };
    case 'nodeport':
      return {
        about: `Port ${port} of every node that has a pod.`,
        value: of('NodePort', local, { ...entry(CLUSTER_PORT), nodePort: port }),
      };
    case 'tcp-services':
      return {
        about: 'The address in the cluster that the ingress controller connects to.',
        value: of('ClusterIP', {}, entry(CLUSTER_PORT)),
      };
  }
}

function tcpServices(
  { port }: JumpHostPlan,
  { namespace, ingressConfigMap }: KubernetesPlan,
): Manifest {
  return {
    file: 'tcp-services',
    about:
      "One entry in a ConfigMap of the ingress controller. It isn't the jump host's: never delete it.",
    value: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: ingressConfigMap.name, namespace: ingressConfigMap.namespace },
      data: { [String(port)]: `${namespace}/${names.NAME}:${CLUSTER_PORT}` },
    },
  };
}
