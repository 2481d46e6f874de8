import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Pidfile } from '../../../../src/system/service/pidfile.ts';

describe('Pidfile', () => {
  let directory: string;
  let path: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunnel-pidfile-'));
    path = join(directory, 'it.pid');
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  it('is complete once it has its name, for its user alone, and gone at the end', () => {
    const file = new Pidfile(path);
    file.check();
    file.write(4711);
    assert.equal(readFileSync(path, 'latin1'), '4711\n');
    assert.deepEqual(readdirSync(directory), ['it.pid']);
    // Whoever may read it could lock it.
    assert.equal(statSync(path).mode & 0o777, 0o600);
    file.remove();
    file.remove();
    assert.deepEqual(readdirSync(directory), []);
  });

  it('is refused while another one has it, however old the number', () => {
    const file = new Pidfile(path);
    file.write(1);
    const other = new Pidfile(path);
    for (const act of [() => other.check(), () => other.write(2)])
      assert.throws(act, { code: 'already-running', message: /as process 1$/ });
    other.remove();
    assert.equal(readFileSync(path, 'latin1'), '1\n');
    file.remove();
  });

  it('is refused at the start if its directory is missing', () => {
    const file = new Pidfile(join(directory, 'missing', 'it.pid'));
    assert.throws(() => file.check(), {
      code: 'pidfile-unwritable',
      message: /missing\/it\.pid: its directory does not exist$/,
    });
  });

  it('replaces one that nobody has locked, also that of a process that lives', () => {
    writeFileSync(path, `${process.pid}\n`);
    const file = new Pidfile(path);
    file.check();
    file.write(5);
    assert.equal(readFileSync(path, 'latin1'), '5\n');
    file.remove();
    writeFileSync(path, '');
    file.write(6);
    file.remove();
    assert.ok(!existsSync(path));
  });

  it('leaves a file that has taken its place', () => {
    const file = new Pidfile(path);
    file.write(7);
    rmSync(path);
    writeFileSync(path, '8\n');
    const { ino } = statSync(path);
    file.remove();
    assert.equal(statSync(path).ino, ino);
    rmSync(path);
  });

  it('refuses what is no pidfile', () => {
    for (const content of ['x', '1\n2\n', '12345678901\n', '-1\n']) {
      writeFileSync(path, content);
      assert.throws(() => new Pidfile(path).check(), { code: 'usage' });
      assert.equal(readFileSync(path, 'latin1'), content);
    }
    rmSync(path);
  });
});
