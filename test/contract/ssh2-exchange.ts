/**
 * Sends data both ways through Outbox and Inbox with each cipher, while both sides exchange keys
 * again.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { writePacketsTo } from '../../src/ssh/embedded/ssh2/internals.ts';
import { pseudoRandomBytes } from '../support/bytes.ts';
import { connectStream } from '../support/connectstream.ts';
import { connectLink } from '../support/ssh2pair.ts';

const DESTINATION = { host: '192.0.2.1', port: 80 };
const BYTES = 3 * 1024 * 1024;
const FLOWS = 3;
const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

/** `kinds`: the class that ssh2 encrypts each cipher with. */
export function exchangeContract(name: string, kinds: Readonly<Record<string, string>>): void {
  describe(name, { timeout: 60_000 }, () => {
    for (const [cipher, kind] of Object.entries(kinds)) {
      it(`${cipher} (${kind}): the same bytes come back across key exchanges of both sides`, async () => {
        const pair = await connectLink(cipher);
        const { link, protocol, peer } = pair;
        try {
          assert.equal(protocol._cipher.constructor.name, kind);
          let exchanges = 0;
          let begun = 0;
          pair.client.on('handshake', () => exchanges++);
          /** The server begins a key exchange, and after it the client begins another. */
          const exchange = (): void => {
            if (begun !== exchanges || begun === 2) return;
            if (begun++ === 0) peer.rekey();
            else protocol.rekey();
          };
          const flows = await Promise.all(
            Array.from({ length: FLOWS }, () => connectStream(link, DESTINATION)),
          );
          await Promise.all(
            flows.map(async (flow, index) => {
              const data = pseudoRandomBytes(BYTES, `flow ${index}`);
              const got: Buffer[] = [];
              let received = 0;
              flow.on('data', (chunk: Buffer) => {
                // A copy, so that the memory can be reused: data overwritten too early change the
                // digest.
                got.push(Buffer.from(chunk));
                received += chunk.length;
                if (index === 0 && received > BYTES / 5) exchange();
              });
              const written = (async () => {
                for (let at = 0; at < BYTES; at += 50_000)
                  if (!flow.write(data.subarray(at, at + 50_000))) await once(flow, 'drain');
                flow.end();
              })();
              await Promise.all([written, once(flow, 'end')]);
              assert.equal(sha256(Buffer.concat(got)), sha256(data));
            }),
          );
          while (exchanges < 2) {
            exchange();
            await once(pair.client, 'handshake');
          }
          assert.equal(protocol._kexinit, undefined);
        } finally {
          await link.close();
          pair.close();
        }
      });

      it(`${cipher}: the next cipher writes packets to the same place`, async () => {
        const pair = await connectLink(cipher);
        const { client, protocol, link } = pair;
        const first = protocol._cipher;
        let takenBytes = 0;
        const write = protocol._onWrite;
        writePacketsTo(protocol, {
          alloc: (length) => Buffer.allocUnsafe(length),
          pad: (target) => void target.fill(0),
          take: (packet) => {
            takenBytes += packet.length;
            write(packet);
          },
        });
        const { _onWrite: own } = protocol;
        let during: unknown;
        const exchanged = new Promise<void>((resolve) => {
          // Before the link's own listener, which reuses its space for packets.
          client.prependOnceListener('handshake', () => {
            assert.notEqual(protocol._cipher, first);
            assert.equal(protocol._cipher._onWrite, own);
            assert.equal(protocol._cipher.constructor.name, kind);
            during = protocol._kexinit;
            resolve();
          });
        });
        assert.equal(protocol._kexinit, undefined);
        protocol.rekey();
        assert.ok(protocol._kexinit !== undefined, 'from our KEXINIT on');
        const before = takenBytes;
        protocol.ping();
        assert.equal(takenBytes, before, 'what is sent meanwhile is queued');
        await exchanged;
        assert.equal(during, undefined, 'until NEWKEYS');
        assert.ok(takenBytes > before);
        await link.close();
        pair.close();
      });
    }
  });
}
