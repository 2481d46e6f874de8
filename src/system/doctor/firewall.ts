/**
 * doctor's check of this machine's firewall. Programs send to the targets by the tunnel's device,
 * and the answers come in by it, so a firewall that names other devices only is in the way.
 *
 *   nft -j list ruleset -> the base chains that a packet to a target, or its answer, passes
 *   -> its possible ends in each (nftables.ts)
 *
 *   all are drop        warning
 *   the likely is drop  note
 *   otherwise           ok
 *
 * Rules of iptables-legacy are not seen.
 */
import { execFile } from 'node:child_process';
import type { PortRange } from '../../net/ports.ts';
import { formatPrefix, type Prefix } from '../../net/prefix.ts';
import type { Finding } from './diagnosis.ts';
import { ADMINISTRATION_PATH } from './ip.ts';
import { baseChains, type Chain, chainEnds, type Packet, readRuleset } from './nftables.ts';

const NFT_TIMEOUT_MS = 5_000;
const MAX_RULESET_BYTES = 64 * 2 ** 20;
/** As the kernel names the tunnel's device. */
const DEVICE = 'tun0';

/** A target, as far as a firewall may look at it. */
export interface FirewallTarget {
  readonly prefix: Prefix;
  readonly ports: readonly PortRange[];
}

export type ListRuleset = () => Promise<{ readonly json: string } | { readonly why: string }>;

/** As root. */
export const listRuleset: ListRuleset = () => {
  if (process.geteuid?.() !== 0)
    return Promise.resolve({ why: "only root may read the firewall's rules" });
  const options = {
    timeout: NFT_TIMEOUT_MS,
    maxBuffer: MAX_RULESET_BYTES,
    env: { PATH: ADMINISTRATION_PATH, LANG: 'C' },
  };
  return new Promise((resolve) => {
    execFile('nft', ['-j', 'list', 'ruleset'], options, (error, stdout) => {
      if (error === null) resolve({ json: stdout });
      else
        resolve({
          why: error.code === 'ENOENT' ? 'nft is not installed' : 'nft does not list them',
        });
    });
  });
};

export async function lookAtFirewall(
  targets: readonly FirewallTarget[],
  list: ListRuleset = listRuleset,
): Promise<Finding> {
  const name = 'firewall';
  if (targets.length === 0)
    return { name, state: 'note', detail: 'no targets are given to compare it with' };
  const listed = await list();
  if ('why' in listed) return { name, state: 'note', detail: `not known: ${listed.why}` };
  const ruleset = readRuleset(listed.json);
  let doubt: Finding | undefined;
  for (const packet of packetsOf(targets)) {
    for (const chain of baseChains(ruleset, packet)) {
      const { possible, likely } = chainEnds(chain, packet, ruleset);
      if (!possible.has('accept')) return dropped(packet, chain);
      if (likely === 'drop') doubt ??= perhapsDropped(packet, chain);
    }
  }
  return (
    doubt ?? {
      name,
      state: 'ok',
      detail: 'no rule of nft is known to drop what goes by the tunnel',
    }
  );
}

/** For the first target of each family: one packet to it, and its answer. */
function packetsOf(targets: readonly FirewallTarget[]): Packet[] {
  return ([4, 6] as const).flatMap((family) => {
    const first = targets.find(({ prefix }) => prefix.family === family);
    if (first === undefined) return [];
    const [range] = first.ports;
    const port = range?.first === range?.last ? range?.first : undefined;
    const packet = { family, device: DEVICE, target: first.prefix, port };
    return [
      { ...packet, direction: 'out' as const },
      { ...packet, direction: 'in' as const },
    ];
  });
}

function dropped(packet: Packet, chain: Chain): Finding {
  return {
    name: 'firewall',
    state: 'warning',
    detail: `it drops ${described(packet)} (${nameOf(chain)})`,
    hint: `${permit(packet, chain)}; exec is not affected`,
  };
}

function perhapsDropped(packet: Packet, chain: Chain): Finding {
  return {
    name: 'firewall',
    state: 'note',
    detail: `it is not known whether it drops ${described(packet)}: ${nameOf(chain)} has conditions that can't be judged here`,
    hint: `if connect doesn't work, ${permit(packet, chain)}`,
  };
}

function described({ direction, target }: Packet): string {
  const at = formatPrefix(target);
  return direction === 'out'
    ? `what programs send to ${at} by the tunnel's device`
    : `the answers from ${at} that come in by the tunnel's device`;
}

function nameOf({ name, family, table }: Chain): string {
  return `chain ${name} of table ${family} ${table}`;
}

function permit({ direction }: Packet, { name, family, table }: Chain): string {
  const device = direction === 'out' ? 'oifname' : 'iifname';
  return `permit the device there: nft insert rule ${family} ${table} ${name} ${device} "tun*" accept`;
}
