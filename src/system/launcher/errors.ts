/**
 * Turns what the launcher reports into errors with hints. `namespace-...`: this machine can't give
 * a command its own network. If that isn't required, proxies are used instead (session/exec.ts).
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { TunnelError } from '../../errors/errors.ts';
import { LAUNCHER_PATH } from '../../native/addon.ts';
import { nativeHint } from '../../native/files.ts';
import { systemErrorName } from '../helper/errors.ts';
import { installCommand } from '../programs/path.ts';
import { LAUNCHER_STEP, LAUNCHER_VERSION, type LauncherFailed } from './protocol.ts';

const { errno: ERRNO } = constants;

/**
 * Where an administrator installs the launcher, then where a package does;
 * docs/apparmor/tunnel-exec names both.
 */
export const INSTALLED_LAUNCHERS = [
  '/usr/local/libexec/tunnel-launcher',
  '/usr/libexec/tunnel-launcher',
] as const;

/**
 * Kernel settings that keep ordinary users from making namespaces. Each hint begins with the
 * smallest concession.
 */
const RESTRICTIONS: readonly {
  readonly parameter: string;
  readonly restricts: (value: string) => boolean;
  readonly hint: string;
}[] = [
  {
    parameter: 'kernel.apparmor_restrict_unprivileged_userns',
    restricts: (value) => value === '1',
    hint: `allow them for this program alone, as root: ${installCommand(LAUNCHER_PATH, INSTALLED_LAUNCHERS[0])}; then install docs/apparmor/tunnel-exec as /etc/apparmor.d/tunnel-exec and run apparmor_parser -r /etc/apparmor.d/tunnel-exec`,
  },
  {
    parameter: 'kernel.unprivileged_userns_clone',
    restricts: (value) => value === '0',
    hint: 'allow ordinary users to make user namespaces: "sysctl kernel.unprivileged_userns_clone=1"; or start "tunnel exec" with sudo: root makes the network, but the command and the SSH connection run as you',
  },
  {
    parameter: 'user.max_user_namespaces',
    restricts: (value) => value === '0',
    hint: 'allow some user namespaces: "sysctl user.max_user_namespaces=1000"; or start "tunnel exec" with sudo: root makes the network, but the command and the SSH connection run as you',
  },
];

/**
 * The kernel setting that explains why namespaces are refused, if there is one. Also used by
 * doctor.
 */
export function namespaceRestriction(
  read: (parameter: string) => string | undefined = readParameter,
): { readonly parameter: string; readonly value: string; readonly hint: string } | undefined {
  for (const { parameter, restricts, hint } of RESTRICTIONS) {
    const value = read(parameter);
    if (value !== undefined && restricts(value)) return { parameter, value, hint };
  }
  return undefined;
}

function readParameter(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim();
  } catch {
    return undefined; // this kernel has no such setting
  }
}

/** A FAILED message. */
export function launcherError(failed: LauncherFailed): TunnelError {
  const because = failed.detail === '' ? '' : `${failed.detail}: `;
  const reason = `${because}${systemErrorName(failed.errno)}`;
  switch (failed.step) {
    case LAUNCHER_STEP.mapping:
      return namespacesRefused(reason, process.getuid?.() === 0 ? ROOT_UNMAPPED_HINT : undefined);
    case LAUNCHER_STEP.namespaces:
    case LAUNCHER_STEP.mount:
      return namespacesRefused(reason);
    case LAUNCHER_STEP.openTun:
      return noTun(failed);
    case LAUNCHER_STEP.createTun:
      return new TunnelError(
        'namespace-no-tun',
        `a TUN device may not be made in a namespace (${reason})`,
        {
          hint: 'see what the kernel says ("dmesg"); in a container, its runtime may deny it',
        },
      );
    case LAUNCHER_STEP.network:
      return new TunnelError(
        'namespace-network',
        `the network of a namespace could not be set up (${reason})`,
        {
          hint: 'see what the kernel says ("dmesg")',
        },
      );
    case LAUNCHER_STEP.privileges:
      return new TunnelError(
        'launcher-privileges',
        `this process's privileges can't be given up, and what it starts may not have them (${reason})`,
        {
          hint: 'run tunnel as an ordinary user, or with the SUDO_UID or DOAS_USER that sudo or doas has set, and not with both',
        },
      );
    case LAUNCHER_STEP.execute:
      return notExecuted(failed);
    default:
      return new TunnelError(
        'launcher-failed',
        `the launcher failed at step ${failed.step} (${reason})`,
        {
          hint: 'program and launcher must be of the same version: build both again',
        },
      );
  }
}

