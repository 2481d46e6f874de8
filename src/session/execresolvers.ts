/**
 * The resolvers of this machine, as the command of `tunnel exec` sees them: they change when the
 * machine joins another network.
 *
 *   resolv.conf inside   names stand-ins: each stands for the resolver that the host's file names
 *                        now in its place; for the last one if that names fewer
 *   a file that is       the kernel drops the mount of the file inside, so the command reads the
 *   replaced (rename)    host's: its addresses are taken as the stand-ins are (`read`), unless they
 *                        mean something else in the command's own network
 *
 * With names of the tunnel its own server stands in the file inside, and asks these resolvers for
 * the other names.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { readAtMost } from '../base/boundedread.ts';
import type { NameService } from '../dns/server/nameservice.ts';
import { isAddress } from '../net/address.ts';
import { hostPrefix } from '../net/prefix.ts';
import { specialRangeOf } from '../net/special.ts';
import type { Observer } from '../observe/observer.ts';
import { LAUNCHER_MAX_RESOLV_CONF } from '../system/launcher/protocol.ts';
import type { ExecPlan } from './execplan.ts';
import type { Machine } from './machine.ts';
import { destinations } from './names.ts';

/** Of all networks that a machine visits while the command runs. Beyond that the oldest go. */
const MAX_RESOLVERS = 16;
const RESOLV_CONF = '/etc/resolv.conf';

export interface ExecResolversParts {
  readonly plan: Pick<ExecPlan, 'resolvers' | 'hostResolvers' | 'names'> & {
    readonly setup: Pick<ExecPlan['setup'], 'resolvConf'>;
  };
  readonly machine: Pick<Machine, 'resolverConfiguration' | 'watchResolvers'>;
  /** The text of resolv.conf as the command sees it now; undefined: it can't be read. */
  readonly textInside: () => string | undefined;
  readonly observer: Observer;
}

export class ExecResolvers {
  /** A stand-in, and the resolver that it stands for; the same map always, which changes. */
  readonly standIns: ReadonlyMap<string, string>;
  /** Canonical addresses that the command may have read in the host's file; changes as well. */
  readonly read: ReadonlySet<string>;
  readonly #parts: ExecResolversParts;
  readonly #standIns: Map<string, string>;
  readonly #read = new Set<string>();
  #current: readonly string[];

  constructor(parts: ExecResolversParts) {
    this.#parts = parts;
    this.#standIns = new Map(parts.plan.resolvers);
    this.standIns = this.#standIns;
    this.read = this.#read;
    this.#current = parts.plan.hostResolvers;
  }

  /** Follows changes until the function that it returns is called. */
  follow(names: Pick<NameService, 'setLocal'> | undefined): () => void {
    const { machine, observer } = this.#parts;
    return machine.watchResolvers(() => this.#update(names), observer, false);
  }

  #update(names: Pick<NameService, 'setLocal'> | undefined): void {
    const { plan, machine, observer } = this.#parts;
    const { resolvers } = machine.resolverConfiguration();
    if (resolvers.join() === this.#current.join()) return;
    this.#current = resolvers;
    for (const [i, standIn] of [...this.#standIns.keys()].entries())
      this.#standIns.set(standIn, resolvers[i] ?? resolvers.at(-1) ?? '');
    if (plan.names?.isolated === false) names?.setLocal(destinations(resolvers));
    const reachable = resolvers.filter(isReachableInside);
    for (const address of reachable) {
      this.#read.delete(address);
      this.#read.add(address);
    }
    for (const address of [...this.#read].slice(0, -MAX_RESOLVERS)) {
      observer.count('tunnel_dns_resolvers_over_limit_total');
      this.#read.delete(address);
    }
    observer.log('info', `this machine's resolvers are ${resolvers.join(', ')} now`);
    if (reachable.length === 0 && this.#parts.textInside() !== plan.setup.resolvConf)
      observer.log(
        'warning',
        `resolv.conf was replaced and names ${resolvers.join(', ')}, which the command can't reach in its own network: names do not resolve there; start it again`,
      );
  }
}

/** A loopback address is the command's own, and so are the links of a zone. */
function isReachableInside(address: string): boolean {
  if (!isAddress(address)) return false;
  const special = specialRangeOf(hostPrefix(address));
  return special === undefined || special.onRequest;
}

/**
 * The text of resolv.conf in the mounts of a process. undefined: it can't be read, or it is not
 * what the launcher has written: larger, or no regular file. The command may put anything there, so
 * opening it doesn't wait (FIFO), and reading it ends (/dev/zero).
 */
export function resolvConfOf(pid: number): string | undefined {
  const root = `/proc/${pid}/root`;
  try {
    // A link's absolute path would be looked up in this process's own mounts.
    const link = linkAt(`${root}${RESOLV_CONF}`);
    const path = link === undefined ? RESOLV_CONF : resolve(dirname(RESOLV_CONF), link);
    return smallText(`${root}${path}`);
  } catch {
    return undefined; // it is gone, as it may be inside as well
  }
}

/** Throws the file system's error. */
function smallText(path: string): string | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    if (!fstatSync(fd).isFile()) return undefined;
    return readAtMost(fd, LAUNCHER_MAX_RESOLV_CONF)?.toString('latin1');
  } finally {
    closeSync(fd);
  }
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // it is no link
  }
}
