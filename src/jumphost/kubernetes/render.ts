/**
 * `tunnel jumphost kubernetes`: manifests of a jump host that grows past one machine.
 *
 *   --output DIR   a base for kustomize: kustomization.yaml, a file for each object, Containerfile
 *   printed        one text with all objects, that `kubectl apply -f -` takes
 *
 * Both begin with every step in order. The host key is no part of them: it is made once, and put
 * into a Secret with kubectl, so that it is in no file that is kept with the manifests.
 */
import { formatPermitted } from '../permitted.ts';
import type { JumpHostPlan, KubernetesPlan, RenderedFile } from '../plan.ts';
import { formatSshdVersion } from '../versions.ts';
import { CONTAINERFILE, containerfile } from './containerfile.ts';
import { fixed, type Manifest, manifests } from './manifests.ts';
import * as names from './names.ts';
import { document, yamlComment } from './yaml.ts';

const KUSTOMIZATION = 'kustomization.yaml';

/** The files of a kustomize base. Throws UsageError for a list that is too long. */
export function renderKubernetes(plan: JumpHostPlan): RenderedFile[] {
  const kubernetes = kubernetesOf(plan);
  const all = manifests(plan, kubernetes);
  const steps = head(plan, kubernetes, {
    manifests: '-k .',
    where: 'in the directory of this file',
    image: [],
  });
  return [
    {
      path: KUSTOMIZATION,
      mode: 0o644,
      text: document(steps, {
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        resources: all.map(({ file }) => `${file}.yaml`),
      }),
    },
    ...all.map((manifest) => ({
      path: `${manifest.file}.yaml`,
      mode: 0o644,
      text: documentOf(manifest, about(manifest, kubernetes)),
    })),
    { path: CONTAINERFILE, mode: 0o644, text: containerfile(plan, kubernetes) },
  ];
}

/** The same as one text. The image's file is a comment at its end. */
export function printKubernetes(plan: JumpHostPlan): string {
  const kubernetes = kubernetesOf(plan);
  const steps = head(plan, kubernetes, {
    manifests: '-f THIS-FILE',
    where: 'with this text in THIS-FILE',
    image: [`  sed '1,/^# ${CONTAINERFILE}:$/d; s/^# \\{0,1\\}//' THIS-FILE >${CONTAINERFILE}`],
  });
  return [
    yamlComment(steps),
    ...manifests(plan, kubernetes).map(
      (manifest) => `---\n${documentOf(manifest, [manifest.about])}`,
    ),
    `---\n${yamlComment([`${CONTAINERFILE}:`, ...containerfile(plan, kubernetes).trimEnd().split('\n')])}`,
  ].join('');
}

function kubernetesOf({ kubernetes }: JumpHostPlan): KubernetesPlan {
  if (kubernetes === undefined) throw new TypeError('this plan has nothing for Kubernetes');
  return kubernetes;
}

function documentOf({ value }: Manifest, lines: readonly string[]): string {
  return document(lines, value);
}

/** The comment of one file of the base. */
function about({ file, about: what, value }: Manifest, kubernetes: KubernetesPlan): string[] {
  const { kind } = value;
  const entry = file === 'tcp-services';
  const namespace = entry ? kubernetes.ingressConfigMap.namespace : kubernetes.namespace;
  const { name } = { name: kubernetes.namespace, ...Object(value['metadata']) };
  const object = `${String(kind).toLowerCase()} ${String(name)}`;
  const inNamespace = kind === 'Namespace' ? '' : ` -n ${namespace}`;
  return [
    what,
    '',
    `Apply:  kubectl apply --server-side -k .   # ${KUSTOMIZATION} has all steps`,
    `Verify: kubectl${inNamespace} get ${object} -o yaml`,
    `Undo:   ${entry ? `as ${KUSTOMIZATION} says` : `kubectl${inNamespace} delete ${object}`}`,
  ];
}

interface Form {
  /** For kubectl apply. */
  readonly manifests: string;
  readonly where: string;
  /** Commands before its image can be built. */
  readonly image: readonly string[];
}

