/** Lines of the kernel's tables, and looks at them that many share. */
import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Looks, listedSockets } from '../../../src/system/sockettables.ts';

function end(address: string, port: number): string {
  const octets = Buffer.from(address, 'hex');
  if (endianness() === 'LE') octets.swap32();
  return `${octets.toString('hex')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

function line(address: string, port: number, state: string, user: number, inode: number): string {
  return `  12: ${end(address, port)} ${end('0a4d0001', 443)} ${state} 00000000:00000000 00:00000000 00000000  ${user}        0 ${inode} 2 0 0`;
}

describe('listedSockets', () => {
  it('gives those with one of the ports, and leaves out what is malformed', () => {
    const table = [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid',
      line('c6120001', 40_000, '01', 1000, 7),
      line('c6120001', 40_001, '01', 1000, 8),
      line('00000000000000000000ffffc6120002', 40_002, '02', 0, 0),
      line('20010db8000000000000000000000001', 40_000, '0A', 65_534, 9),
      '  13: 0100007F:9C40 00000000:0000 01 cut off',
    ].join('\n');
    const peer = { host: '10.77.0.1', port: 443 };
    assert.deepEqual(
      [...listedSockets(table, new Set([40_000, 40_002]))],
      [
        { local: { host: '198.18.0.1', port: 40_000 }, peer, state: '01', user: 1000, inode: '7' },
        { local: { host: '198.18.0.2', port: 40_002 }, peer, state: '02', user: 0, inode: '0' },
        {
          local: { host: '2001:db8::1', port: 40_000 },
          peer,
          state: '0A',
          user: 65_534,
          inode: '9',
        },
      ],
    );
  });
});

describe('Looks', () => {
  it('takes one look for all who ask until it begins, and lets only so many wait', async () => {
    const seen: (readonly number[])[] = [];
    const ends: (() => void)[] = [];
    const looks = new Looks<number>({
      limit: 3,
      pauseFactor: 0,
      maxPauseMs: 0,
      giveUp: (question) => assert.fail(`${question}`),
      look: (questions) => {
        seen.push(questions);
        return new Promise((end) => ends.push(end));
      },
    });
    assert.deepEqual(
      [1, 2, 3, 4].map((question) => looks.ask(question)),
      [true, true, true, false],
    );
    await turn();
    assert.deepEqual(seen, [[1, 2, 3]]);
    assert.equal(looks.ask(5), true, 'for the next one');
    assert.equal(looks.ask(6), true);
    ends[0]?.();
    while (seen.length < 2) await turn();
    assert.deepEqual(seen, [
      [1, 2, 3],
      [5, 6],
    ]);
    ends[1]?.();
  });

  it('gives up the questions of a look that fails, and takes the next one', async () => {
    const answers: string[] = [];
    const looks = new Looks<number>({
      limit: 9,
      pauseFactor: 0,
      maxPauseMs: 0,
      giveUp: (question) => void answers.push(`${question}: unknown`),
      look: async (questions) => {
        if (questions.includes(1)) throw new Error('EMFILE: too many open files');
        answers.push(`${questions}: found`);
      },
    });
    for (const question of [1, 2]) looks.ask(question);
    while (answers.length < 2) await turn();
    looks.ask(3);
    while (answers.length < 3) await turn();
    assert.deepEqual(answers, ['1: unknown', '2: unknown', '3: found']);
  });

  it('pauses for a multiple of the time that the last look took', async () => {
    const began: number[] = [];
    const looks = new Looks<number>({
      limit: 9,
      pauseFactor: 4,
      maxPauseMs: 10_000,
      giveUp: (question) => assert.fail(`${question}`),
      look: async () => {
        began.push(performance.now());
        const until = performance.now() + 20;
        while (performance.now() < until);
      },
    });
    looks.ask(1);
    while (began.length < 1) await turn();
    looks.ask(2);
    while (began.length < 2) await turn();
    const [first = 0, second = 0] = began;
    assert.ok(second - first >= 100, `${second - first} ms between two looks of 20 ms`);
  });
});
