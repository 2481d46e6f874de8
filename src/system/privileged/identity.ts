/**
 * Whose environment the program has under sudo and doas. sudo sets some variables for root, and
 * keeps others of the caller's; which ones its configuration decides.
 *
 *   root's part    rootsVariables()     those that are root's go
 *   the program    completeIdentity()   sets what login(1) sets for the caller, if it is missing
 */
import { lstatSync } from 'node:fs';
import type { Variables } from '../launcher/protocol.ts';
import { identity } from '../loginvariables.ts';

const XDG = /^XDG_\w+_(HOME|DIR)$/;
const RUNTIME = 'XDG_RUNTIME_DIR';

/** What to remove from the environment of a process that becomes another user. Call it as root. */
export function rootsVariables(
  env: NodeJS.ProcessEnv,
  own: Readonly<Record<string, string>> = identity(),
): Variables {
  const home = own['HOME'] ?? '/root';
  const isRoots = (name: string, value = '') =>
    own[name] === value ||
    (XDG.test(name) &&
      [home, '/run/user/0'].some((at) => value === at || value.startsWith(`${at}/`)));
  const names = Object.keys(env).filter((name) => isRoots(name, env[name]));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

/** Sets what is missing. `own`: what login(1) would set. */
export function completeIdentity(
  env: NodeJS.ProcessEnv,
  own: Readonly<Record<string, string>> = identity(),
  uid = process.geteuid?.() ?? 0,
  runtime = `/run/user/${uid}`,
): void {
  for (const [name, value] of Object.entries(own)) env[name] ??= value;
  if (env[RUNTIME] === undefined && isOwn(runtime, uid)) env[RUNTIME] = runtime;
}

function isOwn(path: string, uid: number): boolean {
  const status = lstatSync(path, { throwIfNoEntry: false });
  return status?.isDirectory() === true && status.uid === uid;
}

/** "alice, who called sudo", for a program that runs as the caller. */
export function describeUser(env: NodeJS.ProcessEnv): string {
  const who = identity()['USER'] ?? `uid ${process.geteuid?.()}`;
  return `${who}, who called ${env['SUDO_UID'] === undefined ? 'doas' : 'sudo'}`;
}
