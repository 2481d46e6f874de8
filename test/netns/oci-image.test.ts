/**
 * The recipe of the OCI image: built by buildah and run by podman, as its head shows; and where
 * there is no such engine, its steps in a root of Debian, with the program started with the rights
 * that engines give.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import {
  ARCHITECTURE,
  BUILT,
  packageFile,
  packageMissing,
  packageName,
} from '../support/debianpackage.ts';
import { DebianRoot, rootMissing } from '../support/debianroot.ts';
import { Engine, engineMissing } from '../support/engine.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { REMOTE } from '../support/tunnel.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const READY_MS = 30_000;
/** Of `tunnel status`. */
const LINK_IS_DOWN = 5;
/** What Docker and Podman leave to root, with --cap-add NET_ADMIN. */
const CAPABILITIES = [
  ...['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap'],
  ...['net_bind_service', 'sys_chroot', 'setfcap', 'net_admin'],
];

/** The instructions of a Containerfile, with their continued lines. */
function instructions(text: string): ReadonlyMap<string, string> {
  const lines = text
    .replace(/^#.*\n/gm, '')
    .replaceAll('\\\n', ' ')
    .trim()
    .split(/\n+/);
  return new Map(lines.map((line) => [line.split(' ', 1)[0] ?? '', line.replace(/^\S+ /, '')]));
}

const recipe = instructions(readFileSync(join(ROOT, 'packaging/oci/Containerfile'), 'utf8'));
const release = /debian:(\w+)-slim$/.exec(recipe.get('FROM') ?? '')?.[1] ?? '';

const missing = rootMissing(`package-${release}`) || packageMissing();
const fetched = ['curl', '-sS', '--max-time', '20', `http://${API1}/`];

describe('the image, by buildah and podman', {
  skip: labUnavailable('nsenter') || engineMissing() || missing,
  timeout: 300_000,
}, () => {
  const uid = Number((recipe.get('USER') ?? '').split(':')[0]);
  let lab: Lab;
  let engine: Engine;

  before(async () => {
    lab = await Lab.create();
    const directory = join(lab.directory, 'engine');
    mkdirSync(directory);
    engine = new Engine(lab.client, directory);
    await engine.import(`package-${release}`, recipe.get('FROM') ?? '');
    await engine.build(join(ROOT, 'packaging/oci/Containerfile'), BUILT, 'tunnel');
  });
  after(() => lab?.close());

  it('says what it does, as an ordinary user', async () => {
    const help = await engine.run(['tunnel']);
    assert.equal((await help.exited).status, 0, help.stderr);
    assert.match(help.stdout, /tunnel proxy/);
    const who = await engine.run(['--entrypoint', 'id', 'tunnel']);
    await who.exited;
    assert.match(who.stdout, new RegExp(`^uid=${uid}\\(app\\) gid=${uid}\\(app\\)`));
  });

  it('is a proxy without root and capabilities in a root that is read only', async () => {
    const ssh = engine.volumeOf(join(lab.clientHome, '.ssh'), uid);
    const proxy = await engine.run([
      // podman would mount /tmp by itself, and Docker would not.
      ...['--read-only', '--read-only-tmpfs=false', '--tmpfs', '/tmp'],
      ...['--cap-drop', 'all', '--security-opt', 'no-new-privileges'],
      ...['-v', `${ssh}:/home/app/.ssh:ro`, 'tunnel'],
      ...['proxy', '-r', REMOTE, '--socks', '0.0.0.0:1080', '--allow-remote-clients'],
    ]);
    await proxy.waitForLine(/tunnel: ready\n/, READY_MS);
    const { stdout } = await lab.client.exec([...fetched, '-x', 'socks5h://127.0.0.1:1080']);
    assert.match(stdout, /"host":"api1"/);
    assert.equal((await proxy.stop('SIGTERM', READY_MS)).status, 0, proxy.stderr);
  });

  for (const [who, id] of [
    ['nobody', 65_534],
    ['a user whom the image doesn’t know', 54_321],
  ] as const) {
    it(`is a proxy as ${who}, with a health check, and ends in order with podman stop`, async () => {
      const ssh = engine.volumeOf(join(lab.clientHome, '.ssh'), id);
      const name = `proxy-${id}`;
      const proxy = await engine.run([
        ...['--name', name, '--user', `${id}:${id}`, '--read-only', '--cap-drop', 'all'],
        ...['--security-opt', 'no-new-privileges', '-v', `${ssh}:/ssh:ro`, 'tunnel'],
        ...['proxy', '-r', REMOTE, '-i', '/ssh/id_ed25519'],
        ...['-o', 'UserKnownHostsFile=/ssh/known_hosts', '--socks', '0.0.0.0:1080'],
        '--allow-remote-clients',
      ]);
      await proxy.waitForLine(/tunnel: ready\n/, READY_MS);
      const { stdout } = await lab.client.exec([...fetched, '-x', 'socks5h://127.0.0.1:1080']);
      assert.match(stdout, /"host":"api1"/);

      const health = await engine.podman('exec', name, 'tunnel', 'status');
      assert.equal(health.status, 0, health.stderr);
      await lab.sshd.kill();
      // An idle link is made when it is needed, and so is well. This one is needed.
      const held = await lab.client.spawn([...fetched, '-x', 'socks5h://127.0.0.1:1080']);
      const end = performance.now() + READY_MS;
      while ((await engine.podman('exec', name, 'tunnel', 'status')).status !== LINK_IS_DOWN)
        assert.ok(performance.now() < end, 'it is healthy without a link');
      await lab.sshd.start();
      await held.wait(READY_MS);
      assert.match(held.stdout, /"host":"api1"/, held.stderr);

      const stopped = await engine.podman('stop', '--time', `${READY_MS / 1000}`, name);
      assert.equal(stopped.status, 0, stopped.stderr);
      // Not 137: it was the first process, and has not been killed.
      assert.equal((await proxy.exited).status, 0, proxy.stderr);
    });
  }

  it('captures as root with NET_ADMIN and /dev/net/tun alone, and leaves nothing', async () => {
    const before = await lab.client.hostState();
    const ssh = engine.volumeOf(join(lab.clientHome, '.ssh'), 0);
    const only = ['--cap-drop', 'all', '--cap-add', 'NET_ADMIN', '--device', '/dev/net/tun'];
    const rights = ['--user', '0', '--read-only', ...only, '--security-opt', 'no-new-privileges'];
    const tunnel = await engine.run([
      ...[...rights, '-v', `${ssh}:/root/.ssh:ro`, 'tunnel', '-r', REMOTE, PRIVATE4],
    ]);
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    assert.match((await lab.client.exec(fetched)).stdout, /"host":"api1"/);
    assert.equal((await tunnel.stop('SIGTERM', READY_MS)).status, 0, tunnel.stderr);
    assert.equal(await lab.client.hostState(), before);
  });

  it('says what a container lacks to capture', async () => {
    const ssh = engine.volumeOf(join(lab.clientHome, '.ssh'), 0);
    for (const [rights, said] of [
      [['--cap-add', 'NET_ADMIN'], /--device \/dev\/net\/tun/],
      [['--device', '/dev/net/tun'], /NET_ADMIN/],
    ] as const) {
      const argv = ['--user', '0', ...rights, '-v', `${ssh}:/root/.ssh:ro`, 'tunnel'];
      const tunnel = await engine.run([...argv, '-r', REMOTE, PRIVATE4]);
      assert.equal((await tunnel.exited).status, 6, tunnel.stderr);
      assert.match(tunnel.stderr, said);
    }
  });
});

describe('the image, by its steps', {
  skip: labUnavailable('nsenter') || missing,
  timeout: 300_000,
}, () => {
  const [program = ''] = JSON.parse(recipe.get('ENTRYPOINT') ?? '[]') as string[];
  const [uid = '', gid = ''] = (recipe.get('USER') ?? '').split(':');
  let lab: Lab;
  let root: DebianRoot;

  before(async () => {
    lab = await Lab.create();
    root = await DebianRoot.start(lab.client, `package-${release}`, join(lab.directory, release));
    root.copy(packageFile(), `/tmp/${packageName()}`);
    // The lab has no archive; its packages are there.
    root.write(
      '/usr/local/bin/apt-get',
      '#!/bin/sh\n[ "$1" = update ] || exec /usr/bin/apt-get "$@"\n',
    );
    await root.script('chmod 755 /usr/local/bin/apt-get');
    await root.script(recipe.get('RUN') ?? 'false');
    for (const home of ['/home/app', '/root']) {
      await root.script(`install -d -m 700 ${home}/.ssh`);
      const from = join(lab.clientHome, '.ssh');
      for (const file of readdirSync(from)) root.copy(join(from, file), `${home}/.ssh/${file}`);
      await root.script(`chown -R --reference=${home} ${home}/.ssh && chmod 600 ${home}/.ssh/*`);
    }
  });
  after(async () => {
    await root?.close();
    await lab?.close();
  });

  it('copies what scripts/deb builds, and leaves no list of packages and no log', async () => {
    const pattern = (recipe.get('COPY') ?? '').split(' ')[0] ?? '';
    const name = new RegExp(
      `^${pattern.replace('*', '.*').replace(/\$\{TARGETARCH\}/, ARCHITECTURE)}$`,
    );
    assert.match(packageName() ?? '', name);
    assert.equal(
      await root.script('ls /var/lib/apt/lists /var/log /tmp'),
      '/tmp:\n\n/var/lib/apt/lists:\n\n/var/log:\n',
    );
  });

  it('is a proxy without root, without capabilities, in a root that is read only', async () => {
    const rights = `--reuid ${uid} --regid ${gid} --clear-groups --bounding-set -all --inh-caps -all --no-new-privs`;
    const script = `mount -o remount,bind,ro / && export HOME=/home/app && exec setpriv ${rights} "$@"`;
    const proxy = await root.spawn([
      ...['unshare', '--mount', 'sh', '-ec', script, 'sh'],
      ...[program, 'proxy', '-r', REMOTE, '--socks', '0.0.0.0:1080', '--allow-remote-clients'],
    ]);
    await proxy.waitForLine(/tunnel: ready\n/, READY_MS);
    const { stdout } = await root.exec([...fetched, '-x', 'socks5h://127.0.0.1:1080']);
    assert.match(stdout, /"host":"api1"/);
    // By its name: it is another user's.
    await root.script(`tunnel stop ${REMOTE}`);
    assert.equal((await proxy.exited).status, 0);
  });

  it('captures as root with the capabilities of a container and NET_ADMIN', async () => {
    const sets = CAPABILITIES.map((name) => `+${name}`).join();
    const rights = ['--bounding-set', `-all,${sets}`, '--inh-caps', '-all'];
    const argv = ['setpriv', ...rights, program, '-r', REMOTE, PRIVATE4];
    const tunnel = await root.spawn(argv);
    await tunnel.waitForLine(/tunnel: ready\n/, READY_MS);
    assert.match((await root.exec(fetched)).stdout, /"host":"api1"/);
    await root.script('tunnel stop');
    assert.equal((await tunnel.exited).status, 0);
  });
});
