/**
 * The whole sshd_config of an sshd that runs as the user who logs in, without a capability:
 *
 *   no PAM               it needs root
 *   one login            an unprivileged sshd can't become anybody else
 *   no Match             what the drop-in (sshd.ts) grants to a group is global here
 *   StrictModes no       the kubelet's volumes have mode 0777, and are mounted read-only
 *
 * The lines that make it forward-only are the drop-in's.
 */
import { keyOptions } from '../authorizedkey.ts';
import { ABOUT_CACHE, keysScript, nameOf } from '../keyscommand.ts';
import { comment, type JumpHostPlan } from '../plan.ts';
import { globalLines, groupLines, type Line, lines } from '../sshd.ts';
import { formatSshdVersion } from '../versions.ts';
import {
  CACHE_PATH,
  HOST_KEY,
  HOST_KEY_DIRECTORY,
  KEYS_DIRECTORY,
  KEYS_FILE,
  SCRIPT_FILE,
  SCRIPT_PATH,
  SSH_PORT,
} from './names.ts';

export function sshdConfig(plan: JumpHostPlan): string {
  const { user, keys, version } = plan;
  // No port of its own, and none of PAM's lines.
  const shared = globalLines({ ...plan, port: 22, mfa: undefined }).map(
    ([keyword, value]): Line => (keyword === 'StrictModes' ? [keyword, 'no'] : [keyword, value]),
  );
  const sections = [
    comment(
      `The whole configuration of an sshd that runs as "${user}", without a capability, for OpenSSH`,
      `${formatSshdVersion(version)}. To change it, render again and apply: the pods are replaced one by one.`,
      'Verify, in a pod: sshd -t -f THIS-FILE',
    ),
    lines([
      ['Port', String(SSH_PORT)],
      ['HostKey', `${HOST_KEY_DIRECTORY}/${HOST_KEY}`],
      ['PidFile', 'none'],
      // It needs root.
      ['UsePAM', 'no'],
      // An unprivileged sshd can't become anybody else.
      ['AllowUsers', user],
      ['AuthorizedKeysFile', keys.length === 0 ? 'none' : `${KEYS_DIRECTORY}/${KEYS_FILE}`],
    ]),
    comment(
      'StrictModes would refuse the volumes of Kubernetes: their directories have mode 0777. They are',
      'mounted read-only, so that nobody can write there.',
    ),
    lines(shared),
    comment('Forwarding to the listed destinations, and nothing else.'),
    lines([...groupLines(plan, user), ['GatewayPorts', 'no']]),
  ];
  return `${sections.join('\n\n')}\n`;
}

/** Lines of authorized_keys. What may be reached is in sshd_config alone, once for all of them. */
export function authorizedKeys({ keys, from }: Pick<JumpHostPlan, 'keys' | 'from'>): string {
  const options = keyOptions({ permitted: [], from });
  return `${keys.map((key) => `${options} ${key}`).join('\n')}\n`;
}

/** The script of --keys-from. `plan.keysFrom` has at least one entry. */
export function containerKeysScript(plan: JumpHostPlan): string {
  return keysScript(
    // As for authorizedKeys.
    { ...plan, permitted: [] },
    { path: SCRIPT_PATH, user: plan.user, cache: CACHE_PATH, where: 'container' },
    [
      'Prints the public keys of those who may log in. sshd runs it at each login, as its own user.',
      `Applied, verified and undone with the ConfigMap that it comes in, as ${SCRIPT_FILE}.`,
      '',
      'Sources:',
      ...plan.keysFrom.map((source) => `  ${nameOf(source)}`),
      '',
      ...ABOUT_CACHE,
    ],
  );
}
