/**
 * The package as its users get it: packed, installed without scripts, and run on machines without a
 * compiler. Each way of working end to end.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { API1, PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { ARM64, bareDirectory, type Installed, MACHINES } from '../support/machines.ts';
import { PLATFORMS, prebuildsMissing } from '../support/prebuilt.ts';
import { REMOTE } from '../support/tunnel.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const URL_OF_API = `http://${API1}/`;
const SOCKS = '127.0.0.1:1080';
/** qemu takes its time, and so does a busy machine. */
const START_MS = 180_000;

describe('the package', { skip: labUnavailable('curl', 'unshare') || prebuildsMissing }, () => {
  let lab: Lab;
  let installed: Installed;
  let command: string;
  let folder: string;

  before(async () => {
    lab = await Lab.create({ sshd: 'open' });
    const scratch = mkdtempSync(join(lab.directory, 'package-'));
    const prefix = join(scratch, 'prefix');
    // Without prepack, which builds from nothing, under the feet of other tests.
    const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', scratch];
    const { stdout } = await run('npm', pack, { cwd: ROOT });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    const programs = bareDirectory(join(scratch, 'npm'), ['npm']);
    const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=warn'];
    const install = ['install', '-g', '--ignore-scripts', ...quiet, '--prefix', prefix];
    const { stderr } = await run('npm', [...install, join(scratch, filename)], {
      env: { ...process.env, PATH: `${programs}:${dirname(process.execPath)}` },
    });
    assert.equal(stderr, '', 'installs without a warning');
    installed = { prefix, home: lab.clientHome, scratch };
    command = join(prefix, 'bin/tunnel');
    folder = join(prefix, 'lib/node_modules/tunnel-vpn');
  });
  after(async () => {
    await lab?.close();
  });

  it('has the native files of each platform, and builds none', () => {
    for (const platform of PLATFORMS)
      assert.equal(readdirSync(join(folder, 'prebuilds', platform)).length, 8, platform);
    assert.ok(!existsSync(join(folder, 'dist/native')));
    const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    assert.equal(scripts.install, undefined);
  });

  for (const machine of MACHINES)
    describe(`on ${machine.name}`, { skip: machine.missing }, () => {
      const spawn = (...words: string[]) =>
        lab.client.spawn(machine.on([command, ...words], installed));
      const exec = (argv: readonly string[]) =>
        lab.client.exec(machine.on(argv, installed), { timeout: START_MS });

      it('has that Node, and no compiler', async () => {
        const { stdout } = await exec(['node', '-p', 'process.version + " " + process.arch']);
        assert.match(
          stdout,
          new RegExp(`^v${machine.major}\\..*${machine.platform.split('-')[1]}`),
        );
        const { stdout: found } = await exec([
          'sh',
          '-c',
          'for name in cc gcc make python3; do command -v $name; done; exit 0',
        ]);
        assert.equal(found, '');
      });

      it('says its version', async () => {
        const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
        const { status, stdout, stderr } = await exec([command, '--version']);
        assert.deepEqual(
          { status, stdout, stderr },
          { status: 0, stdout: `${version}\n`, stderr: '' },
        );
      });

      it('loads the addon, which encrypts with the OpenSSL of that Node', async () => {
        const addon = join(folder, 'prebuilds', machine.platform, 'tunnel.node');
        const script = `const native = require(process.argv[1]);
          const packet = Buffer.alloc(64);
          const key = native.gcmCreate(Buffer.alloc(16), Buffer.alloc(12), true);
          native.gcmSeal(key, packet, 0, 48);
          console.log(packet.toString('hex', 4, 20));`;
        const { stdout, stderr } = await exec(['node', '-e', script, addon]);
        // The second test case of the paper that GCM was submitted with: zeros with a key of zeros.
        assert.deepEqual([stdout, stderr], ['0388dace60b6a392f328c2b971b2fe78\n', '']);
      });

      const started = { skip: !machine.starts && 'qemu-user starts no programs for arm64' };

      it('captures', started, async () => {
        const tunnel = await spawn('-r', REMOTE, PRIVATE4);
        try {
          await tunnel.waitForLine(/tunnel: ready\n/, START_MS);
          assert.match(await page(), /api1/);
          assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
        } finally {
          await tunnel.stop();
        }
      });

      const withSsh = { skip: !machine.hasSsh && 'it has no ssh' };

      it('captures with the system’s ssh', withSsh, async () => {
        const tunnel = await spawn('-r', REMOTE, '--transport', 'openssh', PRIVATE4);
        try {
          await tunnel.waitForLine(/tunnel: ready\n/, START_MS);
          assert.match(await page(), /api1/);
          assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
        } finally {
          await tunnel.stop();
        }
      });

      it('runs a command in its own network', started, async () => {
        const words = ['exec', '-q', '-r', REMOTE, PRIVATE4, '--', ...machine.get, URL_OF_API];
        const { status, stdout, stderr } = await exec([command, ...words]);
        assert.deepEqual([status, stderr], [0, '']);
        assert.match(stdout, /api1/);
      });

      it('is a proxy', async () => {
        const tunnel = await spawn('proxy', '-r', REMOTE, '--socks', SOCKS, PRIVATE4);
        try {
          await tunnel.waitForLine(/tunnel: ready\n/, START_MS);
          assert.match(await page('--socks5-hostname', SOCKS), /api1/);
          assert.deepEqual(await tunnel.stop('SIGINT'), { status: 0, signal: null });
        } finally {
          await tunnel.stop();
        }
      });
    });

  const page = async (...words: string[]): Promise<string> => {
    const argv = ['curl', '-sS', '--max-time', '30', ...words, URL_OF_API];
    const { status, stdout, stderr } = await lab.client.exec(argv);
    assert.equal(status, 0, stderr);
    return stdout;
  };

  const arm64 = MACHINES.find(({ platform }) => platform === 'linux-arm64');

  it('has programs that run on arm64', { skip: arm64?.missing ?? 'not known' }, async () => {
    const programs = join(folder, 'prebuilds/linux-arm64');
    const said: Record<string, RegExp> = {
      'tunnel-helper': /^tunnel-helper: usage: /,
      'tunnel-launcher': /^tunnel-launcher: only /,
      'tunnel-launch': /^usage: tunnel-launch /,
      'tunnel-hostpin': /^usage: tunnel-hostpin /,
      'tunnel-guard': /^usage: tunnel-guard /,
      'tunnel-dial': /^usage: tunnel-dial /,
      'tunnel-askpass': /^usage: .*tunnel-askpass /,
    };
    for (const [name, usage] of Object.entries(said)) {
      const { stdout, stderr } = await lab.client.exec([...ARM64, join(programs, name)]);
      assert.match(stdout + stderr, usage, name);
    }
    const pinned = ['only', 'SHA256:x', 'host', 'ssh-ed25519', 'AAAA', 'SHA256:x'];
    const { status, stdout } = await lab.client.exec([
      ...ARM64,
      join(programs, 'tunnel-hostpin'),
      ...pinned,
    ]);
    assert.deepEqual([status, stdout], [0, 'host ssh-ed25519 AAAA\n']);
  });
});
