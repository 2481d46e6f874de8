/** Exit codes: what a script can tell apart. Documented at the end of --help. */
import { TunnelError } from '../errors/errors.ts';

export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  authentication: 3,
  hostKey: 4,
  jumpHost: 5,
  capture: 6,
  alreadyRunning: 7,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The first that an error's code equals, or begins with where the entry ends in a dash. */
const BY_CODE: readonly (readonly [string, ExitCode])[] = [
  ['usage', EXIT.usage],
  // What the options and ssh_config ask for can't be had.
  ['algorithms-unknown', EXIT.usage],
  ['ssh-config-timeout', EXIT.usage],
  ['openssh-configuration', EXIT.usage],
  ['openssh-not-found', EXIT.usage],
  ['openssh-unusable', EXIT.usage],
  ['transport-unfit', EXIT.usage],
  // So are a cloud's settings: they are the user's own files.
  ['openstack-config', EXIT.usage],
  ['openstack-cloud', EXIT.usage],
  ['openstack-region', EXIT.usage],
  ['openstack-auth-url', EXIT.usage],
  ['openstack-auth-type', EXIT.usage],
  ['openstack-credentials', EXIT.usage],
  ['openstack-url', EXIT.usage],
  ['auth-', EXIT.authentication],
  ['openstack-auth-failed', EXIT.authentication],
  // A passphrase or password was needed, and there was nobody to ask.
  ['no-terminal', EXIT.authentication],
  ['host-key-', EXIT.hostKey],
  ['jumphost-', EXIT.jumpHost],
  ['openssh-failed', EXIT.jumpHost],
  ['link-lost', EXIT.jumpHost],
  ['capture-', EXIT.capture],
  ['helper-', EXIT.capture],
  // Queries don't come to the tunnel, or there are no addresses for names.
  ['dns-', EXIT.capture],
  // The resolver's settings can't be changed in a way that could be undone.
  ['journal', EXIT.capture],
  ['native-missing', EXIT.capture],
  ['already-running', EXIT.alreadyRunning],
];

/** Of `tunnel exec`, beside the command's own, as env(1) and timeout(1) have them. */
export const EXEC_EXIT = { failed: 125, cannotExecute: 126, notFound: 127 } as const;

/** The exit status of `tunnel exec` when the command was not run. */
export function execExitCodeOf(error: unknown): number {
  const code = error instanceof TunnelError ? error.code : '';
  if (code === 'command-not-found') return EXEC_EXIT.notFound;
  return code === 'command-not-executable' ? EXEC_EXIT.cannotExecute : EXEC_EXIT.failed;
}

/** Shells report a program that a signal ended as this plus the signal's number. */
export const EXIT_SIGNAL_BASE = 128;

export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof TunnelError)) return EXIT.unexpected;
  const found = BY_CODE.find(([code]) =>
    code.endsWith('-') ? error.code.startsWith(code) : error.code === code,
  );
  return found?.[1] ?? EXIT.unexpected;
}
