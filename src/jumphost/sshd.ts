/**
 * `tunnel jumphost sshd`: a drop-in for sshd_config(5) that makes a forward-only jump host.
 *
 *   global part    what sshd accepts only there: algorithms, and limits before the login. Nobody
 *                  forwards. Administrators log in as before
 *   Match Group    forwarding to the listed destinations, and nothing else: no session, no other
 *                  kind of forwarding. Where two lines prevent the same thing, both are there
 *   Match all      whatever is read after this file is global again
 *
 * sshd takes the first value that it reads of each keyword. On Debian, Ubuntu and Fedora it reads
 * sshd_config.d before the rest of sshd_config. Before 8.4 a Match in an included file never
 * matches: there the text goes into sshd_config, before its first line. docs/hardening.md explains
 * each line: why it is there, and what it costs.
 */
import {
  KEYS_COMMAND,
  KEYS_COMMAND_PATH,
  KEYS_COMMAND_USER,
  renderKeysCommand,
} from './keyscommand.ts';
import { PAM_PATH, renderPam } from './pam.ts';
import { formatPermitted } from './permitted.ts';
import { comment, FORCED_COMMAND, GROUP, type JumpHostPlan, type RenderedFile } from './plan.ts';
import { formatSshdVersion, knows, type SshdVersion } from './versions.ts';

/** Before what a distribution or a cloud image brings (50-cloud-init.conf). */
export const DROP_IN = '10-tunnel.conf';
const DROP_IN_DIRECTORY = '/etc/ssh/sshd_config.d';
export const DROP_IN_PATH = `${DROP_IN_DIRECTORY}/${DROP_IN}`;

/** The drop-in, and what it needs: the PAM file of --mfa, the script of --keys-from. */
export function renderSshd(plan: JumpHostPlan): RenderedFile[] {
  const sections = [
    comment(...head(plan)),
    comment('For every login: sshd takes these only globally.'),
    lines(globalLines(plan)),
    comment('Nobody forwards anything, except the group below. Administrators log in as before.'),
    lines(DENIED_LINES),
    comment(
      'Forwarding to the listed destinations, and nothing else. One PermitOpen line: of several sshd',
      'takes the first. Host and port are compared as text.',
    ),
    `Match Group ${GROUP}\n${lines(groupLines(plan), '    ')}`,
    ...ending(plan.version),
  ];
  return [
    { path: DROP_IN, mode: 0o600, text: `${sections.join('\n\n')}\n` },
    ...(plan.mfa === undefined ? [] : renderPam(plan.mfa, plan)),
    ...(plan.keysFrom.length === 0 ? [] : renderKeysCommand(plan)),
  ];
}

/**
 * In sshd_config itself, lines after `Match all` are of that Match: they would come before the
 * denials above. After an included file, sshd is where it was before.
 */
function ending(version: SshdVersion): string[] {
  if (knows(version, 'matchInInclude'))
    return [comment('Whatever is read after this file is global again.'), 'Match all'];
  return [
    comment('Whatever is read after this is for everybody again, except what was denied above.'),
    `Match all\n${lines(DENIED_LINES, '    ')}`,
  ];
}

export type Line = readonly [keyword: string, value: string];

export const DENIED_LINES: readonly Line[] = [
  ['AllowTcpForwarding', 'no'],
  ['AllowStreamLocalForwarding', 'no'],
  ['AllowAgentForwarding', 'no'],
  ['X11Forwarding', 'no'],
  ['PermitTunnel', 'no'],
  ['GatewayPorts', 'no'],
];

/** What holds for every login, before it and during it. */
export function globalLines({ version, behindProxy, port, mfa }: JumpHostPlan): Line[] {
  return [
    ...(port === 22 ? [] : [['Port', String(port)] as const]),
    // Somebody who has to find a code needs longer than a key.
    ['LoginGraceTime', mfa === undefined ? '30' : '120'],
    // Many clients reconnect at the same time after an outage.
    ['MaxStartups', '100:30:200'],
    ...(behindProxy ? unlimitedSources(version) : limitedSources(version)),
    ['StrictModes', 'yes'],
    // Distributions that build with PAM have this line in sshd_config already.
    ...(mfa === undefined ? [] : [['UsePAM', 'yes'] as const]),
    ['KexAlgorithms', kex(version).join(',')],
    ['Ciphers', CIPHERS.join(',')],
    ['MACs', MACS.join(',')],
    ['HostKeyAlgorithms', HOST_KEYS.join(',')],
    ...(knows(version, 'requiredRsaSize') ? [['RequiredRSASize', '2048'] as const] : []),
  ];
}

/**
 * Limits for one client's address. Versions 9.8 to 10.0 never forget a login that
 * PerSourceMaxStartups has counted, and shut its address out in the end. Older ones count rightly,
 * but what is rendered for them has to survive an upgrade.
 */
function limitedSources(version: SshdVersion): Line[] {
  const lines: Line[] = [];
  if (knows(version, 'perSourceForgotten'))
    lines.push(['PerSourceMaxStartups', '20'], ['PerSourceNetBlockSize', '32:64']);
  if (knows(version, 'perSourcePenalties'))
    lines.push([
      'PerSourcePenalties',
      'crash:90s authfail:5s noauth:1s grace-exceeded:10s max:10m min:15s',
    ]);
  return lines;
}

