/**
 * What the launcher reports, as errors with what to do about them. `namespace-...` says that this
 * machine doesn't give a command a network of its own: where that isn't required, there is another
 * way (session/exec.ts).
 */
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { TunnelError } from '../../errors/errors.ts';
import { LAUNCHER_PATH } from '../../native/addon.ts';
import { systemErrorName } from '../helper/errors.ts';
import { installCommand } from '../programs/path.ts';
import { LAUNCHER_STEP, LAUNCHER_VERSION, type LauncherFailed } from './protocol.ts';

const { errno: ERRNO } = constants;

/**
 * Where an administrator puts the launcher, then where a package does; docs/apparmor/tunnel-exec
 * names both.
 */
export const INSTALLED_LAUNCHERS = [
  '/usr/local/libexec/tunnel-launcher',
  '/usr/libexec/tunnel-launcher',
] as const;

/**
 * Kernel settings that keep ordinary users from namespaces. Each hint begins with the way that
 * gives up least.
 */
const RESTRICTIONS: readonly {
  readonly parameter: string;
  readonly restricts: (value: string) => boolean;
  readonly hint: string;
}[] = [
  {
    parameter: 'kernel.apparmor_restrict_unprivileged_userns',
    restricts: (value) => value === '1',
    hint: `permit them to this program alone, as root: ${installCommand(LAUNCHER_PATH, INSTALLED_LAUNCHERS[0])}; then install docs/apparmor/tunnel-exec as /etc/apparmor.d/tunnel-exec and run apparmor_parser -r /etc/apparmor.d/tunnel-exec`,
  },
  {
    parameter: 'kernel.unprivileged_userns_clone',
    restricts: (value) => value === '0',
    hint: 'permit user namespaces to ordinary users: "sysctl kernel.unprivileged_userns_clone=1"; or start "tunnel exec" with sudo, which makes the network; command and SSH connection are yours all the same',
  },
  {
    parameter: 'user.max_user_namespaces',
    restricts: (value) => value === '0',
    hint: 'permit some user namespaces: "sysctl user.max_user_namespaces=1000"; or start "tunnel exec" with sudo, which makes the network; command and SSH connection are yours all the same',
  },
];

/** A setting that explains a refusal of namespaces, if one does. Also for doctor. */
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
        `the command may not have this process's privileges, and they can't be given up (${reason})`,
        {
          hint: 'run "tunnel exec" as an ordinary user, or with the SUDO_UID or DOAS_USER that sudo or doas has set, and not with both',
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

/** user_namespaces(7): since Linux 5.12 root may be mapped only by who has CAP_SETFCAP. */
const ROOT_UNMAPPED_HINT =
  'root without CAP_SETFCAP can\'t have a user namespace: run "tunnel exec" as an ordinary user; inside of another "tunnel exec", too';

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

/** For a machine without /dev/net/tun. Also for doctor. */
export const NO_TUN_HINT =
  'load the driver with "modprobe tun"; in a container, start it with --device /dev/net/tun';

function noTun({ errno }: LauncherFailed): TunnelError {
  if (errno === ERRNO.EACCES || errno === ERRNO.EPERM) {
    return new TunnelError('namespace-no-tun', '/dev/net/tun may be opened by root only', {
      hint: 'let users open it, as distributions do: "chmod 666 /dev/net/tun"; who opens it still needs CAP_NET_ADMIN to make a device',
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
  [
    ERRNO.E2BIG,
    'arguments and environment are too long together: hand some of them over in a file',
  ],
  [ERRNO.ENOEXEC, 'it is no program for this machine ("file" says what it is)'],
]);

/** What it was meant as, as far as the word tells. */
function missingHint(word: string): string {
  if (word.startsWith('-'))
    return 'options of "tunnel exec" stand before "--", and behind it the command';
  if (/[\s|&;<>$]/.test(word)) return `for a whole line of shell, write: sh -c '...'`;
  if (word.includes('/'))
    return 'see whether it is there ("ls -l"), and which interpreter its first line names';
  return `if it was meant as a target, write "--" behind it and then the command; what only a shell knows takes sh -c '...'`;
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

/** For what spawn throws: what the kernel has against the words of the command themselves. */
export function notSpawned(command: string, cause: unknown): unknown {
  const { errno } = cause as NodeJS.ErrnoException;
  return errno === undefined ? cause : notExecuted({ errno: -errno, detail: command });
}

export function launcherLost(why: string): TunnelError {
  return new TunnelError('launcher-failed', `the launcher of the command has ended: ${why}`, {
    hint: 'run tunnel with -v, and see what the kernel says ("dmesg")',
  });
}

/** The launcher at `path` is of another version than this program, or not one. */
export function launcherVersionError(path: string, version: number | undefined): TunnelError {
  return new TunnelError(
    'launcher-version',
    `${path} speaks version ${version ?? 'unknown'} of the launcher's protocol, this program version ${LAUNCHER_VERSION}`,
    {
      hint:
        path === LAUNCHER_PATH
          ? 'build it again: "npm run build:native"'
          : `update it as root: "${installCommand(LAUNCHER_PATH, path)}"`,
    },
  );
}
