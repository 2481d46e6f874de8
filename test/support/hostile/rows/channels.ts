/** Channels: RFC 4254 §5. Each fault concerns one channel; another lives beside it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { HostilePeer } from '../peer.ts';
import type { FlowEnd, Outcome, Row } from '../row.ts';
import { channelData, openFailure, type ServedChannel, serve, windowAdjust } from '../server.ts';
import { byte, MESSAGE, message, string, uint32 } from '../wire.ts';
import { NASTY } from './identification.ts';

const VIOLATIONS = 'tunnel_ssh_violations_total';
/** No channel of the client has it. */
const UNKNOWN = 4711;
const CHUNK = Buffer.alloc(32 * 1024);

const stands = (flow: FlowEnd): Outcome => ({ kind: 'link stands', flow });

/** Logs the user in, and does this with the channel to FAULT_HOST. */
const onChannel =
  (fault: (channel: ServedChannel, peer: HostilePeer) => void | Promise<void>): Row['attack'] =>
  async (peer) => {
    await peer.welcome();
    await serve(peer, { fault: (channel) => fault(channel, peer) });
  };

/** The same with a channel that works. */
const beside = (fault: (channel: ServedChannel, peer: HostilePeer) => void): Row['attack'] =>
  onChannel((channel, peer) => {
    channel.echoes = true;
    channel.confirm();
    fault(channel, peer);
  });

/** Sends this many bytes whatever the window admits. */
async function pour(channel: ServedChannel, bytes: number): Promise<void> {
  const packet = channelData(channel.client, CHUNK);
  await channel.peer.flood(Math.ceil(bytes / CHUNK.length), () => packet, 16);
}

const confirmation = (client: number, own = 9): Buffer =>
  message(
    MESSAGE.channelConfirmation,
    uint32(client),
    uint32(own),
    uint32(2 ** 20),
    uint32(2 ** 15),
  );

const open = (type: string, ...rest: readonly Buffer[]): Buffer =>
  message(MESSAGE.channelOpen, string(type), uint32(0), uint32(2 ** 20), uint32(2 ** 15), ...rest);

const onNumber = (number: number, channel: number, ...rest: readonly Buffer[]): Buffer =>
  message(number, uint32(channel), ...rest);

const request = (channel: number, type: string, wantReply: boolean, ...rest: Buffer[]): Buffer =>
  message(MESSAGE.channelRequest, uint32(channel), string(type), byte(wantReply), ...rest);

