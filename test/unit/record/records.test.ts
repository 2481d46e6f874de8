import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cleaned,
  type FlowRecord,
  jsonLine,
  Timestamps,
  writeJournal,
  writeJson,
} from '../../../src/record/records.ts';
import { recordText } from '../../support/recordtext.ts';

const OPENED: FlowRecord = {
  time: '2026-11-29T05:01:41.123Z',
  event: 'opened',
  id: '0a0b0c-17',
  source_address: '2001:db8::7',
  source_port: 40000,
  destination_name: 'api.example.com',
  destination_address: undefined,
  destination_port: 443,
  uid: 1000,
};

test('a line of JSON leaves out what is not known', () => {
  const line = recordText(writeJson, OPENED);
  assert.ok(line.endsWith('}\n'));
  assert.deepEqual(JSON.parse(line), JSON.parse(JSON.stringify(OPENED)));
  assert.ok(!line.includes('destination_address'));
});

test('a line of JSON is what JSON.stringify makes, whatever text is in it', () => {
  const { time, event, ...fields } = OPENED;
  const texts = ['', 'a "b" \\c', '\u0000\n\u007f', 'é\u2028\ud800', "it's", ' ~'];
  for (const reason of texts) {
    const record = { time, event, ...fields, destination_name: reason, missing: undefined };
    const all = { ...record, reason, least: 0, most: 2 ** 40, less: -10, part: 1.5, yes: true };
    assert.equal(recordText(writeJson, all), `${JSON.stringify(all)}\n`);
  }
  assert.equal(recordText(writeJson, OPENED), jsonLine(OPENED));
});

test('times are those of toISOString, in any order', () => {
  const timestamps = new Timestamps();
  for (const time of [0, 1, 999, 1000, 1_764_399_701_005, 1_764_399_701_999, 1_764_399_700_000, -1])
    assert.equal(timestamps.of(time), new Date(time).toISOString());
});

test('the journal gets a field a line, with the names that are documented', () => {
  const { id, uid, ...rest } = OPENED;
  const fields = new Map(
    recordText(writeJournal, { ...rest, uid, id })
      .trimEnd()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  assert.equal(fields.get('MESSAGE'), '[2001:db8::7]:40000 -> api.example.com:443: opened');
  assert.equal(fields.get('SYSLOG_IDENTIFIER'), 'tunnel');
  assert.equal(fields.get('TUNNEL_FLOW_ID'), '0a0b0c-17');
  assert.equal(fields.get('TUNNEL_EVENT'), 'opened');
  assert.equal(fields.get('TUNNEL_UID'), '1000');
  assert.ok(!fields.has('TUNNEL_DESTINATION_ADDRESS'));
  for (const name of fields.keys()) assert.match(name, /^[A-Z][A-Z0-9_]*$/);
});

test('the journal says when a connection was given up', () => {
  for (const [connected, when] of [
    [true, 'after'],
    [false, 'before'],
  ] as const) {
    const text = recordText(writeJournal, { ...OPENED, event: 'given-up', connected });
    assert.match(
      text,
      new RegExp(`^MESSAGE=.*: given up ${when} the far side had connected$`, 'm'),
    );
  }
});

test('text of a server can neither begin a line nor move a cursor', () => {
  const hostile = 'no\nTUNNEL_UID=0\u001b[2Jroute\u0085\u202e\u0000';
  assert.match(cleaned(hostile), /^[\x20-\x7e]*$/);
  const line = recordText(writeJournal, { ...OPENED, event: 'refused', reason: cleaned(hostile) });
  assert.equal(line.split('\n').filter((one) => one.startsWith('TUNNEL_UID')).length, 1);
  assert.ok(cleaned('x'.repeat(100_000)).length <= 1024);
});
