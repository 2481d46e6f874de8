/** Plans for Kubernetes of each kind, and the objects that are rendered from them. */
import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import { printKubernetes } from '../../src/jumphost/kubernetes/render.ts';
import type { JumpHostPlan } from '../../src/jumphost/plan.ts';
import { kubernetesPlanOf } from './jumphostplan.ts';

export const LIST = ['api.example.com:443', '10.0.0.5:*', '[2001:db8::5]:8774'];
export const CASES: Readonly<Record<string, JumpHostPlan>> = {
  loadbalancer: kubernetesPlanOf(LIST, { dnsName: 'jump.example.com' }),
  nodeport: kubernetesPlanOf(
    LIST,
    { expose: 'nodeport', replicas: 3, maxReplicas: 3 },
    { port: 30_022, from: ['192.0.2.0/24'] },
  ),
  'tcp-services': kubernetesPlanOf(
    LIST,
    { expose: 'tcp-services', dnsName: 'jump.example.com' },
    { port: 2222, behindProxy: true, version: [10, 0] },
  ),
  'keys-from': kubernetesPlanOf(
    LIST,
    {
      keySources: [
        {
          prefix: { family: 4, address: '10.0.0.10', length: 32 },
          port: 6443,
          text: '10.0.0.10:6443',
        },
      ],
    },
    {
      keys: [],
      user: 'gate',
      keysFrom: [
        { kind: 'url', url: 'https://keys.example.com/authorized_keys' },
        { kind: 'command', command: `/usr/bin/list --team 'a b' "$x" {{ y }}` },
      ],
    },
  ),
};

export interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  /** Tests walk into it by the names of Kubernetes' API, and fail where one isn't there. */
  // biome-ignore lint/suspicious/noExplicitAny: typed, it would be all of the API's schema
  readonly spec?: any;
}

/** The objects of a printed text. */
export function objectsOf(plan: JumpHostPlan): KubernetesObject[] {
  return documentsOf(printKubernetes(plan));
}

/** As YAML 1.1 reads them, which kubectl does. */
export function documentsOf(text: string): KubernetesObject[] {
  return parseAllDocuments(text, { version: '1.1' }).flatMap((document) => {
    assert.deepEqual(document.errors, []);
    const value: KubernetesObject | null = document.toJS();
    return value === null ? [] : [value];
  });
}
