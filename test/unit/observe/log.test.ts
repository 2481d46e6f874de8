import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import { Log } from '../../../src/observe/log.ts';
import type { Level } from '../../../src/observe/observer.ts';

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.text += chunk.toString();
    callback();
  }
}

function logged(level: Level, write: (log: Log) => void): string {
  const sink = new Sink();
  write(new Log({ level, stream: sink }));
  return sink.text;
}

describe('Log', () => {
  it('writes one line a message, with its fields', () => {
    assert.equal(
      logged('info', (log) => {
        log.log('notice', 'ready');
        log.log('info', 'refused', {
          destination: '10.1.2.3:22',
          after_ms: 41,
          reason: 'no route',
          at: undefined,
        });
        log.log('warning', 'odd', {});
        log.log('error', 'lost', { empty: '', quote: 'a"b', pair: 'a=b', truth: false });
      }),
      'tunnel: ready\n' +
        'tunnel: refused (destination=10.1.2.3:22 after_ms=41 reason="no route")\n' +
        'tunnel: warning: odd\n' +
        'tunnel: error: lost (empty="" quote="a\\"b" pair="a=b" truth=false)\n',
    );
  });

  it('leaves out what is less severe than its level', () => {
    const all = (log: Log) => {
      for (const level of ['error', 'warning', 'notice', 'info', 'debug'] as const)
        log.log(level, level);
    };
    const counts = (['error', 'warning', 'notice', 'info', 'debug'] as const).map(
      (level) => logged(level, all).split('\n').length - 1,
    );
    assert.deepEqual(counts, [1, 2, 3, 4, 5]);
  });

  it('strips control characters, also from values', () => {
    const text = logged('info', (log) =>
      log.log('info', 'a\u001b[31mb\nc', { who: 'x\r\ntunnel: forged' }),
    );
    assert.equal(text, 'tunnel: ab c (who="x tunnel: forged")\n');
  });

  it('goes on without a stream that fails', () => {
    let writes = 0;
    const broken = new Writable({
      write(_chunk, _encoding, callback) {
        writes += 1;
        callback(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      },
    });
    const log = new Log({ level: 'info', stream: broken });
    log.log('info', 'first');
    return new Promise<void>((resolve) => {
      broken.on('close', () => {
        log.log('info', 'second');
        assert.equal(writes, 1);
        resolve();
      });
    });
  });

  it('goes on without a stream that throws', () => {
    const full = new Sink();
    let calls = 0;
    full.write = () => {
      calls += 1;
      throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
    };
    const log = new Log({ level: 'info', stream: full });
    log.log('info', 'first');
    log.log('info', 'second');
    assert.equal(calls, 1);
  });

  it('adds up counters', () => {
    const log = new Log({ level: 'error', stream: new Sink() });
    log.count('b');
    log.count('a', 5);
    log.count('b', 2);
    assert.deepEqual(
      [...log.counters],
      [
        ['b', 3],
        ['a', 5],
      ],
    );
  });
});
