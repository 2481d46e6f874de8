/** Arguments keep their places on their way through commander. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Command } from 'commander';
import fc from 'fast-check';
import { MarkedArguments } from '../../../src/cli/marks.ts';
import type { Entry } from '../../../src/config/argsfile.ts';
import type { OptionShape } from '../../../src/config/words.ts';
import { UsageError } from '../../../src/errors/errors.ts';

const SHAPES: readonly OptionShape[] = [
  { short: '-r', long: '--remote', takesValue: true },
  { short: '-v', long: '--verbose', takesValue: false },
  { long: '--dns', takesValue: false },
];

/** Each word on a line of its own, so that its place tells which it was. */
const entriesOf = (words: readonly string[]): Entry[] =>
  words.map((text, index) => ({ text, place: { kind: 'file', path: 'args', line: index + 1 } }));

const lineOf = ({ place }: Entry) => (place.kind === 'file' ? place.line : 0);

/** What commander makes of the words: values of -r, operands and how often -v is given. */
function read(words: readonly string[]) {
  const marked = new MarkedArguments(entriesOf(words), 0, SHAPES);
  const remotes: string[] = [];
  let verbose = 0;
  const command = new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .argument('[targets...]')
    .option('-r, --remote <remote>', '', (word) => remotes.push(word))
    .option('-v, --verbose', '', () => {
      verbose += 1;
    })
    .option('--dns')
    .parse(marked.words, { from: 'user' });
  return {
    remotes: remotes.map((word) => marked.entryOf(word)),
    operands: command.args.map((word) => marked.entryOf(word)),
    verbose: marked.placesOf({ short: '-v', long: '--verbose' }),
    count: verbose,
  };
}

describe('MarkedArguments', () => {
  for (const [line, remotes, operands] of [
    ['-r h x x', ['h@2'], ['x@3', 'x@4']],
    ['x -rh x --remote=h --remote h', ['h@2', 'h@4', 'h@6'], ['x@1', 'x@3']],
    ['-vr h -vrh', ['h@2', 'h@3'], []],
    ['-r-v -v', ['-v@1'], []],
    ['--remote=-- -r - -r -x', ['--@1', '-@3', '-x@5'], []],
    ['x -- -r x', [], ['x@1', '-r@3', 'x@4']],
    ['--remote= x', ['@1'], ['x@2']],
    ['--remote=a=b -', ['a=b@1'], ['-@2']],
  ] as const) {
    it(line, () => {
      const found = read(line.split(' '));
      const shown = (entries: readonly Entry[]) =>
        entries.map((entry) => `${entry.text}@${lineOf(entry)}`);
      assert.deepEqual(shown(found.remotes), remotes);
      assert.deepEqual(shown(found.operands), operands);
    });
  }

  for (const [line, message] of [
    ['-r', 'args:1: -r has no value'],
    ['x -vr', 'args:2: -r has no value'],
    ['-r -v', 'args:1: -r has no value, but "-v" after it'],
    ['-v -vr -vrx', 'args:2: -r has no value, but "-vrx" after it'],
    ['--remote --dns=x --remote --remote=h', 'args:3: --remote has no value, but "--remote=h"'],
    ['-r -- x', 'args:1: -r has no value, but "--" after it'],
    ['--remote -h', 'args:1: --remote has no value, but "-h" after it'],
  ] as const) {
    it(`${line}: no value`, () => {
      assert.throws(
        () => read(line.split(' ')),
        (error: Error) => error instanceof UsageError && error.message.startsWith(message),
      );
    });
  }

  it('knows where options without values stand', () => {
    const { verbose, count } = read(['-v', 'x', '-vv', '-r', 'v', '--verbose', '--', '-v']);
    assert.equal(count, 4);
    assert.deepEqual(
      verbose.map((place) => lineOf({ text: '', place })),
      [1, 3, 3, 6],
    );
  });

  it('takes no text for a mark, and shows none', () => {
    const words = ['\0 1', 'x', '-r', '\0 0'];
    const { operands, remotes } = read(words);
    assert.deepEqual(operands.map(lineOf), [1, 2]);
    assert.deepEqual(
      remotes.map(({ text }) => text),
      ['\0 0'],
    );
    const marked = new MarkedArguments(entriesOf(['secret']), 0, SHAPES);
    assert.equal(marked.unmarked(`bad ${marked.words[0]}`), 'bad secret');
  });

  it('agrees with commander about what is an option, a value and an operand', () => {
    const word = fc.constantFrom(
      ...['-r', '-v', '-vv', '-vr', '-rx', '-vrx', '--remote', '--remote=x', '--verbose', '--dns'],
      ...['x', 'y', '', '-', '--', '\0 3'],
    );
    let parsed = 0;
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (words) => {
        let found: ReturnType<typeof read>;
        try {
          found = read(words);
        } catch {
          return; // an option lacks its value
        }
        parsed += 1;
        for (const entry of [...found.remotes, ...found.operands]) {
          assert.notEqual(lineOf(entry), 0, JSON.stringify(words));
          assert.ok(words[lineOf(entry) - 1]?.endsWith(entry.text), JSON.stringify(words));
        }
        assert.equal(found.verbose.length, found.count, JSON.stringify(words));
        const lines = found.operands.map(lineOf);
        assert.deepEqual(
          lines,
          lines.toSorted((a, b) => a - b),
        );
      }),
      { numRuns: 1000 },
    );
    assert.ok(parsed > 300, `only ${parsed} were well-formed`);
  });
});
