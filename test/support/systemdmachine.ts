/**
 * A real systemd as PID 1: a machine in namespaces, beside a lab's client in its network.
 *
 *   SystemdMachine.start(lab, files)   systemdboot.sh: namespaces, copies of directories, systemd
 *   must(), run()                      programs inside: systemctl, journalctl
 *   stop()                             kills PID 1, and with it everything inside
 *
 * It has systemd's own journald and the units of packaging/, installed as docs/operations.md says.
 * Its files are in memory, and go with its mount namespace.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ControlGroup, controlGroupsMissing } from './controlgroup.ts';
import type { Lab } from './lab.ts';
import { LabError } from './laberror.ts';
import { Child, type ExecResult, mustRun, type RunOptions, run } from './process.ts';
import { labUnavailable } from './requirements.ts';

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
const BOOT = join(REPOSITORY, 'test/support/systemdboot.sh');
const PACKAGING = join(REPOSITORY, 'packaging');
const SYSTEMD = '/lib/systemd/systemd';
/** For whatever systemd does, on a busy machine. */
const LIMIT_MS = 120_000;
const POLL_MS = 50;

/** For `skip`: false, or why there can be no such machine here. */
export function systemdUnavailable(): string | false {
  const missing = labUnavailable('unshare', 'nsenter', 'systemctl', 'journalctl');
  if (missing !== false) return missing;
  if (!existsSync(SYSTEMD)) return 'systemd is not installed';
  return controlGroupsMissing();
}

export class SystemdMachine {
  readonly #boot: Child;
  readonly #group: ControlGroup;
  readonly #pid: number;

  private constructor(boot: Child, group: ControlGroup, pid: number) {
    this.#boot = boot;
    this.#group = group;
    this.#pid = pid;
  }

  /** `files`: of /etc, by their names there. */
  static async start(lab: Lab, files: Readonly<Record<string, string>>): Promise<SystemdMachine> {
    const group = ControlGroup.make();
    const etc = installed(lab.directory, files);
    // Not by ip-netns(8), which hides the control groups.
    const enter = ['nsenter', `--net=/run/netns/${lab.client.name}`, '--'];
    const parts = [group.path, process.execPath, REPOSITORY, lab.directory, etc];
    const boot = await Child.start([...enter, BOOT, ...parts]);
    try {
      const pid = await firstProcess(boot);
      const machine = new SystemdMachine(boot, group, pid);
      await machine.#booted();
      return machine;
    } catch (error) {
      await boot.stop('SIGKILL');
      await group.remove();
      throw error;
    }
  }

  run(argv: readonly string[], options: RunOptions = {}): Promise<ExecResult> {
    return run(this.#inside(argv), { timeout: LIMIT_MS, ...options });
  }

  /** The same for what must succeed; returns its output. */
  must(...argv: readonly string[]): Promise<string> {
    return mustRun(this.#inside(argv), { timeout: LIMIT_MS });
  }

  spawn(argv: readonly string[]): Promise<Child> {
    return Child.start(this.#inside(argv));
  }

  /** A property of a unit, as systemd shows it. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.must('systemctl', 'show', '-P', name, unit)).trim();
  }

  /** Waits until the property fits. Throws with the unit's journal. */
  async until(unit: string, name: string, wanted: RegExp, limit = LIMIT_MS): Promise<string> {
    const end = performance.now() + limit;
    for (;;) {
      const value = await this.property(unit, name);
      if (wanted.test(value)) return value;
      if (performance.now() > end)
        throw new LabError(
          'lab-command',
          `${name} of ${unit} is ${value}, and not ${wanted}\n${await this.journal(unit)}`,
        );
      await delay(POLL_MS);
    }
  }

  async untilTrue(look: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + LIMIT_MS;
    while (!(await look())) {
      if (performance.now() > end) throw new LabError('lab-command', 'it has not come to that');
      await delay(POLL_MS);
    }
  }

  /** What the unit has logged, the oldest first, with `fields` (`-o`, `-p` of journalctl). */
  journal(unit: string, ...fields: readonly string[]): Promise<string> {
    return this.must('journalctl', '--no-pager', '-q', '-u', unit, ...fields);
  }

  async stop(): Promise<void> {
    await this.#boot.stop('SIGKILL');
    await this.#group.remove();
  }

  #inside(argv: readonly string[]): string[] {
    const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    const enter = ['nsenter', '-t', `${this.#pid}`, '-m', '-u', '-i', '-n', '-p', '-C', '--'];
    return [...enter, 'env', '-i', `PATH=${path}`, 'LANG=C.UTF-8', 'SYSTEMD_PAGER=', ...argv];
  }

  async #booted(): Promise<void> {
    const end = performance.now() + LIMIT_MS;
    for (;;) {
      const { stdout } = await this.run(['systemctl', 'is-system-running']);
      if (/^(running|degraded)/.test(stdout)) return;
      if (performance.now() > end || this.#boot.ended !== undefined)
        throw new LabError('lab-command', `systemd has not started: ${this.#boot.stderr}`);
      await delay(POLL_MS);
    }
  }
}

/** A directory with what is added to /etc: the units of packaging/, and `files`. */
function installed(parent: string, files: Readonly<Record<string, string>>): string {
  const etc = mkdtempSync(join(parent, 'etc-'));
  chmodSync(etc, 0o755);
  const copy = (from: string, to: string) =>
    cpSync(join(PACKAGING, from), join(etc, to), { recursive: true });
  copy('systemd/user', 'systemd/user');
  for (const unit of readdirSync(join(PACKAGING, 'systemd')).filter((name) => name.includes('.')))
    copy(`systemd/${unit}`, `systemd/system/${unit}`);
  copy('sysusers.d', 'sysusers.d');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(etc, name)), { recursive: true, mode: 0o755 });
    writeFileSync(join(etc, name), text, { mode: 0o644 });
  }
  return etc;
}

/** The child of unshare(1): PID 1 of the machine. */
async function firstProcess(boot: Child): Promise<number> {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const [first] = childrenOf(boot.pid);
    if (first !== undefined && nameOf(first) === 'systemd') return first;
    if (performance.now() > end || boot.ended !== undefined)
      throw new LabError('lab-command', `there is no systemd: ${boot.stderr}`);
    await delay(POLL_MS);
  }
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
  } catch {
    return ''; // it has ended
  }
}
