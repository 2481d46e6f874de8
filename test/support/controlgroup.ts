/**
 * A control group of version 2 for the processes of a systemd that a test starts: it sees it as the
 * root of the hierarchy, in a namespace of its own.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from './laberror.ts';

const GROUP = 'tunnel-test-';
/** For processes that were killed, on a busy machine. */
const EMPTY_WITHIN_MS = 120_000;
const POLL_MS = 50;

/** Where control groups of version 2 are: also beside those of version 1. */
function controlGroups(): string | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((mount) => mount.includes(' - cgroup2 '));
  return line?.split(' ')[4];
}

/** For `skip`: false, or why no group can be made here. */
export function controlGroupsMissing(): string | false {
  const groups = controlGroups();
  if (groups === undefined) return 'there are no control groups of version 2';
  const probe = join(groups, `${GROUP}${process.pid}-probe`);
  try {
    mkdirSync(probe);
    rmdirSync(probe);
    return false;
  } catch (error) {
    return `no control group can be made: ${String(error)}`;
  }
}

export class ControlGroup {
  /** Its directory: who writes 0 to cgroup.procs there is in it. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static make(): ControlGroup {
    const groups = controlGroups();
    if (groups === undefined) throw new LabError('lab-unavailable', 'no control groups');
    sweep(groups);
    const path = join(groups, `${GROUP}${process.pid}-${Date.now()}`);
    mkdirSync(path);
    return new ControlGroup(path);
  }

  /** Its processes have been killed: waits until they are gone. */
  async remove(): Promise<void> {
    const end = performance.now() + EMPTY_WITHIN_MS;
    while (readFileSync(join(this.path, 'cgroup.events'), 'latin1').includes('populated 1')) {
      if (performance.now() > end)
        throw new LabError('lab-kill', `${this.path} has processes left`);
      await delay(POLL_MS);
    }
    remove(this.path);
  }
}

/** The groups that systemd has made go first. */
function remove(group: string): void {
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) remove(join(group, entry.name));
  rmdirSync(group);
}

/** What tests have left that were killed. */
function sweep(groups: string): void {
  for (const name of readdirSync(groups)) {
    const pid = new RegExp(`^${GROUP}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      remove(join(groups, name));
    } catch {
      // EBUSY: its processes are just being killed; the next test removes it.
    }
  }
}
