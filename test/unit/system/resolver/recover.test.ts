/** What several tunnels that were killed have left in one resolv.conf. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { silentObserver } from '../../../../src/observe/observer.ts';
import type { Journal } from '../../../../src/system/resolver/journal.ts';
import { recover } from '../../../../src/system/resolver/recover.ts';
import { needsRoot, ORIGINAL, ResolvConfScene } from '../../../support/resolvconf.ts';

let scene: ResolvConfScene;
let directory: string;
let path: string;
let journal: Journal;

beforeEach(() => {
  scene = new ResolvConfScene();
  ({ directory, path, journal } = scene);
});
afterEach(() => scene.remove());

const entries = () => scene.entries();
const crash = () => scene.crash();

describe('resolv.conf after several tunnels were killed', { skip: needsRoot }, () => {
  it('is brought back once after two tunnels were killed beside each other', () => {
    crash();
    const [name = ''] = entries();
    const entry = readFileSync(join(directory, 'journal', name), 'utf8');
    // The second one has copied the entry of the first.
    writeFileSync(join(directory, 'journal', '4194999-0.json'), entry);
    assert.deepEqual(recover(silentObserver, journal, path), {
      done: [`${path} is as before`],
      failed: [],
    });
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  for (const [order, names] of [
    ['in the order of their names', ['4194998-0.json', '4194999-0.json']],
    ['against it', ['4194999-0.json', '4194998-0.json']],
  ] as const)
    it(`is brought back through the texts of killed tunnels, the newest first, ${order}`, () => {
      mkdirSync(join(directory, 'journal'), { mode: 0o700 });
      const texts = [ORIGINAL, 'nameserver 198.18.0.53\n', 'nameserver 198.18.1.53\n'];
      for (const [i, entry] of names.entries()) {
        const [before, after] = texts.slice(i);
        const data = { path, before: { text: before, mode: 0o640, uid: 0, gid: 0 }, after };
        const owner = { pid: 4194999, startTime: 'x' };
        writeFileSync(
          join(directory, 'journal', entry),
          JSON.stringify({ kind: 'resolv.conf', owner, data }),
        );
      }
      writeFileSync(path, texts[2] ?? '');
      assert.deepEqual(recover(silentObserver, journal, path), {
        done: [`${path} is as before`],
        failed: [],
      });
      assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
      assert.deepEqual(entries(), []);
    });

  it('is brought back through all texts, though the oldest entry was written to last', () => {
    mkdirSync(join(directory, 'journal'), { mode: 0o700 });
    const rewritten = [0, 1, 2].map((n) => `nameserver 198.18.${n}.53\n`);
    const texts = [ORIGINAL, ...rewritten];
    // Marking an entry, as when its tunnel ends, writes it again.
    for (const [i, seconds] of [3000, 1000, 2000].entries()) {
      const [before, after] = texts.slice(i);
      const data = { path, before: { text: before, mode: 0o640, uid: 0, gid: 0 }, after };
      const owner = { pid: 4194990 + i, startTime: 'x' };
      const file = join(directory, 'journal', `${owner.pid}-0.json`);
      writeFileSync(file, JSON.stringify({ kind: 'resolv.conf', owner, data }));
      utimesSync(file, seconds, seconds);
    }
    writeFileSync(path, texts.at(-1) ?? '');
    assert.deepEqual(recover(silentObserver, journal, path), {
      done: [`${path} is as before`],
      failed: [],
    });
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  it('that somebody else has written between two killed tunnels becomes theirs again', () => {
    crash();
    const managed = 'nameserver 10.0.0.1\n';
    writeFileSync(path, managed);
    crash();
    const { done, failed } = recover(silentObserver, journal, path);
    assert.deepEqual(failed, []);
    assert.deepEqual(done, [
      `${path} is as before`,
      `${path} was changed by somebody else in the meantime`,
    ]);
    assert.equal(readFileSync(path, 'utf8'), managed);
    assert.deepEqual(entries(), []);
  });

  it('is what it was before the newest of those that wrote the same', () => {
    crash();
    const commented = `# somebody's remark\n${ORIGINAL}`;
    writeFileSync(path, commented);
    crash();
    const [first = '', second = ''] = entries();
    // Names say nothing about the order.
    const dated = (name: string) => {
      const file = join(directory, 'journal', name);
      const isFirst = !readFileSync(file, 'utf8').includes('remark');
      utimesSync(file, isFirst ? 1_000_000 : 2_000_000, isFirst ? 1_000_000 : 2_000_000);
    };
    dated(first);
    dated(second);
    assert.deepEqual(recover(silentObserver, journal, path).done, [`${path} is as before`]);
    assert.equal(readFileSync(path, 'utf8'), commented);
    assert.deepEqual(entries(), []);
  });
});
