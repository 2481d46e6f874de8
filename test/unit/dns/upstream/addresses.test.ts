/** Addresses in answers: which records count, and what the worst answer costs. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addressRecords, MAX_RECORDS } from '../../../../src/dns/upstream/addresses.ts';
import { readMessage } from '../../../../src/dns/wire/message.ts';
import { a, answerBytes, question } from '../server/support.ts';

const ASKED = question('www.example');

function addressesIn(bytes: Uint8Array): string[] {
  return addressRecords(bytes, readMessage(bytes)).map(
    ({ owner, address }) => `${owner} ${address}`,
  );
}

/** An answer as large as can be: all owners lead through a chain of pointers to a long name. */
function chained(): Uint8Array {
  const labels = Array.from({ length: 120 }, () => [1, 0x61]).flat();
  const start = 12 + ASKED.wire.length + 4;
  const name = [...labels, 1, 0x61, 0];
  const from = start + 11;
  const chain = [0xc0, from];
  for (let at = from + name.length; chain.length < 2 * 126; at += 2)
    chain.push(0xc0 | (at >> 8), at & 0xff);
  const data = [...name, ...chain];
  const last = from + data.length - 2;
  const first = [0, 0, 99, 0, 1, 0, 0, 0, 60, data.length >> 8, data.length & 0xff, ...data];
  const other = [0xc0 | (last >> 8), last & 0xff, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1];
  const count = Math.floor((65_535 - start - first.length) / other.length);
  const bytes = Buffer.concat([
    answerBytes(ASKED, 0, {}),
    Buffer.from(first),
    ...Array.from({ length: count }, () => Buffer.from(other)),
  ]);
  bytes.writeUInt16BE(count + 1, 6);
  return bytes;
}

describe('the addresses in an answer', () => {
  it('are those of the name and of what its aliases lead to', () => {
    const bytes = answerBytes(ASKED, 0, {
      answers: [
        { type: 'CNAME', name: 'www.example', data: 'x.example' },
        a('x.example', '10.0.0.1'),
        a('other.example', '10.0.0.2'),
      ],
    });
    assert.deepEqual(addressesIn(bytes), ['x.example 10.0.0.1']);
  });

  it('are those among the first records', () => {
    const answers = Array.from({ length: MAX_RECORDS + 9 }, () => a('www.example', '10.0.0.1'));
    assert.equal(addressesIn(answerBytes(ASKED, 0, { answers })).length, MAX_RECORDS);
  });

  it('cost milliseconds in the worst of messages', () => {
    const bytes = chained();
    const times = Array.from({ length: 7 }, () => {
      const before = process.cpuUsage();
      assert.deepEqual(addressesIn(bytes), []);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    });
    assert.ok(Math.min(...times) < 40, `${Math.min(...times)} ms`);
  });
});
