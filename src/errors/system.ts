/**
 * What the operating system refuses and no part has expected: no descriptors, no memory, a full
 * disk. It is no bug, and it says what helps. Where a part knows more, such as the option that
 * names the file, it has a code of its own.
 *
 *   Node's own functions   `code`, as in EMFILE
 *   the native part        `errno`, its number
 *   whatever has wrapped one of these: `cause`
 */
import { constants } from 'node:os';
import { TunnelError } from './errors.ts';
import { causesOf } from './reason.ts';

/** libuv has no name for some, such as EDQUOT. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);

/** Of dlopen(3), which says strerror(3) and no number. */
const LOADER: readonly (readonly [RegExp, string])[] = [
  [/Too many open files in system/, 'ENFILE'],
  [/Too many open files/, 'EMFILE'],
  [/Cannot allocate memory/, 'ENOMEM'],
];

interface Refusal {
  readonly code: 'system-limit' | 'system-disk' | 'system-permission';
  readonly says: string;
  readonly hint: string;
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  EMFILE: {
    code: 'system-limit',
    says: 'this process may not open any more files',
    hint: 'raise the limit: "ulimit -n 8192" in its shell, LimitNOFILE= in its unit',
  },
  ENFILE: {
    code: 'system-limit',
    says: 'this machine has no descriptors left',
    hint: 'end what opens many files, or raise fs.file-max with sysctl; "ulimit -n" is not the limit',
  },
  ENOMEM: {
    code: 'system-limit',
    says: 'no memory is left',
    hint: 'end other programs, or raise what limits it: "ulimit -a", MemoryMax=, the container',
  },
  ENOBUFS: {
    code: 'system-limit',
    says: 'the kernel has no memory left for this',
    hint: 'end other programs, or give the machine, or the container, more memory',
  },
  EAGAIN: {
    code: 'system-limit',
    says: 'no more processes may be started',
    hint: 'raise the limit: "ulimit -u" in its shell, TasksMax= in its unit',
  },
  ENOSPC: {
    code: 'system-disk',
    says: 'the disk is full',
    hint: 'make room on it; "df -h" and "df -i" show which one is full',
  },
  EDQUOT: {
    code: 'system-disk',
    says: 'your quota of the disk is used up',
    hint: 'make room; "quota" shows what is used',
  },
  EROFS: {
    code: 'system-disk',
    says: 'the file system is read-only',
    hint: 'use a directory that can be written; a unit has ReadWritePaths=, a container volumes',
  },
  EIO: {
    code: 'system-disk',
    says: 'the disk fails',
    hint: 'see what the kernel says of it: "dmesg"',
  },
  EACCES: {
    code: 'system-permission',
    says: 'the system does not permit it',
    hint: 'look at the owner and mode of what is named, and at what the unit, SELinux or AppArmor forbids',
  },
  EPERM: {
    code: 'system-permission',
    says: 'the system does not permit it',
    hint: 'look at what the unit, the container, SELinux or AppArmor forbids',
  },
};

/** Of inotify(7), which has limits of its own and says them with other errors' names. */
const WATCHES: Readonly<Record<string, Refusal>> = {
  EMFILE: {
    code: 'system-limit',
    says: 'no more watches of files may be begun',
    hint: 'raise fs.inotify.max_user_instances with sysctl, or "ulimit -n"',
  },
  ENOSPC: {
    code: 'system-limit',
    says: 'no more files may be watched',
    hint: 'raise fs.inotify.max_user_watches with sysctl',
  },
};

/** The same as a TunnelError. undefined: it is one, or nothing of the kind. */
export function systemRefusal(error: unknown): TunnelError | undefined {
  for (const cause of causesOf(error)) {
    if (cause instanceof TunnelError) return undefined;
    const refusal = refusalOf(cause);
    if (refusal === undefined) continue;
    const { code, says, hint } = refusal;
    return new TunnelError(code, `${says} (${cause.message})`, { hint, cause: error });
  }
  return undefined;
}

/**
 * What ends the program. Where a limit of the system is behind an error, that error's own code and
 * hint would lead astray: they are for other causes.
 */
export function withSystemReason(error: unknown): unknown {
  if (!(error instanceof TunnelError)) return systemRefusal(error) ?? error;
  if (error.code === 'system-limit') return error;
  for (const cause of causesOf(error)) {
    const refusal = refusalOf(cause);
    if (refusal?.code !== 'system-limit') continue;
    const { says, hint } = refusal;
    return new TunnelError('system-limit', `${error.message}: ${says}`, { hint, cause: error });
  }
  return error;
}

function refusalOf(error: Error): Refusal | undefined {
  const name = nameOf(error);
  const call = 'syscall' in error ? String(error.syscall) : '';
  if (name === undefined) return undefined;
  if (call === 'watch' && WATCHES[name] !== undefined) return WATCHES[name];
  // It means other things where nothing is started.
  return name === 'EAGAIN' && !call.startsWith('spawn') ? undefined : REFUSALS[name];
}

function nameOf(error: Error): string | undefined {
  if (error instanceof TunnelError) return undefined;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (code === 'ERR_DLOPEN_FAILED') return LOADER.find(([says]) => says.test(error.message))?.[1];
  if (code !== undefined) return code;
  const number = 'errno' in error ? error.errno : undefined;
  if (!Number.isInteger(number) || number === 0) return undefined;
  // libuv's are negative, those of the native part positive.
  return NAMES.get(Math.abs(Number(number)));
}
