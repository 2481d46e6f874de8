/**
 * Virtual addresses: stand-ins for name targets, so that programs have an address to connect to.
 *
 *   query for api.example.com   -> lease() -> A 198.18.64.93, AAAA 2001:2:0:8000::5d, the same
 *                                             slot in both families
 *   connect to 198.18.64.93:443 -> hold()  -> api.example.com:443, which the far side resolves
 *   PTR query for the address   -> nameOf()
 *
 * A slot must not pass to another name while a program may still use it for the old one. Programs
 * keep addresses for longer than the TTL (browsers a minute, some runtimes for good). So a slot is
 * reclaimed only if no slot is free, no flow to it lives, and it has not been answered or used for
 * MIN_AGE_MS. The one that has been unused longest is taken. If there is none, `lease` returns
 * undefined and the client gets SERVFAIL.
 *
 * A hash of the name chooses its slot. So after a restart a name gets its old address again, and an
 * address that a program has kept leads to the same name or to none. The exception is a collision:
 * the second name gets the next free slot. No file is needed.
 *
 * The device's own blocks are the lowest free /24 and /64 (native/helper/block.c). The blocks for
 * names lie above those. Each of up to MAX_TUNNELS tunnels on a machine has one, chosen by the
 * number of its device's block. --virtual-range puts them elsewhere.
 *
 * Names that are written out as targets have leases of their own, from the start and for good.
 * Otherwise anybody who asks for enough names below `*.corp.example` would leave them without one.
 *
 * Limits: one lease for each slot of the block (16,256 in a /18); counted when reached. At most
 * three quarters of them are for names that are written out (MAX_WRITTEN_SHARE); any more share the
 * rest with all other names.
 */
import { createHash } from 'node:crypto';
import { addressFromNumber, addressNumber, family } from '../../net/address.ts';
import { type Prefix, prefixAround, prefixBounds } from '../../net/prefix.ts';
import { PrefixSet } from '../../net/prefixset.ts';
import type { Observer } from '../../observe/observer.ts';
import { OWN_TTL } from '../wire/compose.ts';

/**
 * Seconds. Long enough that all look-ups for one connection agree, short enough that programs soon
 * ask again.
 */
export const VIRTUAL_TTL = OWN_TTL;
/** How long a name keeps its lease after the last answer and the last flow. */
export const MIN_AGE_MS = 10 * 60_000;
/** Tunnels with name targets that may run on one machine at the same time. */
export const MAX_TUNNELS = 7;

/** Of all slots, those that names can have for good. */
export const MAX_WRITTEN_SHARE = 0.75;

const BLOCK4_LENGTH = 18;
const BLOCK6_LENGTH = 96;
/** Of 198.18.0.0/15 and 2001:2::/48. */
const RANGE4 = addressNumber('198.18.0.0');
const RANGE6 = addressNumber('2001:2::');
/** The first /64 for names; lower ones are for devices. */
const FIRST_BLOCK6 = 0x8000n;
/** Without .0 and .255: some programs take them for network and broadcast addresses. */
const SLOTS_IN_24 = 254;
const SLOTS = SLOTS_IN_24 * 2 ** (24 - BLOCK4_LENGTH);

export interface VirtualBlocks {
  /** /18, or more specific with --virtual-range */
  readonly ipv4: Prefix | undefined;
  /** /96, or more specific with --virtual-range */
  readonly ipv6: Prefix | undefined;
}

/**
 * The blocks for the names of the tunnel whose device has these addresses. They must be routed to
 * the device. `ranges` replace this program's own, at most one of each family. Undefined:
 * MAX_TUNNELS tunnels already have all blocks.
 */
