import assert from 'node:assert/strict';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { watchResolvers } from '../../../../src/system/resolver/watch.ts';

it('tells of a resolv.conf that is written, replaced, or linked elsewhere, and of nothing else', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-watch-'));
  const at = (...path: readonly string[]) => join(directory, ...path);
  let told = 0;
  const stop = watchResolvers(() => told++, silentObserver, [join(directory, 'resolv.conf')]);
  let stopLinked = () => {};
  const after = async (change: () => void, count: number) => {
    told = 0;
    change();
    for (let waited = 0; told < count && waited < 5_000; waited += 20) await sleep(20);
    if (count === 0) await sleep(300);
    assert.equal(told, count);
  };
  try {
    await after(() => writeFileSync(at('resolv.conf'), 'a'), 1);
    await after(() => writeFileSync(at('other'), 'b'), 0);
    await after(() => renameSync(at('other'), at('resolv.conf')), 1);
    stop();
    await after(() => writeFileSync(at('resolv.conf'), 'c'), 0);

    for (const name of ['etc', 'one', 'two']) mkdirSync(at(name));
    for (const name of ['one', 'two']) writeFileSync(at(name, 'made.conf'), name);
    symlinkSync(at('one/made.conf'), at('etc/resolv.conf'));
    stopLinked = watchResolvers(() => told++, silentObserver, [at('etc/resolv.conf')]);
    await after(() => writeFileSync(at('one/made.conf'), 'three'), 1);
    symlinkSync(at('two/made.conf'), at('etc/new'));
    await after(() => renameSync(at('etc/new'), at('etc/resolv.conf')), 1);
    await after(() => writeFileSync(at('two/made.conf'), 'four'), 1);
    await after(() => writeFileSync(at('one/made.conf'), 'five'), 0);
  } finally {
    stop();
    stopLinked();
    rmSync(directory, { recursive: true });
  }
});

// A container's resolv.conf is a mount: what is written there is in no directory that is watched. A
// second link to the file is the same to inotify.
it('tells of a resolv.conf that is written by another path, also after it was replaced', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-watch-'));
  const at = (...path: readonly string[]) => join(directory, ...path);
  for (const name of ['etc', 'elsewhere']) mkdirSync(at(name));
  for (const name of ['first', 'second']) writeFileSync(at('elsewhere', name), name);
  linkSync(at('elsewhere/first'), at('etc/resolv.conf'));
  let told = 0;
  const stop = watchResolvers(() => told++, silentObserver, [at('etc/resolv.conf')]);
  const after = async (change: () => void) => {
    told = 0;
    change();
    for (let waited = 0; told === 0 && waited < 5_000; waited += 20) await sleep(20);
    assert.equal(told, 1);
  };
  try {
    await after(() => writeFileSync(at('elsewhere/first'), 'a'));
    linkSync(at('elsewhere/second'), at('etc/new'));
    await after(() => renameSync(at('etc/new'), at('etc/resolv.conf')));
    await after(() => writeFileSync(at('elsewhere/second'), 'b'));
  } finally {
    stop();
    rmSync(directory, { recursive: true });
  }
});
