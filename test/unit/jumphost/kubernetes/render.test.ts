/**
 * The manifests as text. The schemas of Kubernetes, and kubectl:
 * test/interop/jumphost-manifests.test.ts. How their sshd runs:
 * test/netns/jumphost-kubernetes.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { printKubernetes, renderKubernetes } from '../../../../src/jumphost/kubernetes/render.ts';
import { printable } from '../../../../src/jumphost/output.ts';
import type { JumpHostPlan } from '../../../../src/jumphost/plan.ts';
import { assertGolden } from '../../../support/golden.ts';
import { kubernetesPlanOf } from '../../../support/jumphostplan.ts';
import { CASES, type KubernetesObject, LIST, objectsOf } from '../../../support/kubernetescases.ts';

function find(plan: JumpHostPlan, kind: string, name = 'jumphost'): KubernetesObject {
  const found = objectsOf(plan).find((it) => it.kind === kind && it.metadata.name === name);
  assert.ok(found !== undefined, `${kind} ${name}`);
  return found;
}

describe('manifests for Kubernetes', () => {
  for (const [name, plan] of Object.entries(CASES)) {
    it(`${name}: rendered as in test/golden/jumphost/kubernetes/${name}*`, () => {
      assertGolden(`jumphost/kubernetes/${name}.yaml`, printKubernetes(plan));
      assertGolden(`jumphost/kubernetes/${name}.files`, printable(renderKubernetes(plan)));
    });

    it(`${name}: the base has the same objects as the printed text`, () => {
      const files = renderKubernetes(plan);
      const { resources } = parse(files[0]?.text ?? '');
      const manifests = files.filter(({ path }) => path.endsWith('.yaml')).slice(1);
      assert.deepEqual(
        resources,
        manifests.map(({ path }) => path),
      );
      assert.deepEqual(
        manifests.map(({ text }) => parse(text)),
        objectsOf(plan),
      );
    });

    it(`${name}: comments say how to apply, verify and undo, in at most 100 columns`, () => {
      for (const { path, text } of [
        ...renderKubernetes(plan),
        { path: 'printed', text: printKubernetes(plan) },
      ]) {
        const [comment = ''] = /^(#.*\n)+/.exec(text) ?? [];
        for (const word of ['Apply', 'Verify', 'Undo'])
          assert.match(comment, new RegExp(word), path);
        // What is a file in a manifest is indented there, and not where it goes.
        const comments = text.split('\n').map((line) => line.trimStart());
        const long = comments.filter((line) => line.startsWith('#') && line.length > 100);
        assert.deepEqual(long, [], path);
      }
    });
  }

  it('each step in order: image, namespace, key, Secret, apply, wait', () => {
    const steps = [
      /podman build /,
      /podman push/,
      /create namespace jumphost/,
      /ssh-keygen .* -f ssh_host_ed25519_key/,
      /create secret generic jumphost-host-key --from-file=ssh_host_ed25519_key/,
      /kubectl apply --server-side/,
      /rollout status deployment\/jumphost/,
      /ssh-keygen -lf/,
      /tunnel -r tunnel@jump\.example\.com --host-key SHA256:\.\.\. api\.example\.com:443/,
      /delete namespace jumphost/,
    ];
    const plan = kubernetesPlanOf(LIST, { dnsName: 'jump.example.com' });
    for (const text of [printKubernetes(plan), renderKubernetes(plan)[0]?.text ?? '']) {
      const at = steps.map((step) => text.search(step));
      assert.ok(at[0] !== -1);
      assert.deepEqual(
        at,
        at.toSorted((a, b) => a - b),
        text,
      );
    }
  });

  it("the printed text says how its image's file is taken out of it", () => {
    for (const plan of Object.values(CASES)) {
      const printed = printKubernetes(plan);
      const [command = ''] = /(?<=^# {3})sed .*(?= >Containerfile$)/m.exec(printed) ?? [];
      const { stdout } = spawnSync('sh', ['-c', command.replace('THIS-FILE', '-')], {
        input: printed,
        encoding: 'utf8',
      });
      assert.equal(stdout, renderKubernetes(plan).at(-1)?.text);
    }
  });

  it('what a pod mounts is there: names and keys of ConfigMaps and of the Secret', () => {
    for (const plan of Object.values(CASES)) {
      const { volumes, containers } = find(plan, 'Deployment').spec.template.spec;
      const [container] = containers;
      const mounted = container.volumeMounts.map(({ name }: { name: string }) => name);
      assert.deepEqual(
        [...new Set(mounted)].sort(),
        volumes.map(({ name }: { name: string }) => name).sort(),
      );
      for (const { configMap, secret } of volumes) {
        if (configMap !== undefined) {
          const { data = {} } = find(plan, 'ConfigMap', configMap.name);
          for (const { key } of configMap.items ?? []) assert.ok(key in data, key);
        }
        if (secret !== undefined)
          assert.match(
            printKubernetes(plan),
            new RegExp(`secret generic ${secret.secretName} --from-file=${secret.items[0].key}\n`),
          );
      }
    }
  });

  it('what objects say of each other is so: labels, names and ports', () => {
    for (const plan of Object.values(CASES)) {
      const { template, selector } = find(plan, 'Deployment').spec;
      const [{ ports }] = template.spec.containers;
      const { labels } = template.metadata;
      const service = find(plan, 'Service').spec;
      const policy = find(plan, 'NetworkPolicy').spec;
      const budget = find(plan, 'PodDisruptionBudget').spec;
      const spread = template.spec.topologySpreadConstraints;
      for (const selected of [
        selector.matchLabels,
        service.selector,
        policy.podSelector.matchLabels,
        budget.selector.matchLabels,
        ...spread.map(
          (it: { labelSelector: { matchLabels: object } }) => it.labelSelector.matchLabels,
        ),
      ])
        assert.deepEqual(selected, labels);
      assert.equal(service.ports[0].targetPort, ports[0].name);
      assert.equal(policy.ingress[0].ports[0].port, ports[0].containerPort);
      const { data } = find(plan, 'ConfigMap', 'jumphost-config');
      assert.match(
        data?.['sshd_config'] ?? '',
        new RegExp(`^Port ${ports[0].containerPort}$`, 'm'),
      );
      for (const scaler of objectsOf(plan).filter((it) => it.kind === 'HorizontalPodAutoscaler'))
        assert.deepEqual(
          [scaler.spec.scaleTargetRef.kind, scaler.spec.scaleTargetRef.name],
          ['Deployment', find(plan, 'Deployment').metadata.name],
        );
    }
  });

  it('a load balancer that may be a proxy is spoken of, unless it is said to be one', () => {
    const text = (behindProxy: boolean) =>
      printKubernetes(kubernetesPlanOf(LIST, {}, { behindProxy }));
    assert.match(text(false), /^# with --behind-proxy/m);
    assert.doesNotMatch(text(true), /--behind-proxy/);
  });

  it('--expose: what users see, and their addresses', () => {
    const service = (name: string) => find(CASES[name] ?? kubernetesPlanOf([]), 'Service').spec;
    const ports = (name: string) =>
      service(name).ports.map((p: { port: number; nodePort?: number }) => [p.port, p.nodePort]);
    assert.equal(service('loadbalancer').externalTrafficPolicy, 'Local');
    assert.equal(service('nodeport').externalTrafficPolicy, 'Local');
    assert.deepEqual(ports('loadbalancer'), [[22, undefined]]);
    assert.deepEqual(ports('nodeport'), [[22, 30_022]]);
    assert.equal(service('tcp-services').type, 'ClusterIP');
    const { metadata, data } = find(
      CASES['tcp-services'] ?? kubernetesPlanOf([]),
      'ConfigMap',
      'tcp-services',
    );
    assert.deepEqual(
      [metadata.namespace, data],
      ['ingress-nginx', { 2222: 'jumphost/jumphost:22' }],
    );
  });

  it('replicas are set by one object alone', () => {
    const scaled = CASES['loadbalancer'] ?? kubernetesPlanOf([]);
    assert.equal(find(scaled, 'Deployment').spec.replicas, undefined);
    const { minReplicas, maxReplicas } = find(scaled, 'HorizontalPodAutoscaler').spec;
    assert.deepEqual([minReplicas, maxReplicas], [2, 8]);
    const fixed = CASES['nodeport'] ?? kubernetesPlanOf([]);
    assert.equal(find(fixed, 'Deployment').spec.replicas, 3);
    assert.ok(objectsOf(fixed).every(({ kind }) => kind !== 'HorizontalPodAutoscaler'));
  });

  it('another list replaces the pods, other keys do not', () => {
    const annotation = (plan: JumpHostPlan) =>
      find(plan, 'Deployment').spec.template.metadata.annotations['tunnel/configuration-sha256'];
    const plan = kubernetesPlanOf(['10.0.0.5:80']);
    assert.notEqual(annotation(plan), annotation(kubernetesPlanOf(['10.0.0.5:81'])));
    assert.equal(annotation(plan), annotation({ ...plan, keys: [...plan.keys, ...plan.keys] }));
  });

  it('comments of keys stay in their ConfigMap, whatever is in them', () => {
    const keys = ['a: b #"c', "'$(id)' `id`", '{{ x }} %s |', '\u00e9\u{1f600}', '- --- ...'].map(
      (comment) => `ssh-ed25519 AAAA ${comment}`,
    );
    const { data } = find(
      kubernetesPlanOf(['10.0.0.5:80'], {}, { keys }),
      'ConfigMap',
      'jumphost-keys',
    );
    const lines = data?.['authorized_keys']?.trimEnd().split('\n') ?? [];
    assert.deepEqual(
      lines.map((line) => line.replace(/^\S+ /, '')),
      keys,
    );
  });

  it('a ConfigMap that Kubernetes would refuse is refused', () => {
    const keys = Array.from({ length: 6000 }, (_, i) => `ssh-ed25519 ${'A'.repeat(100)} ${i}`);
    assert.throws(() => printKubernetes(kubernetesPlanOf(['10.0.0.5:80'], {}, { keys })), {
      message: /keys would have \d+ bytes, and Kubernetes takes 1048576 in a ConfigMap/,
    });
  });
});
