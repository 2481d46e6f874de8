/**
 * Makes systemd-resolved ask the tunnel's DNS server, with per-link settings of the TUN device.
 * They go away with the device.
 *
 *   apply()  resolvectl dns, domain, default-route; LLMNR, mDNS, DNSSEC and DNS over TLS off;
 *            caches flushed
 *   watch()  applies them again when systemd-resolved has forgotten them
 *   undo()   resolvectl revert; removing the device does the same
 *
 * A domain `corp.example` becomes the routing domain `~corp.example`: names below it go to this
 * link alone, but it isn't appended to short names. `.` stands for all names; the link is then also
 * a default route for names, so that no query goes to other links. DNSSEC is off because a virtual
 * address can't be signed, and DNS over TLS because queries to the server never leave this machine.
 *
 * It takes root, or on most desktops the user at the console (polkit). For an ordinary user sudo is
 * tried first, since it usually remembers the password that was just given for the helper; then a
 * plain call, for which polkit decides. The helper doesn't do it, because it runs no programs.
 *
 * We use resolvectl rather than our own D-Bus messages: it is part of systemd-resolved and knows
 * its version's interface, and the settings take only eight short calls.
 */
import { type FSWatcher, watch } from 'node:fs';
import { TunnelError } from '../../errors/errors.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Observer } from '../../observe/observer.ts';
import { type RunCommand, runCommand, runElevated } from '../programs/command.ts';
import type { HostChange } from './hostchange.ts';

/** systemd-resolved writes its files here when it starts and whenever settings change. */
const STATE_DIRECTORY = '/run/systemd/resolve';
/** Gives systemd-resolved time to finish starting, and turns several writes into one check. */
const SETTLE_MS = 500;

export interface ResolvedLinkOptions {
  readonly device: string;
  /** Addresses of the tunnel's DNS server, as this machine reaches it. */
  readonly servers: readonly string[];
  /** Canonical names; `.` for all (dns/naming.ts, routedDomains). */
  readonly domains: readonly string[];
  readonly observer: Observer;
  readonly run?: RunCommand;
  readonly runElevated?: RunCommand;
  /** Who makes the settings, where this process can't: the privileged part. */
  readonly settings?: LinkSettings | undefined;
}

/** The settings of one device. Both reject with TunnelError `dns-resolved`. */
export interface LinkSettings {
  set(): Promise<void>;
  revert(): Promise<void>;
}

/** The arguments of resolvectl, call by call. */
export function resolvedCalls({
  device,
  servers,
  domains,
}: Pick<ResolvedLinkOptions, 'device' | 'servers' | 'domains'>): readonly (readonly string[])[] {
  return [
    ['llmnr', device, 'no'],
    ['mdns', device, 'no'],
    ['dnssec', device, 'no'],
    ['dnsovertls', device, 'no'],
    ['default-route', device, domains.includes('.') ? 'yes' : 'no'],
    // Domains before servers: a link with servers but no domains would get all queries.
    ['domain', device, ...domains.map((name) => `~${name}`)],
    ['dns', device, ...servers],
    ['flush-caches'],
  ];
}

/** The same for what takes them back. */
export function revertCall(device: string): readonly string[] {
  return ['revert', device];
}

export class ResolvedLink implements HostChange {
  readonly #options: ResolvedLinkOptions;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #applied = false;
  /** The settings under way. undo() waits for them, so that nothing is set after the revert. */
  #setting: Promise<void> = Promise.resolve();
  #checking: Promise<void> = Promise.resolve();

  constructor(options: ResolvedLinkOptions) {
    this.#options = options;
  }

  describe(): string {
    return `the resolver settings of ${this.#options.device} in systemd-resolved`;
  }

  /** Rejects with TunnelError `dns-resolved`. */
  async apply(): Promise<void> {
    this.#applied = true;
    this.#setting = this.#settings();
    try {
      await this.#setting;
    } catch (error) {
      await this.undo();
      throw error;
    }
  }

  /** From now on checks the settings whenever systemd-resolved starts or changes something. */
  watch(directory: string = STATE_DIRECTORY): void {
    const { observer } = this.#options;
    try {
      this.#watcher = watch(directory, { persistent: false }, () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
          this.#checking = this.#checking.then(() => this.#check());
        }, SETTLE_MS).unref();
      });
      this.#watcher.on('error', (error) => observer.log('debug', `${directory}: ${error.message}`));
    } catch (error) {
      observer.log('debug', `${directory} can't be watched: ${String(error)}`);
    }
  }

  /** Waits for settings under way, then reverts them. Never rejects. */
  async undo(): Promise<void> {
    this.#watcher?.close();
    clearTimeout(this.#timer);
    if (!this.#applied) return;
    this.#applied = false;
    const { device, observer } = this.#options;
    await this.#checking;
    await this.#setting.catch(() => {
      // apply() or the check has reported it.
    });
    try {
      await (this.#options.settings?.revert() ?? this.#resolvectl(...revertCall(device)));
    } catch (error) {
      // Usually the device has gone, and the settings with it.
      observer.log('debug', reasonOf(error));
    }
  }

  /** Never rejects. */
  async #check(): Promise<void> {
    const { device, servers, observer, run = runCommand } = this.#options;
    const { status, stdout } = await run('resolvectl', ['dns', device]);
    // If systemd-resolved isn't ready yet, another event comes when it is.
    if (!this.#applied || status !== 0) return;
    if (servers.every((server) => stdout.split(/\s+/).includes(server))) return;
    observer.count('tunnel_dns_settings_restored_total');
    observer.log('notice', `systemd-resolved has lost ${this.describe()}: setting them again`);
    // If this fails, the next event tries again: systemd-resolved may still be starting.
    this.#setting = this.#settings();
    await this.#setting.catch((error: unknown) => {
      observer.log('warning', reasonOf(error));
    });
  }

  async #settings(): Promise<void> {
    if (this.#options.settings !== undefined) return this.#options.settings.set();
    for (const call of resolvedCalls(this.#options)) {
      if (!this.#applied) return;
      await this.#resolvectl(...call);
    }
  }

  async #resolvectl(...args: readonly string[]): Promise<void> {
    const { run = runCommand, runElevated: elevated = runElevated } = this.#options;
    let result = await elevated('resolvectl', args);
    if (result.status !== 0) result = await run('resolvectl', args);
    if (result.status === 0) return;
    throw new TunnelError(
      'dns-resolved',
      `systemd-resolved did not accept ${this.describe()}: resolvectl ${args[0]}: ${result.complaint}`,
      { hint: 'run tunnel as root, or use "tunnel exec", which has its own resolver' },
    );
  }
}
