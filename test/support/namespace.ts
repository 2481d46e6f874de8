/**
 * One network namespace of the lab: runs programs in it, and configures its network through `ip
 * -batch`.
 */

import { hostState } from './hoststate.ts';
import { LabError } from './laberror.ts';
import { type PacketCapture, startCapture } from './packets.ts';
import {
  Child,
  type ExecResult,
  mustRun,
  type RunOptions,
  run,
  SEARCH_PATH,
  type SpawnOptions,
} from './process.ts';

/**
 * Options for programs in namespaces: `SpawnOptions`, but `env` is added to the namespace's own
 * environment.
 */
export interface InsideOptions extends SpawnOptions {
  /** Runs the program as this user, without supplementary groups, instead of root. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

export class Namespace {
  /** As in /run/netns. */
  readonly name: string;
  /** The home directory for programs in the namespace. */
  readonly home: string;

  constructor(name: string, home: string) {
    this.name = name;
    this.home = home;
  }

  /**
   * Runs a program to its end. `ip netns exec` enters the network namespace and a new mount
   * namespace in which /sys shows that network, and then replaces itself with the program.
   */
  exec(argv: readonly string[], options: InsideOptions & RunOptions = {}): Promise<ExecResult> {
    return run(this.#command(argv, options), this.#options(options));
  }

  /** Starts a program; `pid` is the program's own. */
  spawn(argv: readonly string[], options: InsideOptions = {}): Promise<Child> {
    return Child.start(this.#command(argv, options), this.#options(options));
  }

  /**
   * Sets kernel parameters (`net/ipv4/ip_forward=1`), then applies lines of ip(8) without the
   * leading `ip`; the first that fails throws `lab-command`.
   */
  async configure(ipLines: readonly string[], parameters: readonly string[] = []): Promise<void> {
    const settings = parameters.map((setting) =>
      setting.replace(/(.*)=(.*)/, 'echo $2 > /proc/sys/$1'),
    );
    const script = ['set -e', ...settings, 'exec ip -batch -'].join('\n');
    await mustRun(['ip', 'netns', 'exec', this.name, 'sh', '-c', script], {
      input: `${ipLines.join('\n')}\n`,
    });
  }

  /**
   * This namespace's links, addresses, routes, rules, packet filter and resolver as one text, to
   * compare as a whole.
   */
  hostState(): Promise<string> {
    return hostState(this.name);
  }

  /** Records packets of a device until `stop`; `filter` as in pcap-filter(7). */
  capture(device: string, filter = ''): Promise<PacketCapture> {
    return startCapture(this, device, filter);
  }

  #command(argv: readonly string[], options: InsideOptions): string[] {
    if (argv.length === 0) throw new LabError('program-missing', 'no program given');
    const { user } = options;
    const asUser =
      user === undefined
        ? []
        : ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--'];
    return ['ip', 'netns', 'exec', this.name, ...asUser, ...argv];
  }

  /** Without the developer's environment: no agent, no proxy, no locale. */
  #options<T extends InsideOptions>(options: T): T & { env: Record<string, string> } {
    return {
      ...options,
      env: { PATH: SEARCH_PATH, HOME: this.home, LANG: 'C.UTF-8', ...options.env },
    };
  }
}
