/**
 * sudo and doas as Debian has them, with the installed package, for an ordinary user at a terminal
 * who types a password: what speaks SSH is the user's, Ctrl-C ends everything, and what was
 * rewritten is as before. In Debian 13 with its own Node, whose libuv is the release's; in Debian
 * 12 with this machine's.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { API1, API1_NAME, JUMPHOST_PRIVATE4, JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import {
  ALICE,
  addAlice,
  nodeOfRelease,
  nodePackage,
  PACKAGE,
  packageFile,
  packageMissing,
} from '../support/debianpackage.ts';
import { DebianRoot, rootMissing } from '../support/debianroot.ts';
import { PASSWORD } from '../support/etc.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import type { Child } from '../support/process.ts';
import { statusOf } from '../support/sudolab.ts';
import { REMOTE } from '../support/tunnel.ts';

const READY_MS = 60_000;
const INTERRUPT = '\x03';
const RESOLV_CONF = '/etc/resolv.conf';
const NAMES_LOCAL = 'nameserver 127.0.0.1\n';
const NO_CAPABILITY = '0'.repeat(16);
/** All parts of all tunnels. */
const KILL = "pkill -KILL -f '^/usr/bin/node'; pkill -KILL -x tunnel-helper; true";
const BY = ['sudo', 'doas'] as const;

