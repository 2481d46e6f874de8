import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import {
  describePath,
  measureRoundTrip,
  tcpBuffers,
  tryFullPackets,
} from '../../../src/doctor/path.ts';
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
  /** Whether each probe is answered. */
  function tried(...answers: readonly boolean[]) {
    let round = 0;
    const transport = {
      connect: () => Promise.reject(new Error('not asked for')),
      close: () => Promise.resolve(),
      channels: 0,
      ended: new Promise<undefined>(() => {}),
      probe: async () => answers[round++] ?? false,
    };
    return tryFullPackets(transport, 50);
  }

  it('tells what never arrives, and not what is late because packets are lost', async () => {
    assert.equal(await tried(true, true), undefined);
    assert.equal(await tried(true, false, true), undefined);
    const found = await tried(true, false, false);
    assert.equal(found?.state, 'failed');
    assert.match(found.detail, /not answered within 6\.6 s/);
  });

  it('does not blame the size where small packets are not answered, either', async () => {
    const found = await tried(false, false, false);
    assert.equal(found?.state, 'note');
    assert.match(found.detail, /small ones, too/);
  });
});

describe('measureRoundTrip', () => {
  /** Each probe takes so long, and says that the server is alive. */
  async function measured(...times: readonly number[]): Promise<number | undefined> {
    let now = 0;
    let round = 0;
    const clock = mock.method(performance, 'now', () => now);
    const transport = {
      connect: () => Promise.reject(new Error('not asked for')),
      close: () => Promise.resolve(),
      channels: 0,
      ended: new Promise<undefined>(() => {}),
      probe: async () => {
        now += times[round++] ?? 0;
        return true;
      },
    };
    try {
      return await measureRoundTrip(transport);
    } finally {
      clock.mock.restore();
    }
  }

  it('takes the median of three', async () => {
    assert.equal(await measured(50, 900, 40), 50);
  });

  it('does not take the end of its patience for an answer, though timers fire early', async () => {
    assert.equal(await measured(2_000), undefined);
    assert.equal(await measured(1_999.2), undefined);
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
