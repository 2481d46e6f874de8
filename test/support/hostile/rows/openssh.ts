/**
 * With the system's ssh (`--transport openssh`): what this program believes of what ssh says. A
 * server can have ssh write nearly any line, to its log and to standard error (ssh/openssh/log.ts).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { HostilePeer } from '../peer.ts';
import type { Outcome, Row } from '../row.ts';
import { openFailure, type ServedChannel, serve } from '../server.ts';
import { byte, MESSAGE, message, string, uint32 } from '../wire.ts';
import { NASTY as WITH_NUL } from './identification.ts';

/** A NUL would make ssh end. */
const NASTY = WITH_NUL.replace('\u0000', '');

const fails = (says: RegExp, code: string, status: number): Outcome => ({
  kind: 'start fails',
  code,
  status,
  says,
});

const debug = (text: string): Buffer => message(MESSAGE.debug, byte(1), string(text), string(''));
const banner = (text: string): Buffer => message(MESSAGE.userauthBanner, string(text), string(''));
const failure = (methods: string): Buffer =>
  message(MESSAGE.userauthFailure, string(methods), byte(0));
const disconnect = (text: string): Buffer =>
  message(MESSAGE.disconnect, uint32(2), string(text), string(''));

/** Lines of ssh's log that would each decide something, if they were ssh's. */
const FORGED = [
  'debug1: Authenticated to 127.0.0.1 ([127.0.0.1]:22) using "publickey".',
  'debug1: Local forwarding listening on path /tmp/x.',
  'debug1: channel 0: new [port listener]',
  'debug1: Server host key: ssh-ed25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  'debug1: Server host certificate: ssh-ed25519-cert SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  'channel 3: open failed: administratively prohibited: open failed',
  'debug1: channel 3: free: direct-tcpip: listening port -2 for echo.test port 7, connect from',
  'tunnel-guard: ssh 1 has read 999999999',
  'tunnel: ready',
];

/** Each line with an end before and behind it, within what ssh copies (900 characters). */
function forge(peer: HostilePeer): void {
  for (const line of FORGED) peer.send(debug(`x\r\n${line}\r\n`));
}

/** Comes as far as the login, and then does this. */
const atLogin =
  (then: (peer: HostilePeer) => Promise<void> | void) =>
  async (peer: HostilePeer): Promise<void> => {
    await peer.identify();
    await peer.exchange();
    await peer.service();
    await then(peer);
    await peer.closed;
  };

const onChannel =
  (fault: (channel: ServedChannel, peer: HostilePeer) => void | Promise<void>): Row['attack'] =>
  async (peer) => {
    await peer.welcome();
    await serve(peer, { fault: (channel) => fault(channel, peer) });
  };

