/**
 * A container of the client, as far as its network goes: a namespace on a bridge, with the
 * addresses and the packet filter's rules of Docker's default network.
 */

import { namespaceName } from './janitor.ts';
import type { Lab } from './lab.ts';
import { Namespace } from './namespace.ts';
import { mustRun } from './process.ts';

const BRIDGE = 'docker0';
const NETWORK = '172.17.0.0/16';
const GATEWAY = '172.17.0.1';
const CONTAINER = '172.17.0.2';
const INDEX = 61;

/** What `nft list ruleset` shows of Docker's rules, without chains that are empty. */
const RULES = `
table ip nat {
  chain POSTROUTING {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != "${BRIDGE}" ip saddr ${NETWORK} counter masquerade
  }
}
table ip filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    oifname "${BRIDGE}" ct state related,established counter accept
    iifname "${BRIDGE}" oifname != "${BRIDGE}" counter accept
    iifname "${BRIDGE}" oifname "${BRIDGE}" counter accept
  }
}
`;

export interface Bridge {
  readonly container: Namespace;
  /** The client's address on the bridge. */
  readonly gateway: string;
}

/** It goes with the lab. */
export async function bridgeIn(lab: Lab): Promise<Bridge> {
  const container = new Namespace(namespaceName(lab.id, 'box'), lab.directory);
  const ends = [
    `name box index ${INDEX} netns ${lab.client.name}`,
    `name eth0 index ${INDEX + 1} netns ${container.name}`,
  ];
  const lines = [`netns add ${container.name}`, `link add ${ends.join(' type veth peer ')}`];
  await mustRun(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` });
  await lab.client.configure(
    [
      `link add name ${BRIDGE} type bridge forward_delay 0 mcast_snooping 0`,
      `addr add ${GATEWAY}/16 dev ${BRIDGE}`,
      `link set dev ${BRIDGE} up`,
      `link set dev box master ${BRIDGE}`,
      'link set dev box up',
    ],
    ['net/ipv4/ip_forward=1'],
  );
  await container.configure([
    'link set dev lo up',
    `addr add ${CONTAINER}/16 dev eth0`,
    'link set dev eth0 up',
    `route add default via ${GATEWAY}`,
  ]);
  await mustRun(['ip', 'netns', 'exec', lab.client.name, 'nft', '-f', '-'], { input: RULES });
  return { container, gateway: GATEWAY };
}