export const CHANNEL_ROWS: readonly Row[] = [
  {
    name: 'zero window',
    does: 'confirms a channel with a window of 0 and never grants more',
    attack: onChannel((channel) => channel.confirm({ window: 0 })),
    outcome: stands('waits'),
    upload: 8 * 1024 * 1024,
    told: "nothing: the application's data wait, in its own kernel",
  },
  {
    name: 'window of 2 GiB',
    does: 'confirms a channel with a window of 2^31 octets',
    attack: onChannel((channel) => {
      channel.echoes = true;
      channel.confirm({ window: 2 ** 31 });
    }),
    outcome: stands('works'),
    told: 'nothing',
  },
  {
    name: 'window of 2 GiB that is not read',
    does: 'confirms a window of 4 GiB - 1 and reads nothing more, of 64 MiB that are sent',
    attack: onChannel((channel, peer) => {
      channel.confirm({ window: 0xffffffff });
      peer.socket.pause();
    }),
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*\n/ },
    arguments: ['--keepalive', '1'],
    upload: 64 * 1024 * 1024,
    patience: 20,
    told: 'link lost: the jump host no longer answers keepalives; connected again',
  },
  {
    name: 'adjustments beyond 2^32',
    does: 'grants 2^32 - 1 octets again and again',
    attack: beside((channel, peer) => {
      const adjust = windowAdjust(channel.client, 0xffffffff);
      peer.send(...Array<Buffer>(1000).fill(adjust));
    }),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing: the window stays at 2^32 - 1',
  },
  {
    name: 'window overflow',
    does: 'sends 64 MiB where the window admits 2 MiB',
    attack: onChannel(async (channel) => {
      channel.confirm();
      await pour(channel, 64 * 1024 * 1024);
    }),
    outcome: stands('ends'),
    counter: VIOLATIONS,
    stalls: 1500,
    told: 'the connection is reset',
  },
  {
    name: 'early data',
    does: 'sends data before it confirms the channel',
    attack: onChannel(async (channel) => {
      await pour(channel, 4 * 1024 * 1024);
      channel.echoes = true;
      channel.confirm();
    }),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing: the data are dropped',
  },
  {
    name: 'packets of one octet',
    does: 'sends 100,000 octets, each in a packet of its own, while nobody reads',
    attack: onChannel(async (channel) => {
      channel.confirm();
      const packet = channelData(channel.client, 'x');
      await channel.peer.flood(100_000, () => packet, 512);
    }),
    outcome: stands('waits'),
    stalls: 1000,
    told: 'nothing',
    cpu: 6,
    patience: 30,
  },
  {
    name: 'packets of no octets',
    does: 'sends 100,000 packets of data without data',
    attack: beside((channel, peer) => {
      void peer.flood(100_000, () => channelData(channel.client, ''), 512);
    }),
    outcome: stands('works'),
    told: 'nothing',
    cpu: 3,
    patience: 20,
  },
  {
    name: 'larger than the channel takes',
    does: 'sends 34,000 octets in a packet where the channel takes 32,768',
    attack: onChannel((channel) => {
      channel.confirm();
      channel.data(Buffer.alloc(34_000));
    }),
    outcome: stands('ends'),
    counter: VIOLATIONS,
    told: 'the connection is reset',
  },
  {
    name: 'packet above 35,000',
    does: 'sends a packet of 256 KiB',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        fault: (channel) => {
          if (attempt > 0) return;
          channel.confirm();
          channel.data(Buffer.alloc(256 * 1024));
        },
      });
    },
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*Bad packet length[^\n]*\n/ },
    told: 'link lost: bad packet length; connected again',
  },
  {
    name: 'packets of 0 at most',
    does: 'confirms a channel that takes packets of 0 octets',
    attack: onChannel((channel) => channel.confirm({ maxPacket: 0 })),
    outcome: stands('refused'),
    counter: VIOLATIONS,
    told: 'the connection is refused',
  },
  {
    name: 'packets of 1 at most',
    does: 'confirms a channel that takes packets of 1 octet, and grants a window for each octet',
    attack: onChannel((channel) => {
      channel.echoes = true;
      channel.confirm({ maxPacket: 1 });
    }),
    outcome: stands('works'),
    told: 'nothing',
  },
  {
    name: 'packets of 4 GiB at most',
    does: 'confirms a channel that takes packets of 2^32 - 1 octets, and gets 4 MiB',
    attack: onChannel((channel) => {
      channel.echoes = true;
      channel.confirm({ maxPacket: 0xffffffff, window: 0xffffffff });
    }),
    outcome: stands('works'),
    upload: 4 * 1024 * 1024,
    told: 'nothing: the packets stay at 32 KiB',
  },
  {
    name: 'data after EOF',
    does: 'sends data after EOF',
    attack: onChannel((channel) => {
      channel.confirm();
      channel.eof();
      for (let time = 0; time < 100; time++) channel.data(CHUNK);
    }),
    outcome: stands('ends'),
    counter: VIOLATIONS,
    told: 'the connection ends; the data are dropped',
  },
  {
    name: 'data after CLOSE',
    does: 'sends data, EOF and CLOSE after CLOSE',
    attack: onChannel((channel, peer) => {
      channel.confirm();
      channel.close();
      for (let time = 0; time < 100; time++) channel.data(CHUNK);
      channel.eof();
      peer.send(onNumber(MESSAGE.channelClose, channel.client));
    }),
    outcome: stands('ends'),
    counter: VIOLATIONS,
    told: 'the connection ends; the rest is dropped',
  },
  {
    name: 'EOF a thousand times',
    does: 'sends EOF a thousand times',
    attack: onChannel((channel) => {
      channel.confirm();
      for (let time = 0; time < 1000; time++) channel.eof();
    }),
    outcome: stands('ends'),
    told: 'the connection ends',
  },
  {
    name: 'unknown channels',
    does: 'sends data, EOF, CLOSE, grants and requests for channels that nobody has opened',
    attack: beside((_, peer) => {
      for (const channel of [UNKNOWN, 0xffffffff, 0x80000000])
        peer.send(
          channelData(channel, 'x'),
          onNumber(MESSAGE.channelExtendedData, channel, uint32(1), string('x')),
          windowAdjust(channel, 2 ** 31),
          onNumber(MESSAGE.channelEof, channel),
          onNumber(MESSAGE.channelClose, channel),
          request(channel, 'exit-status', true, uint32(0)),
          onNumber(MESSAGE.channelSuccess, channel),
          onNumber(MESSAGE.channelFailure, channel),
        );
    }),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing',
  },
  {
    name: 'unknown confirmed',
    does: 'confirms and refuses channels that nobody has asked for',
    attack: beside((_, peer) => {
      for (const channel of [UNKNOWN, 0xffffffff])
        peer.send(confirmation(channel), openFailure(channel, 2, NASTY));
    }),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing',
  },
  {
    name: 'confirmed twice',
    does: 'confirms a channel twice, with another number, and refuses it then',
    attack: beside((channel, peer) =>
      peer.send(confirmation(channel.client, UNKNOWN), openFailure(channel.client, 1, 'no')),
    ),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing',
  },
  {
    name: 'closed before it is confirmed',
    does: 'closes a channel that it has not confirmed',
    attack: onChannel((channel) => channel.close()),
    outcome: stands('refused'),
    counter: VIOLATIONS,
    told: 'the connection is refused',
  },
  {
    name: 'number 0xffffffff',
    does: 'gives a channel the number 0xffffffff',
    attack: onChannel((channel) => {
      channel.echoes = true;
      channel.confirm({ own: 0xffffffff });
    }),
    outcome: stands('works'),
    told: 'nothing',
  },
  {
    name: 'one number twice',
    does: 'gives two channels the same number, and closes the second',
    attack: onChannel((channel) => {
      channel.confirm({ own: 0 });
      channel.close();
    }),
    outcome: stands('ends'),
    harmsOthers: true,
    told: 'the connection ends, and the other one when the server closes it',
  },
  {
    name: 'extended data',
    does: 'sends 8 MiB of extended data of unknown types',
    attack: onChannel(async (channel, peer) => {
      channel.echoes = true;
      channel.confirm();
      const data = onNumber(
        MESSAGE.channelExtendedData,
        channel.client,
        uint32(0xffffffff),
        string(CHUNK.subarray(0, 16 * 1024)),
      );
      // As the window admits.
      await peer.flood(64, () => data, 16);
    }),
    outcome: stands('works'),
    told: 'nothing: they are dropped',
  },
  {
    name: 'controls in a refusal',
    does: 'refuses a channel with controls, forged lines and 30,000 characters',
    attack: onChannel((channel) =>
      channel.fail(2, `${NASTY}\r\ntunnel: ready\n${'x'.repeat(30_000)}`),
    ),
    outcome: stands('refused'),
    arguments: ['-vv'],
    told: 'with -vv, the first 300 characters, without controls',
  },
  {
    name: 'unknown reason',
    does: 'refuses a channel with reason 0xffffffff and octets that are not UTF-8',
    attack: onChannel((channel) =>
      channel.fail(0xffffffff, Buffer.from([0xff, 0xfe, 0x80, 0xc0, 0x1b, 0x9b])),
    ),
    outcome: stands('refused'),
    arguments: ['-vv'],
    told: 'with -vv, that it opens no channel',
  },
  {
    name: 'channel requests',
    does: 'asks for things that nobody knows on a channel, with a reply, 10,000 times',
    attack: beside((channel, peer) => {
      for (const type of ['exit-status', 'no-such-thing@example.com', NASTY])
        void peer.flood(3_000, () => request(channel.client, type, true, uint32(1)));
    }),
    outcome: stands('works'),
    told: 'nothing: each is answered with a failure',
    cpu: 3,
  },
  {
    name: 'channels of the server',
    does: 'opens forwarded-tcpip, X11, agent and session channels itself',
    attack: beside((_, peer) =>
      peer.send(
        open('forwarded-tcpip', string('h'), uint32(1), string('o'), uint32(2)),
        open('x11', string('o'), uint32(2)),
        open('auth-agent@openssh.com'),
        open('auth-agent'),
        open('session'),
        open('direct-tcpip', string('127.0.0.1'), uint32(22), string('o'), uint32(2)),
        open(NASTY),
      ),
    ),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing: each is refused',
  },
  {
    name: 'flood of channels',
    does: 'opens 20,000 channels itself',
    attack: beside((_, peer) => void peer.flood(20_000, () => open('session'), 256)),
    outcome: stands('works'),
    counter: VIOLATIONS,
    told: 'nothing: each is refused',
    cpu: 3,
    patience: 20,
  },
  {
    name: 'opens without an answer',
    does: 'never answers an open',
    attack: onChannel(() => {}),
    outcome: stands('unanswered'),
    told: 'nothing: the application waits',
  },
  {
    name: 'never closes',
    does: 'never answers CLOSE, so that a channel is never given back',
    attack: onChannel(async (channel, peer) => {
      channel.confirm();
      channel.eof();
      await delay(100);
      peer.send(onNumber(MESSAGE.channelEof, channel.client));
    }),
    outcome: stands('ends'),
    told: 'the connection ends; the channel counts among MAX_CHANNELS',
  },
];
