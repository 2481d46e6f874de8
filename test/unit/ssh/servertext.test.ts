import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { silentObserver } from '../../../src/observe/observer.ts';
import { MAX_PRINTABLE_LENGTH, printable } from '../../../src/observe/printable.ts';
import { MAX_SERVER_TEXT, ServerWords, serverText } from '../../../src/ssh/servertext.ts';

class Counted {
  readonly counted: string[] = [];
  log(): void {}
  count(name: string): void {
    this.counted.push(name);
  }
}

describe('ServerWords', () => {
  it('gives all lines of a banner, however many and however wide', () => {
    const url = `https://example.com/${'a'.repeat(8_000)}?end`;
    const lines = Array.from({ length: 500 }, (_, i) => `line ${i}`);
    const words = new ServerWords(silentObserver);
    assert.deepEqual(words.lines(['', ...lines, '', url, '', ''].join('\r\n')), [
      ...lines,
      '',
      url,
    ]);
    assert.equal(words.line(`Open ${url}: `), `Open ${url}:`);
  });

  it('strips what a terminal would obey', () => {
    const words = new ServerWords(silentObserver);
    assert.deepEqual(words.lines('a\u001b]0;title\u0007b\u001b[2Jc\rd\u202ee\tf'), [
      'abc',
      'd e f',
    ]);
    assert.equal(words.line('one\ntwo'), 'one two');
  });

  it('is cut after MAX_SERVER_TEXT of all texts together; that is told once and counted', () => {
    const counted = new Counted();
    const words = new ServerWords(counted);
    assert.deepEqual(words.lines('x'.repeat(MAX_SERVER_TEXT - 2)).length, 1);
    assert.deepEqual(counted.counted, []);
    const [taken, note, ...rest] = words.lines('abcd');
    assert.equal(taken, 'ab');
    assert.match(note ?? '', /more than 64 KiB; the rest is cut/);
    assert.deepEqual(rest, []);
    assert.deepEqual(words.lines('more'), []);
    assert.equal(words.line('more'), '…');
    assert.deepEqual(counted.counted, Array(3).fill('tunnel_server_text_cut_total'));
  });

  it('no message cuts what it lets through', () => {
    assert.ok(MAX_PRINTABLE_LENGTH > MAX_SERVER_TEXT);
    const line = 'y'.repeat(MAX_SERVER_TEXT);
    assert.equal(printable(`(user@host) ${line}`).length, MAX_SERVER_TEXT + 12);
    assert.equal(new ServerWords(silentObserver).lines(line)[0], line);
  });

  it('any text gives printable lines', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        for (const line of new ServerWords(silentObserver).lines(text))
          assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f]/);
      }),
    );
  });
});

describe('serverText', () => {
  it('is one short line', () => {
    assert.equal(serverText(`a\nb${'c'.repeat(400)}`).length, 301);
    assert.equal(serverText('a'.repeat(400), 1000).length, 400);
  });
});
