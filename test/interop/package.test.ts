/**
 * The library as its users get it: packed, installed without scripts in a folder of its own,
 * compiled against and run, as on a system for which the package has no native files.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const TSC = join(ROOT, 'node_modules/.bin/tsc');

/** Compiled, and run as it is once the types are taken out. */
const TYPESCRIPT = `
import { text } from 'node:stream/consumers';
import { ConnectError, openTunnel, type OpenTunnelOptions, type Refusal } from 'tunnel-vpn';

const [remote = '', identity = '', hostKey = '', port = ''] = process.argv.slice(2);
const options: OpenTunnelOptions = { remote, identity, hostKey, config: 'none' };
const tunnel = await openTunnel(options);
tunnel.events.on('lost', (error) => console.log(error?.code));
const stream = await tunnel.connect({ host: '127.0.0.1', port: Number(port) });
console.log(await text(stream));
let refusal: Refusal | undefined;
try {
  await tunnel.connect('127.0.0.1:1');
} catch (error) {
  if (error instanceof ConnectError) refusal = error.refusal;
}
console.log(refusal);
await tunnel[Symbol.asyncDispose]();
`;

const JAVASCRIPT = `
import { openTunnel } from 'tunnel-vpn';

const [remote, identity, hostKey, port] = process.argv.slice(2);
const before = ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit'].map((name) => process.listenerCount(name));
const tunnel = await openTunnel({ remote, identity, hostKey, config: 'none' });
const stream = await tunnel.connect('127.0.0.1:' + port);
for await (const chunk of stream) process.stdout.write(chunk);
const now = ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit'].map((name) => process.listenerCount(name));
console.log(String(now) === String(before) ? '' : ' handlers were added');
await tunnel.close();
`;

describe('the package', { skip: sshdMissing, timeout: 240_000 }, () => {
  let directory: string;
  let sshd: LoopbackSshd;
  let server: Server;
  let port: number;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-package-'));
    sshd = await LoopbackSshd.start();
    server = createServer((socket) => socket.end('carried'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    await run(TSC, ['-p', join(ROOT, 'tsconfig.library.json')]);
    // Without prepack, which builds from nothing, under the feet of other tests.
    const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', directory];
    const { stdout } = await run('npm', pack, { cwd: ROOT });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    writeFileSync(join(directory, 'package.json'), '{ "type": "module", "private": true }\n');
    const quiet = ['--no-audit', '--no-fund', '--prefer-offline'];
    await run('npm', ['install', '--ignore-scripts', ...quiet, `./${filename}`], {
      cwd: directory,
    });
  });
  after(async () => {
    server?.close();
    await sshd?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const consumer = async (file: string) => {
    const key = readFileSync(join(sshd.directory, 'host_ed25519.pub'), 'utf8').trim();
    const hostKey = key.split(' ').slice(0, 2).join(' ');
    const args = [`${sshd.user}@127.0.0.1:${sshd.port}`, sshd.userKey, hostKey, String(port)];
    const env = { PATH: process.env['PATH'], HOME: directory };
    const { stdout, stderr } = await run(process.execPath, [file, ...args], {
      cwd: directory,
      env,
      timeout: 30_000,
    });
    assert.equal(stderr, '');
    return stdout;
  };

  it('is installed without a native part', () => {
    const folder = join(directory, 'node_modules/tunnel-vpn');
    assert.ok(!existsSync(join(folder, 'dist/native')));
    rmSync(join(folder, 'prebuilds'), { recursive: true, force: true });
  });

  it('is used from JavaScript', async () => {
    writeFileSync(join(directory, 'consumer.js'), JAVASCRIPT);
    assert.equal(await consumer('consumer.js'), 'carried\n');
  });

  it('is used from CommonJS, and found by tools that read no "exports"', async () => {
    const code = "console.log(typeof require('tunnel-vpn').openTunnel)";
    const { stdout, stderr } = await run(process.execPath, ['-e', code], { cwd: directory });
    assert.deepEqual([stdout, stderr], ['function\n', '']);
    const folder = join(directory, 'node_modules/tunnel-vpn');
    const { main, types, exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    assert.deepEqual([main, types], [exports['.'].default, exports['.'].types]);
  });

  it('is used from TypeScript, and its declarations are checked as well', async () => {
    writeFileSync(join(directory, 'typed.ts'), TYPESCRIPT);
    const compilerOptions = {
      target: 'ES2022',
      module: 'NodeNext',
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      typeRoots: [join(ROOT, 'node_modules/@types')],
      types: ['node'],
    };
    const config = { compilerOptions, files: ['typed.ts'] };
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(config));
    await run(TSC, ['-p', directory]);
    assert.equal(await consumer('typed.js'), 'carried\nrefused\n');
  });
});
