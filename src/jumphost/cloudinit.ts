/**
 * `tunnel jumphost cloud-init`: user-data that makes a cloud's image a jump host at its first boot.
 *
 *   write_files   what renderSshd renders, and a script (cloudinitscript.ts)
 *   runcmd        the script, when everything else is there
 *   ssh_...       no passwords; a host key that is made on the machine
 *
 * The image's own user stays: whoever has the key that the cloud puts in administers the machine.
 */
import { keyOptions } from './authorizedkey.ts';
import {
  KEYS_FILE,
  OPTIONS_FILE,
  SETUP_DIRECTORY,
  SETUP_SCRIPT,
  setupScript,
} from './cloudinitscript.ts';
import { KEYS_COMMAND_PATH } from './keyscommand.ts';
import { PAM_FILE, PAM_PATH } from './pam.ts';
import { comment, type JumpHostPlan, type RenderedFile } from './plan.ts';
import { DROP_IN, renderSshd } from './sshd.ts';
import { blockLines } from './yaml.ts';

const FILE = 'user-data';

/** Throws UsageError as keyOptions does. */
export function renderCloudInit(plan: JumpHostPlan): RenderedFile[] {
  const text = [
    '#cloud-config',
    comment(...head(plan)),
    'ssh_pwauth: false',
    'ssh_genkeytypes: [ed25519]',
    'package_update: true',
    'package_upgrade: true',
    'write_files:',
    ...files(plan).map(entry),
    'runcmd:',
    `- [sh, ${SETUP_SCRIPT}]`,
  ].join('\n');
  return [{ path: FILE, mode: 0o600, text: `${text}\n` }];
}

/** With their paths on the machine. */
function files(plan: JumpHostPlan): RenderedFile[] {
  return [
    ...renderSshd(plan).map((file) => ({ ...file, path: placeOf(file) })),
    ...(plan.keys.length === 0
      ? []
      : [
          { path: OPTIONS_FILE, mode: 0o600, text: `${keyOptions(plan)}\n` },
          { path: KEYS_FILE, mode: 0o600, text: `${plan.keys.join('\n')}\n` },
        ]),
    { path: '/etc/apt/apt.conf.d/52tunnel-upgrades', mode: 0o644, text: UPGRADES },
    { path: SETUP_SCRIPT, mode: 0o700, text: setupScript(plan) },
  ];
}

const UPGRADES = `APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
`;

function placeOf({ path }: RenderedFile): string {
  if (path === DROP_IN) return `${SETUP_DIRECTORY}/${path}`;
  return path === PAM_FILE ? PAM_PATH : KEYS_COMMAND_PATH;
}

/** An entry of write_files. What a block can't hold is written in base64. */
function entry({ path, mode, text }: RenderedFile): string {
  const lines = blockLines(text);
  return [
    `- path: ${path}`,
    `  permissions: '${mode.toString(8).padStart(4, '0')}'`,
    ...(lines === undefined
      ? ['  encoding: b64', `  content: ${Buffer.from(text).toString('base64')}`]
      : ['  content: |', ...lines.map((line) => (line === '' ? '' : `    ${line}`))]),
  ].join('\n');
}

function head({ user, port }: JumpHostPlan): string[] {
  return [
    'A forward-only jump host.',
    '',
    'Apply: paste it as the user-data of a new machine.',
    'Verify: its console shows "tunnel-jumphost: READY", and its host key.',
    `  tunnel -r ${user}@THIS-HOST${port === 22 ? '' : `:${port}`} ...`,
    'Undo: delete the machine.',
  ];
}
