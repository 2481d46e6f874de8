/**
 * A real systemd-resolved in a lab's client, with its own D-Bus and /run. Its files are in the
 * lab's directory, so every program of the test sees the same daemon, and everything is removed
 * with the lab.
 *
 * The package is unpacked (scripts/lib/setup.sh), not installed: installing it would take over the
 * machine's own resolv.conf.
 */
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { UPLINK4 } from './addresses.ts';
import type { ExecLab } from './execlab.ts';
import type { Child } from './process.ts';

const UNPACKED = fileURLToPath(new URL('../../native-test/systemd-resolved', import.meta.url));
/** Where packages install it. */
const FOLDERS = ['usr/lib/systemd', 'lib/systemd'];
export const STUB_RESOLV_CONF =
  'nameserver 127.0.0.53\noptions edns0 trust-ad timeout:3 attempts:1\n';
/** The configuration of a bus on which everybody may do everything. */
export const BUS_CONFIGURATION = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>`;

export interface ResolvedPrograms {
  readonly resolved: string;
  readonly resolvectl: string;
}

/** Its path, installed or unpacked; undefined if it is neither. */
export function findResolved(): ResolvedPrograms | undefined {
  for (const root of ['', UNPACKED]) {
    const resolvectl = join(root, '/usr/bin/resolvectl');
    for (const folder of FOLDERS) {
      const resolved = join(root, '/', folder, 'systemd-resolved');
      if (existsSync(resolved) && existsSync(resolvectl)) return { resolved, resolvectl };
    }
  }
  return undefined;
}

/** For `skip`: false, or what is missing. */
export function resolvedMissing(): string | false {
  return (
    findResolved() === undefined &&
    'systemd-resolved is neither installed nor unpacked (scripts/test does it with apt)'
  );
}

/**
 * `ResolvedDaemon.start` leaves one running; it asks the lab's uplink server about all names that
 * no other link has.
 */
export class ResolvedDaemon {
  readonly #exec: ExecLab;
  readonly #programs: ResolvedPrograms;
  #daemon: Child | undefined;

  private constructor(exec: ExecLab, programs: ResolvedPrograms) {
    this.#exec = exec;
    this.#programs = programs;
  }

  static async start(exec: ExecLab): Promise<ResolvedDaemon> {
    const programs = findResolved();
    if (programs === undefined) throw new Error('systemd-resolved is not here');
    const made = new ResolvedDaemon(exec, programs);
    const { lab } = exec;
    for (const folder of ['run/dbus', 'run/systemd/resolve', 'bin', 'varlib']) {
      mkdirSync(join(lab.directory, folder), { recursive: true });
      chmodSync(join(lab.directory, folder), 0o755);
    }
    writeFileSync(join(lab.directory, 'bus.conf'), BUS_CONFIGURATION);
    symlinkSync(programs.resolvectl, join(lab.directory, 'bin/resolvectl'));
    const user = 'systemd-resolve:x:47111:47111::/:/usr/sbin/nologin';
    await made.must(`sed -i /^systemd-resolve:/d /etc/passwd /etc/group
      echo ${user} >> /etc/passwd; echo systemd-resolve:x:47111: >> /etc/group
      chown systemd-resolve: /run/systemd/resolve`);
    await lab.client.spawn(
      made.argv(
        'dbus-daemon',
        `--config-file=${lab.directory}/bus.conf`,
        '--nofork',
        '--nopidfile',
      ),
      { stdin: 'open' },
    );
    await made.begin();
    await made.must(`resolvectl dns uplink ${UPLINK4} && resolvectl default-route uplink yes`);
    return made;
  }

  /**
   * The command line for a program that runs as root, sees this daemon, and keeps its journal in
   * the lab.
   */
  argv(...command: readonly string[]): string[] {
    const { directory } = this.#exec.lab;
    const script = `set -e
      mount --bind ${directory}/run /run
      mount --bind ${directory}/varlib /var/lib
      mount -t overlay overlay -o lowerdir=${directory}/bin:/usr/bin /usr/bin
      exec "$@"`;
    return this.#exec.userArgv(command, { root: true, script });
  }

  /** Runs a script to its end; returns its output. */
  async sh(script: string, timeout = 30_000): Promise<string> {
    const { client } = this.#exec.lab;
    const { stdout, stderr } = await client.exec(this.argv('sh', '-c', script), { timeout });
    return stdout + stderr;
  }

  /** The same; a status other than 0 is an error. */
  async must(script: string): Promise<void> {
    const { status, stderr } = await this.#exec.lab.client.exec(this.argv('sh', '-ec', script));
    if (status !== 0) throw new Error(`${script}: ${stderr}`);
  }

  /** Starts it, and waits until it answers. */
  async begin(): Promise<void> {
    this.#daemon = await this.#exec.lab.client.spawn(this.argv(this.#programs.resolved), {
      stdin: 'open',
    });
    await this.until('systemd-resolved answers', (status) => status !== '');
  }

  /** Kills it, as a crash does; its settings stay in /run. */
  async kill(): Promise<void> {
    await this.#daemon?.stop('SIGKILL');
  }

  /** All links' settings, without values that change by themselves and without column padding. */
  async status(): Promise<string> {
    const output = await this.sh('resolvectl status 2>/dev/null');
    return output.replace(/^ *Current DNS Server:.*\n/gm, '').replace(/^ +/gm, '');
  }

  /** Waits until the links' settings match. */
  async until(what: string, condition: (status: string) => boolean): Promise<void> {
    let status = '';
    for (const deadline = performance.now() + 10_000; ; await sleep(100)) {
      status = await this.status();
      if (condition(status)) return;
      if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}\n${status}`);
    }
  }
}
