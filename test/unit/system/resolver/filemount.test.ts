/**
 * resolv.conf where it is a mount, as in containers: it can only be overwritten, which may be cut
 * short. Each test has a mount namespace of its own.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';

const ORIGINAL = 'search corp.example\nnameserver 127.0.0.1\n';
const LONG = `${ORIGINAL}${`# ${'x'.repeat(97)}\n`.repeat(60)}`;
const moduleUrl = (name: string) =>
  new URL(`../../../../src/system/resolver/${name}.js`, import.meta.url).href;
const skip =
  spawnSync('unshare', ['-m', 'mount', '--bind', '/etc', '/mnt']).status !== 0 &&
  'mounting needs root, and unshare';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-resolv-'));
  for (const name of ['journal', 'small']) mkdirSync(join(directory, name));
  for (const name of ['resolv.conf', 'real']) writeFileSync(join(directory, name), ORIGINAL);
});
afterEach(() => rmSync(directory, { recursive: true }));

/** With the last one the directory goes. */
const entries = () => {
  const folder = join(directory, 'journal');
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** Runs a shell script in the directory; $0 is Node, and `node NAME` one of the programs below. */
function run(script: string): string {
  const { stdout, stderr, status } = spawnSync(
    'unshare',
    ['-m', 'sh', '-ec', `node() { "$0" "$1.mjs"; }; ${script}`, process.execPath],
    { cwd: directory, encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  return stdout;
}

function program(name: string, text: string): void {
  writeFileSync(
    join(directory, `${name}.mjs`),
    `import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    import { ResolvConfFile } from '${moduleUrl('file')}';
    import { Journal } from '${moduleUrl('journal')}';
    import { recover } from '${moduleUrl('recover')}';
    const path = ${JSON.stringify(join(directory, 'resolv.conf'))};
    const journal = new Journal(${JSON.stringify(join(directory, 'journal'))});
    const file = new ResolvConfFile({ servers: ['198.18.0.53'], journal, path });
    /** The program is killed when it has overwritten so many octets. */
    function killedAfter(octets) {
      const { openSync, writeFileSync } = fs;
      let overwritten;
      fs.openSync = (name, flags, mode) => {
        const fd = openSync(name, flags, mode);
        if (flags === 'r+') overwritten = fd;
        return fd;
      };
      fs.writeFileSync = (fd, text, options) => {
        if (fd !== overwritten) return writeFileSync(fd, text, options);
        writeFileSync(fd, text.slice(0, octets), options);
        process.kill(process.pid, 'SIGKILL');
      };
      syncBuiltinESMExports();
    }
    ${text}`,
  );
}

describe('resolv.conf that is a mount', { skip }, () => {
  const MOUNT = 'mount --bind real resolv.conf';
  const REPORT = 'console.log(JSON.stringify(recover({ log() {}, count() {} }, journal, path)));';
  const restored = () => ({ done: [`${join(directory, 'resolv.conf')} is as before`], failed: [] });

  it('is overwritten, and brought back', () => {
    program('all', 'await file.apply(); fs.copyFileSync(path, "applied"); await file.undo();');
    run(`${MOUNT}; node all`);
    assert.match(readFileSync(join(directory, 'applied'), 'utf8'), /198\.18\.0\.53/);
    assert.equal(readFileSync(join(directory, 'real'), 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  for (const octets of [0, 1, 20, 10_000]) {
    for (const when of ['apply', 'undo']) {
      for (const before of [ORIGINAL, LONG]) {
        const name = before === LONG ? 'a long file' : 'a file';
        it(`is brought back after a kill ${octets} octets into ${when}() of ${name}`, () => {
          writeFileSync(join(directory, 'real'), before);
          const first = when === 'undo' ? 'await file.apply();' : '';
          program('killed', `${first} killedAfter(${octets}); await file.${when}();`);
          program('clean', REPORT);
          const output = run(`${MOUNT}; node killed 2>/dev/null || test $? = 137; node clean`);
          assert.deepEqual(JSON.parse(output), restored());
          assert.equal(readFileSync(join(directory, 'real'), 'utf8'), before);
          assert.deepEqual(entries(), []);
        });
      }
    }
  }

  it('is brought back from an entry of the version before, even at the second attempt', () => {
    program(
      'killed',
      `await file.apply();
      const [name] = fs.readdirSync('journal');
      const entry = JSON.parse(fs.readFileSync('journal/' + name));
      delete entry.data.inPlace;
      entry.owner.pid = 4194999;
      fs.writeFileSync('journal/' + name, JSON.stringify(entry));
      killedAfter(20);
      recover({ log() {}, count() {} }, journal, path);`,
    );
    program('clean', REPORT);
    const output = run(`${MOUNT}; node killed || test $? = 137; node clean`);
    assert.deepEqual(JSON.parse(output), restored());
    assert.equal(readFileSync(join(directory, 'real'), 'utf8'), ORIGINAL);
  });

  it('is left alone when somebody else has written it meanwhile', () => {
    program(
      'all',
      'await file.apply(); fs.writeFileSync(path, "nameserver 10.0.0.1\\n"); await file.undo();',
    );
    run(`${MOUNT}; node all`);
    assert.equal(readFileSync(join(directory, 'real'), 'utf8'), 'nameserver 10.0.0.1\n');
    assert.deepEqual(entries(), []);
  });

  it('is not forgotten while the disk is full, however often that is tried', () => {
    // The old text has two pages and ours one; the second page is taken meanwhile.
    writeFileSync(join(directory, 'real'), LONG);
    program(
      'all',
      `await file.apply();
      try { fs.writeFileSync('small/fill', Buffer.alloc(8192)); } catch { /* it is to be full */ }
      for (let i = 0; i < 3; i++) {
        const code = await file.undo().then(() => 'done', (error) => error.code);
        console.log(code, fs.readdirSync('journal').length);
      }
      fs.rmSync('small/fill');
      await file.undo();
      console.log(fs.existsSync('journal'), fs.readFileSync(path, 'utf8').length);`,
    );
    const output = run(
      `mount -t tmpfs -o size=8k tmpfs small; cp real small/real;
      mount --bind small/real resolv.conf; node all`,
    );
    assert.equal(output, `${'ENOSPC 1\n'.repeat(3)}false ${LONG.length}\n`);
  });
});
