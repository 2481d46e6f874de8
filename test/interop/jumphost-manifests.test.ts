/** The manifests, by the schemas of named versions of Kubernetes, and by kubectl. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderKubernetes } from '../../src/jumphost/kubernetes/render.ts';
import { writeFiles } from '../../src/jumphost/output.ts';
import type { JumpHostPlan, RenderedFile } from '../../src/jumphost/plan.ts';
import { kubernetesPlanOf } from '../support/jumphostplan.ts';
import {
  CASES,
  documentsOf,
  type KubernetesObject,
  objectsOf,
} from '../support/kubernetescases.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-manifests-'));
after(() => rmSync(directory, { recursive: true }));

/** As scripts/test installs it: with the schemas of the OpenAPI documents of each version. */
const VALIDATE = fileURLToPath(
  new URL('../../kubernetes-validate/bin/kubernetes-validate', import.meta.url),
);
/** The oldest that docs/kubernetes.md promises, some of the versions since, and the newest. */
const VERSIONS = ['1.25.0', '1.30.0', '1.34.0', '1.37.0'];
const NEWEST = '1.37.0';

/** All plans, and one whose texts try to be something else in YAML. */
const PLANS: Readonly<Record<string, JumpHostPlan>> = {
  ...CASES,
  hostile: kubernetesPlanOf(
    ['null:443', 'on.1e3:80'],
    { namespace: 'on', dnsName: 'no', ingressConfigMap: { namespace: '1', name: '0x1f' } },
    {
      user: 'y',
      keys: ['a: b #"c', '{{ x }} $' + '{y} $(z) `id`', '- ---', '\u2028kind: Pod'].map(
        (comment) => `ssh-ed25519 AAAA ${comment}`,
      ),
      keysFrom: [{ kind: 'command', command: `/bin/x '"' | y: {{ z }} #` }],
    },
  ),
};

function filesOf(plan: JumpHostPlan): RenderedFile[] {
  return renderKubernetes(plan).filter(
    ({ path }) => path.endsWith('.yaml') && path !== 'kustomization.yaml',
  );
}

/** The files that have passed. Without a schema for an object there is a warning, and status 0. */
function check(name: string, version: string, files: readonly RenderedFile[]) {
  const base = join(directory, name);
  writeFiles(base, files);
  const paths = files.map(({ path }) => join(base, path));
  const argv = ['-k', version, '--strict', ...paths];
  const { status, stdout, stderr } = spawnSync(VALIDATE, argv, { encoding: 'utf8' });
  const said = stdout + stderr;
  return { status, said, passed: said.match(/ passed /g)?.length ?? 0 };
}

describe('schemas of Kubernetes, strictly', {
  skip: !existsSync(VALIDATE) && 'no kubernetes-validate: scripts/test installs it with pip',
}, () => {
  for (const version of VERSIONS) {
    it(`${version} takes all objects`, () => {
      for (const [name, plan] of Object.entries(PLANS)) {
        const files = filesOf(plan);
        const { status, passed, said } = check(`${version}-${name}`, version, files);
        assert.deepEqual([status, passed], [0, files.length], said);
      }
    });
  }

  it('would find a field that no version has, and a wrong type', () => {
    const files = filesOf(kubernetesPlanOf(['10.0.0.5:443']));
    for (const [path, from, to] of [
      ['deployment.yaml', 'fsGroup:', 'fsGroups:'],
      ['deployment.yaml', 'fsGroup: 10022', 'fsGroup: tunnel'],
      ['networkpolicy.yaml', 'policyTypes:', 'policyType:'],
      ['service.yaml', 'port: 22', 'port: ssh'],
      ['horizontalpodautoscaler.yaml', 'minReplicas: 2', 'minReplicas: "2"'],
      ['poddisruptionbudget.yaml', 'apiVersion: policy/v1', 'apiVersion: policy/v2'],
    ] as const) {
      const changed = files.flatMap((file) =>
        file.path === path ? [{ ...file, text: file.text.replace(from, to) }] : [],
      );
      assert.ok(changed[0]?.text.includes(to), to);
      assert.equal(check(`wrong-${to.replace(/\W/g, '')}`, NEWEST, changed).passed, 0, to);
    }
  });
});

const KUBECTL = spawnSync('kubectl', ['version', '--client']).status === 0;

describe('kubectl', {
  skip: !KUBECTL && "no kubectl: scripts/test installs Debian's kubernetes-client",
}, () => {
  it('takes the base', () => {
    for (const [name, plan] of Object.entries(PLANS)) {
      const base = join(directory, `kubectl-${name}`);
      writeFiles(base, renderKubernetes(plan));
      const { stdout, stderr } = spawnSync('kubectl', ['kustomize', base], { encoding: 'utf8' });
      const inOrder = (objects: readonly KubernetesObject[]) =>
        objects.map((it) => JSON.stringify([it.kind, it.metadata.name, it.data])).sort();
      assert.deepEqual(inOrder(documentsOf(stdout)), inOrder(objectsOf(plan)), stderr);
    }
  });

  it('makes the Secret that the pods mount, by the commands of the comment', () => {
    const plan = kubernetesPlanOf(['10.0.0.5:443']);
    const [{ text } = { text: '' }] = renderKubernetes(plan);
    const commands = [/ssh-keygen -q .*/, /kubectl -n \S+ create secret .*/].map(
      (command) => command.exec(text)?.[0] ?? 'false',
    );
    const { status, stdout, stderr } = spawnSync(
      'sh',
      ['-ec', `${commands.join('\n')} --dry-run=client -o yaml`],
      { cwd: directory, encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    const [secret] = documentsOf(stdout);
    const deployment = objectsOf(plan).find(({ kind }) => kind === 'Deployment');
    const volume = deployment?.spec.template.spec.volumes.find(
      (it: { secret?: object }) => it.secret !== undefined,
    );
    assert.deepEqual(
      [secret?.metadata.namespace, secret?.metadata.name, Object.keys(secret?.data ?? {})],
      ['jumphost', volume.secret.secretName, [volume.secret.items[0].key]],
    );
  });
});