export function virtualBlocks(
  device: { readonly address4: string | undefined; readonly address6: string | undefined },
  ranges: readonly Prefix[] = [],
): VirtualBlocks | undefined {
  const { address4, address6 } = device;
  const [range4, range6] = ([4, 6] as const).map((of) => ranges.find((it) => it.family === of));
  const index4 =
    address4 === undefined ? undefined : Number((addressNumber(address4) - RANGE4) >> 8n);
  const index6 =
    address6 === undefined ? undefined : Number((addressNumber(address6) - RANGE6) >> 64n);
  // Only the range for IPv4 is small, and both families of a device have the same number.
  const last = range4 === undefined ? MAX_TUNNELS - 1 : Number(FIRST_BLOCK6) - 1;
  const unusable = (index: number | undefined, range: Prefix | undefined) =>
    index !== undefined && range === undefined && (index < 0 || index > last);
  if (unusable(index4, range4) || unusable(index6, range6)) return undefined;
  return {
    ipv4:
      index4 === undefined
        ? undefined
        : range4 === undefined
          ? prefixAround(
              RANGE4 + (BigInt(index4 + 1) << BigInt(32 - BLOCK4_LENGTH)),
              4,
              BLOCK4_LENGTH,
            )
          : blockOf(range4, BLOCK4_LENGTH, index4),
    ipv6:
      index6 === undefined
        ? undefined
        : range6 === undefined
          ? prefixAround(RANGE6 + ((FIRST_BLOCK6 + BigInt(index6)) << 64n), 6, BLOCK6_LENGTH)
          : blockOf(range6, BLOCK6_LENGTH, index6),
  };
}

/** The block of a given range for the device with this number; all of it if it is no larger. */
function blockOf(range: Prefix, length: number, index: number): Prefix {
  if (range.length >= length) return range;
  const bits = range.family === 4 ? 32 : 128;
  const count = 1n << BigInt(length - range.length);
  const offset = (BigInt(index) % count) << BigInt(bits - length);
  return prefixAround(prefixBounds(range).first + offset, range.family, length);
}

/** How many names a block can hold. Every block of IPv6 holds SLOTS. */
function slotsOf({ ipv4 }: VirtualBlocks): number {
  return ipv4 === undefined ? SLOTS : SLOTS_IN_24 * 2 ** (24 - ipv4.length);
}

/** The prefixes of the blocks, for routing. */
export function blockPrefixes({ ipv4, ipv6 }: VirtualBlocks): Prefix[] {
  return [ipv4, ipv6].filter((prefix) => prefix !== undefined);
}

export interface VirtualLease {
  readonly name: string;
  /** Addresses in the families that the tunnel captures. */
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
}

/** Keeps a name on its lease while a flow lives. */
export interface LeaseHold {
  readonly name: string;
  /** May be called more than once. */
  release(): void;
}

interface Entry {
  readonly lease: VirtualLease;
  readonly slot: number;
  holds: number;
  /** When it was answered or released last, in ms of `now`. */
  usedAt: number;
}

export interface VirtualAddressesOptions {
  readonly blocks: VirtualBlocks;
  readonly observer: Observer;
  /** Milliseconds, monotonic. Default: performance.now */
  readonly now?: () => number;
  /** Names that have a lease of their own for good, canonical. Default: none. */
  readonly written?: readonly string[];
  /** For tests: fewer slots. */
  readonly slots?: number;
}

export class VirtualAddresses {
  readonly #blocks: VirtualBlocks;
  readonly #ranges: PrefixSet;
  readonly #observer: Observer;
  readonly #now: () => number;
  readonly #slots: number;
  readonly #bySlot = new Map<number, Entry>();
  /** Leases without a flow, the least recently used first. */
  readonly #idle = new Map<string, Entry>();
  readonly #held = new Map<string, Entry>();
  /** Leases that are never reclaimed. */
  readonly #written = new Map<string, Entry>();

  constructor({
    blocks,
    observer,
    now = () => performance.now(),
    written = [],
    slots = SLOTS,
  }: VirtualAddressesOptions) {
    this.#blocks = blocks;
    this.#ranges = new PrefixSet(blockPrefixes(blocks));
    this.#observer = observer;
    this.#now = now;
    this.#slots = Math.min(slots, slotsOf(blocks));
    this.setWritten(written);
  }

