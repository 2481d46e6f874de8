/** What the embedded client takes from a server that breaks the rules of key exchange. */
import assert from 'node:assert/strict';
import { createECDH, createHash, generateKeyPairSync, getDiffieHellman } from 'node:crypto';
import { describe, it } from 'node:test';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import type { TunnelError } from '../../../../../src/errors/errors.ts';
import { MLKEM768_X25519, PATIENCE_MS } from '../../../../../src/ssh/embedded/ssh2/exchange.ts';
import { wireMpint, wireString } from '../../../../../src/ssh/keys/wire.ts';
import { triesAt } from '../../../../support/dialtries.ts';
import {
  type ExchangeOptions,
  ExchangeServer,
  ed25519HostKey,
  honestX25519,
  rsaHostKey,
  type ServerKeys,
  x25519,
} from '../../../../support/exchangeserver.ts';

const { rejected } = triesAt(() => assert.fail('each try names its server'));
const NO_ALGORITHMS = { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined };

interface Outcome {
  readonly error: TunnelError;
  /** The client has accepted all that was sent. */
  readonly completed: boolean;
  readonly server: ExchangeServer;
  readonly milliseconds: number;
}

async function meet(
  options: Omit<ExchangeOptions, 'hash'> & { readonly hash?: string },
  algorithms: Partial<Record<keyof typeof NO_ALGORITHMS, readonly string[]>> = {},
): Promise<Outcome> {
  const server = await ExchangeServer.start({ hash: 'sha256', ...options });
  const began = performance.now();
  try {
    const error = await rejected({
      server: {
        directory: '/nonexistent',
        port: server.port,
        user: 'nobody',
        knownHostsLine: async () => `jump.test ${server.pin}\n`,
      },
      settings: { algorithms: { ...NO_ALGORITHMS, ...algorithms } },
    });
    const milliseconds = performance.now() - began;
    return { error, completed: server.completed === 1, server, milliseconds };
  } finally {
    server.stop();
  }
}

function assertFault({ error, completed }: Outcome, message: RegExp): void {
  assert.match(error.message, message);
  assert.equal(error.code, 'jumphost-key-exchange');
  assert.ok(error.hint);
  assert.equal(completed, false);
}

/** The client goes on to the login, where the server ends. */
function assertAccepted({ error, completed }: Outcome): void {
  assert.equal(completed, true, error.message);
  assert.match(error.message, /during authentication/);
}

/** The server's keys of the hybrid exchange. */
function honestHybrid(theirs: Buffer): ServerKeys {
  const { cipherText, sharedSecret } = ml_kem768.encapsulate(theirs.subarray(0, 1184));
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const own = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const classical = x25519(privateKey, theirs.subarray(1184));
  return {
    key: Buffer.concat([cipherText, own]),
    secret: wireString(createHash('sha256').update(sharedSecret).update(classical).digest()),
  };
}

describe('an honest server', () => {
  it('of mlkem768x25519-sha256, which comes first', async () => {
    const outcome = await meet({
      kex: `curve25519-sha256,${MLKEM768_X25519}`,
      answer: honestHybrid,
    });
    assertAccepted(outcome);
    assert.equal(outcome.server.offered[0]?.kex[0], MLKEM768_X25519);
  });

  it('of curve25519-sha256', async () => {
    assertAccepted(await meet({ kex: 'curve25519-sha256', answer: honestX25519 }));
  });

  it('of ecdh-sha2-nistp256', async () => {
    const answer = (theirs: Buffer): ServerKeys => {
      const ecdh = createECDH('prime256v1');
      const key = ecdh.generateKeys();
      return { key, secret: wireMpint(ecdh.computeSecret(theirs)) };
    };
    assertAccepted(await meet({ kex: 'ecdh-sha2-nistp256', answer }));
  });

  it('of diffie-hellman-group14-sha256', async () => {
    const answer = (theirs: Buffer): ServerKeys => {
      const group = getDiffieHellman('modp14');
      group.generateKeys();
      const key = wireMpint(group.getPublicKey()).subarray(4);
      return { key, secret: wireMpint(group.computeSecret(theirs)) };
    };
    assertAccepted(await meet({ kex: 'diffie-hellman-group14-sha256', answer }));
  });
});

