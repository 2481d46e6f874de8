import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTERS } from '../../../src/observe/counters.ts';
import { Log } from '../../../src/observe/log.ts';
import type { Level } from '../../../src/observe/observer.ts';

class Sink {
  text = '';
  broken = false;
  dropped = 0;

  write(line: string): void {
    this.text += line;
  }
}

function logged(level: Level, write: (log: Log) => void): string {
  const sink = new Sink();
  write(new Log({ level, sink }));
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

  it('writes a hint on a line of its own, as below an error', () => {
    assert.equal(
      logged('info', (log) => {
        log.log('warning', 'odd', { at: 'x', hint: 'look (there)\n' });
        log.log('warning', 'odd', { hint: undefined });
        log.log('debug', 'odd', { hint: 'none' });
      }),
      'tunnel: warning: odd (at=x)\ntunnel: hint: look (there)\ntunnel: warning: odd\n',
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

  it('shows nothing when nobody reads any more', () => {
    const sink = new Sink();
    const log = new Log({ level: 'debug', sink });
    assert.equal(log.shows('debug'), true);
    sink.broken = true;
    assert.equal(log.shows('error'), false);
    log.log('error', 'x');
    assert.equal(sink.text, '');
  });

  it('tells at the end what was counted, to who reads info', () => {
    const count = (log: Log) => {
      log.count('tunnel_flows_opened_total', 2);
      log.addCounters(() => [['tunnel_tcp_flows_live', 3]]);
      log.logCounted();
    };
    assert.equal(
      logged('info', count),
      'tunnel: tunnel_flows_opened_total 2: connections that the far side accepted\n' +
        'tunnel: tunnel_tcp_flows_live 3: captured connections that are now open\n',
    );
    assert.equal(logged('notice', count), '');
  });

  it('shows all counters to who asks, whatever the level', () => {
    const text = logged('error', (log) => {
      log.count('tunnel_redials_total');
      log.show(['what it does']);
    });
    const [status, first, ...rest] = text.trimEnd().split('\n');
    assert.equal(status, 'tunnel: what it does');
    assert.equal(
      first,
      'tunnel: tunnel_redials_total 1: attempts to connect to the jump host again, or on demand',
    );
    const names = rest.flatMap((line) => line.replace(/^tunnel: zero: /, '').split(' '));
    assert.equal(names.length, Object.keys(COUNTERS).length - 1);
    assert.ok(names.includes('tunnel_flows_opened_total'));
  });

  it('counts the lines that were left out', () => {
    const sink = new Sink();
    const log = new Log({ level: 'error', sink });
    sink.dropped = 7;
    const [counter] = log.snapshot().filter(({ value }) => value > 0);
    assert.deepEqual([counter?.name, counter?.value], ['tunnel_log_dropped_total', 7]);
  });
});