const rows: readonly Row[] = [
  {
    name: 'ssh: silent after accept',
    does: 'accepts the connection and says nothing',
    attack: (peer) => peer.closed,
    outcome: fails(/no identification within/, 'jumphost-slow', 5),
    told: 'nothing within --connect-timeout',
  },
  {
    name: 'ssh: HTTP',
    does: 'answers as a web server',
    attack: async (peer) => {
      peer.write('HTTP/1.1 400 Bad Request\r\n\r\n');
      peer.socket.end();
      await peer.closed;
    },
    outcome: fails(/HTTP\/1\.1 400/, 'jumphost-not-ssh', 5),
    told: 'what it says, and that this is not SSH',
  },
  {
    name: 'ssh: lines before the identification',
    does: "sends lines that look like those of ssh's log before its identification",
    attack: async (peer) => {
      peer.write(`${FORGED.join('\r\n')}\r\n`);
      await peer.welcome();
      await serve(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing: ssh marks them',
  },
  {
    name: 'ssh: forged login',
    does: "forges lines of ssh's log in SSH_MSG_DEBUG, in place of an answer to the login",
    attack: atLogin((peer) => forge(peer)),
    outcome: fails(/does not listen|did not decide/, 'openssh-failed|auth-timeout', 5),
    told: 'that ssh does not listen: no line of the log makes a link',
    patience: 15,
  },
  {
    name: 'ssh: forged lines while it is up',
    does: "forges lines of ssh's log that refuse, free and list channels",
    attack: onChannel(async (channel, peer) => {
      channel.echoes = true;
      channel.confirm();
      for (let time = 0; time < 50; time++) forge(peer);
    }),
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing',
  },
  {
    name: 'ssh: forged banner',
    does: "sends a banner with controls that looks like lines of ssh's log and of this program",
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      await peer.service();
      peer.send(banner(`${NASTY}\r\n${FORGED.join('\r\n')}\r\nlink lost: no\r\n`));
      await peer.expect(MESSAGE.userauthRequest);
      peer.send(message(MESSAGE.userauthSuccess));
      await serve(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'the banner, marked with "ssh:", without controls',
  },
  {
    name: 'ssh: endless banners',
    does: 'sends 8 MB of banners',
    attack: atLogin(async (peer) => {
      const text = `${NASTY}\r\nready\nerror [forged]: no\n`.repeat(400);
      await peer.flood(500, () => banner(text), 8);
      peer.send(failure('publickey'));
    }),
    outcome: fails(/./, 'auth-failed|auth-timeout', 3),
    counter: 'tunnel_server_text_cut_total',
    told: 'the first 64 KiB, marked with "ssh:", without controls',
    cpu: 4,
    patience: 20,
  },
  {
    name: 'ssh: drip of debug messages',
    does: 'sends SSH_MSG_DEBUG ten times a second in place of an answer to the login',
    attack: atLogin(async (peer) => {
      while (!peer.gone) {
        peer.send(debug('wait'));
        await delay(100);
      }
    }),
    outcome: fails(/did not decide/, 'auth-timeout', 3),
    arguments: ['-o', 'BatchMode=yes'],
    told: 'nothing within --auth-timeout',
    patience: 10,
  },
  {
    name: 'ssh: flood of debug messages',
    does: 'sends 30,000 SSH_MSG_DEBUG with always_display while it is up',
    attack: onChannel(async (channel, peer) => {
      channel.echoes = true;
      channel.confirm();
      await peer.flood(30_000, () => debug('x'.repeat(500)), 64);
    }),
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing',
    cpu: 4,
    patience: 40,
  },
  {
    name: 'ssh: disconnect at the login',
    does: 'disconnects with controls and forged lines in its text',
    attack: atLogin((peer) => {
      peer.send(disconnect(`no ${NASTY}\r\n${FORGED.join('\r\n')}\r\n${'x'.repeat(20_000)}`));
    }),
    outcome: fails(/the jump host says "no/, 'jumphost-closed', 5),
    told: 'its text, on one line, without controls',
    patience: 10,
  },
  {
    name: 'ssh: controls in a refusal',
    does: 'refuses a channel with controls, forged lines and 20,000 characters',
    attack: onChannel((channel, peer) => {
      peer.send(
        openFailure(
          channel.client,
          2,
          `${NASTY}\r\n${FORGED.join('\r\n')}\r\n${'x'.repeat(20_000)}`,
        ),
      );
    }),
    outcome: { kind: 'link stands', flow: 'refused' },
    arguments: ['-vv'],
    told: 'with -vv, the first 300 characters, without controls',
  },
  {
    name: 'ssh: malformed banner',
    does: 'has a NUL in its banner',
    attack: atLogin((peer) => peer.send(banner(WITH_NUL))),
    outcome: fails(
      /breaks the rules of SSH in authentication: invalid format/,
      'jumphost-protocol',
      5,
    ),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'ssh: wrong signature',
    does: 'signs something other than the exchange hash',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange({
        signature: (_, key) => {
          const other = Buffer.alloc(64, 7);
          return Buffer.concat([string('ssh-ed25519'), string(other.fill(key.blob[0] ?? 0, 0, 1))]);
        },
      });
    },
    outcome: fails(/does not prove/, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'ssh: flood of channels',
    does: 'opens forwarded-tcpip, X11 and agent channels itself',
    attack: onChannel(async (channel, peer) => {
      channel.echoes = true;
      channel.confirm();
      for (const type of ['forwarded-tcpip', 'x11', 'auth-agent@openssh.com', 'session'])
        await peer.flood(200, () =>
          message(
            MESSAGE.channelOpen,
            string(type),
            uint32(0),
            uint32(2 ** 20),
            uint32(2 ** 15),
            ...[string('h'), uint32(1), string('o'), uint32(2)],
          ),
        );
    }),
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing: ssh refuses each',
  },
];

export const OPENSSH_ROWS: readonly Row[] = rows.map((row) => ({ transport: 'openssh', ...row }));
