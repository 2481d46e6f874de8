/** What any SSH server may send at any time: RFC 4253 §11, RFC 4254 §4. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { HostilePeer } from '../peer.ts';
import type { Outcome, Row } from '../row.ts';
import { globalRequest, type Serving, serve } from '../server.ts';
import { byte, MESSAGE, message, string, uint32 } from '../wire.ts';
import { NASTY } from './identification.ts';

const STANDS: Outcome = { kind: 'link stands', flow: 'works' };
const lost = (says: RegExp): Outcome => ({ kind: 'link is lost', says });

/** Does this when a connection to FAULT_HOST has been opened; later links are served well. */
const once =
  (fault: (peer: HostilePeer) => void | Promise<void>, serving: Serving = {}): Row['attack'] =>
  async (peer, attempt) => {
    await peer.welcome();
    await serve(peer, {
      ...(attempt === 0 ? serving : {}),
      fault: async (channel) => {
        channel.echoes = true;
        channel.confirm();
        if (attempt === 0) await fault(peer);
      },
    });
  };

const hostKeys = (count: number): Buffer =>
  globalRequest(
    'hostkeys-00@openssh.com',
    false,
    ...Array.from({ length: count }, () =>
      string(Buffer.concat([string('ssh-ed25519'), string(randomBytes(32))])),
    ),
  );

