/**
 * The reader of messages: what dns-packet writes is read, and nothing that a hostile server sends
 * gets past it.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decode } from 'dns-packet';
import fc from 'fast-check';
import { MessageError, nameText, readMessage, sameName } from '../../../../src/dns/wire/message.ts';
import { a, answerBytes, queryBytes, question, soa, wireName } from '../server/support.ts';

const ASKED = question('api.example.com');
const HEADER = [0, 1, 0x81, 0x80, 0, 0, 0, 1, 0, 0, 0, 0];

/** A message of one answer record with this owner name and data. */
function record(owner: readonly number[], type: number, data: readonly number[]): Uint8Array {
  return Uint8Array.from([
    ...HEADER,
    ...owner,
    0,
    type,
    0,
    1,
    0,
    0,
    0,
    60,
    0,
    data.length,
    ...data,
  ]);
}

describe('messages', () => {
  it('are read as dns-packet writes them', () => {
    const bytes = answerBytes(ASKED, 7, {
      answers: [
        a('api.example.com', '10.0.0.1'),
        { type: 'CNAME', name: 'x.example.com', data: 'y.example.com' },
      ],
      authorities: [soa('example.com')],
      additionals: [
        { type: 'MX', name: 'example.com', data: { preference: 1, exchange: 'mx.example.com' } },
      ],
    });
    const view = readMessage(bytes);
    assert.equal(view.id, 7);
    assert.deepEqual(
      view.records.map(({ section, type }) => [section, type]),
      [
        [0, 1],
        [0, 5],
        [1, 6],
        [2, 15],
      ],
    );
  });

  const HOSTILE: readonly (readonly [string, Uint8Array])[] = [
    ['a pointer to itself', record([0xc0, 12], 1, [10, 0, 0, 1])],
    ['a pointer forwards', record([0xc0, 40], 1, [10, 0, 0, 1])],
    ['a pointer forwards to a good name', record([0xc0, 24], 99, [1, 0x61, 0])],
    ['a pointer into the header', record([0xc0, 2], 1, [10, 0, 0, 1])],
    ['a pointer into the middle of nothing', record([0xc0], 1, [])],
    ['a label of a reserved kind', record([0x80, 0], 1, [10, 0, 0, 1])],
    ['two names that point at each other', record([0], 5, [1, 0x61, 0xc0, 23])],
    ['an address of three octets', record([0], 1, [10, 0, 0])],
    ['an IPv6 address of four octets', record([0], 28, [10, 0, 0, 1])],
    ['a CNAME with octets behind it', record([0], 5, [1, 0x61, 0, 0])],
    ['a CNAME that ends beyond its data', record([0], 5, [5, 0x61])],
    ['an MX without a name', record([0], 15, [0, 1])],
    ['an SOA that is too short', record([0], 6, [0, 0, 1, 2, 3])],
    [
      'more records than there are',
      Uint8Array.from([0, 1, 0x81, 0x80, 0, 0, 0xff, 0xff, 0, 0, 0, 0]),
    ],
    ['octets behind the end', Uint8Array.from([...record([0], 1, [10, 0, 0, 1]), 0])],
    [
      'a name of 256 octets',
      record([...Array(4).fill([63, ...Array(63).fill(0x61)]), 0].flat(), 1, [10, 0, 0, 1]),
    ],
    ['an empty message', new Uint8Array()],
  ];
  for (const [name, bytes] of HOSTILE) {
    it(`with ${name} are refused`, () => {
      assert.throws(() => readMessage(bytes), MessageError);
    });
  }

  it('in which all names lead through one long chain cost no more than their length', () => {
    // A chain of 126 pointers to a name of 243 octets, and all addresses that fit lead there.
    const labels = Array.from({ length: 120 }, () => [1, 0x61]).flat();
    const name = [...labels, 1, 0x61, 0];
    const chain = [0xc0, 23];
    for (let at = 23 + name.length; chain.length < 2 * 126; at += 2)
      chain.push(0xc0 | (at >> 8), at & 0xff);
    const data = [...name, ...chain];
    const last = 23 + name.length + chain.length - 2;
    const first = [0, 0, 99, 0, 1, 0, 0, 0, 60, data.length >> 8, data.length & 0xff, ...data];
    const other = [0xc0 | (last >> 8), last & 0xff, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1];
    const count = Math.floor((65_535 - HEADER.length - first.length) / other.length);
    const bytes = Uint8Array.from([
      ...HEADER,
      ...first,
      ...Array.from({ length: count }, () => other).flat(),
    ]);
    new DataView(bytes.buffer).setUint16(6, count + 1);
    assert.equal(readMessage(bytes).records.length, count + 1);
    const times = Array.from({ length: 7 }, () => {
      const before = process.cpuUsage();
      readMessage(bytes);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    });
    assert.ok(Math.min(...times) < 3, `${Math.min(...times)} ms`);
  });

  it('with chains of pointers cost no more than their length', () => {
    // 20,000 pointers, each to the one before, as the data of a record; and as many records as fit
    // that start from the last.
    const pointers: number[] = [];
    const start = HEADER.length + 11;
    for (let i = 0; i < 8000; i++) {
      const target = i === 0 ? HEADER.length : start + 2 * (i - 1);
      pointers.push(0xc0 | (target >> 8), target & 0xff);
    }
    const head = [...HEADER];
    head[6] = 0x10;
    const chain = [
      0,
      0,
      99,
      0,
      1,
      0,
      0,
      0,
      60,
      pointers.length >> 8,
      pointers.length & 0xff,
      ...pointers,
    ];
    const last = start + 2 * 7999;
    const using = Array(4000)
      .fill([0xc0 | (last >> 8), last & 0xff, 0, 99, 0, 1, 0, 0, 0, 60, 0, 0])
      .flat();
    const message = Uint8Array.from([...head, ...chain, ...using]);
    const times = Array.from({ length: 5 }, () => {
      const before = process.cpuUsage();
      assert.throws(() => readMessage(message), /too many pointers/);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    });
    assert.ok(Math.min(...times) < 50, `${Math.min(...times)} ms`);
  });

  it('that are almost right are refused, or their records stand one behind the other', () => {
    const valid = answerBytes(ASKED, 7, {
      answers: [
        a('api.example.com', '10.0.0.1'),
        { type: 'SRV', name: 'x', data: { port: 1, target: 'y.z' } },
      ],
      authorities: [soa('example.com')],
    });
    const mutation = fc.array(
      fc.tuple(fc.nat(valid.length - 1), fc.integer({ min: 0, max: 255 })),
      {
        maxLength: 6,
      },
    );
    let read = 0;
    fc.assert(
      fc.property(mutation, fc.nat(valid.length * 7), (changes, length) => {
        const bytes = Buffer.from(valid);
        for (const [at, octet] of changes) bytes[at] = octet;
        const cut = bytes.subarray(0, length);
        try {
          const { questions, records } = readMessage(cut);
          let end = questions.at(-1)?.end ?? 12;
          for (const record of records) {
            assert.equal(record.start, end);
            assert.ok(record.start < record.ttlOffset && record.ttlOffset + 6 === record.dataStart);
            end = record.dataEnd;
          }
          assert.equal(end, cut.length);
          read += 1;
        } catch (error) {
          assert.ok(error instanceof MessageError, String(error));
        }
      }),
      { numRuns: 3000 },
    );
    assert.ok(read > 100, 'some must be read');
  });

  it('of any octets are read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          for (const { dataEnd } of readMessage(bytes).records) assert.ok(dataEnd <= bytes.length);
        } catch (error) {
          assert.ok(error instanceof MessageError, String(error));
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('names', () => {
  it('are text in lower case', () => {
    assert.equal(nameText(wireName('Api.EXAMPLE.com')), 'api.example.com');
    assert.equal(nameText(wireName('')), '.');
  });

  it('with unusual octets differ from what they look like', () => {
    assert.equal(nameText(Uint8Array.of(3, 0x61, 0x2e, 0x62, 0)), 'a\\046b');
    assert.equal(nameText(Uint8Array.of(2, 0xff, 0x20, 0)), '\\255\\032');
  });

  it('are equal whatever the case of their letters', () => {
    assert.ok(sameName(wireName('a-1.Example'), wireName('A-1.eXAMPLE')));
    assert.ok(!sameName(wireName('a@b'), wireName('a`b'))); // 0x40 and 0x60 differ in the same bit
    assert.ok(!sameName(wireName('ab.c'), wireName('abc')));
  });

  it('are equal exactly when their texts are', () => {
    const labels = fc.array(fc.uint8Array({ minLength: 1, maxLength: 3 }), { maxLength: 3 });
    const wire = (parts: readonly Uint8Array[]) =>
      Buffer.concat([...parts.flatMap((l) => [Buffer.of(l.length), l]), Buffer.of(0)]);
    fc.assert(
      fc.property(labels, labels, (x, y) => {
        assert.equal(sameName(wire(x), wire(y)), nameText(wire(x)) === nameText(wire(y)));
      }),
    );
  });
});

describe('queries of the tests', () => {
  it('are what dns-packet reads', () => {
    assert.equal(decode(queryBytes('a.b', 28, { payload: 1232 })).questions?.[0]?.type, 'AAAA');
  });
});
