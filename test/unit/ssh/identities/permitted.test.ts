import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { signatureAlgorithms, whyForbidden } from '../../../../src/ssh/identities/permitted.ts';
import { wireMpint, wireString } from '../../../../src/ssh/keys/wire.ts';

const ED25519 = { type: 'ssh-ed25519', blob: wireString('ssh-ed25519') };
function rsa(bits: number): { type: string; blob: Buffer } {
  const modulus = Buffer.alloc(Math.ceil(bits / 8), 0xff);
  if (bits % 8 !== 0) modulus[0] = 2 ** (bits % 8) - 1;
  const parts = [wireString('ssh-rsa'), wireMpint(Buffer.of(3)), wireMpint(modulus)];
  return { type: 'ssh-rsa', blob: Buffer.concat(parts) };
}

describe('the keys that ssh_config permits', () => {
  it('RequiredRSASize counts bits of RSA keys', () => {
    const permitted = { acceptedAlgorithms: undefined, leastRsaBits: 2048 };
    assert.match(whyForbidden(rsa(2047), permitted) ?? '', /it has 2047 bits, .* wants 2048/);
    assert.equal(whyForbidden(rsa(2048), permitted), undefined);
    assert.equal(whyForbidden(ED25519, permitted), undefined);
  });

  it('PubkeyAcceptedAlgorithms permits types, and RSA keys by their signatures', () => {
    const only = (...acceptedAlgorithms: string[]) => ({ acceptedAlgorithms, leastRsaBits: 1024 });
    assert.equal(whyForbidden(ED25519, only('ssh-ed25519')), undefined);
    assert.match(
      whyForbidden(ED25519, only('rsa-sha2-256', 'ssh-ed25519-cert-v01@openssh.com')) ?? '',
      /doesn't permit ssh-ed25519/,
    );
    assert.equal(whyForbidden(rsa(2048), only('rsa-sha2-256')), undefined);
    assert.match(whyForbidden(rsa(2048), only('ssh-rsa')) ?? '', /doesn't permit ssh-rsa/);
    const certificate = { type: 'ssh-rsa-cert-v01@openssh.com', blob: Buffer.alloc(0) };
    assert.equal(whyForbidden(certificate, only('rsa-sha2-512-cert-v01@openssh.com')), undefined);
    assert.match(whyForbidden(certificate, only('rsa-sha2-512')) ?? '', /doesn't permit/);
  });

  it('signs with what comes first in it, and never with SHA-1', () => {
    const order = (list: string[] | undefined) =>
      signatureAlgorithms('ssh-rsa', { acceptedAlgorithms: list, leastRsaBits: 1024 });
    assert.deepEqual(order(undefined), ['rsa-sha2-512', 'rsa-sha2-256']);
    assert.deepEqual(order(['ssh-rsa', 'rsa-sha2-256', 'rsa-sha2-512']), [
      'rsa-sha2-256',
      'rsa-sha2-512',
    ]);
    assert.deepEqual(order(['ssh-rsa']), []);
  });
});
