import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  noCommonAlgorithm,
  ServerOffer,
} from '../../../../../src/ssh/embedded/handshake/serveroffer.ts';

const OURS = {
  kex: ['curve25519-sha256'],
  serverHostKey: ['ssh-ed25519'],
  cipher: ['aes128-gcm@openssh.com', 'aes128-ctr'],
  hmac: ['hmac-sha2-256'],
  compress: ['none'],
} as const;
type Lists = readonly string[];
const MODERN: Lists = [
  ...['curve25519-sha256,kex-strict-s-v00@openssh.com', 'ssh-ed25519'],
  ...['aes128-ctr', 'aes128-ctr', 'hmac-sha2-256', 'hmac-sha2-256', 'none', 'none', '', ''],
];

/** RFC 4253 §6, §7.1. */
function kexInit(lists: Lists, number = 20): Buffer {
  const texts = lists.map((text) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, Buffer.from(text)]);
  });
  const payload = Buffer.concat([Buffer.from([number]), Buffer.alloc(16), ...texts]);
  const packet = Buffer.concat([Buffer.alloc(5), payload, Buffer.alloc(9)]);
  packet.writeUInt32BE(packet.length - 4);
  return packet;
}

function read(bytes: Buffer, piece = bytes.length): ServerOffer {
  const offer = new ServerOffer();
  for (let at = 0; at < bytes.length; at += piece) offer.listener(bytes.subarray(at, at + piece));
  return offer;
}

const HELLO = Buffer.from('welcome\r\nto SSH-2.0-land\r\nSSH-2.0-old\r\n');

function errorOf(
  change: Readonly<Record<number, string>>,
  role: 'jump host' | 'hop' = 'jump host',
) {
  const lists = MODERN.map((list, at) => change[at] ?? list);
  const theirs = read(Buffer.concat([HELLO, kexInit(lists)])).lists;
  assert.ok(theirs !== undefined);
  return noCommonAlgorithm('jump:22', role, OURS as never, theirs, undefined);
}

describe('ServerOffer', () => {
  it('reads the lists, in pieces of any size, after other lines, and with what follows', () => {
    const bytes = Buffer.concat([HELLO, kexInit(MODERN), Buffer.from('more')]);
    for (const piece of [1, 3, 40, bytes.length]) {
      const { lists } = read(bytes, piece);
      assert.deepEqual(lists?.hostKeys, ['ssh-ed25519'], `${piece}`);
      assert.deepEqual(lists.compression, [['none'], ['none']]);
    }
  });

  it('reads nothing from anything else', () => {
    const cut = kexInit(MODERN.slice(0, 3));
    for (const bytes of [
      Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
      HELLO,
      Buffer.concat([HELLO, kexInit(MODERN).subarray(0, 60)]),
      Buffer.concat([HELLO, kexInit(MODERN, 21)]),
      Buffer.concat([HELLO, cut]),
      Buffer.concat([HELLO, Buffer.alloc(100_000, 255)]),
    ])
      assert.equal(read(bytes, 1000).lists, undefined);
  });
});

describe('noCommonAlgorithm', () => {
  it('has nothing to say where there is something in common', () => {
    assert.equal(errorOf({}), undefined);
    // An authenticated cipher needs no MAC.
    const gcm = 'aes128-gcm@openssh.com';
    assert.equal(errorOf({ 2: gcm, 3: gcm, 4: 'umac-64@openssh.com', 5: 'none' }), undefined);
  });

  it('names all that lacks, and what to allow', () => {
    const error = errorOf({ 0: 'diffie-hellman-group14-sha1', 2: 'aes256-cbc,aes128-cbc' });
    assert.equal(
      error?.message,
      'jump:22 and this program have no key exchange algorithm in common; it offers diffie-hellman-group14-sha1, and no cipher: it offers aes256-cbc, aes128-cbc',
    );
    assert.match(
      error.hint ?? '',
      /^allow what it has with -o KexAlgorithms=\+diffie-hellman-group14-sha1 -o Ciphers=\+aes128-cbc, /,
    );
  });

  it('for a host on the way names lines of ssh_config alone, since -o is for the last one', () => {
    const hint = errorOf({ 1: 'ssh-rsa' }, 'hop')?.hint ?? '';
    assert.match(hint, /in a Host section for it: "HostKeyAlgorithms \+ssh-rsa"/);
    assert.doesNotMatch(hint, /-o /);
  });

  it("sends to the system's ssh where nothing that it has is known here", () => {
    for (const [at, name] of [
      [0, 'sntrup761x25519-sha512@openssh.com'],
      [4, 'umac-64@openssh.com'],
      [7, 'zlib'],
    ] as const) {
      const error = errorOf({ [at]: name });
      assert.match(error?.message ?? '', new RegExp(`it offers ${name}$`));
      assert.match(error?.hint ?? '', /--transport openssh/);
    }
  });
});
