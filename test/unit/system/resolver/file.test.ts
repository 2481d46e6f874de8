/**
 * resolv.conf rewritten and brought back, in a directory of the test's; crashes are a child that is
 * killed.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { reportRecovery } from '../../../../src/cli/clean.ts';
import { parsePrefix } from '../../../../src/net/prefix.ts';
import { silentObserver } from '../../../../src/observe/observer.ts';
import { isAbandonedResolvConf, ResolvConfFile } from '../../../../src/system/resolver/file.ts';
import { Journal, journalDirectory } from '../../../../src/system/resolver/journal.ts';
import { recover } from '../../../../src/system/resolver/recover.ts';
import {
  JOURNAL_MODULE,
  needsRoot,
  ORIGINAL,
  ResolvConfScene,
} from '../../../support/resolvconf.ts';

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

const change = () => new ResolvConfFile({ servers: ['198.18.0.53', '2001:2::35'], journal, path });

describe('resolv.conf as the last resort', { skip: needsRoot }, () => {
  it('is seen to be that of a tunnel that is gone, also without the journal', async () => {
    const networks = (...texts: string[]) => texts.map((text) => parsePrefix(text).prefix);
    const device = networks('192.0.2.0/24', '198.18.0.0/24', '2001:2::/64');
    const another = networks('192.0.2.0/24', '198.18.1.0/24');
    const without = networks('192.0.2.0/24', '2001:db8::/64');
    assert.equal(isAbandonedResolvConf(path, without), false, 'somebody else’s');
    const file = change();
    await file.apply();
    assert.equal(isAbandonedResolvConf(path, device), false);
    assert.equal(isAbandonedResolvConf(path, another), false, 'all share the servers');
    assert.equal(isAbandonedResolvConf(path, without), true);
    assert.equal(isAbandonedResolvConf(join(directory, 'none'), without), false);
    await file.undo();
  });

  it("names the tunnel's server and keeps the lines about names; undo brings everything back", async () => {
    const file = change();
    await file.apply();
    const text = readFileSync(path, 'utf8');
    assert.match(text, /^search corp\.example$/m);
    assert.match(text, /^options edns0$/m);
    assert.deepEqual(text.match(/^nameserver.*$/gm), [
      'nameserver 198.18.0.53',
      'nameserver 2001:2::35',
    ]);
    assert.equal(lstatSync(path).mode & 0o777, 0o644);
    assert.equal(entries().length, 1);

    await file.undo();
    await file.undo();
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.equal(lstatSync(path).mode & 0o777, 0o640);
    assert.deepEqual(entries(), []);
    assert.deepEqual(readdirSync(directory), ['resolv.conf']);
  });

  it('replaces a link, not what it leads to', async () => {
    const managed = join(directory, 'managed');
    writeFileSync(managed, ORIGINAL);
    rmSync(path);
    symlinkSync('managed', path);
    const file = change();
    await file.apply();
    assert.ok(lstatSync(path).isFile());
    assert.equal(readFileSync(managed, 'utf8'), ORIGINAL);
    await file.undo();
    assert.equal(readlinkSync(path), 'managed');
  });

  it('comes back octet by octet, whatever its encoding', async () => {
    const odd = Buffer.from([
      ...Buffer.from('# caf'),
      0xe9,
      ...Buffer.from('\nnameserver 127.0.0.1\n'),
    ]);
    writeFileSync(path, odd);
    const file = change();
    await file.apply();
    await file.undo();
    assert.deepEqual(readFileSync(path), odd);
  });

  for (const order of ['first', 'last'] as const) {
    it(`stays while one of two tunnels runs; the one that came ${order} ends first`, async () => {
      const [first, second] = [change(), change()];
      await first.apply();
      const rewritten = readFileSync(path, 'utf8');
      await second.apply();
      assert.equal(readFileSync(path, 'utf8'), rewritten);
      assert.equal(entries().length, 2);
      const [one, other] = order === 'first' ? [first, second] : [second, first];
      await one.undo();
      assert.equal(readFileSync(path, 'utf8'), rewritten);
      await other.undo();
      assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
      assert.deepEqual(entries(), []);
    });
  }

  it('is as before when several end at the same time', async () => {
    const files = [change(), change(), change()];
    for (const file of files) await file.apply();
    await Promise.all(files.map((file) => file.undo()));
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  it('waits for one that is ending, and is rewritten again if that has restored it', async () => {
    const first = change();
    await first.apply();
    const [name = ''] = entries();
    const file = join(directory, 'journal', name);
    const entry = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify({ ...entry, data: { ...entry.data, ending: true } }));
    const second = change();
    const joined = second.apply();
    await new Promise((resolve) => setTimeout(resolve, 100));
    // It had looked for others before the second one came.
    writeFileSync(path, ORIGINAL);
    rmSync(file);
    await joined;
    assert.match(readFileSync(path, 'utf8'), /^# Written by tunnel/);
    await second.undo();
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  it('of a tunnel that was killed stays for one that runs', async () => {
    crash();
    const second = new ResolvConfFile({ servers: ['198.18.0.53'], journal, path });
    // As if it had started before: at a start what was left is restored first.
    const [name = ''] = entries();
    const killed = JSON.parse(readFileSync(join(directory, 'journal', name), 'utf8'));
    journal.record('resolv.conf', killed.data);
    await second.apply();
    const { done, failed } = recover(silentObserver, journal, path);
    assert.deepEqual(failed, []);
    assert.deepEqual(done, [`${path} stays as it is for another tunnel, which runs`]);
    assert.match(readFileSync(path, 'utf8'), /^# Written by tunnel/);
    assert.equal(entries().length, 2);
  });

  it('is brought back by the tunnel that has written it again after somebody else', async () => {
    const managed = 'nameserver 10.0.0.1\n';
    for (const order of ['first', 'last', 'killed']) {
      writeFileSync(path, ORIGINAL);
      // A network manager replaces the file while the first one runs, which follows that.
      const [first, second] = [change(), change()];
      await first.apply();
      writeFileSync(path, managed);
      if (order === 'killed') crash();
      else await second.apply();
      if (order === 'killed') assert.deepEqual(recover(silentObserver, journal, path).failed, []);
      if (order === 'first') await second.undo();
      await first.undo();
      if (order === 'last') await second.undo();
      assert.equal(readFileSync(path, 'utf8'), managed, order);
      assert.deepEqual(entries(), [], order);
    }
  });

  it('of a tunnel whose journal is another one is not touched', async () => {
    const [first, second] = [
      new ResolvConfFile({
        servers: ['198.18.0.53'],
        journal: new Journal(join(directory, 'other')),
        path,
      }),
      change(),
    ];
    await first.apply();
    await assert.rejects(second.apply(), { code: 'dns-resolv-conf', message: /another tunnel/ });
    await first.undo();
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.ok(!existsSync(join(directory, 'journal')));
  });

  it('is left alone when somebody else has written it meanwhile', async () => {
    const file = change();
    await file.apply();
    writeFileSync(path, 'nameserver 10.0.0.1\n');
    await file.undo();
    assert.equal(readFileSync(path, 'utf8'), 'nameserver 10.0.0.1\n');
    assert.deepEqual(entries(), []);
  });

  it("is not touched when there is none, or the journal can't be written", async () => {
    rmSync(path);
    await assert.rejects(change().apply(), { code: 'dns-resolv-conf' });
    writeFileSync(path, ORIGINAL);
    writeFileSync(join(directory, 'not-a-directory'), '');
    const hopeless = new Journal(join(directory, 'not-a-directory/journal'));
    await assert.rejects(
      new ResolvConfFile({ servers: ['198.18.0.53'], journal: hopeless, path }).apply(),
      {
        code: 'journal',
      },
    );
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
  });

  it('is brought back after a crash, once', () => {
    crash();
    assert.match(readFileSync(path, 'utf8'), /198\.18\.0\.53/);
    const output: string[] = [];
    reportRecovery(recover(silentObserver, journal, path), (text) => output.push(text));
    assert.deepEqual(output, [`${path} is as before\n`]);
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    reportRecovery(recover(silentObserver, journal, path), (text) => output.push(text));
    assert.equal(output[1], 'nothing to repair\n');
  });

  it('of several that were killed is brought back, and that is said once', () => {
    crash();
    const [name = ''] = entries();
    const { data } = JSON.parse(readFileSync(join(directory, 'journal', name), 'utf8'));
    for (const pid of [4194998, 4194999])
      writeFileSync(
        join(directory, 'journal', `${pid}-0.json`),
        JSON.stringify({ kind: 'resolv.conf', owner: { pid, startTime: 'gone' }, data }),
      );
    assert.equal(entries().length, 3);
    const { done, failed } = recover(silentObserver, journal, path);
    assert.deepEqual({ done, failed }, { done: [`${path} is as before`], failed: [] });
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(readdirSync(directory), ['resolv.conf']);
  });

  it('of which the entry is as the version before has written it is brought back', () => {
    const after = 'nameserver 198.18.0.53\n';
    writeFileSync(path, after);
    mkdirSync(join(directory, 'journal'), { mode: 0o700 });
    writeFileSync(
      join(directory, 'journal', '4194999-0.json'),
      `{"kind":"resolv.conf","owner":{"pid":4194999,"startTime":"0a5f1f1e-3a4b-4b55-9c55-1d3c2f5f5a10 12345"},"data":${JSON.stringify(
        { path, before: { text: ORIGINAL, mode: 0o640, uid: 0, gid: 0 }, after },
      )}}`,
    );
    assert.deepEqual(recover(silentObserver, journal, path), {
      done: [`${path} is as before`],
      failed: [],
    });
    assert.equal(readFileSync(path, 'utf8'), ORIGINAL);
    assert.deepEqual(entries(), []);
  });

  it('that has been removed meanwhile stays so, and its entry goes', async () => {
    crash();
    rmSync(path);
    assert.deepEqual(recover(silentObserver, journal, path), {
      done: [`${path} was removed by somebody else in the meantime`],
      failed: [],
    });
    assert.deepEqual(entries(), []);
    writeFileSync(path, ORIGINAL);
    const file = change();
    await file.apply();
    rmSync(path);
    await file.undo();
    assert.equal(existsSync(path), false);
    assert.deepEqual(entries(), []);
  });

  it('that can neither be rewritten nor its entry be removed: both are said', async () => {
    const stubborn = {
      running: () => [],
      record: () => ({
        replace() {},
        remove() {
          throw new Error('the entry stays');
        },
      }),
    } as unknown as Journal;
    const long = join(directory, 'x'.repeat(250));
    writeFileSync(long, ORIGINAL);
    const file = new ResolvConfFile({ servers: ['198.18.0.53'], journal: stubborn, path: long });
    await assert.rejects(file.apply(), {
      code: 'dns-resolv-conf',
      message: /can't be rewritten: ENAMETOOLONG.*the entry stays/,
    });
    // It isn't forgotten either.
    await assert.rejects(file.undo(), /the entry stays/);
  });

  it('of a program that has ended but that nobody has waited for is brought back', async () => {
    // The shell becomes a program that doesn't ask what has become of its child.
    const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 20'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const pid = Number(String(await once(parent.stdout, 'data')).trim());
      const field = () => readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ');
      while (field()?.[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 20));
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      crash();
      const [name = ''] = entries();
      const entry = JSON.parse(readFileSync(join(directory, 'journal', name), 'utf8'));
      entry.owner = { pid, startTime: `${boot} ${field()?.[19]}` };
      writeFileSync(join(directory, 'journal', name), JSON.stringify(entry));
      assert.deepEqual(recover(silentObserver, journal, path).done, [`${path} is as before`]);
    } finally {
      parent.kill();
    }
  });

  it('of a program that runs is not brought back', async () => {
    const file = change();
    await file.apply();
    assert.deepEqual(recover(silentObserver, new Journal(join(directory, 'journal')), path), {
      done: [],
      failed: [],
    });
    assert.match(readFileSync(path, 'utf8'), /198\.18\.0\.53/);
    await file.undo();
  });

  it('of a program whose id another one has now is brought back', () => {
    crash();
    const [name = ''] = entries();
    const text = readFileSync(join(directory, 'journal', name), 'utf8');
    writeFileSync(
      join(directory, 'journal', name),
      text.replace(/"pid":\d+/, `"pid":${process.pid}`),
    );
    assert.deepEqual(recover(silentObserver, journal, path).done, [`${path} is as before`]);
  });
});

describe('the journal', () => {
  it('of a program that died restores no other file', () => {
    crash();
    const [name = ''] = entries();
    const entry = join(directory, 'journal', name);
    const other = join(directory, 'other');
    writeFileSync(other, readFileSync(path));
    writeFileSync(entry, readFileSync(entry, 'utf8').replaceAll(path, other));
    const before = readFileSync(other, 'utf8');
    const { done, failed } = recover(silentObserver, journal, path);
    assert.deepEqual(done, []);
    assert.match(failed[0] ?? '', /a journal entry is about .*other, not /);
    assert.equal(readFileSync(other, 'utf8'), before);
  });

  it('is not believed, nor written, where others may write', () => {
    crash();
    chmodSync(join(directory, 'journal'), 0o770);
    assert.match(recover(silentObserver, journal, path).failed[0] ?? '', /others may write/);
    assert.match(readFileSync(path, 'utf8'), /198\.18\.0\.53/);
    assert.throws(() => journal.record('x', 1), { code: 'journal', message: /others may write/ });
    chmodSync(join(directory, 'journal'), 0o700);
    renameSync(join(directory, 'journal'), join(directory, 'elsewhere'));
    symlinkSync(join(directory, 'elsewhere'), join(directory, 'journal'));
    assert.match(recover(silentObserver, journal, path).failed[0] ?? '', /others may write/);
  });

  it('forgets what a crash has cut off, and keeps what it does not know', () => {
    mkdirSync(join(directory, 'journal'), { mode: 0o700 });
    writeFileSync(join(directory, 'journal', '999999999-0.json'), '{"kind": "resol');
    // Its owner runs: it may be in the middle of writing.
    writeFileSync(join(directory, 'journal', `${process.pid}-9.json`), '');
    writeFileSync(
      join(directory, 'journal', '1-1.json'),
      JSON.stringify({ kind: 'later', owner: { pid: 999_999_999, startTime: 'x' }, data: {} }),
    );
    const report = recover(silentObserver, journal, path);
    assert.deepEqual(report.done, ['an unfinished journal entry was removed']);
    assert.match(report.failed[0] ?? '', /"later" is not known/);
    assert.deepEqual(entries().sort(), ['1-1.json', `${process.pid}-9.json`].sort());
    assert.throws(() => reportRecovery(report, () => {}), { code: 'clean-incomplete' });
  });

  it('forgets what was cut off long ago, though another program has its id', () => {
    mkdirSync(join(directory, 'journal'));
    const files = ['1-0.json', `${process.pid}-1.json.new`].map((name) =>
      join(directory, 'journal', name),
    );
    for (const file of files) writeFileSync(file, '{"kind": "resol');
    assert.deepEqual(recover(silentObserver, journal, path).done, [], 'they may be being written');
    for (const file of files) utimesSync(file, 1_000_000, 1_000_000);
    assert.deepEqual(recover(silentObserver, journal, path).done, [
      'an unfinished journal entry was removed',
    ]);
    assert.deepEqual(entries(), []);
  });

  it('takes another name beside an entry that a program of the same id has left', () => {
    mkdirSync(join(directory, 'journal'));
    const kept = join(directory, 'journal', `${process.pid}-0.json`);
    writeFileSync(kept, 'kept');
    const entry = journal.record('x', 1);
    assert.deepEqual(entries().sort(), [`${process.pid}-0.json`, `${process.pid}-1.json`]);
    entry.replace(2);
    assert.match(
      readFileSync(join(directory, 'journal', `${process.pid}-1.json`), 'utf8'),
      /^\{"kind":"x","owner":\{"pid":\d+,"startTime":"[^"]+"\},"data":2\}$/,
    );
    entry.remove();
    assert.deepEqual(entries(), [`${process.pid}-0.json`]);
    assert.equal(readFileSync(kept, 'utf8'), 'kept');
  });

  it('says so when an entry can be written in part only, and leaves nothing', () => {
    const script = `const { Journal } = await import('${JOURNAL_MODULE}');
      const journal = new Journal(${JSON.stringify(join(directory, 'journal'))});
      try { journal.record('x', 'y'.repeat(5000)); console.log('recorded'); }
      catch (error) { console.log(error.code); }`;
    // Files of 1 KiB at most (dash counts in half of that): a first write is short, a second fails.
    const { stdout, stderr } = spawnSync(
      'sh',
      [
        '-c',
        'trap "" XFSZ; ulimit -f 2; exec "$0" --input-type=module -e "$1"',
        process.execPath,
        script,
      ],
      { encoding: 'utf8' },
    );
    assert.equal(stdout, 'journal\n', stderr);
    assert.deepEqual(entries(), []);
  });

  it('goes with its last entry, and the directory around it unless others have files there', () => {
    const around = join(directory, 'state/tunnel');
    const own = new Journal(join(around, 'journal'));
    const [first, second] = [own.record('x', 1), own.record('x', 2)];
    first.remove();
    assert.deepEqual(readdirSync(around), ['journal']);
    second.remove();
    second.remove();
    assert.deepEqual(readdirSync(join(directory, 'state')), []);
    const third = own.record('x', 3);
    writeFileSync(join(around, 'of-others'), '');
    third.remove();
    assert.deepEqual(readdirSync(around), ['of-others']);
  });

  it('is written while others that end remove it', async () => {
    const script = `const { Journal } = await import('${JOURNAL_MODULE}');
      const journal = new Journal(${JSON.stringify(join(directory, 'tunnel/journal'))});
      for (let n = 0; n < 300; n++) {
        journal.abandoned();
        journal.record('x', n).remove();
      }`;
    const ends = Array.from({ length: 3 }, async () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      const [status] = await once(child, 'close');
      assert.equal(status, 0, said);
    });
    await Promise.all(ends);
    assert.ok(!existsSync(join(directory, 'tunnel')));
  });

  it("is root's in /var/lib, a user's in the state directory", () => {
    assert.equal(journalDirectory({}, 0), '/var/lib/tunnel/journal');
    assert.equal(journalDirectory({ XDG_STATE_HOME: '/s' }, 1000), '/s/tunnel/journal');
    assert.match(
      journalDirectory({ XDG_STATE_HOME: 's' }, 1000),
      /\/\.local\/state\/tunnel\/journal$/,
    );
  });
});