describe('keys out of range, with a signature that is right', () => {
  const zero = { secret: wireMpint(Buffer.alloc(0)) };

  for (const [what, point] of [
    ['zero', Buffer.alloc(32)],
    ['one', Buffer.concat([Buffer.of(1), Buffer.alloc(31)])],
  ] as const)
    it(`X25519: the point ${what}, whose products are zero`, async () => {
      const answer = () => ({ key: point, ...zero });
      assertFault(await meet({ kex: 'curve25519-sha256', answer }), /makes the secret zero/);
    });

  it('X25519: 31 and 33 bytes', async () => {
    for (const length of [0, 31, 33]) {
      const answer = () => ({ key: Buffer.alloc(length, 9), ...zero });
      assertFault(await meet({ kex: 'curve25519-sha256', answer }), /instead of 32/);
    }
  });

  it('the hybrid: X25519 part zero, ciphertext too short', async () => {
    const kex = MLKEM768_X25519;
    const nothing = (theirs: Buffer): ServerKeys => {
      const { cipherText, sharedSecret } = ml_kem768.encapsulate(theirs.subarray(0, 1184));
      const hash = createHash('sha256').update(sharedSecret).update(Buffer.alloc(32)).digest();
      return { key: Buffer.concat([cipherText, Buffer.alloc(32)]), secret: wireString(hash) };
    };
    assertFault(await meet({ kex, answer: nothing }), /makes the secret zero/);
    const short = () => ({ key: Buffer.alloc(1119, 1), ...zero });
    assertFault(await meet({ kex, answer: short }), /sends 1119 bytes/);
  });

  it('ECDH: points that are not on the curve, at infinity', async () => {
    const ecdh = createECDH('prime256v1');
    const whole = ecdh.generateKeys();
    const off = Buffer.from(whole);
    off[64] = (off[64] ?? 0) ^ 1;
    for (const key of [off, Buffer.of(0), Buffer.alloc(0), Buffer.concat([whole, whole])])
      assertFault(
        await meet({ kex: 'ecdh-sha2-nistp256', answer: () => ({ key, ...zero }) }),
        /not valid|not a whole point/,
      );
  });

  it('ECDH: a compressed point', async () => {
    const ecdh = createECDH('prime256v1');
    ecdh.generateKeys();
    const answer = (theirs: Buffer) => ({
      key: ecdh.getPublicKey(null, 'compressed'),
      secret: wireMpint(ecdh.computeSecret(theirs)),
    });
    assertFault(await meet({ kex: 'ecdh-sha2-nistp256', answer }), /not a whole point/);
  });

  it('Diffie-Hellman: f of 2, which anybody can know the secret of: it is e', async () => {
    const answer = (e: Buffer) => ({ key: Buffer.of(2), secret: wireString(e) });
    assertFault(await meet({ kex: 'diffie-hellman-group14-sha256', answer }), /out of range/);
  });

  it('Diffie-Hellman: f of 0, 1, p - 1, p, p + 1, negative', async () => {
    const prime = getDiffieHellman('modp14').getPrime();
    const p = BigInt(`0x${prime.toString('hex')}`);
    const one = wireMpint(Buffer.of(1));
    const bytes = (value: bigint): Buffer => {
      const hex = value.toString(16);
      return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
    };
    for (const [f, secret] of [
      [0n, zero.secret],
      [1n, one],
      [p - 1n, one],
      [p, zero.secret],
      [p + 1n, one],
    ] as const) {
      const key = wireMpint(bytes(f)).subarray(4);
      const outcome = await meet({
        kex: 'diffie-hellman-group14-sha256',
        answer: () => ({ key, secret }),
      });
      assertFault(outcome, /out of range/);
    }
    const negative = () => ({ key: bytes(p - 5n), secret: one });
    assertFault(
      await meet({ kex: 'diffie-hellman-group14-sha256', answer: negative }),
      /out of range/,
    );
  });
});

describe('groups of the server', () => {
  it('are not taken: group exchange is neither offered nor known', async () => {
    const gex = 'diffie-hellman-group-exchange-sha256';
    const kex = `${gex},diffie-hellman-group-exchange-sha1`;
    const { error, server } = await meet({ kex, answer: honestX25519 });
    assert.equal(error.code, 'jumphost-no-common-algorithm');
    assert.match(error.hint ?? '', /--transport openssh/);
    assert.doesNotMatch(server.offered[0]?.kex.join() ?? '', /group-exchange/);
    const named = await meet({ kex, answer: honestX25519 }, { kex: [gex] });
    assert.equal(named.error.code, 'algorithms-unknown');
  });
});

describe('host keys and signatures', () => {
  const answer = honestX25519;
  const kex = 'curve25519-sha256';

  for (const bits of [768, 1016])
    it(`RSA with ${bits} bits`, async () => {
      const hostKey = rsaHostKey(bits, 'rsa-sha2-256');
      const outcome = await meet({ kex, answer, hostKeys: 'rsa-sha2-256', hostKey });
      assertFault(outcome, new RegExp(`RSA host key of ${bits} bits`));
    });

  it('RSA with 1024 bits is accepted, as by ssh', async () => {
    const hostKey = rsaHostKey(1024, 'rsa-sha2-512');
    assertAccepted(await meet({ kex, answer, hostKeys: 'rsa-sha2-512', hostKey }));
  });

  it('another algorithm than the one that was negotiated', async () => {
    const hostKey = rsaHostKey(2048, 'rsa-sha2-256');
    const outcome = await meet({ kex, answer, hostKeys: 'rsa-sha2-512', hostKey });
    assertFault(outcome, /Wrong signature type: rsa-sha2-256, expected: rsa-sha2-512/);
  });

  it('another type of key than the one that was negotiated', async () => {
    const outcome = await meet({ kex, answer, hostKeys: 'ecdsa-sha2-nistp256' });
    assertFault(outcome, /does not match negotiated type/);
  });

  it('a wrong signature is no hang-up', async () => {
    const { blob, sign } = ed25519HostKey();
    const hostKey = { blob, sign: (data: Buffer) => sign(Buffer.concat([data, data])) };
    assertFault(await meet({ kex, answer, hostKey }), /signature verification failed/);
  });
});

