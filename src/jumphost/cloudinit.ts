/**
 * `tunnel jumphost cloud-init`: user-data that makes a cloud's image a jump host at its first boot.
 *
 *   ssh_pwauth, ssh_keys, ...   no passwords; a host key that is made there, or a given one
 *   package_...                 what the image has missed since it was made
 *   write_files                 what renderSshd renders, keys, and a script (cloudinitscript.ts)
 *   runcmd                      the script, when everything else is there
 *
 * The image's own user stays: whoever has the key that the cloud puts in administers the machine.
 *
 * The files are readable text, not compressed: what a compressor makes of the same text differs
 * between its versions, and clouds replace a machine whose user-data has changed.
 */
import { UsageError } from '../errors/errors.ts';
import { keyOptions } from './authorizedkey.ts';
import { cloudInitHead } from './cloudinithead.ts';
import {
  hostKeyPath,
  KEYS_FILE,
  MACHINE_DROP_IN,
  OPTIONS_FILE,
  SETUP_DIRECTORY,
  SETUP_SCRIPT,
  setupScript,
} from './cloudinitscript.ts';
import { KEYS_COMMAND_PATH } from './keyscommand.ts';
import { PAM_FILE, PAM_PATH } from './pam.ts';
import { comment, type JumpHostPlan, type RenderedFile } from './plan.ts';
import { DROP_IN, renderSshd } from './sshd.ts';
import { formatSshdVersion, knows, SINCE } from './versions.ts';
import { blockLines, quotedScalar } from './yaml.ts';

/** Nova's schema for servers: 65,535 characters of base64. */
export const MAX_USER_DATA_BYTES = 49_149;
/** EC2's: before base64. */
export const EC2_USER_DATA_BYTES = 16_384;

const FILE = 'user-data';

/**
 * One file. Throws UsageError for what no machine could be made of: a version without Match in
 * included files, more than MAX_USER_DATA_BYTES, and as keyOptions does.
 */
export function renderCloudInit(plan: JumpHostPlan): RenderedFile[] {
  if (!knows(plan.version, 'matchInInclude')) {
    throw new UsageError(
      `cloud-init is rendered for OpenSSH ${formatSshdVersion(SINCE.matchInInclude)} and later, not for ${formatSshdVersion(plan.version)}`,
      { hint: 'make the machine of a newer image: Debian 12, Ubuntu 22.04 or later' },
    );
  }
  const text = `${[
    '#cloud-config',
    comment(...cloudInitHead(plan)),
    'ssh_pwauth: false',
    'ssh_deletekeys: true',
    ...hostKeyLines(plan),
    'package_update: true',
    'package_upgrade: true',
    'write_files:',
    ...files(plan).map(entry),
    'runcmd:',
    `- [sh, ${SETUP_SCRIPT}]`,
  ].join('\n')}\n`;
  refuseTooLarge(Buffer.byteLength(text), plan);
  return [{ path: FILE, mode: plan.cloudInit.hostKey === undefined ? 0o644 : 0o600, text }];
}

/** What the user should know of a file that renderCloudInit has made, a sentence each. */
export function cloudInitWarnings(
  { cloudInit }: Pick<JumpHostPlan, 'cloudInit'>,
  files: readonly RenderedFile[],
): string[] {
  const bytes = files.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  return [
    ...(cloudInit.hostKey === undefined
      ? []
      : [
          "--host-private-key: the key lies in the machine's metadata; whoever runs a program there, or may ask the cloud's API, can read it",
        ]),
    ...(bytes <= EC2_USER_DATA_BYTES
      ? []
      : [
          `the user-data has ${bytes} bytes: OpenStack takes up to ${MAX_USER_DATA_BYTES}, EC2 only ${EC2_USER_DATA_BYTES}; for EC2 give it "gzip -9 ${FILE}", which cloud-init unpacks`,
        ]),
  ];
}

