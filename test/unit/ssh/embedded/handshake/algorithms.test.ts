import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import type { Algorithms } from 'ssh2';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import {
  KNOWN_ALGORITHMS,
  offeredAlgorithms,
} from '../../../../../src/ssh/embedded/handshake/algorithms.ts';
import ssh2 from '../../../../support/ssh2.ts';

const NOTHING = { kex: undefined, ciphers: undefined, macs: undefined, hostKeys: undefined };

describe('offeredAlgorithms', () => {
  it('offers nothing weak unless a setting names it', () => {
    const offer = offeredAlgorithms({
      preferredTypes: [],
      wanted: NOTHING,
      observer: silentObserver,
    });
    assert.doesNotMatch(JSON.stringify(offer), /sha1(?!\d)|md5|cbc|arcfour|"ssh-rsa"|ssh-dss/);
  });

  it('puts first what is known for the host, also of what a setting names', () => {
    const options = { preferredTypes: ['ssh-rsa'], observer: silentObserver };
    const own = offeredAlgorithms({ ...options, wanted: NOTHING }).serverHostKey as string[];
    assert.deepEqual(own.slice(0, 3), ['rsa-sha2-512', 'rsa-sha2-256', 'ssh-ed25519']);
    assert.equal(own.length, new Set(own).size);
    const wanted = {
      ...NOTHING,
      hostKeys: ['ssh-ed25519-cert-v01@openssh.com', 'ssh-ed25519', 'rsa-sha2-512'],
    };
    assert.deepEqual(offeredAlgorithms({ ...options, wanted }).serverHostKey, [
      'rsa-sha2-512',
      'ssh-ed25519',
    ]);
    // The verifier gives no types when the setting gives the order.
    assert.deepEqual(offeredAlgorithms({ ...options, preferredTypes: [], wanted }).serverHostKey, [
      'ssh-ed25519',
      'rsa-sha2-512',
    ]);
  });

  it('offers the post-quantum exchange first, and in lists that have that of an older OpenSSH', () => {
    const kexOf = (kex: readonly string[] | undefined) =>
      offeredAlgorithms({
        preferredTypes: [],
        wanted: { ...NOTHING, kex },
        observer: silentObserver,
      }).kex as string[];
    const hybrid = 'mlkem768x25519-sha256';
    assert.equal(kexOf(undefined)[0], hybrid);
    const older = 'sntrup761x25519-sha512@openssh.com';
    assert.deepEqual(kexOf([older, 'curve25519-sha256']), [hybrid, 'curve25519-sha256']);
    assert.deepEqual(kexOf(['curve25519-sha256']), ['curve25519-sha256']);
    assert.throws(() => kexOf([older]), { code: 'algorithms-unknown' });
  });

  it('lets no server choose a group', () => {
    assert.doesNotMatch(JSON.stringify(KNOWN_ALGORITHMS), /group-exchange/);
  });

  it('a setting that names only unknown algorithms is an error with its keyword', () => {
    for (const [kind, keyword] of [
      ['kex', 'KexAlgorithms'],
      ['ciphers', 'Ciphers'],
      ['macs', 'MACs'],
      ['hostKeys', 'HostKeyAlgorithms'],
    ] as const) {
      const wanted = { ...NOTHING, [kind]: ['new-and-unheard-of'] };
      assert.throws(
        () => offeredAlgorithms({ preferredTypes: [], wanted, observer: silentObserver }),
        {
          code: 'algorithms-unknown',
          message: new RegExp(`none of ${keyword} new-and-unheard-of; it knows `),
        },
      );
    }
  });

  it('ssh2 knows every algorithm that is known here', () => {
    const { kex, ciphers: cipher, macs: hmac, hostKeys: serverHostKey } = KNOWN_ALGORITHMS;
    // connect() throws for a name that it doesn't know.
    const sock = new PassThrough();
    new ssh2.Client()
      .on('error', () => {
        // Nobody answers.
      })
      .connect({
        sock,
        username: 'test',
        algorithms: { kex, cipher, hmac, serverHostKey } as Algorithms,
      });
    sock.destroy();
  });
});
