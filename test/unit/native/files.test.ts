/** Where the native files are found: src/native/files.ts. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  addonFile,
  nativeFault,
  nativeFolder,
  nativeHint,
  packageRoot,
  platformName,
  refuseTruncated,
} from '../../../src/native/files.ts';

/** A program of `bits` bits, with its headers and the interpreter's name far behind its start. */
function program(interpreter: string | undefined, bits: 32 | 64 = 64): Buffer {
  const table = 10_000;
  const name = 20_000;
  const file = Buffer.alloc(name + 100);
  file.write('\x7fELF', 0, 'latin1');
  file[4] = bits / 32;
  file.writeBigUInt64LE(BigInt(table), 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(2, 56);
  file.writeUInt32LE(6, table);
  file.writeUInt32LE(interpreter === undefined ? 1 : 3, table + 56);
  file.writeBigUInt64LE(BigInt(name), table + 56 + 8);
  file.writeBigUInt64LE(BigInt((interpreter ?? '').length + 1), table + 56 + 32);
  file.write(interpreter ?? '', name);
  return file;
}

describe('native files', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-files-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const addonIn = (folder: string) => {
    mkdirSync(join(directory, folder), { recursive: true });
    writeFileSync(join(directory, folder, 'tunnel.node'), '');
  };

  it('are those of a build of one’s own, then those that the package brings', () => {
    const folder = () => nativeFolder(directory, () => 'linux-x64');
    assert.equal(folder(), join(directory, 'dist/native'), 'where a build would put them');
    addonIn('prebuilds/linux-arm64');
    assert.equal(folder(), join(directory, 'dist/native'), 'not those of another machine');
    addonIn('prebuilds/linux-x64');
    assert.equal(folder(), join(directory, 'prebuilds/linux-x64'));
    addonIn('dist/native');
    assert.equal(folder(), join(directory, 'dist/native'));
  });

  it('don’t make Node’s file be read where they were built', () => {
    addonIn('dist/native');
    nativeFolder(directory, () => assert.fail('asked'));
  });

  it('belong to the C library that Node is linked with', () => {
    const executable = join(directory, 'node');
    const rows: [file: Buffer | string, name: string][] = [
      [program('/lib64/ld-linux-x86-64.so.2'), 'linux-x64'],
      [program('/lib/ld-musl-x86_64.so.1'), 'linux-x64-musl'],
      [program('/opt/elsewhere/ld-musl-x86_64.so.1'), 'linux-x64-musl'],
      [program(undefined), 'linux-x64'],
      [program('/lib/ld-musl-i386.so.1', 32), 'linux-x64'],
      [program('/lib/ld-musl-x86_64.so.1').subarray(0, 9000), 'linux-x64'],
      ['#!/bin/sh\n', 'linux-x64'],
      ['', 'linux-x64'],
    ];
    for (const [file, name] of rows) {
      writeFileSync(executable, file);
      assert.equal(platformName('linux', 'x64', executable), name);
    }
    assert.equal(platformName('linux', 'arm64', join(directory, 'none')), 'linux-arm64');
    assert.equal(platformName('darwin', 'arm64', executable), 'darwin-arm64');
    assert.match(platformName(), /^linux-/);
  });

  it('are looked for in the package, however deep the program is below it', () => {
    writeFileSync(join(directory, 'package.json'), '{}');
    for (const path of ['dist/src/native/files.js', 'dist/bundle.js', 'main.js'])
      assert.equal(packageRoot(join(directory, path)), directory);
    assert.equal(packageRoot('/nowhere/at/all.js'), '/nowhere/at');
  });

  it('can be built where their sources are, with a command that can be copied', () => {
    const hintAt = (path: string) => {
      const root = join(directory, path);
      mkdirSync(join(root, 'native'), { recursive: true });
      writeFileSync(join(root, 'native/Makefile'), '');
      return nativeHint(root);
    };
    assert.match(hintAt('tunnel'), /^build it with "npm run build:native"/);
    const installed = hintAt('lib/node_modules/tunnel-vpn');
    assert.ok(
      installed.includes(
        `"npm --prefix ${directory}/lib/node_modules/tunnel-vpn run build:native"`,
      ),
    );
    assert.match(hintAt('my dir/node_modules/tunnel-vpn'), /--prefix '\/.*\/my dir\//);
  });

  it('say what is wrong with them: they are absent, may not run, or are for another machine', () => {
    const path = '/mnt/a b/tunnel.node';
    const thrown = (message: string, code = 'ERR_DLOPEN_FAILED') =>
      nativeFault(path, Object.assign(new Error(message), { code }));
    const absent = thrown(`Cannot find module '${path}'\nRequire stack:`, 'MODULE_NOT_FOUND');
    assert.deepEqual(absent, { reason: 'it is not there', hint: nativeHint() });
    for (const fault of [
      thrown(`${path}: failed to map segment from shared object`),
      thrown(`Error loading shared library ${path}: Operation not permitted`),
      thrown(`spawn ${path} EACCES`, 'EACCES'),
    ])
      assert.match(fault.hint, /"findmnt -T '\/mnt\/a b\/tunnel\.node'" says "noexec"/);
    assert.deepEqual(thrown(`${path}: invalid ELF header`), {
      reason: 'invalid ELF header',
      hint: nativeHint(),
    });
  });

  it('are refused where their end is missing, and not left to the loader', () => {
    const path = join(directory, 'cut.node');
    const whole = readFileSync(addonFile());
    refuseTruncated(addonFile());
    for (const length of [64, 4096, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, length));
      assert.throws(() => refuseTruncated(path), /^Error: it is cut off after \d+ of \d+ bytes$/);
    }
    for (const other of ['', '#!/bin/sh\n', whole.subarray(0, 63)]) {
      writeFileSync(path, other);
      refuseTruncated(path);
    }
    refuseTruncated(join(directory, 'none'));
  });

  it('are to be installed again where they can’t be built', () => {
    assert.match(
      nativeHint('/usr/lib/tunnel-vpn'),
      /^install the package again.*"apt install \.\/tunnel-vpn_/,
    );
    assert.match(nativeHint(directory), /^install the package again[^"]*$/);
  });
});