/** Where a proxy is in front, a limit would hit everybody. From 9.8 on sshd has one by default. */
function unlimitedSources(version: SshdVersion): Line[] {
  const lines: Line[] = [];
  if (knows(version, 'perSourceMaxStartups')) lines.push(['PerSourceMaxStartups', 'none']);
  if (knows(version, 'perSourcePenalties')) lines.push(['PerSourcePenalties', 'no']);
  return lines;
}

/** What holds for those who may forward. `keysUser` runs the script of --keys-from. */
export function groupLines(
  { permitted, mfa, keysFrom, version }: JumpHostPlan,
  keysUser = KEYS_COMMAND_USER,
): Line[] {
  return [
    ['AllowTcpForwarding', 'local'],
    ['PermitOpen', permitted.map(formatPermitted).join(' ')],
    ['PermitListen', 'none'],
    ['AllowStreamLocalForwarding', 'no'],
    ['AllowAgentForwarding', 'no'],
    ['X11Forwarding', 'no'],
    ['PermitTunnel', 'no'],
    ['PermitTTY', 'no'],
    ['PermitUserRC', 'no'],
    ['MaxSessions', '0'],
    ['ForceCommand', FORCED_COMMAND],
    [
      'AuthenticationMethods',
      mfa === undefined ? 'publickey' : 'publickey,keyboard-interactive:pam',
    ],
    ['PubkeyAuthentication', 'yes'],
    ...(knows(version, 'sha1Refused')
      ? []
      : [['PubkeyAcceptedKeyTypes', SHA2_SIGNATURES.join(',')] as const]),
    ['PasswordAuthentication', 'no'],
    ['KbdInteractiveAuthentication', mfa === undefined ? 'no' : 'yes'],
    ...(keysFrom.length === 0
      ? []
      : ([
          ['AuthorizedKeysCommand', KEYS_COMMAND],
          ['AuthorizedKeysCommandUser', keysUser],
        ] as const)),
    ['MaxAuthTries', '4'],
    ['ClientAliveInterval', '30'],
    ['ClientAliveCountMax', '4'],
    // A tunnel may carry no flow for hours. ChannelTimeout isn't here: no version up to 10.4 takes
    // it in a Match, and with "none" in one, 9.2 to 9.7 end each connection of the group.
    ...(knows(version, 'unusedConnectionTimeout')
      ? [['UnusedConnectionTimeout', 'none'] as const]
      : []),
    // The key's fingerprint and each denied destination are in the log at INFO; this adds what was
    // tried before.
    ['LogLevel', 'VERBOSE'],
  ];
}

/** From ssh-audit's guides (sshaudit.com/hardening_guides.html), hybrid post-quantum ones first. */
function kex(version: SshdVersion): string[] {
  return [
    ...(knows(version, 'mlkem') ? ['mlkem768x25519-sha256', 'sntrup761x25519-sha512'] : []),
    ...(knows(version, 'sntrup') ? ['sntrup761x25519-sha512@openssh.com'] : []),
    'curve25519-sha256',
    'curve25519-sha256@libssh.org',
    'diffie-hellman-group16-sha512',
    'diffie-hellman-group18-sha512',
  ];
}

/** No ChaCha20-Poly1305: peers without strict key exchange are open to CVE-2023-48795 with it. */
const CIPHERS = [
  'aes256-gcm@openssh.com',
  'aes128-gcm@openssh.com',
  'aes256-ctr',
  'aes192-ctr',
  'aes128-ctr',
];
const MACS = [
  'hmac-sha2-512-etm@openssh.com',
  'hmac-sha2-256-etm@openssh.com',
  'umac-128-etm@openssh.com',
];
const HOST_KEYS = [
  'ssh-ed25519-cert-v01@openssh.com',
  'rsa-sha2-512-cert-v01@openssh.com',
  'rsa-sha2-256-cert-v01@openssh.com',
  'ssh-ed25519',
  'rsa-sha2-512',
  'rsa-sha2-256',
];
/** What OpenSSH 8.8 and later accept by themselves: no SHA-1. The keyword's name is that of 8.2. */
const SHA2_SIGNATURES = [
  'ssh-ed25519',
  'sk-ssh-ed25519@openssh.com',
  'rsa-sha2-512',
  'rsa-sha2-256',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ecdsa-sha2-nistp256@openssh.com',
].flatMap((name) => [name, certified(name)]);

/** The algorithm for a certificate of such a key. */
function certified(name: string): string {
  return `${name.replace('@openssh.com', '')}-cert-v01@openssh.com`;
}