describe('the order of messages', () => {
  const kex = 'curve25519-sha256';
  const answer = honestX25519;
  const IGNORE = Buffer.from([2, 0, 0, 0, 0]);

  it('after a wrong guess exactly one packet is skipped', async () => {
    const wrong = { kex: `diffie-hellman-group1-sha1,${kex}`, guesses: true, answer };
    assertAccepted(await meet({ ...wrong, followedBy: [Buffer.of(31, 1)] }));
    const two = await meet({ ...wrong, followedBy: [Buffer.of(31, 1), Buffer.of(31, 1)] });
    assertFault(two, /malformed/);
  });

  it('the same where the hybrid exchange is chosen', async () => {
    const wrong = { guesses: true, answer: honestHybrid, followedBy: [Buffer.of(31, 1)] };
    assertAccepted(await meet({ ...wrong, kex: `${kex},${MLKEM768_X25519}` }));
    const right = await meet({ ...wrong, kex: `${MLKEM768_X25519},${kex}` });
    assertFault(right, /malformed/);
  });

  it('NEWKEYS before the reply, another KEXINIT, something else in strict mode', async () => {
    assertFault(await meet({ kex, answer, instead: [Buffer.of(21)] }), /packet 21 instead of 31/);
    assertFault(await meet({ kex, answer, followedBy: [Buffer.of(20)] }), /extra KEXINIT/);
    assertFault(await meet({ kex, answer, followedBy: [IGNORE] }), /unexpected packet type 2/);
    const lax = await meet({ kex, answer, followedBy: [IGNORE], strict: false });
    assertAccepted(lax);
  });

  it('a packet before KEXINIT, with which Terrapin begins', async () => {
    const early = { kex, answer, precededBy: [IGNORE] };
    assertFault(await meet(early), /KEXINIT not first packet in strict KEX mode/);
    assertAccepted(await meet({ ...early, strict: false }));
  });
});

describe('without strict key exchange', () => {
  const kex = 'curve25519-sha256';
  const answer = honestX25519;
  const CHACHA = 'chacha20-poly1305@openssh.com';

  it('chacha20-poly1305 is not used, and not offered', async () => {
    const ciphers = `${CHACHA},aes128-ctr`;
    const lax = await meet({ kex, answer, ciphers, strict: false });
    assertAccepted(lax);
    assert.ok(!lax.server.offered[0]?.ciphers.includes(CHACHA));
    const strict = await meet({ kex, answer, ciphers });
    assertAccepted(strict);
    assert.ok(strict.server.offered[0]?.ciphers.includes(CHACHA));
  });

  it('CBC is not used with encrypt-then-MAC', async () => {
    const offer = { kex, answer, ciphers: 'aes256-cbc' };
    const macs = 'hmac-sha2-256-etm@openssh.com,hmac-sha2-256';
    const settings = { ciphers: ['aes256-cbc'] };
    const lax = await meet({ ...offer, macs, strict: false }, settings);
    assertAccepted(lax);
    assert.doesNotMatch(lax.server.offered[0]?.macs.join() ?? '', /etm/);
  });

  it('what the server has alone is refused', async () => {
    const lax = { kex, answer, ciphers: CHACHA, strict: false };
    const outcome = await meet(lax);
    assertFault(outcome, /lacks strict key exchange, without which chacha20-poly1305@openssh\.com/);
    assert.match(outcome.error.hint ?? '', /--transport openssh/);
  });

  it('what settings admit alone is refused', async () => {
    const lax = { kex, answer, ciphers: CHACHA, strict: false };
    assertFault(await meet(lax, { ciphers: [CHACHA] }), /lacks strict key exchange.*CVE-2023/);
    const etm = 'hmac-sha2-256-etm@openssh.com';
    assertFault(
      await meet(
        { ...lax, ciphers: 'aes256-cbc', macs: etm },
        { ciphers: ['aes256-cbc'], macs: [etm] },
      ),
      /without which aes256-cbc with hmac-sha2-256-etm@openssh\.com is not safe/,
    );
    assertAccepted(await meet({ ...lax, strict: true }, { ciphers: [CHACHA] }));
  });

  it('a server that waits for our KEXINIT gets one', async () => {
    const outcome = await meet({ kex, answer, waits: true });
    assertAccepted(outcome);
    assert.ok(outcome.milliseconds >= PATIENCE_MS - 1);
    assert.ok(!outcome.server.offered[0]?.ciphers.includes(CHACHA));
  });
});
