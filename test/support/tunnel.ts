/** The program itself, started in a namespace of the lab, and clients beside it. */
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { JUMPHOST4 } from './addresses.ts';
import { JUMP_USER } from './credentials.ts';
import type { Namespace } from './namespace.ts';
import type { Child, ExecResult } from './process.ts';

/**
 * The program as users get it, the bundle; unless it was compiled since, as the command `tunnel`
 * has it.
 */
export const MAIN = newerOf('../../program/main.cjs', '../../src/main.js');
const DIALER = fileURLToPath(new URL('./dialer.js', import.meta.url));
const START_TIMEOUT_MS = 20_000;

export const REMOTE = `${JUMP_USER}@${JUMPHOST4}`;

function newerOf(bundle: string, modules: string): string {
  const [own = '', other = ''] = [bundle, modules].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  const made = statSync(own, { throwIfNoEntry: false });
  return made !== undefined && made.mtimeMs >= statSync(other).mtimeMs ? own : other;
}

/** As users start it: with Node's options in its first line, and more. */
export function programCommand(nodeOptions: readonly string[] = []): string[] {
  const [firstLine = ''] = readFileSync(MAIN, 'utf8').split('\n', 1);
  const [, own = ''] = /^#!.*\bnode(.*)$/.exec(firstLine) ?? [];
  const options = own.split(' ').filter((option) => option !== '');
  return [process.execPath, ...options, ...nodeOptions, MAIN];
}

/** Starts it and waits until it reports that it is ready. */
export async function startTunnel(
  namespace: Namespace,
  args: readonly string[],
  remote = REMOTE,
): Promise<Child> {
  const tunnel = await namespace.spawn([...programCommand(), '-r', remote, ...args]);
  await tunnel.waitForLine(/tunnel: ready\n/, START_TIMEOUT_MS);
  return tunnel;
}

/**
 * Runs it when it is expected to fail, without a terminal: returns its output and its exit code.
 */
export function runTunnel(namespace: Namespace, args: readonly string[]): Promise<ExecResult> {
  return namespace.exec(['setsid', process.execPath, MAIN, ...args], { timeout: START_TIMEOUT_MS });
}

/** Runs dialer.ts with these arguments in the namespace, and returns what it prints. */
export async function dial<T>(
  namespace: Namespace,
  ...args: readonly (string | number)[]
): Promise<T> {
  const { status, stdout, stderr } = await namespace.exec(
    [process.execPath, DIALER, ...args.map(String)],
    {
      timeout: 240_000,
    },
  );
  if (status !== 0) throw new Error(`dialer ${args.join(' ')}: status ${status}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

export function startDialer(
  namespace: Namespace,
  ...args: readonly (string | number)[]
): Promise<Child> {
  return namespace.spawn([process.execPath, DIALER, ...args.map(String)]);
}

export interface Attempt {
  readonly port: number;
  readonly outcome: string;
  readonly ms: number;
}