function refuseTooLarge(bytes: number, { keys }: JumpHostPlan): void {
  if (bytes <= MAX_USER_DATA_BYTES) return;
  throw new UsageError(
    `the user-data has ${bytes} bytes, and no cloud takes more than ${MAX_USER_DATA_BYTES}`,
    {
      hint:
        keys.join('\n').length > bytes / 2
          ? 'keep the keys elsewhere, as in: --keys-from https://keys.example.com/team'
          : 'list fewer destinations, or every port of a host by leaving its ports out',
    },
  );
}

function hostKeyLines({ cloudInit: { hostKey } }: JumpHostPlan): string[] {
  if (hostKey === undefined) return ['ssh_genkeytypes: [ed25519]'];
  const { kind, privateKey, publicKey, certificate } = hostKey;
  return [
    'ssh_keys:',
    `  ${kind}_private: ${scalar(privateKey, '    ')}`,
    `  ${kind}_public: ${publicKey}`,
    ...(certificate === undefined ? [] : [`  ${kind}_certificate: ${certificate.line}`]),
  ];
}

/** With their paths on the machine. */
function files(plan: JumpHostPlan): RenderedFile[] {
  const { keys } = plan;
  return [
    ...renderSshd(plan).map(installed),
    ...[
      { path: MACHINE_DROP_IN, mode: 0o600, text: machineDropIn(plan) },
      ...(keys.length === 0
        ? []
        : [
            { path: OPTIONS_FILE, mode: 0o600, text: `${keyOptions(plan)}\n` },
            { path: KEYS_FILE, mode: 0o600, text: `${keys.join('\n')}\n` },
          ]),
    ].map((file) => ({ ...file, path: `${SETUP_DIRECTORY}/${file.path}` })),
    { path: SETUP_SCRIPT, mode: 0o700, text: setupScript(plan) },
  ];
}

/**
 * A file of `sshd`, without what its comments say about installing it. The PAM file keeps them:
 * they tell administrators how users are enrolled. The script has no other comment that is of use
 * on the machine.
 */
function installed({ path, mode, text }: RenderedFile): RenderedFile {
  if (path === PAM_FILE) return { path: PAM_PATH, mode, text };
  if (path === DROP_IN) {
    const rest = text.slice(text.indexOf('\n\n') + 2);
    return { path: `${SETUP_DIRECTORY}/${DROP_IN}`, mode, text: `${RENDERED}${rest}` };
  }
  const rest = text
    .split('\n')
    .filter((line) => !/^ *#/.test(line))
    .join('\n')
    .replace(/^\n+/, '');
  return { path: KEYS_COMMAND_PATH, mode, text: `#!/bin/sh\n${RENDERED}${rest}` };
}

const RENDERED = `${comment('Rendered by: tunnel jumphost cloud-init')}\n`;

/** Its own host key, and no passwords for administrators either. */
function machineDropIn({ version, cloudInit: { hostKey, hostCa } }: JumpHostPlan): string {
  const path = hostKeyPath(hostKey?.kind ?? 'ed25519');
  return `${RENDERED}${[
    `HostKey ${path}`,
    ...(hostCa === undefined ? [] : [`HostCertificate ${path}-cert.pub`]),
    'PasswordAuthentication no',
    knows(version, 'kbdInteractiveInMatch')
      ? 'KbdInteractiveAuthentication no'
      : 'ChallengeResponseAuthentication no',
  ].join('\n')}\n`;
}

function entry({ path, mode, text }: RenderedFile): string {
  return [
    `- path: ${path}`,
    `  permissions: '${mode.toString(8).padStart(4, '0')}'`,
    `  content: ${scalar(text, '   ')}`,
  ].join('\n');
}

function scalar(text: string, indent: string): string {
  const lines = blockLines(text);
  if (lines === undefined) return quotedScalar(text);
  return ['|', ...lines.map((line) => (line === '' ? '' : `${indent}${line}`))].join('\n');
}
