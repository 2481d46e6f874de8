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
 * sshd_config.d before the rest of sshd_config. docs/hardening.md explains each line: why it is
 * there, and what it costs.
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
export const DROP_IN_PATH = `/etc/ssh/sshd_config.d/${DROP_IN}`;
/** The drop-in, and what it needs: the PAM file of --mfa, the script of --keys-from. */
export function renderSshd(plan: JumpHostPlan): RenderedFile[] {
  const { version } = plan;
  const sections = [
    comment(...head(plan)),
    comment('For every login: sshd takes these only globally.'),
    lines(globalLines(plan)),
    comment('Nobody forwards anything, except the group below. Administrators log in as before.'),
    lines(DENIED.map((keyword) => [keyword, 'no'])),
    comment(
      `Forwarding to the listed destinations, and nothing else. One PermitOpen line: of several sshd`,
      'takes the first. Host and port are compared as text.',
    ),
    `Match Group ${GROUP}\n${lines(groupLines(plan, version), '    ')}`,
    comment('Whatever is read after this file is global again.'),
    'Match all',
  ];
  return [
    { path: DROP_IN, mode: 0o600, text: `${sections.join('\n\n')}\n` },
    ...(plan.mfa === undefined ? [] : renderPam(plan.mfa, plan)),
    ...(plan.keysFrom.length === 0 ? [] : renderKeysCommand(plan)),
  ];
}

type Line = readonly [keyword: string, value: string];

const DENIED = [
  'AllowTcpForwarding',
  'AllowStreamLocalForwarding',
  'AllowAgentForwarding',
  'X11Forwarding',
  'PermitTunnel',
  'GatewayPorts',
] as const;

function globalLines({ version, behindProxy, port, mfa }: JumpHostPlan): Line[] {
  return [
    ...(port === 22 ? [] : [['Port', String(port)] as const]),
    ['LoginGraceTime', '30'],
    // Many clients reconnect at the same time after an outage.
    ['MaxStartups', '100:30:200'],
    ...(behindProxy ? [] : perSource(version)),
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

/** Limits for one client's address. They would hit everybody where a proxy is in front. */
function perSource(version: SshdVersion): Line[] {
  return [
    ...(knows(version, 'perSourceMaxStartups')
      ? ([
          ['PerSourceMaxStartups', '20'],
          ['PerSourceNetBlockSize', '32:64'],
        ] as const)
      : []),
    ...(knows(version, 'perSourcePenalties')
      ? ([
          ['PerSourcePenalties', 'authfail:5s noauth:1s grace-exceeded:10s max:10m min:15s'],
        ] as const)
      : []),
  ];
}

function groupLines({ permitted, mfa, keysFrom }: JumpHostPlan, version: SshdVersion): Line[] {
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
    ['PasswordAuthentication', 'no'],
    ['KbdInteractiveAuthentication', mfa === undefined ? 'no' : 'yes'],
    ...(keysFrom.length === 0
      ? []
      : ([
          ['AuthorizedKeysCommand', KEYS_COMMAND],
          ['AuthorizedKeysCommandUser', KEYS_COMMAND_USER],
        ] as const)),
    ['MaxAuthTries', '4'],
    ['ClientAliveInterval', '30'],
    ['ClientAliveCountMax', '4'],
    // Idle connections of an application are its own affair.
    ...(knows(version, 'channelTimeout')
      ? ([
          // Not "none": with it, 9.2 to 9.7 end each connection of the group.
          ['ChannelTimeout', 'direct-tcpip=0'],
          ['UnusedConnectionTimeout', 'none'],
        ] as const)
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

function head(plan: JumpHostPlan): string[] {
  const { user, version, permitted, port } = plan;
  const example = formatPermitted(permitted[0] ?? { host: 'HOST', port: 443 }).replace(
    /:\*$/,
    ':443',
  );
  return [
    `A forward-only jump host for the group "${GROUP}", for OpenSSH ${formatSshdVersion(version)}.`,
    '',
    'Apply, as root:',
    `  getent group ${GROUP} >/dev/null || groupadd --system ${GROUP}`,
    `  useradd --gid ${GROUP} --create-home --shell /usr/sbin/nologin --password '*' ${user}`,
    `  install -m 600 ${DROP_IN} ${DROP_IN_PATH}`,
    "  grep -q '^Include /etc/ssh/sshd_config.d/' /etc/ssh/sshd_config ||",
    "    sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config",
    '  sshd -t && systemctl reload ssh   # sshd on Fedora and RHEL',
    `The keys of the users go into ~${user}/.ssh/authorized_keys ("tunnel jumphost authorized-key").`,
    ...(plan.keysFrom.length === 0
      ? []
      : [`Before sshd is reloaded, install ${KEYS_COMMAND_PATH}, as the script itself says.`]),
    ...(plan.mfa === undefined
      ? []
      : [`Before sshd is reloaded, install ${PAM_PATH}, as that file itself says.`]),
    '',
    'Verify:',
    `  sshd -T -C user=${user},host=x,addr=192.0.2.1 | grep -i -E 'permitopen|tcpforwarding'`,
    `  tunnel -r ${user}@THIS-HOST${port === 22 ? '' : `:${port}`} ${example}   # from a client`,
    '',
    'Undo, as root:',
    `  rm ${DROP_IN_PATH} && systemctl reload ssh`,
  ];
}

function lines(of: readonly Line[], indent = ''): string {
  return of.map(([keyword, value]) => `${indent}${keyword} ${value}`).join('\n');
}
