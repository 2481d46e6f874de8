import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeAnswer,
  decodeRequest,
  encode,
  MAX_DOMAINS,
  MAX_MESSAGE_BYTES,
  MAX_RULESET_CHARACTERS,
} from '../../../../src/system/privileged/protocol.ts';

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('requests to the part that is root', () => {
  it('are read as they were written', () => {
    for (const request of [
      { type: 'recover' },
      { type: 'directory' },
      { type: 'helper' },
      { type: 'restore' },
      { type: 'resolv-conf', device: 'tun0' },
      { type: 'revert', device: 'tun12' },
      { type: 'resolved', device: 'tun3', domains: ['corp.example', '10.in-addr.arpa', '.'] },
      { type: 'ruleset', from: 8192 },
    ] as const)
      assert.deepEqual(decodeRequest(encode(request)), request);
  });

  it('have exactly their fields, with values that can be no other thing', () => {
    for (const wrong of [
      null,
      [],
      'recover',
      {},
      { type: 'shell' },
      { type: 'toString' },
      { type: '__proto__' },
      { type: ['recover'] },
      { type: 'recover', device: 'tun0' },
      { type: 'directory', path: '/etc' },
      { type: 'helper', path: '/tmp/x' },
      { type: 'resolv-conf' },
      { type: 'resolv-conf', servers: ['192.0.2.1'] },
      { type: 'resolv-conf', device: 'tun0', servers: ['192.0.2.1'] },
      ...['eth0', 'tun', 'tun-1', 'tun00', 'tun0 ', 'tun0/../eth0', '-tun0', 'tun99999999', 0].map(
        (device) => ({ type: 'resolv-conf', device }),
      ),
      { type: 'resolved', device: 'tun0' },
      ...[
        '.',
        ['~corp.example'],
        ['Corp.example'],
        ['corp.example.'],
        [''],
        ['a b'],
        ['a\nb'],
        [1],
        [['corp.example']],
        Array(MAX_DOMAINS + 1).fill('corp.example'),
      ].map((domains) => ({ type: 'resolved', device: 'tun0', domains })),
      ...[-1, 1.5, '0', null, MAX_RULESET_CHARACTERS + 1].map((from) => ({
        type: 'ruleset',
        from,
      })),
    ])
      assert.equal(decodeRequest(bytes(wrong)), undefined, JSON.stringify(wrong));
    assert.equal(decodeRequest(Buffer.from('{"type":"recover"} x')), undefined);
    assert.equal(decodeRequest(Buffer.alloc(0)), undefined);
    const long = `{"type":"recover"${' '.repeat(MAX_MESSAGE_BYTES)}}`;
    assert.equal(decodeRequest(Buffer.from(long)), undefined);
  });

  it('are nothing else, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
        assert.equal(decodeRequest(octets), undefined);
      }),
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.equal(decodeRequest(bytes(value)), undefined);
      }),
    );
  });

  it('fit into a message with as many domains as there may be', () => {
    const domains = Array.from({ length: MAX_DOMAINS }, (_, i) =>
      [`n${i}`, ...Array(3).fill('x'.repeat(60))].join('.'),
    );
    const request = { type: 'resolved', device: 'tun0', domains } as const;
    assert.deepEqual(decodeRequest(encode(request)), request);
    assert.throws(() => encode({ ok: true, value: 'x'.repeat(MAX_MESSAGE_BYTES) }), RangeError);
  });
});

describe('answers of the part that is root', () => {
  it('are a value or an error', () => {
    const done = { ok: true, value: { done: ['x'] } } as const;
    assert.deepEqual(decodeAnswer(encode(done)), done);
    const failed = { ok: false, code: 'journal', message: 'full', hint: undefined } as const;
    assert.deepEqual(decodeAnswer(encode(failed)), failed);
    for (const wrong of [
      null,
      1,
      {},
      { ok: 1 },
      { ok: false },
      { ok: false, code: 1, message: '' },
    ])
      assert.equal(decodeAnswer(bytes(wrong)), undefined);
  });
});
