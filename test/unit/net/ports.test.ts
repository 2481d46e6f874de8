import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { NotationError } from '../../../src/net/notation.ts';
import {
  formatPorts,
  mergePorts,
  parsePort,
  parsePorts,
  portsInclude,
} from '../../../src/net/ports.ts';

describe('parsePorts', () => {
  const table: readonly (readonly [text: string, canonical: string])[] = [
    ['443', '443'],
    ['1', '1'],
    ['65535', '65535'],
    ['8000-8100', '8000-8100'],
    ['80,443', '80,443'],
    ['443,80', '80,443'],
    ['80,81,82', '80-82'],
    ['80-90,85-100,443', '80-100,443'],
    ['80-80', '80'],
    ['080', '80'],
    ['1-65535', '1-65535'],
  ];
  for (const [text, canonical] of table) {
    it(`reads ${text} as ${canonical}`, () =>
      assert.equal(formatPorts(parsePorts(text)), canonical));
  }

  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ['', /port is missing/],
    ['0', /ports are 1 to 65535/],
    ['65536', /ports are 1 to 65535/],
    ['99999999999999999999', /ports are 1 to 65535/],
    ['http', /"http" is not a port number/],
    ['-1', /port is missing/],
    ['80-', /port is missing/],
    ['80,', /port is missing/],
    ['80-70', /ends before it begins/],
    ['80-90-100', /"90-100" is not a port number/],
    ['8e3', /not a port number/],
    [' 80', /not a port number/],
  ];
  for (const [text, message] of wrong) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parsePorts(text),
        (error) => error instanceof NotationError && message.test(error.message),
      );
    });
  }

  it('turns a reversed range around in the hint', () => {
    assert.throws(() => parsePorts('90-80'), { hint: 'write 80-90' });
    assert.equal(parsePort('22'), 22);
  });
});

describe('port sets', () => {
  const range = fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 10 }))
    .map(([first, more]) => ({ first, last: first + more }));

  it('merge into the same set, sorted and apart', () => {
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 8 }), (ranges) => {
        const merged = mergePorts(ranges);
        for (let port = 1; port <= 60; port += 1) {
          const expected = ranges.some(({ first, last }) => port >= first && port <= last);
          assert.equal(portsInclude(merged, port), expected);
        }
        merged.slice(1).forEach((next, index) => {
          const before = merged[index];
          assert.ok(before !== undefined && before.last + 1 < next.first);
        });
        assert.deepEqual(parsePorts(formatPorts(ranges)), merged);
      }),
    );
  });
});
