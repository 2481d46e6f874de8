/**
 * The comment of the user-data: how it is applied, verified and undone, and how users come to
 * believe the machine's host key.
 */
import {
  ADDRESS,
  CONSOLE_NAME,
  hostKeyPath,
  knownHost,
  MACHINE_DROP_IN,
  SETUP_DIRECTORY,
} from './cloudinitscript.ts';
import { KEYS_CACHE, KEYS_COMMAND_PATH, KEYS_COMMAND_USER } from './keyscommand.ts';
import { PAM_FILE, PAM_PATH, SECRETS } from './pam.ts';
import { formatPermitted } from './permitted.ts';
import type { GivenHostKey, JumpHostPlan } from './plan.ts';
import { DROP_IN } from './sshd.ts';
import { formatSshdVersion } from './versions.ts';

/** Lines without "#". */
export function cloudInitHead(plan: JumpHostPlan): string[] {
  const { version, mfa, cloudInit } = plan;
  return [
    `A forward-only jump host, of an image with OpenSSH ${formatSshdVersion(version)} or later.`,
    ...(cloudInit.hostKey === undefined
      ? []
      : [
          '',
          'A PRIVATE KEY IS IN THIS FILE, and will be in the metadata of the machine. Whoever runs a',
          "program there, or may ask the cloud's API, can read it.",
        ]),
    '',
    'Apply: this whole text is the user-data of a new machine. Paste it into the field of the',
    'dashboard, or:',
    '  openstack server create --user-data user-data --key-name KEY --image IMAGE --flavor FLAVOR \\',
    '    --network NETWORK NAME',
    'KEY is yours: with it the user of the image (debian, ubuntu, fedora, cloud-user), ADMIN below,',
    'logs in and administers the machine. At its first boot the machine needs the packages of its',
    'distribution.',
    ...(cloudInit.address === undefined
      ? [`${ADDRESS} below is the name or address by which users will reach it (--address).`]
      : []),
    '',
    'Verify:',
    `  openstack console log show NAME | grep -a ${CONSOLE_NAME}:   # READY, or what is wrong`,
    `  ssh ${portOption(plan)}ADMIN@${host(plan)} cloud-init status --long`,
    `  ${command(plan)}   # from a client`,
    ...(mfa === undefined
      ? []
      : [`Users can log in once they are enrolled: ${PAM_PATH} on the machine says how.`]),
    '',
    ...hostKey(plan),
    '',
    ...undo(plan),
  ];
}

function hostKey(plan: JumpHostPlan): string[] {
  const { hostKey, hostCa } = plan.cloudInit;
  if (hostKey !== undefined) return givenKey(plan, hostKey);
  if (hostCa !== undefined) return signedKey(plan, hostCa);
  return [
    'Host key: it is made there at the first boot. Users pin it with one of two lines of the console:',
    `  ${CONSOLE_NAME}: --host-key SHA256:...     is for the command line:`,
    `    ${command(plan, 'SHA256:...')}`,
    `  ${CONSOLE_NAME}: known_hosts: ...          is for ~/.ssh/known_hosts:`,
    `    ${knownHost(plan)} ssh-ed25519 AAAA...`,
    'cloud-init prints the same below "BEGIN SSH HOST KEY FINGERPRINTS" and "BEGIN SSH HOST KEY KEYS".',
  ];
}

function undo({ user, mfa, keysFrom }: JumpHostPlan): string[] {
  return [
    'Undo: delete the machine. To make an ordinary one of it instead, as root:',
    `  rm -r /etc/ssh/sshd_config.d/${DROP_IN} /etc/ssh/sshd_config.d/${MACHINE_DROP_IN} \\`,
    `    ${SETUP_DIRECTORY}`,
    '  systemctl try-reload-or-restart ssh   # Fedora, RHEL: sshd',
    `  pkill -u ${user}; userdel -r ${user}   # with its keys and connections`,
    ...(mfa === undefined
      ? []
      : [`  sed -i '/include ${PAM_FILE}/d' /etc/pam.d/sshd`, `  rm -r ${PAM_PATH} ${SECRETS}`]),
    ...(keysFrom.length === 0
      ? []
      : [`  rm -r ${KEYS_COMMAND_PATH} ${KEYS_CACHE} && userdel ${KEYS_COMMAND_USER}`]),
  ];
}

function givenKey(plan: JumpHostPlan, { publicKey, fingerprint, certificate }: GivenHostKey) {
  const { hostCa } = plan.cloudInit;
  const pin = [
    `  ${command(plan, fingerprint)}`,
    'or this line in ~/.ssh/known_hosts:',
    `  ${knownHost(plan)} ${publicKey}`,
  ];
  if (certificate === undefined || hostCa === undefined)
    return ['Host key: it is the given one. Users pin it:', ...pin];
  const { principals, until } = certificate;
  return [
    'Host certificate: users who have this line in ~/.ssh/known_hosts ask nothing about the key:',
    `  ${authorityLine(plan, hostCa)}`,
    `It is good for ${principals.length === 0 ? 'every name' : principals.map(visible).join(', ')}, ${until === undefined ? 'without end' : `until ${until.toISOString()}`}.`,
    'Who has no such line pins the key:',
    ...pin,
  ];
}

function signedKey(plan: JumpHostPlan, hostCa: string): string[] {
  const path = `${hostKeyPath('ed25519')}-cert.pub`;
  const to = `ssh ${portOption(plan)}ADMIN@${host(plan)}`;
  return [
    'Host certificate: users have this line in ~/.ssh/known_hosts:',
    `  ${authorityLine(plan, hostCa)}`,
    'The key is made there at the first boot, and then signed, where the private key of the authority',
    'is, CA below:',
    '  openstack console log show NAME |',
    `    sed -n 's/.*${CONSOLE_NAME}: known_hosts: [^ ]* \\(ssh-ed25519 [A-Za-z0-9+/=]*\\).*/\\1/p' |`,
    '    tail -n 1 >host.pub',
    `  ssh-keygen -s CA -h -I ${host(plan)} -n ${plan.cloudInit.address ?? ADDRESS} -V +52w host.pub`,
    `  ${to} sudo tee ${path} <host-cert.pub`,
    `  ${to} sudo systemctl reload ssh   # Fedora, RHEL: sshd`,
    'Until then, and after these 52 weeks, users are asked about the key. The line in the console with',
    '"--host-key SHA256:..." is its fingerprint.',
  ];
}

function authorityLine(plan: JumpHostPlan, hostCa: string): string {
  return `@cert-authority ${knownHost(plan)} ${hostCa}`;
}

/** The command of a user, with one destination of the list. */
function command(plan: JumpHostPlan, pin?: string): string {
  const { user, port, permitted } = plan;
  const [first] = permitted;
  const destination = first === undefined ? 'HOST:443' : formatPermitted(first);
  const at = `${user}@${host(plan)}${port === 22 ? '' : `:${port}`}`;
  const pinned = pin === undefined ? '' : ` --host-key ${pin}`;
  return `tunnel -r ${at}${pinned} ${destination.replace(/:\*$/, ':443')}`;
}

function host({ cloudInit: { address = ADDRESS } }: JumpHostPlan): string {
  return address.includes(':') ? `[${address}]` : address;
}

function portOption({ port }: JumpHostPlan): string {
  return port === 22 ? '' : `-p ${port} `;
}

/** Names in a certificate may be any text. */
function visible(text: string): string {
  return text.replace(/[\p{C}\p{Z}]/gu, '?');
}
