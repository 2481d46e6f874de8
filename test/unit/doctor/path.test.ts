import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describePath, tcpBuffers, tryFullPackets } from '../../../src/doctor/path.ts';
import type { Probing, Transport } from '../../../src/ssh/transport.ts';
import type { Finding } from '../../../src/system/doctor/diagnosis.ts';
import { ESTABLISHED } from '../../support/established.ts';

const BUFFERS = { receive: 6 * 2 ** 20, send: 4 * 2 ** 20 };

function detail(
  name: Finding['name'],
  roundTrip: number | undefined,
  changes: Partial<typeof ESTABLISHED> = {},
  buffers: typeof BUFFERS | undefined = BUFFERS,
) {
  const found = describePath({ ...ESTABLISHED, ...changes }, roundTrip, buffers);
  return found.find((finding) => finding.name === name)?.detail ?? '';
}

describe('describePath', () => {
  it('computes what windows and the round trip bound', () => {
    assert.equal(detail('latency', 50), '50 ms to the jump host and back');
    // 3 MiB / 50 ms, 2 MiB / 50 ms
    assert.match(
      detail('throughput', 50),
      /: 63 MB\/s down \(3 MiB\), 42 MB\/s up \(2 MiB\); computed/,
    );
    assert.match(detail('latency', 0.4), /^0\.4 ms/);
  });

  it('leaves out what it does not know', () => {
    const unknown = { sendWindow: undefined, receiveWindow: undefined };
    assert.match(detail('throughput', 50, { sendWindow: undefined }), /window is not known/);
    assert.match(detail('throughput', undefined), /no round trip/);
    assert.match(detail('latency', undefined), /does not answer/);
    const nothing = describePath({ ...ESTABLISHED, ...unknown }, 50, undefined);
    assert.match(nothing[1]?.detail ?? '', /not known/);
  });

  it('tells a server that does not answer keepalives', () => {
    assert.match(detail('keepalive', 50), /the jump host answers/);
    assert.match(detail('keepalive', 50, { answersRequests: false }), /does not answer/);
    assert.match(detail('keepalive', 50, { answersRequests: undefined }), /not known/);
  });
});

describe('tryFullPackets', () => {
  /** `small`, `full`: whether it answers packets of that size. */
  const answering = (small: boolean, full: boolean): Transport => {
    const transport: Transport & Probing = {
      connect: () => Promise.reject(new Error('not here')),
      ended: new Promise(() => {}),
      close: async () => {},
      probe: async (_timeout, load = 0) => (load === 0 ? small : full),
    };
    return transport;
  };

  it('blames the size only where small packets are still answered', async () => {
    assert.equal(await tryFullPackets(answering(true, true), 20), undefined);
    assert.equal((await tryFullPackets(answering(true, false), 20))?.state, 'failed');
    const busy = await tryFullPackets(answering(false, false), 20);
    assert.equal(busy?.state, 'note');
    assert.match(busy.detail, /small ones, too/);
  });
});

describe('tcpBuffers', () => {
  it('reads the largest', () => {
    const read = (path: string) =>
      path.endsWith('rmem') ? '4096\t131072\t6291456\n' : '4096\t16384\t4194304\n';
    assert.deepEqual(tcpBuffers(read), { receive: 6291456, send: 4194304 });
    assert.equal(
      tcpBuffers(() => {
        throw new Error('no /proc');
      }),
      undefined,
    );
    assert.equal(
      tcpBuffers(() => 'nonsense'),
      undefined,
    );
  });
});
