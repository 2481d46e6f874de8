/**
 * Has the sshd of this machine, where there is one, read a rendered drop-in: what it refuses, or
 * reads otherwise than it is meant, is a warning. It may be another build than the jump host's, so
 * that it can't decide.
 */
import { formatPermitted } from '../jumphost/permitted.ts';
import { FORCED_COMMAND, GROUP, type JumpHostPlan } from '../jumphost/plan.ts';
import { DROP_IN, renderSshd } from '../jumphost/sshd.ts';
import { formatSshdVersion, isOlder, type SshdVersion } from '../jumphost/versions.ts';
import type { Observer } from '../observe/observer.ts';
import { askSshd } from '../system/programs/sshd.ts';

/** The drop-in that renderSshd makes of `plan`. */
export async function checkDropIn(plan: JumpHostPlan, observer: Observer): Promise<void> {
  const text = renderSshd(plan).find(({ path }) => path === DROP_IN)?.text ?? '';
  // The group's accounts are on the jump host, and without one no Match Group is ever true.
  const here = text.replace(`\nMatch Group ${GROUP}\n`, `\nMatch User ${plan.user}\n`);
  const sshd = await askSshd(here, plan.user);
  if (sshd === undefined) {
    observer.log('info', 'there is no sshd here that could check the drop-in');
    return;
  }
  const { version, complaint, effective } = sshd;
  const own = `the sshd of this machine (OpenSSH ${version})`;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const local: SshdVersion = [major, minor];
  if (isOlder(local, plan.version)) {
    const wanted = formatSshdVersion(plan.version);
    observer.log('info', `${own} can't check a drop-in for ${wanted}`);
  } else if (complaint !== undefined) {
    observer.log('warning', `${own} refuses the drop-in: ${complaint}; try it on the jump host`);
  } else {
    const lacking = meant(plan).find((line) => !effective.includes(line));
    if (lacking === undefined) observer.log('info', `${own} takes the drop-in`);
    else observer.log('warning', `${own} reads the drop-in otherwise: it has no "${lacking}"`);
  }
}

/** What `sshd -T` must say of a login of the group. */
function meant({ permitted, mfa }: JumpHostPlan): string[] {
  return [
    'allowtcpforwarding local',
    `permitopen ${permitted.map(formatPermitted).join(' ')}`,
    'permitlisten none',
    'permittty no',
    'permittunnel no',
    'allowstreamlocalforwarding no',
    'allowagentforwarding no',
    'x11forwarding no',
    'maxsessions 0',
    `forcecommand ${FORCED_COMMAND}`,
    `authenticationmethods ${mfa === undefined ? 'publickey' : 'publickey,keyboard-interactive:pam'}`,
  ];
}
