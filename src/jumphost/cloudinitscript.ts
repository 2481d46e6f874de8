/**
 * What cloud-init runs once on a new machine (runcmd), after it has written the files:
 *
 *   packages ─► accounts ─► drop-ins ─► sshd -t, sshd -T ─► port ─► reload ─► answers? ─► keys
 *                                           │ no              │ no               │ no
 *                                           ▼                 ▼                  ▼
 *                                    sshd's files as they were before; a line on the console
 *
 * The keys of the users come last: a machine that is no jump host in the end admits its
 * administrator and nobody else. The script may run again, and then has the same result.
 *
 * sshd reads its files when it starts or reloads. So a file that it can't read does no harm in the
 * time between its installation and the check.
 */
import { KEYS_CACHE, KEYS_COMMAND_USER } from './keyscommand.ts';
import { PACKAGES, PAM_FILE, SECRETS } from './pam.ts';
import { GROUP, type HostKeyKind, type JumpHostPlan } from './plan.ts';
import { DROP_IN } from './sshd.ts';

/** Where cloud-init puts what the script installs. Nothing else reads it there. */
export const SETUP_DIRECTORY = '/var/lib/tunnel-jumphost';
export const SETUP_SCRIPT = `${SETUP_DIRECTORY}/setup`;
/** The options before each key, as one line. */
export const OPTIONS_FILE = 'key-options';
/** A key a line, without options. */
export const KEYS_FILE = 'keys';
/** The second drop-in: the host's key, and no passwords. */
export const MACHINE_DROP_IN = '11-tunnel-machine.conf';
/** What each line on the console begins with. */
export const CONSOLE_NAME = 'tunnel-jumphost';
/** What stands for the address where the plan has none. */
export const ADDRESS = 'ADDRESS';

/** The file of the machine's host key. */
export function hostKeyPath(kind: HostKeyKind): string {
  return `/etc/ssh/ssh_host_${kind}_key`;
}

/** In the form of known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). */
export function knownHost({ cloudInit, port }: Pick<JumpHostPlan, 'cloudInit' | 'port'>): string {
  const host = cloudInit.address ?? ADDRESS;
  return port === 22 ? host : `[${host}]:${port}`;
}

export function setupScript(plan: JumpHostPlan): string {
  const sections = [
    HEAD,
    packages(plan),
    accounts(plan),
    ...(plan.mfa === undefined ? [] : [PAM]),
    dropIns(plan),
    ...(plan.port === 22 ? [] : [port(plan)]),
    reload(plan),
    ...(plan.keys.length === 0 ? [] : [keys(plan)]),
    ready(plan),
  ];
  return `${sections.join('\n\n')}\n`;
}

const HEAD = `#!/bin/sh
# Makes this machine a jump host. It may run again: sudo sh ${SETUP_SCRIPT}
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022
cd ${SETUP_DIRECTORY} || exit 1
say() { echo "${CONSOLE_NAME}: $*"; }
fail() {
  say "$*"
  say 'NOT READY: administrators can log in, users can not. Mend it, then: sudo sh ${SETUP_SCRIPT}'
  exit 1
}`;

function packages({ mfa, keysFrom }: JumpHostPlan): string {
  const fetches = keysFrom.some(({ kind }) => kind === 'url');
  return [
    ...(mfa === undefined
      ? []
      : ["command -v apt-get >/dev/null || fail '--mfa is rendered for Debian and Ubuntu'"]),
    '# Without upgrades it is still a jump host; without the others it would not be what was asked for.',
    'if command -v apt-get >/dev/null; then',
    '  get() { apt-get -qq -o DPkg::Lock::Timeout=300 install -y "$@" </dev/null; }',
    '  DEBIAN_FRONTEND=noninteractive',
    '  export DEBIAN_FRONTEND',
    "  get unattended-upgrades || say 'no unattended upgrades: the package is not installed'",
    '  printf \'APT::Periodic::%s "1";\\n\' Update-Package-Lists Unattended-Upgrade \\',
    '    >/etc/apt/apt.conf.d/52tunnel-upgrades',
    'else',
    '  get() { dnf -y -q install "$@" </dev/null; }',
    "  get dnf-automatic || say 'no unattended upgrades: the package is not installed'",
    '  if [ -f /etc/dnf/automatic.conf ]; then',
    "    sed -i 's/^ *apply_updates *=.*/apply_updates = yes/' /etc/dnf/automatic.conf",
    '  else',
    "    printf '[commands]\\napply_updates = yes\\n' >/etc/dnf/automatic.conf",
    '  fi',
    '  systemctl enable --now dnf-automatic.timer || systemctl enable --now dnf5-automatic.timer ||',
    "    say 'no unattended upgrades: there is no timer'",
    'fi',
    ...(mfa === undefined
      ? []
      : [
          `dpkg -s ${PACKAGES[mfa]} >/dev/null 2>&1 || get ${PACKAGES[mfa]} ||`,
          "  fail 'the packages of --mfa are not installed'",
        ]),
    ...(fetches
      ? [
          'command -v curl >/dev/null || get curl ca-certificates ||',
          "  fail 'curl is not installed, and --keys-from needs it'",
        ]
      : []),
  ].join('\n');
}

