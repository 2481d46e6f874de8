/** The OpenSSH of this machine, as `--openssh` takes it. Its ssh and sshd are of one source. */
import { spawnSync } from 'node:child_process';
import { formatSshdVersion, NEWEST_SSHD, parseSshdVersion } from '../../src/jumphost/versions.ts';

export function installedOpenssh(): string {
  const [, version = ''] =
    /OpenSSH_([\d.]+)/.exec(spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr) ?? [];
  try {
    return formatSshdVersion(parseSshdVersion(version));
  } catch {
    return formatSshdVersion(NEWEST_SSHD); // newer than what is known
  }
}
