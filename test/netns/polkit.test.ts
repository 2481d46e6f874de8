/**
 * The rule of packaging/polkit, in polkit itself: what it permits the services of tunnel, and
 * nobody else. polkitd and its bus run in a mount namespace with the actions of systemd-resolved,
 * this rule alone, and users of the test.
 */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { resolvedCalls, revertCall } from '../../src/system/resolver/resolved.ts';
import { labUnavailable } from '../support/lab.ts';
import { mustRun } from '../support/process.ts';
import { BUS_CONFIGURATION, findResolved } from '../support/resolveddaemon.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const RULE = join(ROOT, 'packaging/polkit/50-tunnel.rules');
/** Beside systemd-resolved, installed or unpacked. */
const ACTIONS = (findResolved()?.resolvectl ?? '').replace(
  /bin\/resolvectl$/,
  'share/polkit-1/actions/org.freedesktop.resolve1.policy',
);
const POLKITD = '/usr/lib/polkit-1/polkitd';
const TIMEOUT_MS = 60_000;

/** The action that systemd-resolved asks polkit about, by resolvectl's command. */
const ACTION_OF: Readonly<Record<string, string | undefined>> = {
  dns: 'set-dns-servers',
  domain: 'set-domains',
  'default-route': 'set-default-route',
  llmnr: 'set-llmnr',
  mdns: 'set-mdns',
  dnssec: 'set-dnssec',
  dnsovertls: 'set-dns-over-tls',
  revert: 'revert',
};

const USERS = { tunnel: 64_101, member: 64_102, other: 64_103 } as const;

/** $1: the directory; then actions. Prints `USER ACTION` for each that is permitted. */
const ASK = `set -e
cd "$1"
shift
mount --bind actions /usr/share/polkit-1/actions
mount --bind rules /usr/share/polkit-1/rules.d
mount -t tmpfs -o mode=755 tmpfs /etc/polkit-1/rules.d
mount --bind passwd /etc/passwd
mount --bind group /etc/group
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/dbus
dbus-daemon --config-file=bus.conf --nofork 2>bus.log &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
${POLKITD} --no-debug 2>polkitd.log &
until busctl status org.freedesktop.PolicyKit1 >/dev/null 2>&1; do sleep 0.05; done
for user in ${Object.keys(USERS).join(' ')}; do
  setpriv --reuid "$user" --regid "$user" --init-groups sleep infinity &
  until [ "$(ps -o user:16= -p $!)" = "$user" ]; do sleep 0.05; done
  for action in "$@"; do
    if pkcheck --process $! --action-id "$action" >/dev/null 2>&1; then echo "$user $action"; fi
  done
done
`;

describe('the rule for polkit', {
  skip:
    labUnavailable('unshare', 'dbus-daemon', 'busctl', 'pkcheck') ||
    (!existsSync(ACTIONS) && 'no systemd-resolved with its actions for polkit here'),
  timeout: TIMEOUT_MS,
}, () => {
  it('permits the user of the services what it sets in systemd-resolved, and nobody else', async () => {
    const link = { device: 'tun0', servers: ['198.18.0.1'], domains: ['.'] };
    const commands = [...resolvedCalls(link), revertCall('tun0')].map(([command = '']) => command);
    // Flushing its cache is everybody's.
    const needed = commands
      .filter((command) => command !== 'flush-caches')
      .map((command) => `org.freedesktop.resolve1.${ACTION_OF[command]}`)
      .sort();
    const all = [...readFileSync(ACTIONS, 'utf8').matchAll(/<action id="([^"]+)"/g)]
      .map(([, id = '']) => id)
      .sort();
    assert.deepEqual(
      needed.filter((id) => !all.includes(id)),
      [],
    );

    const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    try {
      for (const folder of ['actions', 'rules']) mkdirSync(join(directory, folder));
      copyFileSync(ACTIONS, join(directory, 'actions/org.freedesktop.resolve1.policy'));
      copyFileSync(RULE, join(directory, 'rules/50-tunnel.rules'));
      const accounts = Object.entries(USERS);
      writeFileSync(
        join(directory, 'passwd'),
        readFileSync('/etc/passwd', 'utf8') +
          accounts.map(([name, id]) => `${name}:x:${id}:${id}::/:/bin/sh\n`).join(''),
      );
      writeFileSync(
        join(directory, 'group'),
        readFileSync('/etc/group', 'utf8') +
          accounts
            .map(([name, id]) => `${name}:x:${id}:${name === 'tunnel' ? 'member' : ''}\n`)
            .join(''),
      );
      writeFileSync(join(directory, 'bus.conf'), BUS_CONFIGURATION);
      await mustRun(['chmod', '-R', 'a+rX', directory]);
      const argv = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
      const asked = await mustRun([...argv, 'sh', '-c', ASK, 'sh', directory, ...all], {
        timeout: TIMEOUT_MS,
      });
      assert.deepEqual(
        asked.trim().split('\n').sort(),
        needed.map((id) => `tunnel ${id}`),
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
