import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LEVELS } from '../../../src/observe/observer.ts';
import { Syslog } from '../../../src/observe/syslog.ts';

const EAGAIN = 11;
const ENOENT = 2;

/** A daemon that takes what `takes` says. */
class Daemon {
  readonly got: string[] = [];
  readonly #takes: () => number;
  constructor(takes: () => number = () => 0) {
    this.#takes = takes;
  }

  readonly send = (octets: Uint8Array): number => {
    const error = this.#takes();
    if (error === 0) this.got.push(Buffer.from(octets).toString());
    return error;
  };
}

const at = (daemon: Daemon) =>
  new Syslog({ send: daemon.send, pid: 77, now: () => new Date(2026, 10, 9, 6, 7, 8).getTime() });

describe('Syslog', () => {
  it('writes as syslog(3) does: facility daemon, the levels’ severities, local time, pid', () => {
    const daemon = new Daemon();
    const log = at(daemon);
    for (const level of LEVELS) log.write(`tunnel: it is ${level}\n`, level);
    log.writeSurely('tunnel: error [x]: y\ntunnel: hint: z\n');
    assert.deepEqual(daemon.got, [
      '<27>Nov  9 06:07:08 tunnel[77]: it is error',
      '<28>Nov  9 06:07:08 tunnel[77]: it is warning',
      '<29>Nov  9 06:07:08 tunnel[77]: it is notice',
      '<30>Nov  9 06:07:08 tunnel[77]: it is info',
      '<31>Nov  9 06:07:08 tunnel[77]: it is debug',
      '<27>Nov  9 06:07:08 tunnel[77]: error [x]: y',
      '<27>Nov  9 06:07:08 tunnel[77]: hint: z',
    ]);
  });

  it('keeps messages while the daemon is away, in order, and sends them when it is back', () => {
    let error = ENOENT;
    const daemon = new Daemon(() => error);
    const log = at(daemon);
    for (let i = 0; i < 3; i += 1) log.write(`tunnel: ${i}\n`);
    assert.equal(daemon.got.length, 0);
    error = 0;
    log.flush(1000);
    assert.deepEqual(
      daemon.got.map((it) => it.slice(-1)),
      ['0', '1', '2'],
    );
    assert.equal(log.dropped, 0);
  });

  it('leaves out what does not fit, says so in its place, and never waits', () => {
    let error = EAGAIN;
    const daemon = new Daemon(() => error);
    const log = at(daemon);
    const begin = performance.now();
    for (let i = 0; i < 20_000; i += 1) log.write(`tunnel: ${i} ${'x'.repeat(100)}\n`);
    assert.ok(performance.now() - begin < 5000);
    assert.ok(log.dropped > 10_000, `${log.dropped}`);
    error = 0;
    log.write('tunnel: left out as well\n');
    log.flush(1000);
    const said = daemon.got.at(-1) ?? '';
    assert.ok(said.includes(`${log.dropped} messages were left out`), said);
    log.write('tunnel: after\n');
    assert.match(daemon.got.at(-1) ?? '', /: after$/);
    assert.equal(daemon.got.length - 2 + log.dropped, 20_001);
  });

  it('gives up at the end after its time', () => {
    const daemon = new Daemon(() => EAGAIN);
    const log = at(daemon);
    log.write('tunnel: never\n');
    const begin = performance.now();
    log.flush(50);
    const took = performance.now() - begin;
    assert.ok(took >= 45 && took < 5000, `${took}`);
  });

  it('cuts a message that is too long for a datagram', () => {
    const daemon = new Daemon();
    at(daemon).write(`tunnel: ${'x'.repeat(100_000)}\n`);
    assert.equal(daemon.got[0]?.length, 4096);
  });
});
