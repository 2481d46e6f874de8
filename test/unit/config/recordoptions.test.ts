import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { readFlowLogOptions, readPcapOptions } from '../../../src/config/recordoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { givenOptions, type OptionTexts } from '../../support/options.ts';

const read = (texts: OptionTexts) => readFlowLogOptions(givenOptions(texts));

test('a flow log goes to a file, or to the journal', () => {
  assert.equal(read({}), undefined);
  assert.deepEqual(read({ flowLog: 'journal' }), { kind: 'journal' });
  assert.deepEqual(read({ flowLog: './journal' }), {
    kind: 'file',
    path: resolve('journal'),
    size: 64 * 2 ** 20,
    keep: 5,
  });
  assert.deepEqual(read({ flowLog: '/var/log/flows', flowLogSize: '2g', flowLogKeep: '1' }), {
    kind: 'file',
    path: '/var/log/flows',
    size: 2 ** 31,
    keep: 1,
  });
});

for (const wrong of [
  { flowLog: '' },
  { flowLog: '-' },
  { flowLog: 'file:///tmp/x' },
  { flowLog: 'x', flowLogSize: '63K' },
  { flowLog: 'x', flowLogSize: '64MB' },
  { flowLog: 'x', flowLogSize: '-1' },
  { flowLog: 'x', flowLogKeep: '0' },
  { flowLog: 'x', flowLogKeep: '1.5' },
  { flowLogSize: '1M' },
  { flowLogKeep: '3' },
  { flowLog: 'journal', flowLogKeep: '3' },
] as OptionTexts[]) {
  test(`refused: ${JSON.stringify(wrong)}`, () => {
    assert.throws(
      () => read(wrong),
      (error) => error instanceof UsageError && (error.hint ?? '') !== '',
    );
  });
}

test('packets go to a file, where there is a device', () => {
  const packets = (texts: OptionTexts, command = 'connect') =>
    readPcapOptions(givenOptions(texts), command);
  assert.equal(packets({}), undefined);
  assert.deepEqual(packets({ pcap: '/tmp/a', pcapSize: '4m', pcapPayload: true }, 'exec'), {
    path: '/tmp/a',
    size: 4 * 2 ** 20,
    payload: true,
  });
  assert.throws(() => packets({ pcap: 'a' }, 'proxy'), /--pcap: a proxy has no device/);
  for (const wrong of [{ pcapPayload: true }, { pcapSize: '8M' }, { pcap: 'a', pcapSize: '1M' }])
    assert.throws(() => packets(wrong as OptionTexts), UsageError);
});