export const TRANSPORT_ROWS: readonly Row[] = [
  {
    name: 'flood of IGNORE',
    does: 'sends 256 MiB of SSH_MSG_IGNORE (1 GiB with TUNNEL_LONG=1)',
    attack: once(async (peer) => {
      const bytes = process.env['TUNNEL_LONG'] === '1' ? 2 ** 30 : 2 ** 28;
      const ignore = message(MESSAGE.ignore, string(Buffer.alloc(32 * 1024)));
      await peer.flood(bytes / (32 * 1024), () => ignore, 16);
    }),
    outcome: STANDS,
    told: 'nothing',
    cpu: 8,
    patience: 60,
  },
  {
    name: 'flood of small IGNORE',
    does: 'sends 200,000 empty SSH_MSG_IGNORE',
    attack: once(async (peer) => {
      await peer.flood(200_000, () => message(MESSAGE.ignore, string('')), 512);
    }),
    outcome: STANDS,
    told: 'nothing',
    cpu: 4,
    patience: 30,
  },
  {
    name: 'flood of global requests',
    does: 'asks for 100,000 replies, and reads them',
    attack: once(async (peer) => {
      const request = globalRequest(`${NASTY}@example.com`, true);
      await peer.flood(100_000, () => request, 512);
    }),
    outcome: STANDS,
    told: 'nothing: each is answered with a failure',
    cpu: 5,
    patience: 30,
  },
  {
    name: 'global requests, replies unread',
    does: 'asks for replies without an end, and reads nothing',
    attack: once(async (peer) => {
      peer.socket.pause();
      const request = globalRequest('keepalive@openssh.com', true);
      await peer.flood(1_000_000, () => request, 512);
    }),
    outcome: lost(/link lost: [^\n]*does not read[^\n]*\n/),
    counter: 'tunnel_ssh_backlog_limit_total',
    told: 'link lost: it does not read what it is sent; connected again',
    memory: 96,
    cpu: 6,
    patience: 40,
  },
  {
    name: 'replies unasked',
    does: 'sends 10,000 successes and failures of requests that were never made, and PONGs',
    attack: once(async (peer) => {
      const replies = [
        message(MESSAGE.requestSuccess),
        message(MESSAGE.requestSuccess, uint32(0xffffffff)),
        message(MESSAGE.requestFailure),
        message(193, string(Buffer.alloc(8, 0xff))),
        message(MESSAGE.channelSuccess, uint32(0xffffffff)),
      ];
      await peer.flood(10_000, (index) => replies[index % replies.length] ?? Buffer.alloc(0));
    }),
    outcome: STANDS,
    told: 'nothing',
    cpu: 3,
  },
  {
    name: 'keepalives unanswered',
    does: 'answers one keepalive, and then no more',
    attack: async (peer, attempt) => {
      await peer.welcome();
      let answered = 0;
      await serve(peer, {
        onRequest: () => {
          if (attempt > 0 || answered++ === 0) peer.send(message(MESSAGE.requestFailure));
        },
      });
    },
    outcome: lost(/link lost: [^\n]*no longer answers keepalives[^\n]*\n/),
    arguments: ['--keepalive', '1'],
    patience: 15,
    told: 'link lost: the jump host no longer answers keepalives; connected again',
  },
  {
    name: '10,000 host keys',
    does: 'announces 10,000 host keys (hostkeys-00@openssh.com)',
    attack: once((peer) => {
      for (let time = 0; time < 20; time++) peer.send(hostKeys(500));
    }),
    outcome: STANDS,
    told: 'nothing: known_hosts is not changed',
  },
  {
    name: 'EXT_INFO while it is up',
    does: 'sends 1,000 EXT_INFO with 30 KiB each',
    attack: once(async (peer) => {
      const info = message(
        MESSAGE.extInfo,
        uint32(1),
        string('server-sig-algs'),
        string('a,'.repeat(15_000)),
      );
      await peer.flood(1_000, () => info, 16);
    }),
    outcome: STANDS,
    told: 'nothing',
    cpu: 4,
  },
  {
    name: 'debug messages while it is up',
    does: 'sends SSH_MSG_DEBUG with always_display, controls and forged lines',
    attack: once(async (peer) => {
      const text = `${NASTY}\r\ntunnel: link lost: no\n`;
      const debug = message(MESSAGE.debug, byte(1), string(text), string(''));
      await peer.flood(10_000, () => debug);
    }),
    outcome: STANDS,
    told: 'nothing',
    cpu: 3,
  },
  {
    name: 'banners while it is up',
    does: 'sends login banners and prompts when the login is over',
    attack: once((peer) => {
      for (let time = 0; time < 100; time++)
        peer.send(message(MESSAGE.userauthBanner, string(NASTY), string('')));
    }),
    outcome: STANDS,
    told: 'nothing',
  },
  {
    name: 'unknown messages',
    does: 'sends messages with numbers that no protocol has',
    attack: once((peer) => {
      for (const number of [0, 19, 49, 70, 101, 127, 192, 200, 255])
        peer.send(message(number, randomBytes(100)));
    }),
    outcome: STANDS,
    told: 'nothing',
  },
  {
    name: 'empty packets',
    does: 'sends packets without a payload',
    attack: once((peer) => {
      peer.send(Buffer.alloc(0));
    }),
    outcome: STANDS,
    told: 'nothing',
  },
  {
    name: 'all padding',
    does: 'sends a packet whose padding is longer than itself',
    attack: once((peer) => peer.write(peer.packet(Buffer.alloc(11, 2), 4).fill(255, 4, 5))),
    outcome: lost(/link lost: [^\n]*\n/),
    told: 'link lost: a packet is not authentic, or malformed; connected again',
  },
  {
    name: 'bits flipped',
    does: 'flips a bit of a packet',
    attack: once((peer) => {
      const packet = peer.packet(message(MESSAGE.ignore, string('x')));
      packet[6] = (packet[6] ?? 0) ^ 1;
      peer.write(packet);
    }),
    outcome: lost(/link lost: [^\n]*not authentic[^\n]*\n/),
    told: 'link lost: a packet is not authentic, or malformed; connected again',
  },
  {
    name: 'disconnect while it is up',
    does: 'disconnects with controls and forged lines in its text',
    attack: once((peer) =>
      peer.send(
        message(
          MESSAGE.disconnect,
          uint32(11),
          string(`${NASTY}\r\ntunnel: ready\n${'x'.repeat(30_000)}`),
          string(''),
        ),
      ),
    ),
    outcome: lost(/link lost: [^\n]*\n/),
    told: 'link lost, without its text; connected again',
  },
  {
    name: 'service accepted again',
    does: 'accepts a service again, and asks for one',
    attack: once((peer) =>
      peer.send(
        message(MESSAGE.serviceAccept, string('ssh-userauth')),
        message(MESSAGE.serviceRequest, string('ssh-userauth')),
      ),
    ),
    outcome: STANDS,
    told: 'nothing',
  },
  {
    name: 'reads one octet at a time',
    does: 'sends everything one octet at a time',
    attack: async (peer) => {
      await peer.welcome();
      const write = peer.socket.write.bind(peer.socket);
      Object.assign(peer.socket, {
        write: (bytes: Buffer) => {
          for (const octet of bytes) write(Buffer.from([octet]));
          return true;
        },
      });
      await serve(peer);
    },
    outcome: STANDS,
    told: 'nothing',
  },
  {
    name: 'throws out',
    does: 'resets the connection at the first open, after each of two logins',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        // The open that was lost with the link is asked for again.
        fault: (channel) => {
          if (attempt < 2) peer.socket.destroy();
          else channel.confirm();
        },
      });
    },
    outcome: lost(/link lost: [^\n]*\n/),
    patience: 30,
    told: 'link lost, twice; the next login comes later; connected again',
  },
  {
    name: 'half closed',
    does: 'ends its half of the TCP connection and reads on',
    attack: once(async (peer) => {
      peer.socket.end();
      await delay(100);
    }),
    outcome: lost(/link lost: [^\n]*\n/),
    told: 'link lost, and connected again',
  },
  {
    name: 'never reads',
    does: 'stops reading while the client has 16 MiB for it',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        fault: (channel) => {
          channel.confirm({ window: 2 ** 31 });
          if (attempt === 0) peer.socket.pause();
        },
      });
    },
    outcome: lost(/link lost: [^\n]*\n/),
    arguments: ['--keepalive', '1'],
    upload: 16 * 1024 * 1024,
    patience: 20,
    told: 'link lost: the jump host no longer answers keepalives; connected again',
  },
];
