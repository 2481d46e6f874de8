/** Answers that are cut to what a datagram holds. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Answer } from 'dns-packet';
import { fitAnswer, relayAnswer } from '../../../../src/dns/wire/compose.ts';
import { parseQuery } from '../../../../src/dns/wire/query.ts';
import { a, queryBytes, read, upstreamAnswer } from '../server/support.ts';

const text = (character: string, length: number): Answer => ({
  type: 'TXT',
  name: 'cut.example',
  ttl: 60,
  data: character.repeat(length),
});
const LONG = text('x', 200);
const SHORT = [a('cut.example', '10.0.0.1'), a('cut.example', '10.0.0.2')];

function cut(answers: readonly Answer[], authorities: readonly Answer[], payload?: number) {
  const options = payload === undefined ? {} : { payload };
  const parsed = parseQuery(queryBytes('cut.example', 255, options));
  if (parsed.kind !== 'query') throw new Error(parsed.why);
  const { query } = parsed;
  const packet = { answers: [...answers], authorities: [...authorities] };
  const whole = relayAnswer(query, upstreamAnswer(query.question, packet));
  const bytes = fitAnswer(query, whole, 512);
  assert.ok(bytes.length <= 512);
  const packetRead = read(bytes);
  assert.deepEqual(packetRead.answers, read(whole).answers?.slice(0, packetRead.answers?.length));
  return packetRead;
}

describe('an answer that is too large for a datagram', () => {
  for (const [what, answers, authorities, kept] of [
    ['in its answers', [...SHORT, LONG, LONG, LONG], [], [3, 0]],
    ['in its second section', SHORT, [LONG, LONG, LONG], [2, 1]],
    ['in the second of two records', [text('x', 255), text('y', 255)], [], [1, 0]],
  ] as const) {
    for (const payload of [undefined, 512]) {
      it(`is cut between records ${what}, ${payload ?? 'without EDNS'}`, () => {
        const packet = cut(answers, authorities, payload);
        assert.deepEqual([packet.answers?.length, packet.authorities?.length], kept);
        assert.equal(packet.flag_tc, true);
        assert.equal(packet.additionals?.length, payload === undefined ? 0 : 1);
      });
    }
  }

  it('is left as it is if it fits', () => {
    assert.deepEqual([cut(SHORT, [LONG]).flag_tc, cut(SHORT, []).answers?.length], [false, 2]);
  });
});
