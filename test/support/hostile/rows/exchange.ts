/** The key exchange: RFC 4253 §7 and §8. */
import { type KeyObject, randomBytes, sign } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type ExchangeSteps,
  type HostilePeer,
  kexInit,
  newHostKey,
  newRsaHostKey,
  OFFER,
} from '../peer.ts';
import type { Outcome, Row } from '../row.ts';
import { globalRequest, serve } from '../server.ts';
import { byte, MESSAGE, message, string, uint32 } from '../wire.ts';
import { NASTY } from './identification.ts';

const fails = (says: RegExp, code = 'jumphost-key-exchange', status = 5): Outcome => ({
  kind: 'start fails',
  code,
  status,
  says,
});

const RSA = newRsaHostKey();

const rsaSignature = (name: string, digest: string, hash: Buffer, key: KeyObject): Buffer =>
  Buffer.concat([string(name), string(sign(digest, hash, key))]);

/** Exchanges keys so, and then serves well. */
const exchanging =
  (steps: ExchangeSteps) =>
  async (peer: HostilePeer): Promise<void> => {
    await peer.identify();
    await peer.exchange(steps);
    await peer.login();
    await serve(peer);
  };

/** Serves well until FAULT_HOST is asked for, then cuts the link and does this with the next. */
const cutting =
  (next: (peer: HostilePeer) => Promise<void>): Row['attack'] =>
  async (peer, attempt) => {
    if (attempt === 1) return next(peer);
    await peer.welcome();
    if (attempt > 1) return serve(peer);
    await serve(peer, {
      fault: () => {
        peer.socket.destroy();
      },
    });
  };

/** Identifies itself, and sends this in place of a key exchange. */
const sends =
  (...payloads: readonly Buffer[]) =>
  async (peer: HostilePeer): Promise<void> => {
    await peer.identify();
    peer.send(...payloads);
    await peer.closed;
  };

const offering = (changes: Partial<typeof OFFER>): Row['attack'] =>
  exchanging({ offer: { ...OFFER, ...changes } });

const disconnect = (text: string): Buffer =>
  message(MESSAGE.disconnect, uint32(2), string(text), string(''));

