import assert from 'node:assert/strict';
import {
  chmodSync,
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

  it('refuses a file that others may write, as ssh does, but not one that was named', async () => {
    const home = homeWith({ config: 'Include x', x: 'Port 1' });
    chmodSync(join(home, '.ssh/x'), 0o620);
    assert.match(await refusal(home), /\.ssh\/x is owned or writable by other users/);
    await load(home, join(home, '.ssh/x'));
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
    const copy = await writeConfig([user, 'User last']);
    const directory = dirname(copy.path);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    assert.equal(statSync(copy.path).mode & 0o777, 0o600);
    assert.equal(
      readFileSync(copy.path, 'utf8'),
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
    assert.equal(copy.originalNames(`${dirname(copy.path)}/12: x`), `${home}/.ssh/f10: x`);
    assert.equal(copy.originalNames(`${dirname(copy.path)}/1: x`), `${home}/.ssh/config: x`);
    await copy.remove();
  });
});
