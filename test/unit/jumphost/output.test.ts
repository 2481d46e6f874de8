/** Where the files of a jump host go: all of them, or nothing is left. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs, {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { UsageError } from '../../../src/errors/errors.ts';
import { printable, writeFiles } from '../../../src/jumphost/output.ts';
import { MAIN } from '../../support/tunnel.ts';

const FILES = [
  { path: 'a.conf', mode: 0o600, text: 'a\n' },
  { path: 'deep/er/b.sh', mode: 0o755, text: 'b\n' },
] as const;

const root = mkdtempSync(join(tmpdir(), 'tunnel-output-'));
after(() => rmSync(root, { recursive: true }));

let made = 0;
/** A directory of its own, which exists. */
function fresh(): string {
  const directory = join(root, String(++made));
  mkdirSync(directory);
  return directory;
}
const listed = (directory: string) =>
  readdirSync(directory, { recursive: true }).map(String).sort();

describe('rendered files', () => {
  it('are printed one after the other, with their names if there are several', () => {
    const [first] = FILES;
    assert.equal(printable([first]), 'a\n');
    assert.equal(printable(FILES), '# ===== a.conf\na\n\n# ===== deep/er/b.sh\nb\n');
  });

  it('are written into a new or an empty directory, with their modes', () => {
    for (const directory of [join(fresh(), 'new/one'), fresh()]) {
      writeFiles(directory, FILES);
      assert.deepEqual(listed(directory), ['a.conf', 'deep', 'deep/er', 'deep/er/b.sh']);
      for (const { path, mode, text } of FILES) {
        assert.equal(readFileSync(join(directory, path), 'utf8'), text);
        assert.equal(statSync(join(directory, path)).mode & 0o777, mode & ~process.umask());
      }
    }
  });

  /** Each is given an empty directory, and returns where the files are to go. */
  const unusable: readonly (readonly [
    what: string,
    prepare: (directory: string) => string,
    message: RegExp,
    hint: RegExp,
  ])[] = [
    [
      'a directory that is not empty',
      (at) => {
        writeFileSync(join(at, 'x'), 'mine');
        return at;
      },
      /is not empty$/,
      /name a new directory/,
    ],
    [
      'a file',
      (at) => {
        writeFileSync(join(at, 'x'), 'mine');
        return join(at, 'x');
      },
      /ENOTDIR$/,
      /a file of that name/,
    ],
    [
      'what is below a file',
      (at) => {
        writeFileSync(join(at, 'x'), 'mine');
        return join(at, 'x/y/z');
      },
      /ENOTDIR$/,
      /one above it/,
    ],
    [
      'a link that leads nowhere',
      (at) => {
        symlinkSync('nowhere', join(at, 'x'));
        return join(at, 'x');
      },
      /EEXIST$/,
      /dangling link/,
    ],
    ['where no directory can be made', () => '/proc/tunnel/x', /ENOENT$/, /permissions/],
  ];
  for (const [what, prepare, message, hint] of unusable) {
    it(`leave things as they were: ${what}`, () => {
      const at = fresh();
      const directory = prepare(at);
      const before = listed(at);
      assert.throws(
        () => writeFiles(directory, FILES),
        (error) =>
          error instanceof UsageError && message.test(error.message) && hint.test(error.hint ?? ''),
      );
      assert.deepEqual(listed(at), before);
    });
  }

  it('are removed again where a later one fails, and what was there stays', () => {
    const at = fresh();
    mkdirSync(join(at, 'there'));
    // The second file would be below the first.
    const files = [FILES[0], { ...FILES[1], path: 'a.conf/b.sh' }];
    for (const directory of [join(at, 'new/one'), join(at, 'there')])
      assert.throws(() => writeFiles(directory, files), UsageError);
    assert.deepEqual(listed(at), ['there']);
  });

  it('give nothing to a file that others put in their place meanwhile', (t) => {
    const at = fresh();
    const elsewhere = join(fresh(), 'elsewhere');
    writeFileSync(elsewhere, '');
    // Whoever may write to the directory, as soon as the first file is there.
    const target = join(at, 'a.conf');
    const replace = () => {
      if (statSync(target, { throwIfNoEntry: false }) === undefined) return;
      t.mock.restoreAll();
      syncBuiltinESMExports();
      renameSync(target, join(at, 'theirs'));
      symlinkSync(elsewhere, target);
    };
    const { openSync, writeFileSync: write } = fs;
    t.mock.method(fs, 'openSync', (...args: Parameters<typeof openSync>) => {
      const fd = openSync(...args);
      replace();
      return fd;
    });
    t.mock.method(fs, 'writeFileSync', (...args: Parameters<typeof write>) => {
      write(...args);
      replace();
    });
    syncBuiltinESMExports();
    writeFiles(at, [FILES[0]]);
    assert.equal(readFileSync(elsewhere, 'utf8'), '');
    assert.equal(readFileSync(join(at, 'theirs'), 'utf8'), 'a\n');
  });

  it('are not written without permission', {
    skip: process.getuid?.() === 0 && 'root has every permission',
  }, () => {
    const at = fresh();
    chmodSync(at, 0o500);
    assert.throws(() => writeFiles(join(at, 'x'), FILES), { message: /EACCES$/ });
    assert.deepEqual(listed(at), []);
  });
});

const mounting =
  spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status !== 0 &&
  'mounting needs root, and unshare';

describe('the files of a run', { skip: mounting }, () => {
  for (const [what, options, code, hint] of [
    ['no room for the text', 'size=4k', 'ENOSPC', /make room there/],
    ['no room for the second file', 'nr_inodes=4', 'ENOSPC', /make room there/],
    ['a file system that is mounted read-only', 'ro', 'EROFS', /permissions/],
  ] as const) {
    it(`leave nothing: ${what}`, () => {
      const at = fresh();
      const script = `mount -t tmpfs -o ${options} tmpfs "$1"; cd "$1" && shift && "$@"
        status=$?; find . -mindepth 1; exit $status`;
      const args = ['jumphost', 'sshd', '--mfa', '10.0.0.1:443', '--output', 'a/b'];
      const { status, stdout, stderr } = spawnSync(
        'unshare',
        ['-m', 'sh', '-c', script, 'sh', at, process.execPath, MAIN, ...args],
        { encoding: 'utf8' },
      );
      const [first, second = '', ...rest] = stderr.split('\n');
      assert.equal(first, `tunnel: error [usage]: --output: a/b can't be written: ${code}`);
      assert.match(second, /^tunnel: hint: /);
      assert.match(second, hint);
      assert.deepEqual([status, stdout, rest], [2, '', ['']]);
    });
  }
});