for (const { release, ownNode } of [
  { release: 'trixie', ownNode: true },
  { release: 'bookworm', ownNode: false },
]) {
  describe(`sudo and doas in ${release}`, {
    skip:
      labUnavailable('nsenter', 'dpkg-deb', 'ss') ||
      rootMissing(`package-${release}`) ||
      packageMissing() ||
      (!ownNode && nodeOfRelease),
    timeout: 300_000,
  }, () => {
    let lab: Lab;
    let root: DebianRoot;
    let untouched = '';
    let idle = '';
    const children: Child[] = [];

    before(async () => {
      lab = await Lab.create();
      root = await DebianRoot.start(lab.client, `package-${release}`, join(lab.directory, release));
      await addAlice(root, lab, 'ALL=(ALL:ALL) ALL');
      root.write('/etc/doas.conf', `permit ${ALICE} as root\n`);
      await root.script(`chmod 400 /etc/doas.conf; echo '${ALICE}:${PASSWORD}' | chpasswd`);
      root.write(RESOLV_CONF, NAMES_LOCAL);
      if (!ownNode) await installNode(root);
      await install();
      untouched = await lab.client.hostState();
      idle = await running();
    });
    afterEach(async () => {
      const left = children.splice(0).filter(({ ended }) => ended === undefined);
      if (left.length === 0) return;
      await root.script(KILL);
      for (const child of left) await child.wait(READY_MS);
      await root.script('tunnel clean || true');
    });
    after(async () => {
      await root?.close();
      await lab?.close();
    });

    async function install(): Promise<void> {
      root.copy(packageFile(), '/tmp/package.deb');
      await root.script('apt-get install -qq --no-install-recommends /tmp/package.deb');
    }
    /** Without zombies: the root's first process waits for none. */
    const running = async () => {
      const lines = (await root.script('ps -eo stat=,args=')).split('\n');
      return lines
        .filter((line) => !/^Z|ps -eo/.test(line))
        .sort()
        .join('\n');
    };

    /** At a terminal, with the password typed. */
    async function byTerminal(...words: readonly string[]): Promise<Child> {
      const line = `exec ${words.join(' ')}`;
      const child = await root.spawn(['script', '-qec', line, '/dev/null'], {
        user: ALICE,
        stdin: 'open',
      });
      children.push(child);
      await child.waitForLine(/password.*: $/, READY_MS);
      child.write(`${PASSWORD}\r`);
      return child;
    }

    async function ready(...words: readonly string[]): Promise<Child> {
      const child = await byTerminal(...words);
      await child.waitForLine(/tunnel: ready\r?\n/, READY_MS);
      return child;
    }

    const fetched = async (host: string, ...options: readonly string[]) => {
      const argv = ['curl', '-sS', '--max-time', '20', ...options, `http://${host}/`];
      const { stdout, stderr } = await root.exec(argv, { user: ALICE });
      assert.match(stdout, /"host":"api1"/, stderr);
    };

    /** The processes with a connection to the jump host's sshd. */
    async function speakers(): Promise<number[]> {
      const argv = ['ss', '-Htnp', 'state', 'established', 'dst', `${JUMPHOST4}:22`];
      const { stdout } = await lab.client.exec(argv);
      return [...stdout.matchAll(/pid=(\d+)/g)].map(([, pid]) => Number(pid));
    }

    async function speakerIsAlices(): Promise<void> {
      const [pid = 0, ...others] = await speakers();
      assert.ok(pid > 0 && others.length === 0, `${[pid, ...others]} speak SSH`);
      const id = (await root.script(`id -u ${ALICE}`)).trim();
      for (const [field, value] of [
        ['Uid', Array(4).fill(id).join('\t')],
        ['Gid', Array(4).fill(id).join('\t')],
        ['CapPrm', NO_CAPABILITY],
        ['CapEff', NO_CAPABILITY],
        ['CapBnd', NO_CAPABILITY],
        ['NoNewPrivs', '1'],
      ] as const)
        assert.deepEqual([...new Set(statusOf(pid, field))], [value], `${field} of its threads`);
    }

    async function endsByCtrlC(child: Child): Promise<void> {
      child.write(INTERRUPT);
      assert.equal((await child.wait(READY_MS)).status, 0, child.stdout);
      assert.equal(await lab.client.hostState(), untouched);
      assert.equal(root.read(RESOLV_CONF), NAMES_LOCAL);
      assert.equal(await running(), idle);
      await root.script('test ! -e /var/lib/tunnel');
    }

    it('the Node is the one that is meant', {
      skip: !ownNode && 'it is this machine’s',
    }, async () => {
      const shared = await root.script('node -p process.config.variables.node_shared_libuv');
      assert.equal(shared, 'true\n');
      await root.script('dpkg --search "$(readlink -f /usr/bin/node)" | grep ^nodejs:');
    });

    for (const by of BY) {
      it(`${by} tunnel: captures, the SSH connection is the caller's, Ctrl-C ends it`, async () => {
        const tunnel = await ready(by, 'tunnel', '-r', REMOTE, PRIVATE4);
        assert.match(tunnel.stdout, new RegExp(`runs as ${ALICE}, who called ${by}\\r?\\n`));
        await speakerIsAlices();
        await fetched(API1);
        await endsByCtrlC(tunnel);
      });

      it(`${by} tunnel: names, by a rewritten resolv.conf`, async () => {
        const tunnel = await ready(by, 'tunnel', '-r', REMOTE, API1_NAME);
        await speakerIsAlices();
        assert.match(root.read(RESOLV_CONF), /^nameserver 198\.18\.63\.53$/m);
        await fetched(API1_NAME);
        await endsByCtrlC(tunnel);
      });

      it(`${by} tunnel proxy and exec: without root from then on`, async () => {
        const socks = '127.0.0.1:1080';
        const proxy = await ready(by, 'tunnel', 'proxy', '-r', REMOTE, '--socks', socks);
        await speakerIsAlices();
        await fetched(API1, '-x', `socks5h://${socks}`);
        await endsByCtrlC(proxy);

        const get = ['curl', '-sS', '--max-time', '20', `http://${API1}/`];
        const words = ['tunnel', 'exec', '-q', '-r', REMOTE, PRIVATE4, '--'];
        const exec = await byTerminal(by, ...words, 'sh', '-c', `'id -un; ${get.join(' ')}'`);
        assert.equal((await exec.wait(READY_MS)).status, 0, exec.stdout);
        assert.match(exec.stdout, new RegExp(`^${ALICE}\\r?$`, 'm'));
        assert.match(exec.stdout, new RegExp(`"peer":"${JUMPHOST_PRIVATE4}"`));
        assert.equal(await running(), idle);
      });
    }

    it('purged by sudo beside a running tunnel, which restores resolv.conf at its end', async () => {
      const tunnel = await ready('sudo', 'tunnel', '-r', REMOTE, API1_NAME);
      const purge = await byTerminal('sudo', 'apt-get', 'purge', '-y', PACKAGE);
      assert.equal((await purge.wait(READY_MS)).status, 0, purge.stdout);
      await root.script('test ! -e /usr/bin/tunnel && ls /var/lib/tunnel/journal');
      await fetched(API1_NAME);
      await endsByCtrlC(tunnel);
      await install();
    });

    it('killed after that, it is repaired by the package that is installed again', async () => {
      const tunnel = await ready('sudo', 'tunnel', '-r', REMOTE, API1_NAME);
      await root.script(`apt-get purge -qq ${PACKAGE}`);
      await root.script(KILL);
      await tunnel.wait(READY_MS);
      assert.notEqual(root.read(RESOLV_CONF), NAMES_LOCAL);
      await install();
      await root.script('tunnel clean');
      assert.equal(root.read(RESOLV_CONF), NAMES_LOCAL);
      assert.equal(await lab.client.hostState(), untouched);
      await root.script('test ! -e /var/lib/tunnel');
    });

    it('removed beside one that was killed, its prerm restores resolv.conf', async () => {
      const tunnel = await ready('sudo', 'tunnel', '-r', REMOTE, API1_NAME);
      await root.script(KILL);
      await tunnel.wait(READY_MS);
      const remove = await byTerminal('sudo', 'apt-get', 'remove', '-y', PACKAGE);
      assert.equal((await remove.wait(READY_MS)).status, 0, remove.stdout);
      assert.equal(root.read(RESOLV_CONF), NAMES_LOCAL);
      assert.equal(await lab.client.hostState(), untouched);
    });
  });
}

async function installNode(root: DebianRoot): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  try {
    root.copy(nodePackage(directory), '/tmp/nodejs.deb');
    await root.script('dpkg --install /tmp/nodejs.deb');
  } finally {
    rmSync(directory, { recursive: true });
  }
}
