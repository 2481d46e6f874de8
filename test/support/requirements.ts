/** Finds out by trying whether the lab can be made on this machine. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import { SEARCH_PATH } from './process.ts';

/** Each program and its package on Debian and Ubuntu. */
const PROGRAMS: readonly (readonly [program: string, hint: string])[] = [
  ['ip', 'iproute2'],
  ['nft', 'nftables'],
  ['ssh', 'openssh-client'],
  ['ssh-keygen', 'openssh-client'],
  ['sshd', 'openssh-server'],
  ['mount', 'mount'],
  ['setpriv', 'util-linux'],
];

function hasProgram(program: string): boolean {
  return SEARCH_PATH.split(':').some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false; // not here
    }
  });
}

let reason: string | false | undefined;

function find(): string | false {
  if (process.getuid?.() !== 0) return 'the lab needs root (network namespaces and a real sshd)';
  const missing = PROGRAMS.filter(([program]) => !hasProgram(program));
  if (missing.length > 0) {
    const packages = [...new Set(missing.map(([, hint]) => hint))].join(' ');
    return `the lab lacks ${missing.map(([program]) => program).join(', ')} (packages: ${packages})`;
  }
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'the lab needs /dev/net/tun (in a container: --device /dev/net/tun)';
  }
  // Root in a container may lack CAP_SYS_ADMIN or the right to mount; only trying shows it.
  const probe = `tlprobe-${process.pid.toString(16)}`;
  const script = `ip netns add ${probe} && ip netns exec ${probe} mount --bind /etc/hosts /etc/hosts; status=$?
    ip netns del ${probe}; exit $status`;
  const result = spawnSync('sh', ['-c', script], {
    env: { PATH: SEARCH_PATH, LANG: 'C' },
    encoding: 'utf8',
  });
  if (result.status !== 0)
    return `network namespaces can't be made here: ${result.stderr.trim().split('\n')[0]}`;
  return false;
}

/**
 * For `test(name, { skip: labUnavailable() }, ...)`: false, or what is missing. `programs` are
 * those that the test itself runs, besides the lab's own.
 */
export function labUnavailable(...programs: readonly string[]): string | false {
  reason ??= find();
  if (reason !== false) return reason;
  return missingPrograms(...programs);
}

/** False, or which of these programs that a test runs are not installed. */
export function missingPrograms(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => !hasProgram(program));
  return missing.length > 0 && `this test lacks ${missing.join(', ')}`;
}

/** False, or that IPv6 is turned off here, as in many containers. */
export const ipv6Missing: string | false = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
)
  ? false
  : 'this machine has no ::1';

/** False, or how to build `program` with AddressSanitizer and UBSan. */
export function sanitizedMissing(program: string): string | false {
  return !existsSync(program) && `${program} isn't built: make -C native sanitized`;
}

/** For tests that run Python programs: false, or which module `interpreter` lacks. */
export function moduleMissing(interpreter: string, ...modules: readonly string[]): string | false {
  const result = spawnSync(interpreter, ['-c', `import ${modules.join(', ')}`], {
    encoding: 'utf8',
  });
  if (result.error !== undefined) return `${interpreter} is not installed`;
  return result.status !== 0 && `this test lacks ${modules.join(' or ')} for ${interpreter}`;
}

/**
 * For tests that run the program as another user: false, or which directory above `file` keeps
 * others out, as with a checkout in /root.
 */
export function closedToOthers(file: string): string | false {
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    if ((statSync(directory).mode & 0o005) !== 0o005) return `other users can't read ${directory}`;
    if (directory === '/') return false;
  }
}