function head(plan: JumpHostPlan): string[] {
  const { user, version, permitted, port } = plan;
  const example = formatPermitted(permitted[0] ?? { host: 'HOST', port: 443 }).replace(
    /:\*$/,
    ':443',
  );
  const { apply, undo } = knows(version, 'matchInInclude') ? IN_DROP_IN : IN_SSHD_CONFIG;
  const keys = `~${user}/.ssh/authorized_keys`;
  return [
    `A forward-only jump host for the group "${GROUP}", for OpenSSH ${formatSshdVersion(version)}.`,
    '',
    'Apply, as root:',
    `  getent group ${GROUP} >/dev/null || groupadd --system ${GROUP}`,
    // The "*" is no password, but an account with "!" would be locked. A password that is too old
    // would take forwarding away (sshd's auth-pam.c).
    `  id -u ${user} >/dev/null 2>&1 ||`,
    `    useradd --gid ${GROUP} --create-home --shell /usr/sbin/nologin --password '*' \\`,
    `      --key PASS_MAX_DAYS=-1 ${user}`,
    ...prerequisites(plan),
    ...apply,
    ...(plan.keysFrom.length === 0
      ? [`The keys of the users go into ${keys} ("tunnel jumphost authorized-key").`]
      : [`Keys in ${keys} are good besides those of --keys-from.`]),
    ...notes(plan),
    '',
    'Verify:',
    `  sshd -T -C user=${user},host=x,addr=192.0.2.1 |`,
    "    grep -E '^(maxsessions 0|allowtcpforwarding local|permitopen .+)$'   # three lines",
    `  tunnel -r ${user}@THIS-HOST${port === 22 ? '' : `:${port}`} ${example}   # from a client`,
    '',
    'Undo, as root:',
    ...undo,
    'The account goes with its keys, and ends the connections that it has:',
    `  pkill -u ${user}; userdel --remove ${user}`,
    // userdel takes the group of the same name with it (USERGROUPS_ENAB in login.defs).
    ...(user === GROUP ? [] : [`  groupdel ${GROUP}`]),
  ];
}

const RELOAD = 'systemctl try-reload-or-restart ssh';

/**
 * A file that sshd can't read would keep it from starting again. An earlier rendering comes back
 * then: without any, the group could do what everybody can.
 */
const IN_DROP_IN = {
  apply: [
    `  install --backup=simple --suffix=.before -m 600 ${DROP_IN} ${DROP_IN_PATH}`,
    "  grep -qiE '^ *Include +/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config ||",
    "    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config",
    `  if sshd -t; then ${RELOAD}; else (`,
    `    cd ${DROP_IN_DIRECTORY}`,
    `    mv ${DROP_IN}.before ${DROP_IN} 2>/dev/null || rm ${DROP_IN}`,
    '  ); fi',
    'The service is called sshd on Fedora and RHEL.',
  ],
  undo: [`  rm -f ${DROP_IN_PATH} ${DROP_IN_PATH}.before`, `  ${RELOAD}`],
} as const;

/** As it was before the first rendering. */
const BEFORE = '/etc/ssh/sshd_config.before-tunnel';
const NEW = '/etc/ssh/sshd_config.with-tunnel';
const IN_SSHD_CONFIG = {
  apply: [
    `  base=${BEFORE}; [ -e "$base" ] || base=/etc/ssh/sshd_config`,
    `  cp -p "$base" ${NEW} && cat ${DROP_IN} "$base" >${NEW}`,
    `  if sshd -t -f ${NEW}; then`,
    `    cp -np /etc/ssh/sshd_config ${BEFORE}`,
    `    mv ${NEW} /etc/ssh/sshd_config; ${RELOAD}`,
    `  else rm ${NEW}; fi`,
    'An earlier rendering is replaced, and with it what was changed in sshd_config since.',
    'Not in sshd_config.d: before OpenSSH 8.4 a Match in an included file never matches.',
  ],
  undo: [`  mv ${BEFORE} /etc/ssh/sshd_config && ${RELOAD}`],
} as const;

/** Files that have to be there before sshd reads the drop-in. */
function prerequisites({ mfa, keysFrom }: JumpHostPlan): string[] {
  const files = [
    ...(mfa === undefined ? [] : [PAM_PATH]),
    ...(keysFrom.length === 0 ? [] : [KEYS_COMMAND_PATH]),
  ];
  return files.length === 0
    ? []
    : [`Install ${files.join(' and ')} first.`, 'The comments in there say how. Then:'];
}

/** What some plans need besides. */
function notes({ port, behindProxy, version }: JumpHostPlan): string[] {
  return [
    ...(port === 22
      ? []
      : [
          'Port holds for administrators too. Where systemd listens for sshd (ssh.socket, as on Ubuntu',
          '22.10 and later), sshd ignores it until systemd has handed the port over:',
          '  systemctl disable --now ssh.socket && systemctl enable --now ssh.service',
          'SELinux (Fedora, RHEL) wants to know the port:',
          `  semanage port -a -t ssh_port_t -p tcp ${port}`,
        ]),
    ...(behindProxy && !knows(version, 'perSourcePenalties')
      ? [
          'OpenSSH 9.8 and later punish addresses by themselves, here the proxy. Once the host has it,',
          'render again with its --openssh.',
        ]
      : []),
  ];
}

export function lines(of: readonly Line[], indent = ''): string {
  return of.map(([keyword, value]) => `${indent}${keyword} ${value}`).join('\n');
}