/** user_namespaces(7): since Linux 5.12 mapping root takes CAP_SETFCAP. */
const ROOT_UNMAPPED_HINT =
  'root without CAP_SETFCAP can\'t have a user namespace: run "tunnel exec" as an ordinary user, also inside another "tunnel exec"';

function namespacesRefused(reason: string, hint?: string): TunnelError {
  const restriction = namespaceRestriction();
  const setting =
    restriction === undefined ? '' : `; ${restriction.parameter} is ${restriction.value}`;
  return new TunnelError(
    'namespace-refused',
    `a command can't be given a network of its own here (${reason}${setting})`,
    {
      hint:
        restriction?.hint ??
        hint ??
        'in a container, its runtime must permit user namespaces (seccomp and AppArmor profiles), or give it CAP_SYS_ADMIN and CAP_NET_ADMIN, which the command then does not get; elsewhere see kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone and user.max_user_namespaces',
    },
  );
}

/** For a machine without /dev/net/tun. Also used by doctor. */
export const NO_TUN_HINT =
  'load the driver with "modprobe tun"; in a container, start it with --device /dev/net/tun';

function noTun({ errno }: LauncherFailed): TunnelError {
  if (errno === ERRNO.EACCES || errno === ERRNO.EPERM) {
    return new TunnelError('namespace-no-tun', 'only root may open /dev/net/tun', {
      hint: 'let users open it, which most distributions do by themselves: sudo chmod 666 /dev/net/tun',
    });
  }
  return new TunnelError(
    'namespace-no-tun',
    `there is no TUN device (/dev/net/tun: ${systemErrorName(errno)})`,
    {
      hint: NO_TUN_HINT,
    },
  );
}

/** By errno of execve(2). */
const NOT_EXECUTABLE_HINTS: ReadonlyMap<number, string> = new Map([
  [
    ERRNO.EACCES,
    'it must be a file that may be executed ("ls -l", "chmod +x"), and not on a noexec mount',
  ],
  [ERRNO.E2BIG, 'arguments and environment together are too long: pass some of them in a file'],
  [ERRNO.ENOEXEC, 'it is not a program for this machine ("file" says what it is)'],
]);

/** Guesses from the word what the user meant. */
function missingHint(word: string): string {
  if (word.startsWith('-'))
    return 'put the options of "tunnel exec" before "--", and the command after it';
  if (/[\s|&;<>$]/.test(word)) return `for a whole shell command line, write: sh -c '...'`;
  if (word.includes('/'))
    return 'see whether it is there ("ls -l"), and which interpreter its first line names';
  return `check its spelling and PATH; targets come before "--", and a shell's own commands need: sh -c '...'`;
}

/** `command-not-found` ends with exit status 127, `command-not-executable` with 126. */
function notExecuted({ errno, detail }: Pick<LauncherFailed, 'errno' | 'detail'>): TunnelError {
  if (errno === ERRNO.ENOENT || errno === ERRNO.ENOTDIR) {
    return new TunnelError('command-not-found', `${detail}: command not found`, {
      hint: missingHint(detail),
    });
  }
  return new TunnelError(
    'command-not-executable',
    `${detail}: can't be executed (${systemErrorName(errno)})`,
    { hint: NOT_EXECUTABLE_HINTS.get(errno) ?? 'see whether it runs without "tunnel exec"' },
  );
}

/** Translates what spawn throws when the kernel rejects the command's arguments. */
export function notSpawned(command: string, cause: unknown): unknown {
  const { errno } = cause as NodeJS.ErrnoException;
  return errno === undefined ? cause : notExecuted({ errno: -errno, detail: command });
}

/** The same of what spawn throws or emits for a command that Node starts itself. */
export function commandNotStarted(command: string, cause: unknown): unknown {
  const translated = notSpawned(command, cause);
  return translated instanceof Error ? translated : new Error(String(cause));
}

export function launcherLost(why: string): TunnelError {
  return new TunnelError('launcher-failed', `the launcher has ended: ${why}`, {
    hint: 'run tunnel with -v, and see what the kernel says ("dmesg")',
  });
}

/** The launcher at `path` has another version than this program, or isn't a launcher. */
export function launcherVersionError(path: string, version: number | undefined): TunnelError {
  return new TunnelError(
    'launcher-version',
    `${path} speaks version ${version ?? 'unknown'} of the launcher's protocol, this program version ${LAUNCHER_VERSION}`,
    {
      hint:
        path === LAUNCHER_PATH
          ? nativeHint()
          : `update it as root: "${installCommand(LAUNCHER_PATH, path)}"`,
    },
  );
}
