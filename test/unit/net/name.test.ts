import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  canonicalHost,
  canonicalName,
  formatNamePattern,
  isCanonicalName,
  parseNamePattern,
} from '../../../src/net/name.ts';
import { NameMap } from '../../../src/net/namemap.ts';
import { NotationError } from '../../../src/net/notation.ts';

describe('canonicalName', () => {
  for (const [text, expected] of [
    ['api.example.com', 'api.example.com'],
    ['API.Example.COM.', 'api.example.com'],
    ['localhost', 'localhost'],
    ['a_b.example', 'a_b.example'],
    ['Bücher.Example', 'xn--bcher-kva.example'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['例え。テスト', 'xn--r8jz45g.xn--zckzah'],
    ['10.0.0.1.example', '10.0.0.1.example'],
    ['0x7f.1.example', '0x7f.1.example'],
    [`${'a'.repeat(63)}.example`, `${'a'.repeat(63)}.example`],
  ] as const) {
    it(`of ${text.slice(0, 40)}`, () => assert.equal(canonicalName(text), expected));
  }

  for (const text of [
    ...[
      '',
      '.',
      '..',
      'a..b',
      '.a',
      'a b',
      'a/b',
      'a@b',
      'a\0b',
      'foo%41',
      'a\nb',
      'ü\nb',
      'ü\tb',
      'bücher.example/path',
      'bücher.example?x',
      'bücher.example#x',
      'bücher.example\\x',
      '*.example',
      '\ufffd',
      '[::1]',
    ],
    ...[
      '127.1',
      '10.0.0.1',
      '0x7f.1',
      '0X7F000001',
      '2130706433',
      '017700000001',
      '1.2.3.4.5',
      'example.1',
      'a.0x',
    ],
    ...[`${'a'.repeat(64)}.example`, `${'a.'.repeat(127)}b`],
  ]) {
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(() => canonicalName(text), NotationError);
    });
  }

  it('is its own canonical form, whatever the text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.domain(), fc.string({ unit: 'grapheme', maxLength: 20 })), (text) => {
        let name: string;
        try {
          name = canonicalName(text);
        } catch (error) {
          assert.ok(error instanceof NotationError);
          return;
        }
        assert.match(name, /^[a-z0-9_.-]+$/);
        assert.equal(canonicalName(name), name);
      }),
    );
  });

  it('leaves addresses to canonicalHost', () => {
    assert.equal(canonicalHost('2001:DB8:0::1'), '2001:db8::1');
    assert.equal(canonicalHost('::ffff:10.0.0.1'), '10.0.0.1');
    assert.equal(canonicalHost('Api.example'), 'api.example');
    assert.throws(() => canonicalHost('fe80::1%eth0'), NotationError);
  });
});

describe('NameMap', () => {
  it('finds what matches, the most specific first', () => {
    const patterns = [
      'example.com',
      '*.example.com',
      '*.b.example.com',
      'a.b.example.com',
      '*.com',
      '*.example.com',
    ];
    const map = new NameMap(
      patterns.map((text, index) => [parseNamePattern(text), index] as const),
    );
    const found = (name: string) =>
      map
        .find(name)
        .map(({ pattern, values }) => `${formatNamePattern(pattern)} ${values.join(',')}`);
    assert.deepEqual(found('a.b.example.com'), [
      'a.b.example.com 3',
      '*.b.example.com 2',
      '*.example.com 1,5',
      '*.com 4',
    ]);
    assert.deepEqual(found('b.example.com'), ['*.example.com 1,5', '*.com 4']);
    assert.deepEqual(found('example.com'), ['example.com 0', '*.com 4']);
    assert.deepEqual(found('notexample.com'), ['*.com 4']);
    assert.deepEqual(found('com'), []);
  });
});

describe('isCanonicalName', () => {
  it('refuses what DNS has for names and hosts have not', () => {
    for (const name of ['a.example', '_x.a.example', 'localhost'])
      assert.equal(isCanonicalName(name), true, name);
    for (const name of [
      'a\\032b.example',
      'a\\.b.example',
      'a\\046b.example',
      '*.example',
      'A.example',
      'a.example.',
      '10.0.0.1',
      'a.127',
      '',
      '.',
    ])
      assert.equal(isCanonicalName(name), false, name);
  });
});

describe('parseNamePattern', () => {
  for (const [text, hint] of [
    ['.corp.example', /"\*\.corp\.example"/],
    ['*corp.example', /"\*\.corp\.example"/],
    ['*', /--dns/],
    ['*.*.corp.example', undefined],
  ] as const) {
    it(`says how ${text} is written`, () => {
      assert.throws(
        () => parseNamePattern(text),
        (error: unknown) =>
          error instanceof NotationError && (hint === undefined || hint.test(error.hint ?? '')),
      );
    });
  }
});
