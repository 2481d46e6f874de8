/** What the fault tests share: a lab and a tunnel for each, and faults of the path. */
import assert from 'node:assert/strict';
import { API1, Port, PRIVATE4 } from './addresses.ts';
import { JUMP_USER } from './credentials.ts';
import { Lab, type LabOptions } from './lab.ts';
import type { Child, ExecResult } from './process.ts';
import { allProcesses, commandLineOf, sessionsOf, withDescendants } from './processtable.ts';
import { startTuned, type Tuning } from './tuning.ts';
import { type Attempt, dial, startDialer } from './tunnel.ts';

/** A margin for a busy machine. */
export const SLACK_MS = 2_000;
/** How soon a link that answers again must be in use again. */
export const HEAL_MS = 5_000;

export async function inLab(options: LabOptions, body: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await Lab.create({ sshd: 'open', ...options });
  try {
    await body(lab);
  } finally {
    await lab.close();
  }
}

export async function withTunnel(
  lab: Lab,
  settings: Tuning,
  args: readonly string[],
  body: (tunnel: Child) => Promise<void>,
): Promise<void> {
  const tunnel = await startTuned(lab.client, settings, ['-vv', ...args, PRIVATE4]);
  try {
    await body(tunnel);
  } finally {
    await tunnel.stop('SIGINT');
  }
}

export function curl(lab: Lab, timeout = 60): Promise<ExecResult> {
  const url = `http://${API1}/`;
  return lab.client.exec(['curl', '-sS', '-m', String(timeout), url], {
    timeout: (timeout + 5) * 1_000,
  });
}

export async function connectOnce(lab: Lab): Promise<Attempt> {
  const [attempt] = await dial<Attempt[]>(lab.client, 'connect', API1, Port.http);
  assert.ok(attempt !== undefined);
  return attempt;
}

/**
 * Silently drops everything that the uplink would forward, in both directions. Returns a function
 * that ends this.
 */
export async function blackHole(lab: Lab): Promise<() => Promise<void>> {
  const rules =
    'table inet hole { chain forward { type filter hook forward priority 0; policy drop; }; }';
  const { status, stderr } = await lab.uplink.exec(['nft', '-f', '-'], { input: rules });
  assert.equal(status, 0, stderr);
  return async () => {
    assert.equal((await lab.uplink.exec(['nft', 'delete', 'table', 'inet', 'hole'])).status, 0);
  };
}

export function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}

/** Ends the connections of logged-in users, and no others. */
export function killSessions(lab: Lab): void {
  const sshd = lab.sshd.pid;
  assert.ok(sshd !== undefined);
  for (const pid of sessionsOf(sshd, JUMP_USER)) process.kill(pid, 'SIGKILL');
}

/** Process ids of the ssh processes that the tunnel has started. */
export function sshClients({ pid }: Child): number[] {
  return [...withDescendants([pid], allProcesses())].filter((process) =>
    commandLineOf(process).startsWith('ssh\0'),
  );
}

/** A connection that is kept open, and how it ends. */
export async function holdOne(lab: Lab): Promise<Child> {
  const holder = await startDialer(lab.client, 'hold', API1, Port.echo, 1);
  await holder.waitForLine(/held 1\n/);
  return holder;
}
