/**
 * This machine for a program that runs as the caller of sudo or doas, beside the part of it that
 * stays root: that part does what needs root (system/privileged/).
 */

import { linuxTunHost } from '../capture/tun/linuxtun.ts';
import { lookAtNetwork } from '../doctor/network.ts';
import { startHelper } from '../system/helper/helper.ts';
import type { PrivilegedLink } from '../system/privileged/client.ts';
import { describeUser } from '../system/privileged/identity.ts';
import { linux, type Machine, watchedLink } from './machine.ts';

export function linuxBeside(privileged: PrivilegedLink): Machine {
  return {
    ...linux,
    get sockets() {
      return linux.sockets;
    },
    privileged,
    sayWho: (observer, level) =>
      observer.log(level, `the SSH connection runs as ${describeUser(process.env)}`),
    recover: (observer) => privileged.recover(observer),
    lookAtNetwork: (targets, context) =>
      lookAtNetwork(targets, { ...context, listRuleset: privileged.listRuleset }),
    startHelper: async (starting) =>
      linuxTunHost(await startHelper({ ...starting, starter: privileged.helper })),
    resolvConf: (_servers, device) => privileged.resolvConf(device),
    resolved: (options) => {
      const { device, domains } = options;
      return watchedLink({ ...options, settings: privileged.resolved(device, domains) });
    },
  };
}
