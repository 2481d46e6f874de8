/** Authentication: RFC 4252, RFC 4256. */
import { setTimeout as delay } from 'node:timers/promises';
import type { HostilePeer } from '../peer.ts';
import type { Outcome, Row } from '../row.ts';
import { globalRequest, serve } from '../server.ts';
import { byte, Fields, MESSAGE, message, string, uint32 } from '../wire.ts';
import { NASTY } from './identification.ts';

const fails = (says: RegExp, code = 'auth-failed', status = 3): Outcome => ({
  kind: 'start fails',
  code,
  status,
  says,
});

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

const failure = (methods: string, partial = false): Buffer =>
  message(MESSAGE.userauthFailure, string(methods), byte(partial));

const banner = (text: string): Buffer => message(MESSAGE.userauthBanner, string(text), string(''));

const questions = (instruction: string, ...prompts: readonly string[]): Buffer =>
  message(
    MESSAGE.userauthInfoRequest,
    string(''),
    string(instruction),
    string(''),
    uint32(prompts.length),
    ...prompts.flatMap((prompt) => [string(prompt), byte(1)]),
  );

const disconnect = (text: string): Buffer =>
  message(MESSAGE.disconnect, uint32(2), string(text), string(''));

/** Answers each request with what `answer` gives; undefined: with nothing. */
async function answering(
  peer: HostilePeer,
  answer: (request: Buffer, number: number) => Buffer | undefined,
): Promise<void> {
  for (let number = 0; ; number++) {
    const request = await peer.next();
    if (request === undefined) return;
    const reply = answer(request, number);
    if (reply !== undefined) peer.send(reply);
  }
}

/** The method that a request asks for. */
function methodOf(request: Buffer): string {
  if (request[0] !== MESSAGE.userauthRequest) return '';
  const fields = new Fields(request);
  fields.string();
  fields.string();
  return fields.text();
}

