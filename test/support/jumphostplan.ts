/** Plans of `tunnel jumphost` for tests of its renderers. */
import type { JumpHostPlan, KubernetesPlan } from '../../src/jumphost/plan.ts';
import { DEFAULT_SSHD } from '../../src/jumphost/versions.ts';

/** `permitted` as `HOST:PORT`, IPv6 in brackets, the port maybe `*`. */
export function planOf(
  permitted: readonly string[],
  more: Partial<Omit<JumpHostPlan, 'permitted'>> = {},
): JumpHostPlan {
  return {
    user: 'tunnel',
    port: 22,
    version: DEFAULT_SSHD,
    keys: [],
    from: [],
    mfa: undefined,
    behindProxy: false,
    keysFrom: [],
    cloudInit: { address: undefined, hostKey: undefined, hostCa: undefined },
    terraform: { network: undefined, floatingPool: undefined, privateNetwork: undefined },
    ...more,
    permitted: permitted.map((text) => {
      const [, host = '', port = ''] = /^\[?(.*?)\]?:([0-9]+|\*)$/.exec(text) ?? [];
      return { host, port: port === '*' ? port : Number(port) };
    }),
  };
}

export const KUBERNETES: KubernetesPlan = {
  image: 'registry.example.com/jumphost:1',
  namespace: 'jumphost',
  replicas: 2,
  maxReplicas: 8,
  expose: 'loadbalancer',
  dnsName: undefined,
  keySources: [],
  ingressConfigMap: { namespace: 'ingress-nginx', name: 'tcp-services' },
};

/** A plan for Kubernetes. */
export function kubernetesPlanOf(
  permitted: readonly string[],
  kubernetes: Partial<KubernetesPlan> = {},
  more: Partial<Omit<JumpHostPlan, 'permitted' | 'kubernetes'>> = {},
): JumpHostPlan {
  return {
    ...planOf(permitted, { keys: [KEY], ...more }),
    kubernetes: { ...KUBERNETES, ...kubernetes },
  };
}

const KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKfTVbyJxXj2uGSGeyTc2QfAyJwZ5qHbzN9BNaBRrFXr alice';
