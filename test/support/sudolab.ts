/**
 * A lab for `sudo tunnel` and `doas tunnel`: the user of ExecLab may run everything as root, and
 * root's journal is the lab's.
 */
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { SUDOERS, UID, USER } from './etc.ts';
import { ExecLab, type ExecOptions } from './execlab.ts';
import { labUnavailable } from './lab.ts';
import type { Child, ExecResult } from './process.ts';
import { allProcesses, commandLineOf, signalAll, withDescendants } from './processtable.ts';
import { closedToOthers } from './requirements.ts';
import { MAIN } from './tunnel.ts';
import { until } from './until.ts';

/** `sudo env COMMAND` has a terminal of its own, `sudo COMMAND` has the caller's. */
const ETC = {
  sudoers: `${SUDOERS}Defaults !use_pty\nDefaults!/usr/bin/env use_pty\nDefaults closefrom_override\n${USER} ALL=(root) NOPASSWD:SETENV: ALL\n`,
  'doas.conf': `permit nopass ${USER} as root\n`,
};

export const SUDO = ['sudo', '-n', process.execPath, MAIN] as const;

/** False, or why `sudo tunnel` can't be tried here. `programs` as for `labUnavailable`. */
export function sudoUnavailable(...programs: readonly string[]): string | false {
  return (
    labUnavailable('openssl', 'unshare', 'sudo', 'setpriv', ...programs) || closedToOthers(MAIN)
  );
}

/** The processes of one `sudo tunnel`. */
export interface SudoParts {
  /** The part that stays root. */
  readonly part: number;
  /** The program, as the caller. */
  readonly program: number;
}

/** A field of /proc/PID/status, for each thread. */
export function statusOf(pid: number, field: string): string[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    return new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  });
}

/** What its descriptors are, without numbers that differ from run to run; and sorted. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => {
      try {
        const to = readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\[\d+\]/, '');
        return Number(fd) <= 2 ? `${fd} ${to}` : to;
      } catch {
        return 'closed'; // while it was read
      }
    })
    .sort();
}

export class SudoLab {
  readonly exec: ExecLab;
  readonly #children: Child[] = [];
  /** The parts that are root, of all runs. */
  readonly #roots = new Set<number>();
  readonly #untouched: string;

  private constructor(exec: ExecLab, untouched: string) {
    this.exec = exec;
    this.#untouched = untouched;
  }

  static async create(resolvConf = 'nameserver 192.0.2.1\n'): Promise<SudoLab> {
    const exec = await ExecLab.create(resolvConf, {}, ETC);
    mkdirSync(join(exec.lab.directory, 'state'));
    return new SudoLab(exec, await exec.lab.client.hostState());
  }

  argv(argv: readonly string[], options: ExecOptions = {}): string[] {
    const script = `mount --bind ${this.exec.lab.directory}/state /var/lib && exec "$@"`;
    return this.exec.userArgv(argv, { script, ...options });
  }

  run(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return this.exec.lab.client.exec(this.argv(argv, options), {
      timeout: 30_000,
      env: { HOME: this.exec.home, ...options.env },
    });
  }

  async spawn(
    argv: readonly string[],
    options: ExecOptions & { readonly stdin?: 'open' } = {},
  ): Promise<Child> {
    const { stdin } = options;
    const child = await this.exec.lab.client.spawn(this.argv(argv, options), {
      env: { HOME: this.exec.home, ...options.env },
      ...(stdin === undefined ? {} : { stdin }),
    });
    this.#children.push(child);
    return child;
  }

  /** Kills what a test that failed has left. */
  end(): void {
    const running = this.#children.splice(0).filter(({ ended }) => ended === undefined);
    if (running.length === 0) return;
    const roots = running.map(({ pid }) => pid);
    signalAll(withDescendants(roots, allProcesses()), 'SIGKILL');
  }

  /** Starts it, and waits until it is ready. */
  async ready(argv: readonly string[]): Promise<Child> {
    const child = await this.spawn(argv);
    await child.waitForLine(/tunnel: ready\n/, 20_000);
    return child;
  }

  parts(child: Child): SudoParts {
    const ours = [...withDescendants([child.pid], allProcesses())].filter((pid) =>
      /^[^\0]*node\0/.test(commandLineOf(pid)),
    );
    const of = (uid: number) =>
      ours.find((pid) => statusOf(pid, 'Uid').every((it) => it.startsWith(`${uid}\t`)));
    const [part, program] = [of(0), of(UID)];
    if (part === undefined || program === undefined)
      throw new Error(`only ${ours.length} processes: ${child.stderr}`);
    this.#roots.add(part);
    return { part, program };
  }

  /** Fails unless the client's devices and routes become what they were before the first run. */
  untouched(): Promise<void> {
    return until(
      async () => (await this.exec.lab.client.hostState()) === this.#untouched,
      'devices and routes are left',
    );
  }

  /** What the parts of these runs have left in /run. Those of other programs may be there, too. */
  leftInRun(): string[] {
    return readdirSync('/run').filter((name) => {
      const [, pid] = /^tunnel\.(\d+)-/.exec(name) ?? [];
      return this.#roots.has(Number(pid));
    });
  }

  close(): Promise<void> {
    return this.exec.close();
  }
}
