/**
 * What a lab consists of on the machine, and its removal. A lab is identified by its id,
 * `PID-RANDOM` in hex: its namespaces are `tlID-HOST`, its directory is `/tmp/tunnel-lab-ID`, and
 * the directory's lab.json says which process owns it.
 *
 * Removal is synchronous, because it must also work when a process has no event loop any more: at
 * its exit, after an uncaught exception and in a signal handler. After SIGKILL nothing runs; then
 * the next lab sweeps.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { systemCodeOf } from '../../src/errors/reason.ts';
import { LabError } from './laberror.ts';
import { SEARCH_PATH } from './process.ts';
import { allProcesses, processEntry, signalAll, withDescendants } from './processtable.ts';

/** Not os.tmpdir(): labs of processes with another TMPDIR must be found too. */
const DIRECTORY_PREFIX = '/tmp/tunnel-lab-';
const NETNS_DIRECTORY = '/run/netns';
const ID_PATTERN = /^([0-9a-f]+)-[0-9a-f]{4}$/;
const NAMESPACE_PATTERN = /^tl([0-9a-f]+-[0-9a-f]{4})-\w+$/;
const KILL_TIMEOUT_MS = 5_000;
const POLL_MS = 2;
const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** lab.json */
export interface LabRecord {
  readonly pid: number;
  /** In clock ticks since boot: distinguishes the owner from a later process with the same pid. */
  readonly startTime: number;
  /** Made by scripts/lab, not by a test. */
  readonly forPerson: boolean;
}

export interface KnownLab {
  readonly id: string;
  /** Undefined when the directory is missing or was never filled. */
  readonly record: LabRecord | undefined;
  readonly ownerAlive: boolean;
}

export function labDirectory(id: string): string {
  return DIRECTORY_PREFIX + id;
}

export function namespaceName(id: string, host: string): string {
  return `tl${id}-${host}`;
}

/** Makes the directory of a new lab. Returns the lab's id. */
function makeDirectory(): string {
  for (;;) {
    const id = `${process.pid.toString(16)}-${randomBytes(2).toString('hex')}`;
    try {
      mkdirSync(labDirectory(id), { mode: 0o755 });
      return id;
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error;
    }
  }
}

/**
 * Makes a new lab's directory with its lab.json. From now on the lab is removed when this process
 * ends.
 */
export function registerLab(forPerson: boolean): string {
  const id = makeDirectory();
  const record: LabRecord = {
    pid: process.pid,
    startTime: processEntry(process.pid)?.startTime ?? 0,
    forPerson,
  };
  writeFileSync(`${labDirectory(id)}/lab.json`, JSON.stringify(record));
  guard(id);
  return id;
}

/** The names in a directory, which need not exist. */
function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // no namespace was made since boot
  }
}

function readRecord(id: string): LabRecord | undefined {
  try {
    // Trust only root's directories: anybody may make one with such a name in /tmp.
    if (lstatSync(labDirectory(id)).uid !== process.getuid?.()) return undefined;
    return JSON.parse(readFileSync(`${labDirectory(id)}/lab.json`, 'utf8')) as LabRecord;
  } catch {
    return undefined; // removed meanwhile, or its owner was killed before it had written it
  }
}

/** All labs of which any part exists on this machine. */
export function knownLabs(): KnownLab[] {
  const prefix = DIRECTORY_PREFIX.slice('/tmp/'.length);
  const ids = new Set([
    ...list('/tmp').flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : [])),
    ...list(NETNS_DIRECTORY).flatMap((name) => NAMESPACE_PATTERN.exec(name)?.[1] ?? []),
  ]);
  return [...ids].flatMap((id) => {
    const pid = ID_PATTERN.exec(id)?.[1];
    if (pid === undefined) return [];
    const record = readRecord(id);
    const owner = processEntry(record?.pid ?? Number.parseInt(pid, 16));
    const ownerAlive =
      owner !== undefined && (record === undefined || record.startTime === owner.startTime);
    return [{ id, record, ownerAlive }];
  });
}

/** Removes the labs whose owners no longer exist; returns their ids. */
export function sweepLabs(): string[] {
  const left = knownLabs().filter((lab) => !lab.ownerAlive);
  for (const lab of left) removeLab(lab.id);
  return left.map((lab) => lab.id);
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

function namespacesOf(id: string): string[] {
  return list(NETNS_DIRECTORY).filter((name) => NAMESPACE_PATTERN.exec(name)?.[1] === id);
}

/**
 * Kills all processes in the namespaces and their descendants, until none is left.
 */
function killInside(namespaces: readonly string[]): void {
  // Another process may be sweeping the same lab; what it has removed needs no kill.
  const inodes = new Set(
    namespaces.flatMap(
      (name) => statSync(`${NETNS_DIRECTORY}/${name}`, { throwIfNoEntry: false })?.ino ?? [],
    ),
  );
  for (const deadline = performance.now() + KILL_TIMEOUT_MS; ; sleepSync(POLL_MS)) {
    const all = allProcesses();
    const inside = all.filter((entry) => entry.netns !== undefined && inodes.has(entry.netns));
    const victims = withDescendants(
      inside.map((entry) => entry.pid),
      all,
    );
    victims.delete(process.pid);
    if (victims.size === 0) return;
    if (performance.now() > deadline)
      throw new LabError('lab-kill', `processes ${[...victims].join(', ')} survived SIGKILL`);
    signalAll(victims, 'SIGKILL');
  }
}

/** Removes a lab's processes, namespaces and directory. May be repeated. */
export function removeLab(id: string): void {
  const namespaces = namespacesOf(id);
  try {
    killInside(namespaces);
  } finally {
    if (namespaces.length > 0) {
      const input = namespaces.map((name) => `netns del ${name}\n`).join('');
      spawnSync('ip', ['-force', '-batch', '-'], { input, env: { PATH: SEARCH_PATH } });
    }
    rmSync(labDirectory(id), { recursive: true, force: true });
    guarded.delete(id);
    if (guarded.size === 0) uninstall();
  }
}

const guarded = new Set<string>();

function removeGuarded(): void {
  for (const id of [...guarded]) {
    try {
      removeLab(id);
    } catch (error) {
      // The process is ending; all that we can still do is report it.
      process.stderr.write(`${String(error)}\n`);
    }
  }
}

/** Removes the labs, then lets the signal take its default effect. */
function onSignal(signal: NodeJS.Signals): void {
  removeGuarded();
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}

function guard(id: string): void {
  if (guarded.size === 0) {
    process.on('exit', removeGuarded);
    for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
  }
  guarded.add(id);
}

function uninstall(): void {
  process.off('exit', removeGuarded);
  for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
}
