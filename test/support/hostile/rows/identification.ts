/** Before a version of SSH has been said: RFC 4253 §4.2. */
import { setTimeout as delay } from 'node:timers/promises';
import type { HostilePeer } from '../peer.ts';
import { SERVER_SOFTWARE } from '../peer.ts';
import type { Outcome, Row } from '../row.ts';
import { serve } from '../server.ts';

/** Text that would move the cursor, hide, reorder, retitle, and pretend to be another line. */
export const NASTY =
  '\u001b[2J\u001b]0;title\u0007\u001b[1;31mred\u009b5m \u202egnol\u200b\u2066x\u2069 a\rb\u0008\u0000 \ufeff\u{e0041}\u3164\u00ad';

/** With such text in its name. Each character is one octet. */
const IDENTIFICATION = `SSH-2.0-${Buffer.from(NASTY).toString('latin1').replaceAll('\r', '')}`;

const notSsh = (says: RegExp): Outcome => ({
  kind: 'start fails',
  code: 'jumphost-not-ssh',
  status: 5,
  says,
});

/** Writes this in place of an identification, and leaves the connection open, or ends it. */
const says =
  (text: string | Uint8Array, ends = true) =>
  async (peer: HostilePeer): Promise<void> => {
    peer.write(text);
    if (ends) peer.socket.end();
    await peer.closed;
  };

const slowly = async (peer: HostilePeer, text: string, milliseconds: number): Promise<void> => {
  for (const octet of text) {
    if (peer.gone) return;
    peer.write(octet);
    if (milliseconds > 0) await delay(milliseconds);
    else await new Promise(setImmediate);
  }
};

export const IDENTIFICATION_ROWS: readonly Row[] = [
  {
    name: 'silent after accept',
    does: 'accepts the connection and says nothing',
    attack: (peer) => peer.closed,
    outcome: { kind: 'start fails', code: 'jumphost-slow', status: 5 },
    told: 'nothing within --connect-timeout',
  },
  {
    name: 'closes at once',
    does: 'closes the connection before it says anything',
    attack: says(''),
    outcome: { kind: 'start fails', code: 'jumphost-no-identification', status: 5 },
    told: 'closed before it said anything about SSH',
  },
  {
    name: 'one octet a second',
    does: 'sends its identification one octet a second',
    attack: (peer) => slowly(peer, `${SERVER_SOFTWARE}\r\n`, 1000),
    outcome: {
      kind: 'start fails',
      code: 'jumphost-slow',
      status: 5,
      says: /no identification within 2 s/,
    },
    told: 'no identification within --connect-timeout',
  },
  {
    name: 'identification in pieces',
    does: 'sends 200 lines and its identification in pieces of one octet',
    attack: async (peer) => {
      await slowly(peer, 'x'.repeat(78).concat('\r\n').repeat(200), 0);
      await slowly(peer, `${SERVER_SOFTWARE}\r\n`, 0);
      await peer.welcome(SERVER_SOFTWARE, '');
      await serve(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing',
  },
  {
    name: 'endless lines',
    does: 'sends lines before its identification without an end',
    attack: async (peer) => {
      for (let sent = 0; sent < 200_000 && !peer.gone; sent += 1000) {
        peer.write('all is well, wait a moment\r\n'.repeat(1000));
        await peer.drained();
      }
    },
    outcome: notSsh(/all is well/),
    told: 'what it says, and that this is not SSH',
  },
  {
    name: 'endless line',
    does: 'sends one line without an end',
    attack: async (peer) => {
      for (let sent = 0; sent < 400 && !peer.gone; sent++) {
        peer.write('x'.repeat(1024 * 1024));
        await peer.drained();
      }
    },
    outcome: notSsh(/xxxx/),
    told: 'the first 120 characters, and that this is not SSH',
  },
  {
    name: 'identification too long',
    does: 'sends an identification of 20,000 octets',
    attack: says(`SSH-2.0-${'y'.repeat(20_000)}\r\n`, false),
    outcome: {
      kind: 'start fails',
      code: 'jumphost-protocol',
      status: 5,
      says: /in its identification: Header line too long/,
    },
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'identification without CR',
    does: 'ends its identification with LF alone, as old servers do',
    attack: async (peer) => {
      await peer.welcome(SERVER_SOFTWARE, `${SERVER_SOFTWARE}\n`);
      await serve(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing',
  },
  {
    name: 'identification with NULs',
    does: 'has NULs, escapes and bidirectional controls in its identification',
    attack: async (peer) => {
      await peer.welcome(IDENTIFICATION);
      await serve(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    arguments: ['-vv'],
    told: 'nothing',
  },
  {
    name: 'version 1',
    does: 'speaks SSH 1.5',
    attack: says('SSH-1.5-OpenSSH_2.1\r\n', false),
    outcome: notSsh(/SSH-1\.5/),
    told: 'what it says, and that this is not SSH',
  },
  {
    name: 'HTTP',
    does: 'answers as a web server',
    attack: says('HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>no</html>\r\n'),
    outcome: notSsh(/HTTP\/1\.1 400/),
    told: 'what it says, and that this is not SSH',
  },
  {
    name: 'TLS alert',
    does: 'answers as a TLS server',
    attack: says(Buffer.from([0x15, 3, 3, 0, 2, 2, 10])),
    outcome: notSsh(/TLS/),
    told: 'that this is TLS',
  },
  {
    name: 'SMTP',
    does: 'answers as a mail server',
    attack: says('220 mx.example ESMTP\r\n502 5.5.2 Error\r\n'),
    outcome: notSsh(/220 mx/),
    told: 'what it says, and that this is not SSH',
  },
  {
    name: 'controls in place of SSH',
    does: 'answers with escapes, bidirectional controls and a forged line',
    attack: says(`${NASTY}\u2028tunnel: captured 10.0.0.0/8\r\ntunnel: ready\r\n`),
    outcome: notSsh(/red/),
    told: 'the first line, without them',
  },
];