function head(plan: JumpHostPlan, kubernetes: KubernetesPlan, form: Form): string[] {
  const { namespace, image, replicas, maxReplicas } = kubernetes;
  const { HOST_KEY, HOST_KEY_SECRET, NAME } = names;
  const count = fixed(kubernetes) ? `${replicas} pods` : `${replicas} to ${maxReplicas} pods`;
  return [
    `A forward-only jump host on Kubernetes: ${count} with one host key, for OpenSSH ${formatSshdVersion(plan.version)}.`,
    '',
    `Apply, ${form.where}:`,
    '1. The image. Build it again for updates of sshd.',
    ...form.image,
    `  podman build --pull -t ${image} -f ${CONTAINERFILE} .`,
    `  podman push ${image}`,
    '2. The namespace.',
    `  kubectl create namespace ${namespace}`,
    '3. The host key of all pods. Keep it safe, and out of git: with another one all users are warned.',
    `  ssh-keygen -q -t ed25519 -N '' -C '' -f ${HOST_KEY}`,
    '4. The Secret with it.',
    `  kubectl -n ${namespace} create secret generic ${HOST_KEY_SECRET} --from-file=${HOST_KEY}`,
    '5. Everything else. "--server-side" leaves the entries of others alone, and takes long lists.',
    `  kubectl apply --server-side ${form.manifests}`,
    '6. Until it is there.',
    `  kubectl -n ${namespace} rollout status deployment/${NAME} --timeout=5m`,
    ...exposed(plan, kubernetes),
    'The NetworkPolicy needs a network that enforces it, as Calico and Cilium do: others ignore it. It',
    'sees addresses and ports after the translation of a Service. Where a listed destination is a',
    "Service of this cluster, whose pods have another port, add a policy with the pods' port.",
    '',
    'Verify:',
    `  ssh-keygen -lf ${HOST_KEY}.pub   # the fingerprint, for the users. As a pod has it:`,
    `  kubectl -n ${namespace} exec deploy/${NAME} -- \\`,
    `    ssh-keygen -lf ${names.HOST_KEY_DIRECTORY}/${HOST_KEY}`,
    `  kubectl -n ${namespace} logs -l app.kubernetes.io/name=${NAME} --prefix   # who logs in, and more`,
    ...(plan.keysFrom.length === 0
      ? []
      : [
          'To fetch the keys now, each pod has a cache of its own:',
          `  for pod in $(kubectl -n ${namespace} get pods -l app.kubernetes.io/name=${NAME} -o name); do`,
          `    kubectl -n ${namespace} exec $pod -- ${names.SCRIPT_PATH} --refresh; done`,
        ]),
    'The users, with that fingerprint:',
    `  ${tunnelLine(plan, kubernetes)}`,
    '',
    'Undo:',
    ...(kubernetes.expose === 'tcp-services' ? undoEntry(plan, kubernetes) : []),
    `  kubectl delete namespace ${namespace}`,
  ];
}

function tunnelLine({ user, port, permitted }: JumpHostPlan, { dnsName, expose }: KubernetesPlan) {
  const host = dnsName ?? (expose === 'nodeport' ? 'NODE' : 'ADDRESS');
  const [first] = permitted;
  const example = first === undefined ? 'HOST:443' : formatPermitted(first).replace(/:\*$/, ':443');
  const at = port === 22 ? '' : `:${port}`;
  return `tunnel -r ${user}@${host}${at} --host-key SHA256:... ${example}`;
}

/** How users find it, and what that needs besides. */
function exposed({ port, behindProxy }: JumpHostPlan, kubernetes: KubernetesPlan): string[] {
  const { namespace, expose, ingressConfigMap } = kubernetes;
  switch (expose) {
    case 'loadbalancer':
      return [
        '7. Its address.',
        `  kubectl -n ${namespace} get service ${names.NAME} \\`,
        "    -o jsonpath='{.status.loadBalancer.ingress[0]}'",
        ...record(kubernetes, 'with this address (CNAME, where it is a name)'),
        ...(behindProxy
          ? []
          : [
              "Where the load balancer is a proxy, as Octavia's amphorae are, all users have its address: render",
              'with --behind-proxy, so that nobody is shut out for what others do.',
            ]),
      ];
    case 'nodeport':
      return [
        `7. The nodes with a pod: only these answer at port ${port}.`,
        `  kubectl -n ${namespace} get pods -l app.kubernetes.io/name=${names.NAME} -o wide`,
        ...record(kubernetes, 'with the addresses of these nodes'),
        'Users may also name several nodes: tunnel -r NODE1 -r NODE2',
      ];
    case 'tcp-services':
      return [
        `7. Port ${port} of the ingress controller: its pods must be started with`,
        `  --tcp-services-configmap=${ingressConfigMap.namespace}/${ingressConfigMap.name}`,
        'and its Service, under whatever name, must have the port.',
        `  kubectl -n ${ingressConfigMap.namespace} patch service ingress-nginx-controller --type=json -p \\`,
        `    '[{"op":"add","path":"/spec/ports/-","value":`,
        `      {"name":"${names.NAME}","port":${port},"targetPort":${port},"protocol":"TCP"}}]'`,
        ...record(kubernetes, 'with the address of that Service'),
        "All users have the controller's address here, so nothing is limited by address.",
      ];
  }
}

/** The DNS record. No annotation of a Service in the cluster leads to the controller's address. */
function record({ dnsName, expose }: KubernetesPlan, address: string): string[] {
  if (dnsName === undefined) return [`DNS: make a record of type A or AAAA ${address}.`];
  if (expose === 'tcp-services')
    return [`DNS: make a record ${dnsName}, of type A or AAAA, ${address}.`];
  return [
    `DNS: external-dns makes the record ${dnsName}. Without it, make one of type`,
    `A or AAAA ${address}.`,
  ];
}

/** Only the entry: the ConfigMap has those of others. */
function undoEntry({ port }: JumpHostPlan, { ingressConfigMap }: KubernetesPlan): string[] {
  const { namespace, name } = ingressConfigMap;
  return [
    `Not with kubectl delete -k or -f: others have entries in the ConfigMap ${name}.`,
    `  kubectl -n ${namespace} patch configmap ${name} --type=json -p \\`,
    `    '[{"op":"remove","path":"/data/${port}"}]'`,
    'Take the port out of the Service of the controller as well: kubectl edit.',
  ];
}
