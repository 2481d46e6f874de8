/**
 * An unprivileged user with a password, who exists only for programs that see the tests' copy of
 * /etc.
 */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export const USER = 'tunneltest';
export const UID = 47_110;
export const PASSWORD = 'correct horse';

/** The beginning of the tests' sudoers files. */
export const SUDOERS = 'root ALL=(ALL:ALL) ALL\nDefaults env_reset\nDefaults !lecture\n';

/**
 * Makes a copy of /etc in `directory`, with the user and these files (name to text). Returns a
 * function that wraps a command so that its process sees the copy as /etc. Needs root, unshare and
 * openssl.
 */
export function withEtc(
  directory: string,
  files: Readonly<Record<string, string>>,
  home = '/nonexistent',
  mode = 0o400,
): (argv: readonly string[]) => string[] {
  const etc = mkdtempSync(join(directory, 'etc-'));
  chmodSync(etc, 0o755);
  cpSync('/etc', etc, { recursive: true, verbatimSymlinks: true });
  appendFileSync(join(etc, 'passwd'), `${USER}:x:${UID}:${UID}::${home}:/bin/sh\n`);
  appendFileSync(join(etc, 'group'), `${USER}:x:${UID}:\n`);
  const digest = spawnSync('openssl', ['passwd', '-6', '-stdin'], {
    input: PASSWORD,
    encoding: 'utf8',
  });
  appendFileSync(
    join(etc, 'shadow'),
    `${USER}:${(digest.stdout ?? '*').trim()}:19000:0:99999:7:::\n`,
  );
  for (const [name, text] of Object.entries(files)) {
    rmSync(join(etc, name), { force: true });
    mkdirSync(dirname(join(etc, name)), { recursive: true, mode: 0o755 });
    writeFileSync(join(etc, name), text);
    chmodSync(join(etc, name), mode);
  }
  const script = 'mount --bind "$0" /etc && exec "$@"';
  return (argv) => ['unshare', '-m', 'sh', '-c', script, etc, ...argv];
}
