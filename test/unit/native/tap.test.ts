/** The checksums that the record of packets (native/tap.c) completes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { VNET_BYTES } from '../../../src/capture/tun/frame.ts';
import { addon } from '../../../src/native/addon.ts';
import { tcpFrame, udpFrame } from '../../support/tcpframes.ts';

/** The length of an Enhanced Packet Block before the packet. */
const BLOCK_HEAD = 28;
const ADDRESSES = {
  4: { source: '198.18.0.1', destination: '10.77.0.11' },
  6: { source: '2001:2::1', destination: '2001:db8:77::11' },
} as const;

/** What is recorded of a frame that is written to a device. */
function recorded(frame: Buffer): Buffer {
  const native = addon();
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-tap-'));
  try {
    const path = join(directory, 'device');
    execFileSync('mkfifo', [path]);
    const device = native.deviceOpen(openSync(path, constants.O_RDWR), frame, () => {});
    try {
      const memory = Buffer.alloc(4096);
      native.deviceTap(device, memory, true, () => assert.fail('no room'));
      assert.equal(native.deviceWrite(device, frame.length), 0);
      const used = native.deviceTapSwap(device, null);
      const length = frame.length - VNET_BYTES;
      assert.ok(used >= BLOCK_HEAD + length, `${used} bytes`);
      return memory.subarray(BLOCK_HEAD, BLOCK_HEAD + length);
    } finally {
      native.deviceClose(device);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe('the record of a packet without a checksum', () => {
  const ports = { sourcePort: 42_900, destinationPort: 80 };
  for (const family of [4, 6] as const) {
    const ip = ADDRESSES[family];
    const header = family === 4 ? 20 : 40;
    const kinds = [
      {
        protocol: 'TCP',
        at: header + 16,
        zero: 0,
        frame: (data: Buffer, checksum: 'needed' | 'complete') =>
          tcpFrame({ ...ip, ...ports, flags: '.', seq: 95, ack: 7, data, checksum }),
      },
      {
        protocol: 'UDP',
        at: header + 6,
        zero: 0xffff, // zero would mean that there is none (RFC 768)
        frame: (data: Buffer, checksum: 'needed' | 'complete') =>
          udpFrame({ ...ip, ...ports, data, checksum }),
      },
    ];
    for (const { protocol, at, zero, frame } of kinds)
      it(`has the right one: ${protocol} over IPv${family}`, () => {
        for (let length = 0; length < 8; length++) {
          const data = Buffer.alloc(length, 0xa5);
          assert.deepEqual(
            recorded(frame(data, 'needed')),
            frame(data, 'complete').subarray(VNET_BYTES),
          );
        }
        // With its own checksum in the payload, a packet's checksum is 0.
        const data = Buffer.alloc(2);
        data.writeUInt16BE(recorded(frame(data, 'needed')).readUInt16BE(at));
        assert.equal(recorded(frame(data, 'needed')).readUInt16BE(at), zero);
      });
  }
});
