/** The scripts that dpkg runs as root, with whatever PATH its caller has, and when it runs them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

const noDpkg = spawnSync('dpkg-deb', ['--version']).error !== undefined && 'dpkg is not installed';

describe('the triggers of the Debian package', { skip: noDpkg }, () => {
  it('have it look at AppArmor again when that comes later, in whatever version, or goes', () => {
    const place = mkdtempSync(join(tmpdir(), 'tunnel-triggers-'));
    try {
      const packed = (name: string, files: Readonly<Record<string, string>>): string => {
        const tree = join(place, name);
        const fields = ['Version: 1', 'Architecture: all', 'Maintainer: a <a@localhost>'];
        const control = [`Package: ${name}`, ...fields, 'Description: a test', ''].join('\n');
        for (const [path, text] of Object.entries({ 'DEBIAN/control': control, ...files })) {
          mkdirSync(join(tree, path, '..'), { recursive: true });
          writeFileSync(join(tree, path), text, { mode: 0o755 });
        }
        if ('DEBIAN/postinst' in files)
          copyFileSync(new URL('triggers', PACKAGING), join(tree, 'DEBIAN/triggers'));
        execFileSync('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree], {
          stdio: 'ignore',
        });
        return `${tree}.deb`;
      };
      const root = join(place, 'root');
      for (const folder of ['info', 'updates', 'triggers'])
        mkdirSync(join(root, 'var/lib/dpkg', folder), { recursive: true });
      writeFileSync(join(root, 'var/lib/dpkg/status'), '');
      const dpkg = (...words: string[]) =>
        execFileSync(
          'dpkg',
          [
            `--root=${root}`,
            '--force-not-root,script-chrootless,bad-path',
            '--log=/dev/null',
            ...words,
          ],
          { stdio: 'pipe' },
        );
      const said = join(place, 'said');
      const postinst = `#!/bin/sh\necho "$*" >>${said}\n`;
      dpkg('--install', packed('tunnel-test', { 'DEBIAN/postinst': postinst }));
      const abi = packed('apparmor-test', { 'etc/apparmor.d/abi/3.0': '' });
      const before = readFileSync(said, 'utf8');
      dpkg('--install', abi);
      dpkg('--purge', 'apparmor-test');
      const triggered = readFileSync(said, 'utf8').slice(before.length);
      assert.equal(triggered, 'triggered /etc/apparmor.d/abi\n'.repeat(2));
    } finally {
      rmSync(place, { recursive: true });
    }
  });
});
