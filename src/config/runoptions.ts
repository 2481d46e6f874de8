/** The options of the run itself: what is logged, and where readiness is reported. */
import { fstatSync, readFileSync, readlinkSync } from 'node:fs';
import { isLinux } from '../base/platform.ts';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, type Place } from '../net/place.ts';
import type { Level } from '../observe/observer.ts';
import { descriptorsOfNode } from '../system/descriptors.ts';
import { counted, type GivenOptions, once, readOptions, toggle } from './option.ts';

const HEADING = 'Running:';

/** For commands that become ready. */
export const READY_OPTIONS = {
  heading: HEADING,
  options: {
    readyFd: once(
      '--ready-fd <number>',
      'write READY=1 to this descriptor when traffic flows',
      readDescriptor,
    ),
  },
} as const;

export const VERBOSITY_OPTIONS = {
  heading: HEADING,
  options: {
    verbose: counted('-v, --verbose', 'log more (-vv: everything)'),
    quiet: toggle('-q, --quiet', 'log only warnings and errors'),
  },
} as const;

/** For commands that run until they are stopped, and have the terminal for themselves. */
export const PROGRESS_OPTIONS = {
  heading: HEADING,
  options: {
    noProgress: toggle('--no-progress', 'on a terminal, show messages only and no report below'),
  },
} as const;

/** Whether a report is shown on a terminal. */
export function readProgress(given: GivenOptions): boolean {
  return readOptions(PROGRESS_OPTIONS, given).noProgress === undefined;
}

/** Throws UsageError. */
export function readLogLevel(given: GivenOptions): Level {
  const { verbose, quiet } = readOptions(VERBOSITY_OPTIONS, given);
  if (quiet === undefined) return (['notice', 'info'] as const)[verbose.length] ?? 'debug';
  if (verbose.length === 0) return 'warning';
  throw new UsageError(`${filePrefix(quiet)}-q and -v exclude each other`, {
    hint: 'leave one of them out',
  });
}

/** undefined: readiness is not reported. Throws UsageError. */
export function readReadyFd(given: GivenOptions): number | undefined {
  return readOptions(READY_OPTIONS, given).readyFd?.value;
}

function readDescriptor(text: string, place: Place): number {
  const at = formatPlace(place);
  if (!/^(0|[1-9][0-9]{0,8})$/.test(text)) {
    throw new UsageError(`${at}: ${quoted(text)} is not the number of a file descriptor`, {
      hint: 'open one for it, as in: --ready-fd 3 3>ready',
    });
  }
  const fd = Number(text);
  if (fd === 0 || fd === 2) {
    throw new UsageError(`${at}: ${fd} is standard ${fd === 0 ? 'input' : 'error'}`, {
      hint: 'open another one for it, as in: --ready-fd 3 3>ready',
    });
  }
  if (!isWritable(fd) || descriptorsOfNode().has(fd)) {
    throw new UsageError(`${at}: descriptor ${fd} isn't open for writing`, {
      hint: `open it for the program, as in: --ready-fd ${fd} ${fd}>ready`,
    });
  }
  return fd;
}

const ACCESS_MODE = 0o3;

/**
 * Whether the caller has opened it. The runtime's own descriptors (epoll, eventfd, ...) also have
 * low numbers.
 */
function isWritable(fd: number): boolean {
  try {
    if (!isLinux()) return fstatSync(fd) !== undefined;
    const flags =
      /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
    const readOnly = (Number.parseInt(flags, 8) & ACCESS_MODE) === 0;
    return !readOnly && !readlinkSync(`/proc/self/fd/${fd}`).startsWith('anon_inode:');
  } catch {
    // ENOENT: the descriptor is not open.
    return false;
  }
}
