/** Where the options of `tunnel exec` end and the command begins. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCommandLine } from '../../../src/cli/program.ts';
import { type ExecConfiguration, splitCommand } from '../../../src/config/execoptions.ts';
import type { OptionShape } from '../../../src/config/words.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { standInCommands } from '../../support/commands.ts';

const OPTIONS: readonly OptionShape[] = [
  { short: '-r', long: '--remote', takesValue: true },
  { short: '-v', long: '--verbose', takesValue: false },
  { short: undefined, long: '--isolate', takesValue: false },
];

describe('splitCommand', () => {
  for (const [line, own, command] of [
    ['-r h 10/8 -- curl -v url', '-r h 10/8', 'curl -v url'],
    ['-r h -- curl', '-r h', 'curl'],
    ['-r h curl -r x', '-r h', 'curl -r x'],
    ['-rh curl', '-rh', 'curl'],
    ['-vr h curl', '-vr h', 'curl'],
    ['-vrh curl', '-vrh', 'curl'],
    ['--remote h --isolate curl', '--remote h --isolate', 'curl'],
    ['--remote=h curl', '--remote=h', 'curl'],
    ['-r h 10/8 10.0.0.0/33 -- curl', '-r h 10/8 10.0.0.0/33', 'curl'],
    ['-r h api.example.com -- curl', '-r h api.example.com', 'curl'],
    ['-r h 7z x', '-r h', '7z x'],
    ['-r h ./run 10/8', '-r h', './run 10/8'],
    ['-r h curl http://10.0.0.1/', '-r h', 'curl http://10.0.0.1/'],
    ['-r h 10/8 -- git log -- file', '-r h 10/8', 'git log -- file'],
    ['10/8 -r h 11/8 -- curl', '10/8 -r h 11/8', 'curl'],
    ['@args -- curl @body', '@args', 'curl @body'],
    ['@args curl @body', '@args', 'curl @body'],
    ['-r -- curl', '-r', 'curl'],
    ['-r -r h -- curl', '-r -r h', 'curl'],
    ['--remote -v 10/8 -- curl', '--remote -v 10/8', 'curl'],
    ['-r h -- ', '-r h', ''],
  ] as const) {
    it(line, () => {
      const words = (text: string) => text.split(' ').filter((word) => word !== '');
      assert.deepEqual(splitCommand(words(line), OPTIONS), {
        own: words(own),
        command: words(command),
      });
    });
  }

  it('asks for "--" rather than take the name of a program before one for a target', () => {
    const isProgram = (name: string) => name === 'git';
    assert.throws(
      () => splitCommand(['-r', 'h', 'git', 'log', '--', 'file'], OPTIONS, isProgram),
      (error) => error instanceof UsageError && /write git\. with a dot/.test(error.hint ?? ''),
    );
    for (const target of ['git.', 'api1'])
      assert.deepEqual(splitCommand(['-r', 'h', target, '--', 'curl'], OPTIONS, isProgram), {
        own: ['-r', 'h', target],
        command: ['curl'],
      });
  });

  it('gives no command where there is none', () => {
    assert.deepEqual(splitCommand(['-r', 'h'], OPTIONS), { own: ['-r', 'h'], command: undefined });
  });

  for (const word of [
    '10.0.0.0/8',
    '10/8',
    '192.168.1.7',
    '2001:db8::/32',
    '[2001:db8::]/32:443',
    '10/8:443',
  ]) {
    it(`asks for "--" rather than take ${word} for the command`, () => {
      assert.throws(
        () => splitCommand(['-r', 'h', word, 'curl'], OPTIONS),
        (error) => error instanceof UsageError && /"--"/.test(error.hint ?? ''),
      );
    });
  }
});

describe('the command line of exec', () => {
  async function configurationOf(...args: readonly string[]): Promise<ExecConfiguration> {
    const seen: ExecConfiguration[] = [];
    const unexpected = () => assert.fail('another command');
    await runCommandLine(
      ['exec', ...args],
      {
        ...standInCommands(unexpected),
        exec: async (configuration) => {
          seen.push(configuration);
        },
      },
      { output: () => assert.fail('no output'), columns: 80 },
    );
    const [configuration] = seen;
    assert.ok(configuration !== undefined && seen.length === 1);
    return configuration;
  }

  it("leaves the command's words as they are", async () => {
    const { command, tunnel, isolate } = await configurationOf(
      ...[
        '-r',
        'u@h',
        '--isolate',
        '-v',
        '10/8',
        '--',
        'curl',
        '-v',
        '--isolate',
        '@body',
        '--',
        '-r',
      ],
    );
    assert.deepEqual(command, ['curl', '-v', '--isolate', '@body', '--', '-r']);
    assert.equal(isolate, true);
    assert.equal(tunnel.logLevel, 'info');
    assert.deepEqual(
      tunnel.targets.map(({ text }) => text),
      ['10/8'],
    );
  });

  it('takes everything for the target where none is given', async () => {
    const { tunnel, command } = await configurationOf('-r', 'u@h', 'true');
    assert.deepEqual(
      tunnel.targets.map(({ text }) => text),
      ['0.0.0.0/0', '::/0'],
    );
    assert.deepEqual(command, ['true']);
  });

  it('offers none of the options of the proxies: it would ignore them', async () => {
    for (const option of [
      '--listen',
      '--socks',
      '--http',
      '--proxy-auth',
      '--only-targets',
      '--allow-remote-clients',
    ])
      await assert.rejects(configurationOf('-r', 'u@h', option, '1080', '--', 'true'), {
        code: 'usage',
        message: new RegExp(`unknown option '${option}'`),
      });
  });

  for (const args of [['-r', 'h'], ['-r', 'h', '10/8', '--'], ['-r', 'h', '--', ''], ['true']]) {
    it(`is wrong: ${args.join(' ')}`, async () => {
      await assert.rejects(configurationOf(...args), UsageError);
    });
  }
});
