/**
 * What cloud-init runs once on a new machine (runcmd), after it has written the files:
 *
 *   packages ─► accounts ─► drop-in ─► sshd -t, sshd -T ─► port ─► reload ─► keys of the users
 *                                            │ refused
 *                                            └─► everything of sshd as it was; no keys; a line on
 *                                                the console
 *
 * The keys come last: a machine that isn't a jump host in the end admits its administrator and
 * nobody else. The script may run again, and then has the same result.
 */
import { KEYS_CACHE, KEYS_COMMAND_USER } from './keyscommand.ts';
import { PACKAGES, PAM_FILE, SECRETS } from './pam.ts';
import { GROUP, type JumpHostPlan } from './plan.ts';
import { DROP_IN, DROP_IN_PATH } from './sshd.ts';

/** Where cloud-init puts what the script installs. Nothing reads it there. */
export const SETUP_DIRECTORY = '/var/lib/tunnel-jumphost';
export const SETUP_SCRIPT = `${SETUP_DIRECTORY}/setup`;
/** The options before each key, as one line. */
export const OPTIONS_FILE = `${SETUP_DIRECTORY}/key-options`;
/** A key a line, without options. */
export const KEYS_FILE = `${SETUP_DIRECTORY}/keys`;

export function setupScript(plan: JumpHostPlan): string {
  const sections = [
    HEAD,
    packages(plan),
    accounts(plan),
    ...(plan.mfa === undefined ? [] : [PAM]),
    sshd(plan),
    ...(plan.port === 22 ? [] : [port(plan)]),
    RELOAD,
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
say() { echo "tunnel-jumphost: $*"; }
fail() {
  say "$*"
  say 'NOT READY: no user can log in, administrators can. Mend it, then: sudo sh ${SETUP_SCRIPT}'
  exit 1
}`;

function packages({ mfa, keysFrom }: JumpHostPlan): string {
  const fetches = keysFrom.some(({ kind }) => kind === 'url');
  return [
    'if command -v apt-get >/dev/null; then',
    '  export DEBIAN_FRONTEND=noninteractive',
    '  get() { apt-get -qq -o DPkg::Lock::Timeout=300 install -y "$@" </dev/null; }',
    '  get unattended-upgrades || say "no unattended upgrades: the package can\'t be installed"',
    ...(mfa === undefined
      ? []
      : [`  get ${PACKAGES[mfa]} || fail "the package of --mfa can't be installed"`]),
    ...(fetches
      ? [
          '  get curl ca-certificates || command -v curl >/dev/null || fail "curl can\'t be installed"',
        ]
      : []),
    'else',
    ...(mfa === undefined ? [] : ["  fail '--mfa is rendered for Debian and Ubuntu'"]),
    '  dnf -y -q install dnf-automatic || say "no unattended upgrades: the package can\'t be installed"',
    "  sed -i 's/^ *apply_updates *=.*/apply_updates = yes/' /etc/dnf/automatic.conf",
    '  systemctl enable --now dnf-automatic.timer || systemctl enable --now dnf5-automatic.timer',
    'fi',
  ].join('\n');
}

function accounts({ user, keysFrom }: JumpHostPlan): string {
  return [
    `getent group ${GROUP} >/dev/null || groupadd --system ${GROUP} || fail 'no group'`,
    `if ! id -u ${user} >/dev/null 2>&1; then`,
    `  useradd --gid ${GROUP} --create-home --shell /usr/sbin/nologin --password '*' \\`,
    `    --key PASS_MAX_DAYS=-1 ${user} || fail 'no account'`,
    `elif [ "$(id -gn ${user})" != ${GROUP} ]; then`,
    `  fail '${user} is an account of this image: render with another --user'`,
    'fi',
    ...(keysFrom.length === 0
      ? []
      : [
          `id -u ${KEYS_COMMAND_USER} >/dev/null 2>&1 || useradd --system --home-dir /nonexistent \\`,
          `  --shell /usr/sbin/nologin ${KEYS_COMMAND_USER} || fail 'no account for the keys'`,
          `install -d -m 700 -o ${KEYS_COMMAND_USER} ${KEYS_CACHE}`,
        ]),
  ].join('\n');
}

const PAM = `install -d -m 700 ${SECRETS}
grep -q 'include ${PAM_FILE}' /etc/pam.d/sshd || sed -i '1i auth include ${PAM_FILE}' /etc/pam.d/sshd`;

const BEFORE = '/etc/ssh/sshd_config.before-tunnel';

function sshd({ user }: JumpHostPlan): string {
  return `# Where nobody has logged in yet, sshd's directory may not be there, and it is needed for -t.
install -d -m 755 /run/sshd
[ -f ${BEFORE} ] || cp -p /etc/ssh/sshd_config ${BEFORE}
install -d -m 755 /etc/ssh/sshd_config.d
grep -qiE '^ *Include +/etc/ssh/sshd_config\\.d/' /etc/ssh/sshd_config ||
  sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config
install -m 600 ${DROP_IN} ${DROP_IN_PATH}
if ! sshd -t || ! sshd -T -C user=${user},host=x,addr=192.0.2.1 | grep -qx 'maxsessions 0'; then
  rm -f ${DROP_IN_PATH}
  cp -p ${BEFORE} /etc/ssh/sshd_config
  fail "sshd does not take the drop-in; render it for this version: $(sshd -V 2>&1 | grep OpenSSH)"
fi`;
}

function port({ port }: JumpHostPlan): string {
  return `if systemctl is-enabled --quiet ssh.socket 2>/dev/null; then
  systemctl disable --now ssh.socket
  systemctl enable ssh.service
fi
if command -v getenforce >/dev/null && [ "$(getenforce)" != Disabled ]; then
  command -v semanage >/dev/null || dnf -y -q install policycoreutils-python-utils
  semanage port -a -t ssh_port_t -p tcp ${port} || semanage port -m -t ssh_port_t -p tcp ${port} ||
    fail 'SELinux does not know the port'
fi
if command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; then
  firewall-cmd --permanent --add-port=${port}/tcp && firewall-cmd --reload
fi`;
}

const RELOAD = `unit=ssh
systemctl cat ssh.service >/dev/null 2>&1 || unit=sshd
systemctl reload-or-restart "$unit" || fail 'sshd does not start'`;

function keys({ user }: JumpHostPlan): string {
  return `home=$(getent passwd ${user} | cut -d: -f6)
install -d -m 700 -o ${user} -g ${GROUP} "$home/.ssh"
read -r options <key-options
while read -r key; do printf '%s %s\\n' "$options" "$key"; done <keys >authorized_keys
install -m 600 -o ${user} -g ${GROUP} authorized_keys "$home/.ssh/authorized_keys"`;
}

function ready({ user }: JumpHostPlan): string {
  return `say 'READY for ${user}. Its host key:'
say "--host-key $(ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2)"`;
}
