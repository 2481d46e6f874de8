/** The scripts that dpkg runs as root, with whatever PATH its caller has. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

const PACKAGING = new URL('../../../../packaging/deb/', import.meta.url);

describe('the scripts of the Debian package', () => {
  for (const name of ['postinst', 'prerm', 'postrm']) {
    it(`${name} runs the program by its whole path`, () => {
      const lines = readFileSync(new URL(name, PACKAGING), 'utf8').split('\n');
      const called = lines.filter((line) => /^\s*(\S*\/)?tunnel /.test(line));
      for (const line of called) assert.match(line, /^\s*\/usr\/bin\/tunnel /);
      assert.equal(called.length, name === 'prerm' ? 1 : 0);
    });
  }
});
