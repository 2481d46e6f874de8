import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { loadModules } from '../../../../scripts/boundaries.ts';
import { COMMANDS } from '../../../../src/cli/commands.ts';
import { type Answer, complete } from '../../../../src/cli/completion/answer.ts';
import { quotedFor, splitLine } from '../../../../src/cli/completion/line.ts';
import { knownHostNames } from '../../../../src/cli/completion/names.ts';
import { completionTable } from '../../../../src/cli/completion/table.ts';

const TABLE = completionTable(Object.values(COMMANDS));
const asked: string[] = [];

function at(...typed: readonly string[]): Promise<Answer> {
  asked.length = 0;
  return complete(TABLE, typed.slice(0, -1), typed.at(-1) ?? '', async (kind) => {
    asked.push(kind);
    return ['alpha', 'beta', 'be\u202Eta', 'b\u001b[31m', 'b\nc'];
  });
}

const values = async (...typed: readonly string[]) =>
  (await at(...typed)).candidates.map(({ value }) => value);

describe('what may stand at the cursor', () => {
  for (const [typed, expected] of [
    [['cle'], ['clean']],
    [['help', 'cle'], ['clean']],
    [
      ['--transport', ''],
      ['auto', 'ssh2', 'openssh'],
    ],
    [['--transport=s'], ['--transport=ssh2']],
    [['-r', 'al'], ['alpha']],
    [['-ral'], ['-ralpha']],
    [['-vr', 'u@al'], ['u@alpha']],
    [['-vru@b@al'], ['-vru@b@alpha']],
    [['--remote=ssh://al'], ['--remote=ssh://alpha']],
    [['-J', 'x,u@al'], ['x,u@alpha']],
    [['jumphost', 'terr'], ['terraform']],
    [['jumphost', 'sshd', 'terr'], []],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['completion', 'bash', ''], []],
    ...['status', 'stop', 'down', 'reconnect', 'reload'].map(
      (command) => [[command, 'al'], ['alpha']] as const,
    ),
    [['reload', 'alpha', 'b'], []],
    [['--', '-'], []],
    [['--dns', '--dns'], ['--dns-server']],
    [
      ['-x', '1', '--excl'],
      ['--exclude', '--excludes-from'],
    ],
    [['proxy', '--vers'], []],
    [['connect', '--vers'], ['--version']],
    [['-o', 'RequiredR'], ['RequiredRSASize=']],
  ] as const)
    it(`tunnel ${typed.join(' ')}|`, async () => {
      assert.deepEqual(await values(...typed), expected);
    });

  it('names that show something else than they are are left out', async () => {
    assert.deepEqual(await values('-r', 'b'), ['beta']);
  });

  it('files are looked for by the shell, from where they begin', async () => {
    for (const [typed, mode, offset] of [
      [['-s', ''], 'files', 0],
      [['--allow=x'], 'files', 8],
      [['-vix'], 'files', 3],
      [['@x'], 'files', 1],
      [['jumphost', 'sshd', '--output', ''], 'directories', 0],
      [['--port', ''], 'words', 0],
    ] as const) {
      const found = await at(...typed);
      assert.deepEqual([found.mode, found.offset], [mode, offset], typed.join(' '));
      assert.deepEqual(asked, []);
    }
  });

  it('finds where the command of exec begins', async () => {
    for (const [typed, offset] of [
      [['exec', '-r', 'h', '--', ''], 4],
      [['exec', '-r', 'h', '10/8', '--', 'git', ''], 5],
      [['exec', '-r', 'h', 'git', ''], 3],
      [['exec', '-r', 'h', 'gi'], 3],
      [['exec', '-r', '--', '--', 'x'], 4],
    ] as const) {
      const found = await at(...typed);
      assert.deepEqual([found.mode, found.offset], ['command', offset], typed.join(' '));
    }
    assert.equal((await at('exec', '-r', 'h', '10/8', '')).mode, 'words');
  });

  it('has each option of each command once, with its help', async () => {
    for (const { name, options } of TABLE) {
      const all = options.flatMap(({ short, long }) => [short, long]).filter(Boolean);
      assert.equal(new Set(all).size, all.length, name);
      const long = options.flatMap((option) => option.long ?? []);
      const listed = await values(name, '--');
      assert.deepEqual(listed.toSorted(), long.toSorted(), name);
      assert.ok(options.every(({ help }) => help !== ''));
    }
  });
});

describe('a line of bash', () => {
  it('is split without being expanded', () => {
    const line = `tunnel a\\ b "c \\"d" 'e\\' $(touch x) --f="g h`;
    assert.deepEqual(
      splitLine(line).map(({ text, open }) => [text, open]),
      [
        ['tunnel', ''],
        ['a b', ''],
        ['c "d', ''],
        ['e\\', ''],
        ['$(touch', ''],
        ['x)', ''],
        ['--f=g h', '"'],
      ],
    );
    assert.equal(splitLine('tunnel ').at(-1)?.raw, '');
  });

  it('takes what is quoted literally', () => {
    for (const text of ['a b', '$(touch x)', '`x`', "it's", '"', '\\', '!x', '~', 'ü', ';&|<>*?'])
      for (const open of ['', '"', "'"] as const) {
        const [word] = splitLine(`${open}${quotedFor(text, open)}${open}`);
        assert.equal(word?.text, text);
      }
  });
});

describe('names of known_hosts', () => {
  it('are those that can be given to -r', () => {
    const text = `a,b.example,10.0.0.1 k v
[c]:2222,[2001:db8::1]:22,2001:db8::2 k v
|1|salt|hash k v
# comment
@cert-authority *.d k v
@revoked e k v
*.f,!g,h?,$(i),j;k,-l k v
`;
    assert.deepEqual(knownHostNames(text), [
      ...['a', 'b.example', '10.0.0.1', 'c:2222', '[2001:db8::1]:22', '[2001:db8::2]'],
    ]);
  });
});

describe('the entry of completion', () => {
  it('loads few modules, so that it answers at once', () => {
    const modules = new Map(loadModules().map((module) => [module.path, module]));
    const loaded = new Set<string>();
    const load = (path: string): void => {
      const text = modules.get(path)?.text;
      if (text === undefined || loaded.has(path)) return;
      loaded.add(path);
      for (const [, name = ''] of text.matchAll(
        /^(?:import|export) (?!type )[^;]* from '([^']+)'/gm,
      ))
        load(join(dirname(path), name));
    };
    load('cli/completion/main.ts');
    assert.ok(loaded.has('cli/completion/answer.ts'));
    assert.ok(loaded.size < 25, [...loaded].join(' '));
  });
});
