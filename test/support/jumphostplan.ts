/** Plans of `tunnel jumphost` for tests of its renderers. */
import type { JumpHostPlan } from '../../src/jumphost/plan.ts';
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
