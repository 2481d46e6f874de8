/**
 * OpenSSH 9.8 and later turns away an address that has failed to log in a few times. In a test, the
 * users who fail and those who don't often share one.
 */
import { spawnSync } from 'node:child_process';

const SSHD = '/usr/sbin/sshd';
const FIRST_VERSION = 9.08;

/** Lines of sshd_config(5), for the sshd of this machine. */
export const WITHOUT_PENALTIES: readonly string[] =
  sshdVersion() >= FIRST_VERSION ? ['PerSourcePenalties no'] : [];

/** 9.08 is 9.8. 0: there is none. */
function sshdVersion(): number {
  const { stderr } = spawnSync(SSHD, ['-V'], { encoding: 'utf8' });
  const [, major, minor] = /OpenSSH_(\d+)\.(\d+)/.exec(stderr ?? '') ?? [];
  return Number(major ?? 0) + Number(minor ?? 0) / 100;
}
