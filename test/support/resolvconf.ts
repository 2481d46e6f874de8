/** resolv.conf and the journal in a directory of the test's, and tunnels that are killed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../src/system/resolver/journal.ts';

export const ORIGINAL = '# mine\nsearch corp.example\nnameserver 127.0.0.1\noptions edns0\n';
/** Modules for a script of another process. */
export const FILE_MODULE = new URL('../../src/system/resolver/file.js', import.meta.url).href;
export const JOURNAL_MODULE = new URL('../../src/system/resolver/journal.js', import.meta.url).href;
export const needsRoot =
  process.getuid?.() !== 0 && 'resolv.conf is given to root, which needs root';

export class ResolvConfScene {
  readonly directory = mkdtempSync(join(tmpdir(), 'tunnel-resolv-'));
  readonly path = join(this.directory, 'resolv.conf');
  readonly journal = new Journal(join(this.directory, 'journal'));

  constructor() {
    writeFileSync(this.path, ORIGINAL, { mode: 0o640 });
  }

  /** Of the journal, which goes with its last one. */
  entries(): string[] {
    const there = join(this.directory, 'journal');
    return existsSync(there) ? readdirSync(there) : [];
  }

  /** Another process rewrites the file, and is killed. */
  crash(): void {
    const script = `const { ResolvConfFile } = await import('${FILE_MODULE}');
      const { Journal } = await import('${JOURNAL_MODULE}');
      const journal = new Journal(${JSON.stringify(join(this.directory, 'journal'))});
      const path = ${JSON.stringify(this.path)};
      await new ResolvConfFile({ servers: ['198.18.0.53'], journal, path }).apply();
      process.kill(process.pid, 'SIGKILL');`;
    const argv = ['--input-type=module', '-e', script];
    const { signal, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    assert.equal(signal, 'SIGKILL', stderr);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }
}