  /**
   * Replaces the names that have a lease for good. A name that stays keeps its addresses. One that
   * goes keeps them as long as any other name does: for its flows, and for MIN_AGE_MS.
   */
  setWritten(written: readonly string[]): void {
    const most = Math.floor(this.#slots * MAX_WRITTEN_SHARE);
    const wanted = new Set([...new Set(written)].slice(0, most));
    for (const [name, entry] of this.#written) {
      if (wanted.has(name)) continue;
      this.#written.delete(name);
      if (entry.holds > 0) this.#held.set(name, entry);
      this.#touch(entry);
    }
    for (const name of wanted) {
      if (this.#written.has(name)) continue;
      const entry = this.#held.get(name) ?? this.#idle.get(name) ?? this.#create(name);
      // Nothing is free, and nothing old enough: it gets a lease when it is asked for.
      if (entry === undefined) continue;
      this.#held.delete(name);
      this.#idle.delete(name);
      this.#written.set(name, entry);
    }
  }

  /**
   * The addresses of a canonical name: those it already has, or new ones. Undefined: all are in
   * use.
   */
  lease(name: string): VirtualLease | undefined {
    const written = this.#written.get(name);
    if (written !== undefined) return written.lease;
    const existing = this.#held.get(name) ?? this.#idle.get(name);
    if (existing !== undefined) {
      this.#touch(existing);
      return existing.lease;
    }
    const entry = this.#create(name);
    if (entry === undefined) {
      this.#observer.count('tunnel_dns_leases_exhausted_total');
      return undefined;
    }
    this.#idle.set(name, entry);
    this.#observer.count('tunnel_dns_leases_total');
    return entry.lease;
  }

  /** Whether a canonical address is in the blocks for names. */
  contains(address: string): boolean {
    return this.#ranges.contains(address);
  }

  /** The name that a canonical address stands for. */
  nameOf(address: string): string | undefined {
    return this.#find(address)?.lease.name;
  }

  /**
   * Reserves the address for a flow: it keeps its name until the flow ends, and for MIN_AGE_MS
   * after.
   */
  hold(address: string): LeaseHold | undefined {
    const entry = this.#find(address);
    if (entry === undefined) return undefined;
    const { name } = entry.lease;
    entry.holds += 1;
    if (!this.#written.has(name)) {
      this.#idle.delete(name);
      this.#held.set(name, entry);
    }
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      entry.holds -= 1;
      if (entry.holds > 0 || this.#written.has(name)) return;
      this.#held.delete(name);
      this.#touch(entry);
    };
    return { name, release };
  }

  /** Undefined: all slots are in use. */
  #create(name: string): Entry | undefined {
    const slot = this.#bySlot.size < this.#slots ? this.#freeSlot(name) : this.#reclaim();
    return slot === undefined ? undefined : this.#add(name, slot);
  }

  #add(name: string, slot: number): Entry {
    const lease = { name, ...this.#addresses(slot) };
    const entry: Entry = { lease, slot, holds: 0, usedAt: this.#now() };
    this.#bySlot.set(slot, entry);
    return entry;
  }

  #touch(entry: Entry): void {
    entry.usedAt = this.#now();
    if (entry.holds > 0) return;
    this.#idle.delete(entry.lease.name);
    this.#idle.set(entry.lease.name, entry);
  }

  /** The first free slot from the hash on. The caller has checked that there is one. */
  #freeSlot(name: string): number {
    const start = createHash('sha256').update(name).digest().readUInt32BE(0);
    for (let step = 0; ; step++) {
      const slot = (start + step) % this.#slots;
      if (!this.#bySlot.has(slot)) return slot;
    }
  }

  /** Ends the lease that has been unused longest, if it is old enough. */
  #reclaim(): number | undefined {
    const [entry] = this.#idle.values();
    if (entry === undefined || this.#now() - entry.usedAt < MIN_AGE_MS) return undefined;
    this.#idle.delete(entry.lease.name);
    this.#bySlot.delete(entry.slot);
    this.#observer.count('tunnel_dns_leases_reclaimed_total');
    return entry.slot;
  }

  #addresses(slot: number): { ipv4: string | undefined; ipv6: string | undefined } {
    const { ipv4, ipv6 } = this.#blocks;
    // The same in both families, whatever their blocks' sizes.
    const offset = BigInt(Math.floor(slot / SLOTS_IN_24) * 256 + (slot % SLOTS_IN_24) + 1);
    const at = (block: Prefix | undefined) =>
      block && addressFromNumber(prefixBounds(block).first + offset, block.family);
    return { ipv4: at(ipv4), ipv6: at(ipv6) };
  }

  #find(address: string): Entry | undefined {
    const block = family(address) === 4 ? this.#blocks.ipv4 : this.#blocks.ipv6;
    if (block === undefined || !this.contains(address)) return undefined;
    const offset = addressNumber(address) - prefixBounds(block).first;
    if (offset >= 1n << BigInt(32 - BLOCK4_LENGTH)) return undefined;
    const host = Number(offset) % 256;
    if (host === 0 || host === 255) return undefined;
    return this.#bySlot.get(Math.floor(Number(offset) / 256) * SLOTS_IN_24 + host - 1);
  }
}
