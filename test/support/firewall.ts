/** A host firewall in the lab's client namespace, as people have it. */
import assert from 'node:assert/strict';
import type { Lab } from './lab.ts';

/** A policy of drop with conntrack, as ufw and NixOS have it; counts what it refuses. */
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

/** `rules`: what stands in the table; they replace those that it had. */
export async function switchOn(lab: Lab, rules: string): Promise<void> {
  const input = `table inet firewall\ndelete table inet firewall\ntable inet firewall {${rules}}\n`;
  const { status, stderr } = await lab.client.exec(['nft', '-f', '-'], { input });
  assert.equal(status, 0, stderr);
}

export async function switchOff(lab: Lab): Promise<void> {
  await lab.client.exec(['nft', 'delete', 'table', 'inet', 'firewall']);
}
