/**
 * --mfa: a file of pam.conf(5) that asks for codes by time (RFC 6238), for sshd's stack to include
 * first.
 *
 *   not in the group       the module is skipped, and sshd's own stack goes on as before
 *   in the group           the code decides. A wrong one, no enrolment, or a fault in the file of
 *                          secrets refuses the login; the stack, with its passwords, isn't reached
 *
 * sshd asks PAM only after the key (AuthenticationMethods publickey,keyboard-interactive:pam), and
 * asks it nothing about a login with a key alone. The secrets are root's: the users have no part in
 * the files, since they have no shell.
 */
import { comment, GROUP, type JumpHostPlan, type MfaModule, type RenderedFile } from './plan.ts';

export const PAM_FILE = 'tunnel-mfa';
export const PAM_PATH = `/etc/pam.d/${PAM_FILE}`;
/** The secrets. Only root may read it. The modules write in it, so that no code is good twice. */
export const SECRETS = '/var/lib/tunnel-mfa';
const OATH_USERS = `${SECRETS}/users.oath`;

export const PACKAGES: Readonly<Record<MfaModule, string>> = {
  'google-authenticator': 'libpam-google-authenticator',
  oath: 'libpam-oath oathtool',
};

const MODULES: Readonly<Record<MfaModule, string>> = {
  'google-authenticator': `pam_google_authenticator.so user=root secret=${SECRETS}/\${USER}`,
  oath: `pam_oath.so usersfile=${OATH_USERS} window=2 digits=6`,
};

export function renderPam(mfa: MfaModule, { user }: Pick<JumpHostPlan, 'user'>): RenderedFile[] {
  const lines = [
    comment(...head(mfa, user)),
    '',
    comment('Whoever is not in the group: the next line is skipped.'),
    `auth [success=1 default=ignore] pam_succeed_if.so quiet user notingroup ${GROUP}`,
    comment('Whoever is: this decides, and nothing after it is asked.'),
    `auth [success=done default=die] ${MODULES[mfa]}`,
  ];
  return [{ path: PAM_FILE, mode: 0o644, text: `${lines.join('\n')}\n` }];
}

function head(mfa: MfaModule, user: string): string[] {
  return [
    `Codes by time for the group "${GROUP}", besides the key. Nobody else is asked for one.`,
    '',
    'Apply, as root (Debian and Ubuntu; others have packages of other names):',
    `  apt-get install ${PACKAGES[mfa]}`,
    `  install -d -m 700 ${SECRETS}`,
    `  install -m 644 ${PAM_FILE} ${PAM_PATH}`,
    `  grep -q 'include ${PAM_FILE}' /etc/pam.d/sshd ||`,
    `    sed -i '1i auth include ${PAM_FILE}' /etc/pam.d/sshd`,
    'Stay logged in until another login as an administrator has worked.',
    '',
    'A code belongs to a login, and so does its secret. Give each person a login, NAME below:',
    `  useradd --gid ${GROUP} --create-home --shell /usr/sbin/nologin --password '*' \\`,
    '    --key PASS_MAX_DAYS=-1 NAME',
    `("${user}" is one. People who share it share its secret, and a used code is used for all.)`,
    'For its key: tunnel jumphost authorized-key --user NAME. That file says where it goes.',
    '',
    ...ENROLMENT[mfa],
    '',
    'When the clock of this machine is wrong, all codes are refused: timedatectl shows it.',
    '',
    'Verify, from a client: a code is asked for after the key. A login without one is refused:',
    '  ssh -o PreferredAuthentications=publickey -N NAME@THIS-HOST',
    '',
    'Undo, as root, after the drop-in without --mfa has been installed:',
    `  sed -i '/include ${PAM_FILE}/d' /etc/pam.d/sshd`,
    `  rm -r ${PAM_PATH} ${SECRETS}`,
  ];
}

const ENROLMENT: Readonly<Record<MfaModule, readonly string[]>> = {
  'google-authenticator': [
    'Enrol NAME, as root. It shows a QR code for an app, and five codes to print, each good once:',
    '  google-authenticator --time-based --disallow-reuse --force --rate-limit=3 --rate-time=30 \\',
    '    --window-size=3 --emergency-codes=5 --no-confirm --issuer=jumphost --label=NAME \\',
    `    --secret=${SECRETS}/NAME`,
    '',
    'Recovery. A phone is lost: one of the printed codes logs in. None is left: enrol NAME again.',
    'Either way make the lost secret worthless by enrolling again. To lock NAME out:',
    `  rm ${SECRETS}/NAME`,
  ],
  oath: [
    'Enrol NAME, as root. The last line shows the "Base32 secret" to be typed into an app:',
    "  secret=$(head -c 20 /dev/urandom | od -An -v -tx1 | tr -d ' \\n')",
    '  umask 077',
    `  printf 'HOTP/T30/6 %s - %s\\n' NAME "$secret" >>${OATH_USERS}`,
    '  printf %s "$secret" | oathtool --totp --verbose -',
    '',
    'Recovery. A phone is lost: remove the line, and enrol NAME again. There are no printed codes.',
    'The same command without enrolling locks NAME out:',
    // The module writes the line again at each login, with tabs.
    `  sed -i '/^HOTP[^[:space:]]*[[:space:]]NAME[[:space:]]/d' ${OATH_USERS}`,
  ],
};
