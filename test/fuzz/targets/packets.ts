/** What comes from the device: frames, and the endpoint that they reach. */
import assert from 'node:assert/strict';
import { FrameView, KIND, VNET_BYTES } from '../../../src/capture/tun/frame.ts';
import { REFUSALS } from '../../../src/net/refusal.ts';
import { icmpFrame, readFrame, tcpFrame, udpFrame } from '../../support/tcpframes.ts';
import { SERVER, TcpLab } from '../../support/tcpscript.ts';
import { joined, type TestConduit } from '../../support/testconduit.ts';
import type { FuzzTarget } from '../engine.ts';

const END = {
  4: { source: '10.77.0.11', destination: SERVER[4] },
  6: { source: 'fd77::11', destination: SERVER[6] },
};
// A checksum that the card has verified: mutations would spoil any other.
const PORTS = { sourcePort: 5000, destinationPort: 80, checksum: 'valid' } as const;
const SYN = ([4, 6] as const).map((family) =>
  tcpFrame({
    ...END[family],
    ...PORTS,
    flags: 'S',
    seq: 1,
    ack: 0,
    mss: 1460,
    scale: 7,
    ts: [1, 0],
  }),
);
const SEGMENTS = ([4, 6] as const).flatMap((family) =>
  ['.', 'P.', 'F.', 'R', 'R.', 'S.', 'FP.'].map((flags) =>
    tcpFrame({ ...END[family], ...PORTS, flags, seq: 2, ack: 1, ts: [2, 1], data: 'hello' }),
  ),
);
const OTHERS = ([4, 6] as const).flatMap((family) => [
  icmpFrame({ ...END[family], type: 3, code: 4, word: 1280, body: Buffer.alloc(28, 0x45) }),
  udpFrame({ ...END[family], sourcePort: 5000, destinationPort: 53, data: 'query' }),
  tcpFrame({
    ...END[family],
    ...PORTS,
    flags: 'P.',
    seq: 2,
    ack: 1,
    checksum: 'needed',
    data: 'x',
  }),
]);

/** One frame is read. */
const frame: FuzzTarget = {
  name: 'frame',
  seeds: [...SYN, ...SEGMENTS, ...OTHERS],
  maxBytes: 2_000,
  run(input) {
    const bytes = Buffer.from(input);
    const memory = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
    const view = new FrameView();
    const kind = view.parse(memory, bytes.length);
    if (kind === KIND.malformed) return;
    assert.ok(view.ip === VNET_BYTES && view.end <= bytes.length && view.transport <= view.end);
    if (kind !== KIND.tcp && kind !== KIND.udp) return;
    assert.ok(view.payload >= view.transport && view.payload <= view.end, 'payload out of bounds');
    assert.ok(view.segmentLength >= 0);
    const kept = view.keep();
    assert.equal(kept.bytes.length, view.end);
    assert.equal(new FrameView().parse(kept, kept.bytes.length), kind, 'a copy is read otherwise');
  },
};

/**
 * A dialogue: frames, each behind its length, and acts of the far side between them. The endpoint's
 * frames must be well-formed (tcpframes.ts), and nothing may be left at the end.
 */
const endpoint: FuzzTarget = {
  name: 'endpoint',
  seeds: [4, 6].map((_, i) =>
    Buffer.concat([SYN[i] ?? Buffer.alloc(0), ...SEGMENTS.slice(i * 7, i * 7 + 7)].map(lengthened)),
  ),
  maxBytes: 4_000,
  run(input) {
    const far: TestConduit[] = [];
    const lab = new TcpLab({
      onFrame: (bytes) => void readFrame(bytes),
      onFlow(flow) {
        const kind = flow.id % 4;
        if (kind === 0) return flow.refuse(REFUSALS[flow.id % REFUSALS.length] ?? 'refused');
        const end = flow.open();
        if (end !== undefined) far.push(joined(end));
      },
    });
    for (let at = 0; at + 2 <= input.length; ) {
      const length = ((input[at] ?? 0) << 8) | (input[at + 1] ?? 0);
      const end = Math.min(input.length, at + 2 + (length & 0x0fff));
      lab.input(Buffer.from(input.subarray(at + 2, end)));
      if ((length & 0x4000) !== 0) lab.wait(length & 0x0fff);
      const end4 = far[length % 5];
      if ((length & 0x2000) !== 0 && end4 !== undefined) end4.give('from afar');
      at = end;
    }
    lab.wait(1_000);
    lab.endpoint.close(new Error('the end'));
    lab.wait(1_000);
  },
};

function lengthened(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

export const PACKET_TARGETS: readonly FuzzTarget[] = [frame, endpoint];
