import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { UsageError } from '../../../../src/errors/errors.ts';
import { parseDirective, quoteArgument } from '../../../../src/ssh/config/syntax.ts';
import { globRegExp, matchPattern, matchPatterns } from '../../../../src/ssh/patterns.ts';

describe('parseDirective', () => {
  const table: readonly (readonly [line: string, keyword: string, args: readonly string[]])[] = [
    ['Port 22', 'port', ['22']],
    ['  port=22  ', 'port', ['22']],
    ['Port\t=\t22', 'port', ['22']],
    ['"Port" 22', 'port', ['22']],
    ['Host a  b\t!c', 'host', ['a', 'b', '!c']],
    ['User "a b"', 'user', ['a b']],
    ["User 'a \"b'", 'user', ['a "b']],
    ['User a\\ b', 'user', ['a b']],
    ['User DOMAIN\\user', 'user', ['DOMAIN\\user']],
    ['User "a\\"b\\\\c\\ d"', 'user', ['a"b\\c\\ d']],
    ['User a#b # c', 'user', ['a#b']],
    ['User ""', 'user', ['']],
    ['User x"y z"', 'user', ['xy z']],
  ];
  for (const [line, keyword, args] of table) {
    it(`reads ${line}`, () => {
      const directive = parseDirective(line, 'f:1');
      assert.equal(directive?.keyword, keyword);
      assert.deepEqual(directive.args, args);
    });
  }

  it('passes over blank lines and comments', () => {
    for (const line of ['', '  \t\r', '# x', '  # x'])
      assert.equal(parseDirective(line, 'f:1'), undefined);
  });

  it('keeps what commands are made of', () => {
    assert.equal(parseDirective('ProxyCommand  nc  "a"  # b', 'f:1')?.rest, 'nc  "a"  # b');
  });

  it('refuses what ssh refuses, with the place', () => {
    for (const line of ['Port', 'Port =', '"" x', 'User "a', "User 'a"]) {
      assert.throws(
        () => parseDirective(line, 'f:7'),
        (error) => error instanceof UsageError && error.message.startsWith('f:7: '),
        line,
      );
    }
  });

  it('gives back every argument that was quoted', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string().filter((text) => !/[\r\n]/.test(text)),
          { minLength: 1 },
        ),
        (args) => {
          const line = `Host ${args.map(quoteArgument).join(' ')}`;
          assert.deepEqual(parseDirective(line, 'f:1')?.args, args);
        },
      ),
    );
  });
});

describe('patterns', () => {
  it('match whole texts, literally but for * and ?', () => {
    for (const [pattern, text, expected] of [
      ['*', '', true],
      ['?', '', false],
      ['a?c', 'abc', true],
      ['a.c', 'abc', false],
      ['[ab]', 'a', false],
      ['[ab]', '[ab]', true],
      ['a*', 'ba', false],
      ['*.b|c', 'a.b|c', true],
      ['a', 'A', false],
    ] as const) {
      assert.equal(matchPattern(pattern, text), expected, `${pattern} ${text}`);
    }
  });

  it('match themselves and are matched by *', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        assert.ok(matchPattern('*', text));
        assert.ok(matchPattern(text.replace(/[*?]/g, '?'), text));
      }),
    );
  });

  it('let one negation decide', () => {
    assert.ok(matchPatterns(['b', 'a*'], 'ab'));
    assert.ok(!matchPatterns(['*', '!ab'], 'ab'));
    assert.ok(!matchPatterns(['!ab', '*'], 'ab'));
    assert.ok(!matchPatterns(['!x'], 'ab'));
  });

  it('have brackets in names of files', () => {
    for (const [pattern, name, expected] of [
      ['[0-9][0-9]-*.conf', '05-a.conf', true],
      ['[!a]*', 'b', true],
      ['[!a]*', 'a', false],
      ['a[b', 'a[b', true],
      ['[]x]', ']', true],
      ['[z-a]', 'b', false],
      ['*.c', 'a.cc', false],
      ['[[:alpha:]_]', 'q', true],
      ['[[:alpha:]_]', '1', false],
      ['[![:digit:]]', '1', false],
      ['[^a]', 'a', true],
      ['a\\*', 'a*', true],
      ['a\\*', 'ab', false],
      ['\\[a]', '[a]', true],
    ] as const) {
      assert.equal(globRegExp(pattern).test(name), expected, `${pattern} ${name}`);
    }
  });
});
