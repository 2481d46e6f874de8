/** The manifests, by the schemas of named versions of Kubernetes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderKubernetes } from '../../../../src/jumphost/kubernetes/render.ts';
import { writeFiles } from '../../../../src/jumphost/output.ts';
import type { JumpHostPlan, RenderedFile } from '../../../../src/jumphost/plan.ts';
import { kubernetesPlanOf } from '../../../support/jumphostplan.ts';
import { CASES } from '../../../support/kubernetescases.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-manifests-'));
after(() => rmSync(directory, { recursive: true }));

/** As scripts/test installs it: with the schemas of the OpenAPI documents of each version. */
const VALIDATE = fileURLToPath(
  new URL('../../../../kubernetes-validate/bin/kubernetes-validate', import.meta.url),
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

function objectsOf(plan: JumpHostPlan): RenderedFile[] {
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
        const files = objectsOf(plan);
        const { status, passed, said } = check(`${version}-${name}`, version, files);
        assert.deepEqual([status, passed], [0, files.length], said);
      }
    });
  }

  it('would find a field that no version has, and a wrong type', () => {
    const files = objectsOf(kubernetesPlanOf(['10.0.0.5:443']));
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
