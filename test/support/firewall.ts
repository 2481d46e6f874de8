/** A host firewall in the lab's client namespace, like those that people use. */
import assert from 'node:assert/strict';
import type { Lab } from './lab.ts';

/** A policy of drop with conntrack, as in ufw and NixOS; counts what it refuses. */
export const INPUT_DROP = `
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
    iif lo accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
    counter name refused
  }
  counter refused {}
`;

/** `rules`: the table's new contents, which replace the old. */
export async function switchOn(lab: Lab, rules: string): Promise<void> {
  const input = `table inet firewall\ndelete table inet firewall\ntable inet firewall {${rules}}\n`;
  const { status, stderr } = await lab.client.exec(['nft', '-f', '-'], { input });
  assert.equal(status, 0, stderr);
}

export async function switchOff(lab: Lab): Promise<void> {
  await lab.client.exec(['nft', 'delete', 'table', 'inet', 'firewall']);
}
