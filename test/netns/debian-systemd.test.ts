/**
 * The installed Debian package on a machine with systemd: the helper by its socket unit for a user
 * without sudo, tunnels as services, what an upgrade, a downgrade, a removal and a purge do to
 * those that run, and that they keep to what the administrator has decided.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { controlGroupsMissing } from '../support/controlgroup.ts';
import {
  ALICE,
  addAlice,
  PACKAGE,
  packageAs,
  packageFile,
  packageMissing,
} from '../support/debianpackage.ts';
import { DebianRoot, rootMissing } from '../support/debianroot.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { REMOTE } from '../support/tunnel.ts';

const RELEASE = 'trixie';
const ARCHIVE = `systemd-${RELEASE}`;
const READY_MS = 60_000;
const SOCKET = 'tunnel-helper.socket';
const SERVICE = 'tunnel@web.service';
const SOCKS = '127.0.0.1:1080';
const CONFIG = `\
profiles:
  web:
    command: proxy
    remote: ${REMOTE}
    socks: ${SOCKS}
    proxy-shared: true
`;
/** Every file that a package or an administrator writes. */
const LIST = `find /etc /usr /var/lib /var/log -xdev \\( -path /var/lib/apt -o -path /var/log/apt \\
  -o -path /var/lib/systemd/timers -o -path /var/log/journal \\) -prune \\
  -o ! -path /var/log/dpkg.log ! -name '*-old' -printf '%p %y %m %u:%g %l\\n' | sort`;

