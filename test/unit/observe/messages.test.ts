import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isJournal, JournalLines, Messages } from '../../../src/observe/messages.ts';
import type { Level } from '../../../src/observe/observer.ts';

class Writer {
  broken = false;
  dropped = 0;
  text = '';
  flushed = 0;
  write(line: string, _level?: Level): void {
    this.text += line;
  }

  writeSurely(text: string): void {
    this.text += text;
  }

  flush(): void {
    this.flushed += 1;
  }
}

describe('Messages', () => {
  it('goes where it was told last, and counts what was left out everywhere', () => {
    const [first, second] = [new Writer(), new Writer()];
    const messages = new Messages(first);
    messages.write('one\n');
    first.dropped = 2;
    messages.switchTo(second);
    messages.write('two\n');
    messages.writeSurely('three\n');
    second.dropped = 3;
    assert.deepEqual([first.text, second.text, messages.dropped], ['one\n', 'two\nthree\n', 5]);
  });
});

describe('JournalLines', () => {
  it('has a priority in front of each line, and no name', () => {
    const writer = new Writer();
    const lines = new JournalLines(writer);
    lines.write('tunnel: ready\n', 'notice');
    lines.write('tunnel: warning: odd\n', 'warning');
    lines.writeSurely('tunnel: error [x]: y\ntunnel: hint: z\n');
    assert.equal(writer.text, '<5>ready\n<4>warning: odd\n<3>error [x]: y\n<3>hint: z\n');
  });

  it('is for a standard error that is the journal’s', () => {
    assert.ok(isJournal('9:1234', { dev: 9n, ino: 1234n }));
    assert.ok(!isJournal('9:1234', { dev: 9n, ino: 1235n }));
    assert.ok(!isJournal(undefined, { dev: 9n, ino: 1235n }));
  });
});
