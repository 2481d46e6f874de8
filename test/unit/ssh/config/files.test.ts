import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { UsageError } from '../../../../src/errors/errors.ts';
import {
  loadConfig,
  MAX_CONFIG_FILE_BYTES,
  MAX_CONFIG_FILES,
  MAX_INCLUDE_DEPTH,
  writeConfig,
} from '../../../../src/ssh/config/files.ts';
import { Accounts } from '../../../../src/system/accounts.ts';

const root = mkdtempSync(join(tmpdir(), 'tunnel-sshconfigfile-'));
after(() => rmSync(root, { recursive: true }));

let homes = 0;
function homeWith(files: Readonly<Record<string, string>>): string {
  homes += 1;
  const home = join(root, String(homes));
  mkdirSync(join(home, '.ssh'), { recursive: true });
  for (const [path, text] of Object.entries(files))
    writeFileSync(join(home, '.ssh', path), text, { mode: 0o600 });
  return home;
}

const load = (home: string, file?: string) =>
  loadConfig({ file, home, systemDirectory: join(home, 'etc') });

async function refusal(home: string): Promise<string> {
  try {
    await load(home);
  } catch (error) {
    assert.ok(error instanceof UsageError);
    return error.message;
  }
  return assert.fail('it was read');
}

describe('loadConfig', () => {
  it('needs no file', async () => {
    assert.deepEqual(await load(join(root, 'none')), { user: undefined, system: undefined });
    assert.deepEqual(await load(homeWith({ config: 'Port 1' }), 'None'), {
      user: undefined,
      system: undefined,
    });
  });

  it('matches names as glob does, sorted, without hidden ones', async () => {
    const home = homeWith({
      config: 'Include [0-9]?.conf missing* /nonexistent/*',
      '2a.conf': '',
      '1b.conf': '',
      '.3.conf': '',
      'x1.conf': '',
    });
    const { user } = await load(home);
    assert.deepEqual(
      user?.lines[0]?.includes?.map(({ path }) => path),
      ['1b.conf', '2a.conf'].map((name) => join(home, '.ssh', name)),
    );
  });

  it('refuses a file that includes itself', async () => {
    assert.match(
      await refusal(homeWith({ config: 'Include config' })),
      new RegExp(`nested more than ${MAX_INCLUDE_DEPTH}`),
    );
  });

  it('follows Includes as deep as ssh does', async () => {
    const chain = (length: number) =>
      Object.fromEntries(
        Array.from({ length: length + 1 }, (_, n) => [
          n === 0 ? 'config' : `f${n}`,
          n < length ? `Include f${n + 1}` : 'Port 1',
        ]),
      );
    await load(homeWith(chain(MAX_INCLUDE_DEPTH)));
    await refusal(homeWith(chain(MAX_INCLUDE_DEPTH + 1)));
  });

  it('refuses files that multiply', async () => {
    const text = 'Include b b b b b b b b b b\n';
    const files = {
      config: text,
      b: text.replaceAll('b', 'c'),
      c: text.replaceAll('b', 'd'),
      d: '',
    };
    assert.match(await refusal(homeWith(files)), new RegExp(`more than ${MAX_CONFIG_FILES} files`));
  });

  it('refuses a file that is too large', async () => {
    assert.match(
      await refusal(homeWith({ config: '#'.repeat(MAX_CONFIG_FILE_BYTES + 1) })),
      /too large/,
    );
  });

  it('says which encoding a file should have, where ssh would only see odd keywords', async () => {
    const utf16 = Buffer.from('\ufeffPort 3', 'utf16le');
    for (const [start, what] of [
      [utf16, /config is UTF-16, which ssh refuses/],
      [Buffer.from(utf16).swap16(), /is UTF-16/],
      [Buffer.from('\ufeffPort 3'), /begins with a byte-order mark/],
    ] as const) {
      const home = homeWith({ config: '' });
      writeFileSync(join(home, '.ssh/config'), start);
      assert.match(await refusal(home), what);
    }
  });

  it('refuses an empty Include, as ssh does', async () => {
    assert.match(await refusal(homeWith({ config: '\nInclude ""' })), /config:2: include has an/);
  });

  it('refuses what others may write: the own file, and all that is included', async () => {
    const home = homeWith({ config: 'Include x', x: 'Port 1', other: 'Include x' });
    const path = (name: string) => join(home, '.ssh', name);
    chmodSync(path('x'), 0o602);
    assert.match(await refusal(home), /\.ssh\/x can be written by other users, whose commands/);
    await assert.rejects(load(home, path('other')), /\.ssh\/x can be written by other users/);
    await load(home, path('x'));
    mkdirSync(join(home, 'etc'));
    writeFileSync(join(home, 'etc/ssh_config'), `Include ${path('x')}`);
    rmSync(path('config'));
    await assert.rejects(load(home), /\.ssh\/x can be written by other users/);
    chmodSync(path('x'), 0o600);
    await load(home);
    writeFileSync(path('config'), 'Port 1');
    chmodSync(path('config'), 0o602);
    assert.match(await refusal(home), /\.ssh\/config can be written by other users/);
  });

  it('lets a group write that has no other member', async () => {
    const home = homeWith({ config: 'Port 1' });
    const file = join(home, '.ssh/config');
    chmodSync(file, 0o664);
    const { gid } = statSync(file);
    const uid = process.getuid?.();
    const me = `me:x:${uid}:${gid}::/home/me:/bin/sh`;
    const places = { file: undefined, home, systemDirectory: join(home, 'etc') };
    await loadConfig({ ...places, accounts: new Accounts(me, `g:x:${gid}:`) });
    for (const [passwd, group] of [
      [me, `g:x:${gid}:me,you`],
      [`${me}\nyou:x:4711:${gid}::/:/bin/sh`, `g:x:${gid}:`],
      [me, ''],
    ] as const)
      await assert.rejects(
        loadConfig({ ...places, accounts: new Accounts(passwd, group) }),
        new RegExp(`config can be written by other users \\(group ${gid}\\)`),
      );
  });

  const isRoot = process.getuid?.() === 0;
  const version = spawnSync('ssh', ['-V'], { encoding: 'utf8' }).stderr ?? '';
  const skip =
    isRoot && version.includes('Debian') ? false : "needs root, and Debian's ssh, to compare with";
  it('takes and refuses the same as ssh', { skip }, async () => {
    const home = homeWith({});
    const main = join(home, '.ssh/main');
    const included = join(home, '.ssh/conf.d/x');
    const folder = join(home, '.ssh/conf.d/folder');
    mkdirSync(folder, { recursive: true });
    writeFileSync(main, `Include ${dirname(included)}/*\n`);
    writeFileSync(included, 'Port 7\n');
    const nobodys = 54_321;
    for (const [changed, mode, uid, gid] of [
      [included, 0o644, 0, 0],
      [included, 0o664, 0, 0],
      [included, 0o664, 0, 1],
      [included, 0o664, 0, 65_534],
      [included, 0o664, 0, nobodys],
      [included, 0o646, 0, 0],
      [included, 0o644, 1, 0],
      [included, 0o600, nobodys, 0],
      [folder, 0o755, 0, 0],
      [folder, 0o777, 0, 0],
      [folder, 0o775, 0, nobodys],
      [folder, 0o755, 1, 0],
      [main, 0o666, 1, 1],
    ] as const) {
      for (const path of [main, included, folder]) {
        chownSync(path, 0, 0);
        chmodSync(path, 0o755);
      }
      chownSync(changed, uid, gid);
      chmodSync(changed, mode);
      const { status } = spawnSync('ssh', ['-T', '-G', '-F', main, 'a']);
      const taken = await load(home, main).then(
        () => true,
        () => false,
      );
      assert.equal(taken, status === 0, `${changed} ${mode.toString(8)} ${uid}:${gid}`);
    }
  });

  it('passes over a folder that a pattern matches', async () => {
    const home = homeWith({ config: 'Include conf.d/* conf.d' });
    mkdirSync(join(home, '.ssh/conf.d/old'), { recursive: true });
    writeFileSync(join(home, '.ssh/conf.d/a'), 'Port 1', { mode: 0o600 });
    const { user } = await load(home);
    assert.deepEqual(
      user?.lines[0]?.includes?.map(({ path }) => path),
      [join(home, '.ssh/conf.d/a')],
    );
  });

  it('finds files in the homes of other users', async () => {
    const home = homeWith({ config: 'Include ~bob/x\nInclude ~nobody-known/x' });
    const bob = homeWith({ x: 'Port 1' });
    const accounts = new Accounts(`bob:x:1:1::${bob}/.ssh:/bin/sh`, '');
    const { user } = await loadConfig({ file: undefined, home, systemDirectory: home, accounts });
    assert.deepEqual(
      user?.lines.map(({ includes }) => includes?.map(({ path }) => path)),
      [[join(bob, '.ssh/x')], undefined],
    );
  });

  it("refuses ~ in the system's file, as ssh does", async () => {
    const home = homeWith({});
    mkdirSync(join(home, 'etc'));
    writeFileSync(join(home, 'etc/ssh_config'), 'Port 1\nInclude ~/x');
    assert.match(await refusal(home), /etc\/ssh_config:2: the system's ssh_config includes ~\/x/);
  });

  it('says which file can not be read', async () => {
    const home = homeWith({});
    mkdirSync(join(home, '.ssh/config'));
    assert.match(await refusal(home), /\.ssh\/config can't be read \(EISDIR\)/);
  });
});

describe('writeConfig', () => {
  it('writes what only this user can read, with lines where they were', async () => {
    const home = homeWith({
      config: '# c\nInclude a b\nIdentityFile ~/k x\nRemoteCommand ls ~/k',
      a: 'Port 1',
      b: 'Port 2',
    });
    const { user } = await load(home);
    assert.ok(user !== undefined);
    const copy = await writeConfig([user], ['User last']);
    const directory = dirname(copy.paths.defaults);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.equal(statSync(copy.paths.defaults).mode & 0o777, 0o600);
    assert.equal(
      readFileSync(copy.paths.defaults, 'utf8'),
      `Match all\nInclude ${directory}/1\nMatch all\nUser last\n`,
    );
    assert.equal(
      readFileSync(join(directory, '1'), 'utf8'),
      `# c\nInclude ${directory}/2 ${directory}/3\nidentityfile ${home}/k x\nRemoteCommand ls ~/k`,
    );
    await copy.remove();
    await copy.remove();
    assert.throws(() => statSync(directory), { code: 'ENOENT' });
  });

  it('leads messages back to the files, also to the tenth', async () => {
    const names = Array.from({ length: 11 }, (_, n) => `f${n}`);
    const home = homeWith({
      config: `Include ${names.join(' ')}`,
      ...Object.fromEntries(names.map((name) => [name, ''])),
    });
    const { user } = await load(home);
    assert.ok(user !== undefined);
    const copy = await writeConfig([user]);
    assert.equal(
      copy.originalNames(`${dirname(copy.paths.defaults)}/12: x`),
      `${home}/.ssh/f10: x`,
    );
    assert.equal(
      copy.originalNames(`${dirname(copy.paths.defaults)}/1: x`),
      `${home}/.ssh/config: x`,
    );
    await copy.remove();
  });
});