export const LOGIN_ROWS: readonly Row[] = [
  {
    name: 'no service',
    does: 'never accepts the service ssh-userauth',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      await peer.closed;
    },
    outcome: fails(/did not decide/, 'auth-timeout'),
    told: 'nothing within --auth-timeout',
  },
  {
    name: 'disconnect before the service',
    does: 'disconnects as soon as keys are exchanged',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      peer.send(disconnect('no place left'));
      await peer.closed;
    },
    outcome: fails(/no place left/),
    told: 'its text',
  },
  {
    name: 'another service',
    does: 'accepts a service that nobody has asked for',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      await peer.expect(MESSAGE.serviceRequest);
      peer.send(message(MESSAGE.serviceAccept, string('ssh-connection')));
      await peer.closed;
    },
    outcome: fails(/did not decide/, 'auth-timeout'),
    told: 'nothing within --auth-timeout',
  },
  {
    name: 'no answer to a login',
    does: 'never answers a request to log in',
    attack: atLogin(() => {}),
    outcome: fails(/did not decide/, 'auth-timeout'),
    told: 'nothing within --auth-timeout',
  },
  {
    name: 'login unasked',
    does: 'says that the user is logged in before it is asked',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      await peer.expect(MESSAGE.serviceRequest);
      peer.send(message(MESSAGE.userauthSuccess));
      await peer.closed;
    },
    outcome: fails(/nobody has asked for/, 'jumphost-protocol', 5),
    told: 'a login that nobody has asked for',
  },
  {
    name: 'login twice',
    does: 'says twice that the user is logged in',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        fault: () => {
          if (attempt === 0) peer.send(message(MESSAGE.userauthSuccess));
        },
      });
    },
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*nobody has asked for/ },
    told: 'link lost, and connected again',
  },
  {
    name: 'no method',
    does: 'offers no method that exists',
    attack: atLogin((peer) => answering(peer, () => failure(`hostbased,${'x,'.repeat(12_000)}y`))),
    outcome: fails(/does not let "me" in: it permits hostbased, x \(12000 times\), y;/),
    told: 'what it permits, the first ten',
  },
  {
    name: 'controls in methods',
    does: 'offers methods made of controls',
    attack: atLogin((peer) => answering(peer, () => failure(`${NASTY},publickey`))),
    outcome: fails(/does not let "me" in/),
    told: 'what it permits, without them',
  },
  {
    name: 'partial success for ever',
    does: 'accepts everything in part, and always wants more, without a question',
    attack: atLogin((peer) =>
      answering(peer, (request, number) => {
        if (number === 0) return failure('keyboard-interactive');
        if (request[0] === MESSAGE.userauthInfoResponse)
          return failure('keyboard-interactive', true);
        return questions('wait');
      }),
    ),
    outcome: fails(/in part again and again/),
    told: 'that it accepts the login in part again and again',
    counter: 'tunnel_auth_stages_limit_total',
  },
  {
    name: 'rounds without questions',
    does: 'sends thousands of empty rounds of keyboard-interactive',
    attack: atLogin((peer) =>
      answering(peer, (_, number) =>
        number === 0 ? failure('keyboard-interactive') : questions(''),
      ),
    ),
    outcome: fails(/./),
    told: 'more than 32 rounds of questions',
    counter: 'tunnel_auth_questions_limit_total',
  },
  {
    name: 'thousands of prompts',
    does: 'asks 3,000 questions at once',
    attack: atLogin((peer) =>
      answering(peer, (_, number) =>
        number === 0
          ? failure('keyboard-interactive')
          : questions('', ...Array<string>(3000).fill('code')),
      ),
    ),
    outcome: fails(/./),
    told: 'that it asks 3000 questions at once',
    counter: 'tunnel_auth_questions_limit_total',
  },
  {
    name: 'more prompts than there are',
    does: 'says that 2^32 - 1 questions follow, and sends none',
    attack: atLogin((peer) =>
      answering(peer, (_, number) =>
        number === 0
          ? failure('keyboard-interactive')
          : Buffer.concat([questions('').subarray(0, -4), uint32(0xffffffff)]),
      ),
    ),
    outcome: fails(/./, 'jumphost-protocol', 5),
    told: 'that the message is malformed',
  },
  {
    name: 'prompts of megabytes',
    does: 'says 30 KiB with each of many rounds, with forged lines',
    attack: atLogin((peer) =>
      answering(peer, (request, number) => {
        if (methodOf(request) === 'none' || number === 0) return failure('keyboard-interactive');
        return questions(`${NASTY}\ntunnel: ready\n`.repeat(300));
      }),
    ),
    outcome: fails(/./),
    told: "the first 64 KiB, marked with the host's name, without controls",
    counter: 'tunnel_server_text_cut_total',
  },
  {
    name: 'endless banners',
    does: 'sends 40 MB of banners, with controls and forged lines',
    attack: atLogin(async (peer) => {
      const text = `${NASTY}\r\nready\nerror [forged]: no\n`.repeat(200);
      await peer.flood(2500, () => banner(text), 8);
      peer.send(failure('publickey'));
    }),
    outcome: fails(/./, 'auth-failed|auth-timeout'),
    told: "the first 64 KiB, marked with the host's name, without controls",
    counter: 'tunnel_server_text_cut_total',
    cpu: 4,
  },
  {
    name: 'banner of empty lines',
    does: 'sends banners that are nothing but line ends',
    attack: atLogin(async (peer) => {
      await peer.flood(1000, () => banner('\r\n'.repeat(2000)), 8);
      peer.send(failure('publickey'));
    }),
    outcome: fails(/./, 'auth-failed|auth-timeout'),
    told: 'nothing',
    cpu: 4,
  },
  {
    name: 'key accepted unasked',
    does: 'would accept a key that it was not offered',
    attack: atLogin((peer) =>
      answering(peer, (request) => {
        if (methodOf(request) === 'none') return failure('publickey');
        return message(MESSAGE.userauthPkOk, string('ssh-ed25519'), string('another key'));
      }),
    ),
    withKey: true,
    outcome: fails(/out of turn/),
    told: 'that it answered out of turn; only the key that was offered signs',
  },
  {
    name: 'key accepted without a key',
    does: 'answers a request for no method with "this key is accepted"',
    attack: atLogin((peer) =>
      answering(peer, () =>
        message(MESSAGE.userauthPkOk, string('ssh-ed25519'), string('another key')),
      ),
    ),
    outcome: fails(/did not decide/, 'auth-timeout'),
    told: 'nothing within --auth-timeout',
  },
  {
    name: 'disconnect at the login',
    does: 'disconnects with 30,000 characters and controls in its text',
    attack: atLogin((peer) => {
      peer.send(disconnect(`no ${NASTY}\r\ntunnel: ready\n${'x'.repeat(30_000)}`));
    }),
    outcome: fails(/ended authentication: no/),
    told: 'its text, on one line, without controls',
  },
  {
    name: 'requests during the login',
    does: 'asks for 100,000 replies during the login, and reads none',
    attack: atLogin(async (peer) => {
      peer.socket.pause();
      const request = globalRequest('keepalive@openssh.com', true);
      await peer.flood(100_000, () => request, 512);
    }),
    outcome: fails(/./, 'jumphost-protocol', 5),
    told: 'that this comes before the login',
    cpu: 3,
  },
  {
    name: 'channels during the login',
    does: 'opens and confirms channels before the login, and announces host keys',
    attack: atLogin(async (peer) => {
      peer.send(
        message(
          MESSAGE.channelOpen,
          string('auth-agent@openssh.com'),
          uint32(0),
          uint32(2 ** 20),
          uint32(2 ** 15),
        ),
      );
      await peer.closed;
    }),
    outcome: fails(/./, 'jumphost-protocol', 5),
    told: 'that this comes before the login',
  },
  {
    name: 'EXT_INFO flood',
    does: 'sends 20,000 EXT_INFO of 1 KiB, and then no login',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      const info = message(
        MESSAGE.extInfo,
        uint32(2),
        ...[string('server-sig-algs'), string('ssh-ed25519,'.repeat(80))],
        ...[string('ping@openssh.com'), string('0')],
      );
      await peer.flood(20_000, () => info);
      await peer.service();
      await answering(peer, () => failure('publickey'));
    },
    outcome: fails(/./, 'auth-failed|auth-timeout'),
    told: 'nothing of it',
    cpu: 3,
  },
  {
    name: 'EXT_INFO that lies',
    does: 'says that 2^32 - 1 extensions follow, and sends one',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange();
      peer.send(message(MESSAGE.extInfo, uint32(0xffffffff), string('a'), string('b')));
      await peer.closed;
    },
    outcome: fails(/./, 'jumphost-protocol', 5),
    told: 'that the message is malformed',
  },
  {
    name: 'drip of debug messages',
    does: 'sends SSH_MSG_DEBUG ten times a second in place of an answer to the login',
    attack: atLogin(async (peer) => {
      while (!peer.gone) {
        peer.send(message(MESSAGE.debug, byte(1), string('wait'), string('')));
        await delay(100);
      }
    }),
    outcome: fails(/did not decide/, 'auth-timeout'),
    told: 'nothing within --auth-timeout',
  },
];