export const EXCHANGE_ROWS: readonly Row[] = [
  {
    name: 'silent before KEXINIT',
    does: 'identifies itself and says nothing more',
    attack: async (peer) => {
      await peer.identify();
      await peer.closed;
    },
    outcome: fails(/no key exchange within/, 'jumphost-slow'),
    told: 'no key exchange within --connect-timeout',
  },
  {
    name: 'silent after KEXINIT',
    does: "never answers the client's half of the exchange",
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange({ stop: 'after-kexinit' });
      await peer.closed;
    },
    outcome: fails(/no key exchange within/, 'jumphost-slow'),
    told: 'no key exchange within --connect-timeout',
  },
  {
    name: 'silent before NEWKEYS',
    does: 'never uses its new keys',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange({ stop: 'after-reply' });
      await peer.closed;
    },
    outcome: fails(/no key exchange within/, 'jumphost-slow'),
    told: 'no key exchange within --connect-timeout',
  },
  {
    name: 'wrong signature',
    does: 'signs something other than the exchange hash',
    attack: exchanging({
      signature: (_, { privateKey }) =>
        Buffer.concat([string('ssh-ed25519'), string(sign(null, randomBytes(32), privateKey))]),
    }),
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'signature of another key',
    does: 'signs with a key that it does not show',
    attack: exchanging({
      signature: (hash) =>
        Buffer.concat([string('ssh-ed25519'), string(sign(null, hash, newHostKey().privateKey))]),
    }),
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'signature by another algorithm',
    does: 'says of its signature that it is by ssh-rsa',
    attack: exchanging({
      signature: (hash, { privateKey }) =>
        Buffer.concat([string('ssh-rsa'), string(sign(null, hash, privateKey))]),
    }),
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'SHA-1 signature',
    does: 'agrees on rsa-sha2-512 and signs with SHA-1, as ssh-rsa',
    attack: exchanging({
      offer: { ...OFFER, hostKeys: 'rsa-sha2-512' },
      signature: (hash, { privateKey }) => rsaSignature('ssh-rsa', 'sha1', hash, privateKey),
    }),
    hostKey: RSA,
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'SHA-1 signature by another name',
    does: 'agrees on rsa-sha2-512 and signs with SHA-1, under that name',
    attack: exchanging({
      offer: { ...OFFER, hostKeys: 'rsa-sha2-512' },
      signature: (hash, { privateKey }) => rsaSignature('rsa-sha2-512', 'sha1', hash, privateKey),
    }),
    hostKey: RSA,
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'RSA key',
    does: 'signs with SHA-512, as agreed (the two rows above, done right)',
    attack: exchanging({
      offer: { ...OFFER, hostKeys: 'rsa-sha2-512' },
      signature: (hash, { privateKey }) => rsaSignature('rsa-sha2-512', 'sha512', hash, privateKey),
    }),
    hostKey: RSA,
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing',
  },
  {
    name: 'another type of host key',
    does: 'agrees on ssh-ed25519 and shows an RSA key',
    attack: exchanging({
      signature: (hash, { privateKey }) => rsaSignature('rsa-sha2-512', 'sha512', hash, privateKey),
    }),
    hostKey: RSA,
    outcome: fails(/does not match negotiated type/),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'empty signature',
    does: 'sends no signature',
    attack: exchanging({ signature: () => Buffer.alloc(0) }),
    outcome: fails(/signature/i, 'jumphost-key-exchange', 5),
    told: 'that it does not prove that it has the host key',
  },
  {
    name: 'none cipher',
    does: 'offers no cipher except none',
    attack: offering({ ciphers: 'none' }),
    outcome: fails(/no cipher in common.*none/, 'jumphost-no-common-algorithm'),
    told: 'no cipher in common',
  },
  {
    name: 'none mac',
    does: 'offers CTR ciphers, and no MAC except none',
    attack: offering({ ciphers: 'aes128-ctr', macs: 'none' }),
    outcome: fails(/no MAC in common/, 'jumphost-no-common-algorithm'),
    told: 'no MAC in common',
  },
  {
    name: 'old algorithms',
    does: 'offers SHA-1, 3DES, MD5 and ssh-dss alone',
    attack: offering({
      kex: 'diffie-hellman-group1-sha1',
      hostKeys: 'ssh-dss',
      ciphers: '3des-cbc',
      macs: 'hmac-md5',
    }),
    outcome: fails(/no key exchange algorithm in common/, 'jumphost-no-common-algorithm'),
    told: 'what it offers, and that none is in common',
  },
  {
    name: 'compression',
    does: 'offers no way but compression, for a packet that swells a thousandfold',
    attack: offering({ compression: 'zlib,zlib@openssh.com' }),
    outcome: fails(/no compression in common/, 'jumphost-no-common-algorithm'),
    told: 'no compression in common: the client never compresses',
  },
  {
    name: 'controls in algorithm names',
    does: 'offers names made of controls, of 16,000 octets',
    attack: offering({ ciphers: NASTY.repeat(200) }),
    outcome: fails(/no cipher in common/, 'jumphost-no-common-algorithm'),
    told: 'the beginning, without them',
  },
  {
    name: 'strict KEX broken',
    does: 'agrees on strict KEX and sends SSH_MSG_IGNORE before NEWKEYS',
    attack: async (peer) => {
      const ignore = message(MESSAGE.ignore, string('prefix'));
      await exchanging({ beforeNewKeys: () => peer.send(ignore) })(peer);
    },
    outcome: fails(/./),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'strict KEX, first packet',
    does: 'agrees on strict KEX, and KEXINIT is not its first packet',
    attack: async (peer) => {
      await peer.identify();
      peer.send(message(MESSAGE.ignore, string('prefix')));
      await peer.exchange();
      await peer.login();
      await serve(peer);
    },
    outcome: fails(/./),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'no strict KEX with AES-GCM',
    does: 'has no strict KEX, and puts SSH_MSG_IGNORE before NEWKEYS (Terrapin)',
    attack: async (peer) => {
      const ignore = message(MESSAGE.ignore, string('prefix'));
      await exchanging({
        offer: { ...OFFER, kex: 'curve25519-sha256' },
        beforeNewKeys: () => peer.send(ignore),
      })(peer);
    },
    outcome: { kind: 'link stands', flow: 'works' },
    told: 'nothing: AES-GCM is not open to it, since its nonce does not depend on what came before',
  },
  {
    name: 'no strict KEX with ChaCha20',
    does: 'has no strict KEX, and offers ChaCha20-Poly1305 alone (Terrapin)',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange({
        offer: { ...OFFER, kex: 'curve25519-sha256', ciphers: 'chacha20-poly1305@openssh.com' },
      });
      await peer.closed;
    },
    outcome: fails(/lacks strict key exchange/),
    told: 'that it lacks strict key exchange, and offers nothing that is safe without it',
  },
  {
    name: 'login before keys',
    does: 'says that the user is logged in before any key exchange',
    attack: sends(message(MESSAGE.userauthSuccess)),
    outcome: fails(/unexpected packet type/),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'channels before keys',
    does: 'opens a channel, confirms one and asks for things before any key exchange',
    attack: sends(
      message(MESSAGE.channelConfirmation, uint32(0), uint32(0), uint32(2 ** 31), uint32(2 ** 15)),
    ),
    outcome: fails(/unexpected packet type/),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'disconnect before keys',
    does: 'disconnects in place of a key exchange, with controls in its text',
    attack: sends(disconnect(`go away ${NASTY}\r\ntunnel: ready`)),
    outcome: fails(/the jump host says "go away/, 'jumphost-closed'),
    told: 'its text, on one line, without controls',
  },
  {
    name: 'UNIMPLEMENTED for all',
    does: 'answers everything with SSH_MSG_UNIMPLEMENTED',
    attack: async (peer) => {
      await peer.identify();
      for (let at = 0; at < 20 && !peer.gone; at++) {
        peer.send(message(MESSAGE.unimplemented, uint32(at)));
        await delay(50);
      }
      await peer.closed;
    },
    outcome: fails(/no key exchange within/, 'jumphost-slow'),
    told: 'no key exchange within --connect-timeout',
  },
  {
    name: 'packet of 2 GiB in clear',
    does: 'announces a packet of 2 GiB before keys',
    attack: async (peer) => {
      await peer.identify();
      peer.write(Buffer.concat([uint32(2 ** 31), Buffer.alloc(1024)]));
      await peer.closed;
    },
    outcome: fails(/Bad packet length/, 'jumphost-protocol'),
    told: "that the packet's length is not possible",
  },
  {
    name: 'KEXINIT that lies about its lists',
    does: 'sends a KEXINIT whose lists are longer than the packet',
    attack: sends(
      message(MESSAGE.kexInit, randomBytes(16), uint32(2 ** 31), Buffer.from('curve25519')),
    ),
    outcome: fails(/./),
    told: 'that the message is malformed',
  },
  {
    name: 'KEXINIT twice',
    does: 'begins a key exchange within a key exchange',
    attack: sends(kexInit(), kexInit()),
    outcome: fails(/./),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'debug flood before keys',
    does: 'sends 20,000 SSH_MSG_DEBUG with always_display and a forged line, before keys',
    attack: async (peer) => {
      await peer.identify();
      const text = `\r\ntunnel: ready ${NASTY}`;
      const debug = message(MESSAGE.debug, byte(1), string(text), string(''));
      await peer.flood(20_000, () => debug);
      await peer.closed;
    },
    outcome: fails(/no key exchange within/, 'jumphost-slow'),
    told: 'nothing of it; no key exchange within --connect-timeout',
  },
  {
    name: 'wrong host key',
    does: 'shows another host key than the pinned one',
    attack: async (peer) => {
      Object.assign(peer, { hostKey: newHostKey() });
      await exchanging({})(peer);
    },
    outcome: fails(/pins/, 'host-key-changed', 4),
    told: 'both keys',
  },
  {
    name: 'zero public value',
    does: 'sends a public value of zeros, which makes the secret known',
    attack: async (peer) => {
      await peer.identify();
      await peer.exchange({ stop: 'after-kexinit' });
      await peer.expect(MESSAGE.ecdhInit);
      peer.send(
        message(
          MESSAGE.ecdhReply,
          string(peer.hostKey.blob),
          string(Buffer.alloc(32)),
          string(Buffer.concat([string('ssh-ed25519'), string(randomBytes(64))])),
        ),
        message(MESSAGE.newKeys),
      );
      await peer.closed;
    },
    outcome: fails(/./),
    told: 'that it breaks the rules of SSH, and how',
  },
  {
    name: 'wrong host key later',
    does: 'cuts the link, and shows another host key when it is dialled again',
    attack: cutting((peer) => {
      Object.assign(peer, { hostKey: newHostKey() });
      return exchanging({})(peer);
    }),
    outcome: { kind: 'program ends', code: 'host-key-changed', status: 4 },
    told: 'both keys',
  },
  {
    name: 'rekey storm',
    does: 'exchanges keys 200 times in a row while data flow',
    attack: async (peer, attempt) => {
      await peer.welcome();
      let storm: Promise<void> | undefined;
      await serve(peer, {
        fault: (channel) => {
          channel.echoes = true;
          channel.confirm();
          if (attempt === 0) storm ??= stormOf(peer, 200);
        },
      });
      await storm;
    },
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*again and again[^\n]*\n/ },
    counter: 'tunnel_ssh_exchange_storm_limit_total',
    told: 'link lost: the jump host exchanges keys again and again; connected again',
    patience: 20,
    cpu: 4,
  },
  {
    name: 'rekey stalled',
    does: 'never answers the exchange that the client begins, and asks for replies without an end',
    attack: async (peer, attempt) => {
      await peer.welcome();
      if (attempt > 0) return serve(peer);
      peer.passedOver = () => {};
      await serve(peer, {
        ignoresKexInit: true,
        fault: async () => {
          await peer.flood(1_000_000, () => globalRequest('keepalive@openssh.com', true), 512);
        },
      });
    },
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*\n/ },
    arguments: ['-o', 'RekeyLimit=1K'],
    counter: 'tunnel_ssh_exchange_queue_limit_total',
    told: 'link lost: the jump host wants too many answers while it exchanges keys; connected again',
    memory: 96,
    cpu: 6,
    patience: 60,
  },
  {
    name: 'KEXINIT within a rekey',
    does: 'begins a key exchange within a later key exchange',
    attack: async (peer, attempt) => {
      await peer.welcome();
      await serve(peer, {
        fault: () => {
          if (attempt === 0) peer.send(kexInit(), kexInit());
        },
      });
    },
    outcome: { kind: 'link is lost', says: /link lost: [^\n]*\n/ },
    told: 'link lost, and connected again',
  },
];

/** The storm begins each exchange when the one before it has ended. */
async function stormOf(peer: HostilePeer, times: number): Promise<void> {
  for (let time = 0; time < times && !peer.gone; time++) {
    await peer.rekey();
  }
}
