/**
 * Mutations of a recorded session, by a seed: messages of every type that a server may send, with
 * lengths that lie, fields that are cut or doubled, numbers at their bounds, and flipped bytes.
 */
import { randomBytes } from 'node:crypto';
import { type HostilePeer, kexInit, OFFER, SERVER_SOFTWARE } from './peer.ts';
import { channelData, globalRequest, openFailure, serve, windowAdjust } from './server.ts';
import { byte, MESSAGE, message, string, uint32 } from './wire.ts';

/** A small generator (mulberry32): the same numbers for the same seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, but not including, `bound`. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  }

  of<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0];
  }
}

/** One well-formed message of each type, as sent in a session whose first channel is 0. */
const RECORDED: readonly [Buffer, ...Buffer[]] = [
  message(MESSAGE.disconnect, uint32(2), string('bye'), string('')),
  message(MESSAGE.ignore, string('padding')),
  message(MESSAGE.unimplemented, uint32(3)),
  message(MESSAGE.debug, byte(1), string('text'), string('')),
  message(MESSAGE.serviceAccept, string('ssh-userauth')),
  message(
    MESSAGE.extInfo,
    uint32(2),
    ...[string('server-sig-algs'), string('ssh-ed25519,rsa-sha2-256')],
    ...[string('ping@openssh.com'), string('0')],
  ),
  kexInit(OFFER),
  message(MESSAGE.newKeys),
  message(MESSAGE.ecdhReply, string(randomBytes(51)), string(randomBytes(32)), string('signature')),
  message(MESSAGE.userauthFailure, string('publickey,password,keyboard-interactive'), byte(1)),
  message(MESSAGE.userauthBanner, string('welcome\r\n'), string('')),
  message(
    MESSAGE.userauthInfoRequest,
    ...[string('name'), string('instruction'), string(''), uint32(1), string('code:'), byte(0)],
  ),
  globalRequest('hostkeys-00@openssh.com', false, string(randomBytes(51))),
  globalRequest('keepalive@openssh.com', true),
  globalRequest('tcpip-forward', true, string('0.0.0.0'), uint32(22)),
  message(MESSAGE.requestSuccess, uint32(8080)),
  message(MESSAGE.requestFailure),
  message(
    MESSAGE.channelOpen,
    ...[string('forwarded-tcpip'), uint32(0), uint32(2 ** 20), uint32(2 ** 15)],
    ...[string('host'), uint32(1), string('origin'), uint32(2)],
  ),
  message(
    MESSAGE.channelOpen,
    ...[string('x11'), uint32(0), uint32(2 ** 20), uint32(2 ** 15), string('o'), uint32(2)],
  ),
  message(MESSAGE.channelConfirmation, uint32(0), uint32(0), uint32(2 ** 20), uint32(2 ** 15)),
  openFailure(0, 2, 'Connection refused'),
  windowAdjust(0, 1000),
  channelData(0, 'some data'),
  message(MESSAGE.channelExtendedData, uint32(0), uint32(1), string('some data')),
  message(MESSAGE.channelEof, uint32(0)),
  message(MESSAGE.channelClose, uint32(0)),
  message(MESSAGE.channelRequest, uint32(0), string('exit-status'), byte(1), uint32(0)),
  message(
    MESSAGE.channelRequest,
    ...[uint32(0), string('exit-signal'), byte(0), string('TERM'), byte(0), string(''), string('')],
  ),
  message(MESSAGE.channelSuccess, uint32(0)),
  message(MESSAGE.channelFailure, uint32(0)),
  message(193, string(uint32(1))),
];

const BOUNDS: readonly [number, ...number[]] = [
  0, 1, 2, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

/** Changes a message in one to three places. */
export function mutate(random: Random, recorded: Buffer): Buffer {
  let bytes = Buffer.from(recorded);
  for (let time = random.below(3); time >= 0 && bytes.length > 0; time--) {
    const at = random.below(bytes.length);
    switch (random.below(7)) {
      case 0: // a length or a number at its bounds
        if (bytes.length >= 5)
          bytes.writeUInt32BE(random.of(BOUNDS), 1 + random.below(bytes.length - 4));
        break;
      case 1:
        bytes = bytes.subarray(0, at);
        break;
      case 2:
        bytes[at] = random.below(256);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at >> 1)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes, Buffer.alloc(random.below(2000), random.below(256))]);
        break;
      case 5:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.below(8))]);
        break;
      case 6: // another message with the same fields
        bytes[0] = random.below(256);
        break;
    }
  }
  return Buffer.from(bytes);
}

const STAGES = ['identification', 'before keys', 'reply', 'before login', 'login', 'up'] as const;

/** Serves one connection well, except for what `random` changes. */
export async function serveMutated(peer: HostilePeer, random: Random): Promise<void> {
  const stage = random.of(STAGES);
  const some = (): Buffer[] =>
    Array.from({ length: 1 + random.below(4) }, () => mutate(random, random.of(RECORDED)));
  if (stage === 'identification')
    peer.write(mutate(random, Buffer.from(`\n${SERVER_SOFTWARE}\r\n`)));
  await peer.identify();
  if (stage === 'before keys') peer.now(...some());
  await peer.exchange(stage === 'reply' ? { beforeReply: () => peer.now(...some()) } : {});
  if (stage === 'before login') peer.now(...some());
  await peer.service();
  if (stage === 'login') peer.now(...some());
  await peer.expect(MESSAGE.userauthRequest);
  peer.send(message(MESSAGE.userauthSuccess));
  await serve(peer, {
    fault: (channel) => {
      channel.echoes = true;
      channel.confirm();
      if (stage === 'up') peer.now(...some());
    },
  });
}