/** The "*" is no password, and unlike "!" it doesn't lock the account (see sshd.ts). */
function accounts({ user, keysFrom }: JumpHostPlan): string {
  return [
    `getent group ${GROUP} >/dev/null || groupadd --system ${GROUP} || fail 'no group'`,
    `if ! id -u ${user} >/dev/null 2>&1; then`,
    `  useradd --gid ${GROUP} --create-home --shell /usr/sbin/nologin --password '*' \\`,
    `    --key PASS_MAX_DAYS=-1 ${user} || fail 'no account'`,
    `elif [ "$(id -gn ${user})" != ${GROUP} ]; then`,
    `  fail '${user} is somebody else on this image: render with another --user'`,
    'fi',
    ...(keysFrom.length === 0
      ? []
      : [
          `id -u ${KEYS_COMMAND_USER} >/dev/null 2>&1 || useradd --system --home-dir /nonexistent \\`,
          `  --shell /usr/sbin/nologin ${KEYS_COMMAND_USER} || fail 'no account for --keys-from'`,
          `install -d -m 700 -o ${KEYS_COMMAND_USER} ${KEYS_CACHE}`,
        ]),
  ].join('\n');
}

const PAM = `install -d -m 700 ${SECRETS}
grep -q 'include ${PAM_FILE}' /etc/pam.d/sshd || sed -i '1i auth include ${PAM_FILE}' /etc/pam.d/sshd`;

function dropIns({ user }: JumpHostPlan): string {
  const asked = (login: string) => `sshd -T -C user=${login},host=x,addr=192.0.2.1`;
  return `# sshd -t wants this directory, which is not there before sshd has run for the first time.
[ -d /run/sshd ] || install -d -m 755 /run/sshd
install -d -m 755 /etc/ssh/sshd_config.d
included=
if ! grep -qiE '^ *Include +/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config; then
  sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
  included=1
fi
rm -f ./*.before
for file in ${DROP_IN} ${MACHINE_DROP_IN}; do
  [ ! -f "/etc/ssh/sshd_config.d/$file" ] || cp -p "/etc/ssh/sshd_config.d/$file" "$file.before"
  install -m 600 "$file" "/etc/ssh/sshd_config.d/$file"
done
take_back() {
  for file in ${DROP_IN} ${MACHINE_DROP_IN}; do
    rm -f "/etc/ssh/sshd_config.d/$file"
    [ ! -f "$file.before" ] || mv "$file.before" "/etc/ssh/sshd_config.d/$file"
  done
  [ -z "$included" ] || sed -i 1d /etc/ssh/sshd_config
  fail "$*"
}
sshd -t || take_back "sshd refuses its files: render for its version, $(ssh -V 2>&1 | cut -d, -f1)"
${asked(user)} >in-force
# The lines of the group are indented. One keyword has another name in newer versions.
other=$(awk '/^ / { $1 = tolower($1); print }' ${DROP_IN} | grep -v ^pubkeyaccepted |
  grep -vxFf in-force | cut -d ' ' -f 1)
[ -z "$other" ] ||
  take_back "another file of sshd_config.d overrules the drop-in for ${user}:" $other
! ${asked('root')} | grep -qxE '(password|kbdinteractive|challengeresponse)authentication yes' ||
  take_back 'another file of sshd_config.d lets passwords in'`;
}

function port({ port }: JumpHostPlan): string {
  return `# Ubuntu: with ssh.socket, systemd listens, at a port of its own.
if systemctl is-enabled --quiet ssh.socket 2>/dev/null; then
  systemctl disable --now ssh.socket
  systemctl enable ssh.service
fi
# Fedora, RHEL
if command -v getenforce >/dev/null && [ "$(getenforce)" != Disabled ]; then
  command -v semanage >/dev/null || get policycoreutils-python-utils
  semanage port -a -t ssh_port_t -p tcp ${port} || semanage port -m -t ssh_port_t -p tcp ${port} ||
    take_back 'SELinux does not learn the port'
fi
if command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; then
  firewall-cmd --permanent --add-port=${port}/tcp && firewall-cmd --reload
fi`;
}

function reload({ port, cloudInit }: JumpHostPlan): string {
  const kind = cloudInit.hostKey?.kind ?? 'ed25519';
  return `unit=ssh
systemctl cat ssh.service >/dev/null 2>&1 || unit=sshd
systemctl reload-or-restart "$unit"
key=$(cut -d ' ' -f 1,2 ${hostKeyPath(kind)}.pub)
tries=0
until ssh-keyscan -T 5 -t ${kind} -p ${port} 127.0.0.1 2>/dev/null | grep -qF "$key"; do
  tries=$((tries + 1))
  if [ "$tries" = 10 ]; then
    (take_back 'sshd does not answer at port ${port} with its key')
    systemctl restart "$unit"
    exit 1
  fi
  sleep 1
done`;
}

function keys({ user }: JumpHostPlan): string {
  return `home=$(getent passwd ${user} | cut -d : -f 6)
install -d -m 700 -o ${user} -g ${GROUP} "$home/.ssh"
read -r options <${OPTIONS_FILE}
while read -r line; do printf '%s %s\\n' "$options" "$line"; done <${KEYS_FILE} >authorized_keys
install -m 600 -o ${user} -g ${GROUP} authorized_keys "$home/.ssh/authorized_keys"`;
}

/** What users need, also where nobody can read what cloud-init itself prints. */
function ready(plan: JumpHostPlan): string {
  const path = hostKeyPath(plan.cloudInit.hostKey?.kind ?? 'ed25519');
  return `say "--host-key $(ssh-keygen -l -f ${path}.pub | cut -d ' ' -f 2)"
say "known_hosts: ${knownHost(plan)} $key"
say READY`;
}
