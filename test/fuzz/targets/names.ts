/** DNS messages: of clients, and of resolvers that may be anybody's. */
import assert from 'node:assert/strict';
import { RebindingRules } from '../../../src/dns/upstream/rebinding.ts';
import { answersQuestion, takeAnswer } from '../../../src/dns/upstream/resolver.ts';
import {
  composeFault,
  composeNoRecords,
  composeQuery,
  fitAnswer,
  relayAnswer,
} from '../../../src/dns/wire/compose.ts';
import {
  MessageError,
  nameText,
  plainName,
  Rcode,
  readMessage,
} from '../../../src/dns/wire/message.ts';
import { makeQuestion, parseQuery, type Query } from '../../../src/dns/wire/query.ts';
import { silentObserver } from '../../../src/observe/observer.ts';
import { parseResolvConf } from '../../../src/system/resolver/resolvconf.ts';
import type { FuzzTarget } from '../engine.ts';
import { text } from '../text.ts';

const NAME = Buffer.from('\x03api\x07example\x03com\0', 'latin1');
const QUESTION = makeQuestion({
  wire: NAME,
  type: 1,
  class: 1,
  dnssecOk: false,
  checkingDisabled: false,
});
const QUERY: Query = {
  id: 7,
  flags: 0x0100,
  question: QUESTION,
  edns: { payload: 1232, dnssecOk: false },
};
const RECORD = Buffer.from('c00c 0001 0001 0000003c 0004 0a000001'.replaceAll(' ', ''), 'hex');
const ALIAS = Buffer.from('c00c 0005 0001 0000003c 0004 01 61 c010'.replaceAll(' ', ''), 'hex');

function answer(...records: readonly Buffer[]): Buffer {
  const question = Buffer.from(composeQuery(QUESTION, { edns: false }));
  question.writeUInt16BE(0x8180, 2);
  question.writeUInt16BE(records.length, 6);
  return Buffer.concat([question, ...records]);
}

const query: FuzzTarget = {
  name: 'dns-query',
  seeds: [composeQuery(QUESTION, { edns: true }), composeQuery(QUESTION, { edns: false })],
  words: ['\xc0\x0c', NAME],
  maxBytes: 600,
  run(input) {
    const parsed = parseQuery(input);
    if (parsed.kind === 'drop') return;
    const fault = composeFault(input, Rcode.SERVFAIL);
    assert.ok(fault.length <= 512 && readMessage(fault).records.length <= 1);
    if (parsed.kind === 'fault') return;
    readMessage(composeNoRecords(parsed.query.question));
    readMessage(composeQuery(parsed.query.question, { edns: true }));
    assert.ok(nameText(parsed.query.question.wire).length < 1024);
  },
};

const rules = new RebindingRules({ observer: silentObserver });

/** What a resolver says to a query of ours. */
const relayed: FuzzTarget = {
  name: 'dns-answer',
  seeds: [answer(RECORD), answer(ALIAS, RECORD), answer(...Array(60).fill(RECORD))],
  words: ['\xc0\x0c', '\xc0\xff', RECORD, ALIAS],
  maxBytes: 4_000,
  run(input) {
    let view: ReturnType<typeof readMessage>;
    try {
      view = readMessage(input);
    } catch (error) {
      if (error instanceof MessageError) return;
      throw error;
    }
    for (const { nameStart } of view.questions) nameText(plainName(input, nameStart));
    for (const { start } of view.records) nameText(plainName(input, start));
    // Only answers to what was asked get further than this.
    if (!answersQuestion(input, view, QUESTION)) return;
    const taken = rules.screen(QUESTION, takeAnswer(input, view));
    const whole = relayAnswer(QUERY, taken);
    readMessage(whole);
    for (const limit of [512, 1232]) {
      const fitted = fitAnswer(QUERY, whole, limit);
      assert.ok(fitted.length <= limit, `${fitted.length} octets, not ${limit}`);
      readMessage(fitted);
    }
  },
};

const resolvConf: FuzzTarget = {
  name: 'resolv-conf',
  seeds: [
    'nameserver 10.0.0.53\noptions edns0 ndots:2\nsearch corp.example a\r\n# x\nnameserver fe80::1%eth0\n',
  ],
  words: ['nameserver ', 'search ', '\r\n', '%', '::', 'options '],
  maxBytes: 2_000,
  run: (input) => void parseResolvConf(text(input)),
};

export const NAME_TARGETS: readonly FuzzTarget[] = [query, relayed, resolvConf];