describe(`the package in ${RELEASE} with systemd`, {
  skip:
    labUnavailable('nsenter', 'dpkg-deb') ||
    controlGroupsMissing() ||
    rootMissing(ARCHIVE) ||
    packageMissing(),
  timeout: 600_000,
}, () => {
  let lab: Lab;
  let root: DebianRoot;
  let directory = '';
  /** The next version. */
  let newer = '';
  let clean = '';
  let untouched = '';
  let tunnel: Child;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
    newer = packageAs('99.0.0', directory);
    lab = await Lab.create();
    const options = { systemd: true };
    root = await DebianRoot.start(lab.client, ARCHIVE, join(lab.directory, RELEASE), options);
    await addAlice(root, lab);
    untouched = await lab.client.hostState();
    clean = await root.script(LIST);
  });
  after(async () => {
    await root?.close();
    await lab?.close();
    rmSync(directory, { recursive: true });
  });

  async function install(file: string): Promise<void> {
    root.copy(file, '/tmp/package.deb');
    const options = '--no-install-recommends --allow-downgrades';
    await root.script(`apt-get install -qq ${options} /tmp/package.deb`);
    assert.equal(await root.script('dpkg --audit'), '');
  }
  const property = async (unit: string, name: string) =>
    (await root.script(`systemctl show -P ${name} ${unit}`)).trim();
  /** `systemctl is-enabled` and `is-active`, which say it by their statuses as well. */
  const stateOf = async (unit: string) =>
    (await root.script(`systemctl is-enabled ${unit} || true; systemctl is-active ${unit} || true`))
      .trim()
      .replace('\n', ' ');
  const failed = async () => (await root.script('systemctl --failed --plain --no-legend')).trim();

  async function fetches(...options: readonly string[]): Promise<void> {
    const argv = ['curl', '-sS', '--max-time', '20', ...options, `http://${API1}/`];
    const { stdout, stderr } = await root.exec(argv, { user: ALICE });
    assert.match(stdout, /"host":"api1"/, stderr);
  }
  /** With Ctrl-C: nsenter(1), our child, passes no signals on. */
  async function interrupted(child: Child): Promise<void> {
    await root.script(`pkill -INT -u ${ALICE} -x node`);
    assert.equal((await child.wait(READY_MS)).status, 0, child.stderr);
    assert.equal(await lab.client.hostState(), untouched);
  }
  const connect = () => root.spawn(['tunnel', '-r', REMOTE, PRIVATE4], { user: ALICE });
  const helpers = async () => {
    const list = await root.script('systemctl list-units --plain --no-legend "tunnel-helper@*"');
    return list.split('\n').filter(Boolean);
  };
  /** The tunnels' processes, and since when the socket listens. */
  const running = async () => {
    const processes = await root.script("ps -eo pid=,comm= | grep -E 'node|tunnel' | sort");
    return [processes, await property(SOCKET, 'ActiveEnterTimestampMonotonic')];
  };

  it('listens for the group at once, with units that systemd accepts', async () => {
    await install(packageFile());
    assert.equal(await stateOf(SOCKET), 'enabled active');
    const socket = await root.script('stat -c "%a %U %G" /run/tunnel/helper.sock');
    assert.equal(socket, '660 root tunnel\n');
    assert.equal(await root.script('getent group tunnel | cut -d: -f4'), '\n');
    const units = await root.script(`dpkg -L ${PACKAGE} | grep /systemd/system/`);
    const names = units
      .trim()
      .split('\n')
      .map((path) => path.replace(/@\./, '@web.'));
    const verified = names.map((path) => path.split('/').at(-1)).join(' ');
    assert.equal(await root.script(`systemd-analyze verify --man=no ${verified} 2>&1`), '');
    assert.equal(await failed(), '');
  });

  it('refuses who is not in the group, and says what to do', async () => {
    const refused = await connect();
    assert.equal((await refused.wait(READY_MS)).status, 6);
    assert.match(refused.stderr, /group "?tunnel"?/);
  });

  it('captures for a member of the group, without sudo', async () => {
    await root.script(`usermod --append --groups tunnel ${ALICE}`);
    tunnel = await connect();
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    await fetches();
    assert.equal((await helpers()).length, 1);
    const who = await root.script('ps -o user=,comm= -C node,tunnel-helper | sort');
    assert.match(who, new RegExp(`^${ALICE} +node\\n`));
    assert.match(who, /^root +tunnel-helper$/m);
    assert.doesNotMatch(who, /^root +node$/m);
  });

  it('runs a tunnel as a service, as the user "tunnel"', async () => {
    root.write('/etc/tunnel/config.yaml', CONFIG);
    await root.script(`install -d -m 700 -o tunnel -g tunnel /var/lib/tunnel-service/.ssh
      cd /home/${ALICE}/.ssh
      install -m 600 -o tunnel -g tunnel * /var/lib/tunnel-service/.ssh
      systemctl enable --quiet --now ${SERVICE}`);
    assert.equal(await stateOf(SERVICE), 'enabled active');
    assert.equal((await root.script('ps -o user= -C node | sort')).trim(), `${ALICE}\ntunnel`);
    await fetches('-x', `socks5h://${SOCKS}`);
  });

  it('is upgraded and downgraded beside both, which run on', async () => {
    const before = await running();
    for (const [file, version] of [
      [newer, /^99\.0\.0\n$/],
      [packageFile(), /^(?!99)/],
    ] as const) {
      await install(file);
      assert.match(await root.script('tunnel --version'), version);
      assert.deepEqual(await running(), before);
      await fetches();
      await fetches('-x', `socks5h://${SOCKS}`);
      assert.equal(await property(SERVICE, 'NRestarts'), '0');
      assert.equal(await failed(), '');
    }
    await install(newer);
    await root.script(`systemctl restart ${SERVICE}`);
    const { tunnels } = JSON.parse(await root.script('tunnel status web --json'));
    assert.equal(tunnels[0].version, '99.0.0');
    await install(packageFile());
  });

  it('starts no socket that the administrator has disabled or masked', async () => {
    await root.script(`systemctl disable --quiet --now ${SOCKET}`);
    for (const file of [newer, packageFile()]) {
      await install(file);
      assert.equal(await stateOf(SOCKET), 'disabled inactive');
    }
    await root.script(`systemctl mask --quiet ${SOCKET}`);
    await install(newer);
    assert.equal(await stateOf(SOCKET), 'masked inactive');
    await fetches();
    await root.script(`systemctl unmask --quiet ${SOCKET}
      systemctl enable --quiet --now ${SOCKET}`);
    await install(packageFile());
    assert.equal(await stateOf(SOCKET), 'enabled active');
  });

  it('is removed: services end in order, and a tunnel of a user runs on', async () => {
    const pid = await property(SERVICE, 'MainPID');
    await root.script(`apt-get remove -qq ${PACKAGE}`);
    await root.script(`test ! -e /proc/${pid} && test ! -e /run/tunnel/helper.sock`);
    const journal = await root.script(`journalctl -q -o cat -u ${SERVICE}`);
    assert.match(journal, /Deactivated successfully/);
    assert.equal(await failed(), '');
    await fetches();
    await lab.sshd.dropConnections();
    await fetches();
    await interrupted(tunnel);
    assert.deepEqual(await helpers(), []);
  });

  it('is installed again as it was', async () => {
    await install(packageFile());
    assert.equal(await stateOf(SOCKET), 'enabled active');
    assert.equal(await stateOf(SERVICE), 'enabled inactive');
    tunnel = await connect();
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    await root.script(`systemctl start ${SERVICE}`);
    await fetches('-x', `socks5h://${SOCKS}`);
  });

  it('is purged beside running ones, without a trace, except for its group', async () => {
    await root.script(`apt-get purge -qq ${PACKAGE}`);
    await fetches();
    await interrupted(tunnel);
    assert.equal(await failed(), '');
    assert.equal((await root.script("ps -eo comm= | grep -E 'node|tunnel' || true")).trim(), '');
    // What the administrator has made there is the administrator's.
    await root.script('rm /etc/tunnel/config.yaml && rmdir /etc/tunnel');
    assert.deepEqual((await root.script(LIST)).split('\n'), clean.split('\n'));
    await root.script('getent group tunnel');
  });
});
