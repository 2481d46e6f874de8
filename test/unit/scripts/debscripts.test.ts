/** The scripts that dpkg runs as root, with whatever PATH its caller has. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

const PACKAGING = new URL('../../../../packaging/deb/', import.meta.url);

describe('the scripts of the Debian package', () => {
  for (const name of ['postinst', 'prerm', 'postrm']) {
    it(`${name} runs no other program of that name`, () => {
      const lines = readFileSync(new URL(name, PACKAGING), 'utf8').split('\n');
      const called = lines.filter((line) => /^\s*(\w+=\S* )*(\S*\/)?tunnel /.test(line));
      for (const line of called)
        assert.match(line, /^\s*PATH=\/usr\/sbin:\/usr\/bin:\/sbin:\/bin tunnel /);
      assert.equal(called.length, name === 'prerm' ? 1 : 0);
    });
  }
});
