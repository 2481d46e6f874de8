import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  checkRevokedFiles,
  MAX_REVOKED_FILE_BYTES,
} from '../../../../src/ssh/hostkeys/revokedfiles.ts';
import { type PublicKey, parsePublicKey } from '../../../../src/ssh/keys/publickey.ts';
import { wireMpint, wireString } from '../../../../src/ssh/keys/wire.ts';

const D = mkdtempSync(join(tmpdir(), 'tunnel-revoked-'));
after(() => rmSync(D, { recursive: true, force: true }));
const file = join(D, 'revoked');

function ed25519(fill: number): PublicKey {
  const blob = Buffer.concat([wireString('ssh-ed25519'), wireString(Buffer.alloc(32, fill))]);
  return { type: 'ssh-ed25519', blob };
}
function rsa(bits: number): PublicKey {
  const modulus = Buffer.alloc(bits / 8, 0xff);
  const blob = [wireString('ssh-rsa'), wireMpint(Buffer.of(3)), wireMpint(modulus)];
  return { type: 'ssh-rsa', blob: Buffer.concat(blob) };
}
const line = ({ type, blob }: PublicKey): string => `${type} ${blob.toString('base64')}`;

const longer = ({ type, blob }: PublicKey): string =>
  line({ type, blob: Buffer.concat([blob, Buffer.of(0)]) });
const shortEd25519 = Buffer.concat([wireString('ssh-ed25519'), wireString(Buffer.alloc(31))]);

async function errorOf(
  paths: readonly string[],
  key = ed25519(1),
): Promise<TunnelError | undefined> {
  try {
    await checkRevokedFiles(paths, 'jump', key);
    return undefined;
  } catch (error) {
    if (error instanceof TunnelError) return error;
    throw error;
  }
}

async function verdict(text: string): Promise<string | undefined> {
  writeFileSync(file, text);
  return (await errorOf([file]))?.code;
}

describe('RevokedHostKeys, as text', () => {
  it('finds the key, with comments, blank lines, tabs, CR LF and without a last newline', async () => {
    assert.ok(parsePublicKey(line(ed25519(1))) !== undefined);
    assert.equal(await verdict(line(ed25519(1))), 'host-key-revoked');
    const text = `# comment\r\n\r\n\t ${line(ed25519(2))} a b\r\n  ${line(ed25519(1))} c\r\n`;
    assert.equal(await verdict(text), 'host-key-revoked');
    assert.equal(await verdict(`${line(ed25519(2))}\n#${line(ed25519(1))}\n`), undefined);
    assert.equal(await verdict(''), undefined);
  });

  it('skips RSA keys that are never accepted, as ssh does', async () => {
    assert.equal(await verdict(`${line(rsa(512))}\n`), undefined);
    assert.equal(await verdict(`${line(rsa(512))}\n${line(ed25519(1))}\n`), 'host-key-revoked');
  });

  for (const [title, text] of [
    ['a line of known_hosts', `jump ${line(ed25519(2))}`],
    ['a fingerprint', 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU'],
    ['another type than the key has', line(ed25519(2)).replace('ssh-ed25519', 'ssh-rsa')],
    ['an unknown type', `ssh-new ${Buffer.concat([wireString('ssh-new')]).toString('base64')}`],
    ['a key with something after it', longer(ed25519(2))],
    ['a key of another length', `ssh-ed25519 ${shortEd25519.toString('base64')}`],
    ['broken base64', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI'],
  ])
    it(`refuses every key for ${title}, and names the line`, async () => {
      writeFileSync(file, `${line(ed25519(3))}\n${text}\n`);
      const error = await errorOf([file]);
      assert.equal(error?.code, 'host-key-unchecked');
      assert.match(error?.message ?? '', new RegExp(`${file}:2 is not understood`));
    });
});

describe('RevokedHostKeys, files', () => {
  it('all of them count', async () => {
    writeFileSync(file, '');
    const second = join(D, 'second');
    writeFileSync(second, line(ed25519(1)));
    assert.equal((await errorOf([file, second]))?.code, 'host-key-revoked');
    assert.equal((await errorOf([file, join(D, 'absent')]))?.code, 'host-key-unchecked');
    assert.equal(await errorOf([]), undefined);
  });

  it('does not wait for a FIFO, nor read more than the limit', async () => {
    const fifo = join(D, 'fifo');
    execFileSync('mkfifo', [fifo]);
    assert.match((await errorOf([fifo]))?.message ?? '', /it is not a regular file/);
    const large = join(D, 'large');
    writeFileSync(large, '');
    truncateSync(large, MAX_REVOKED_FILE_BYTES + 1);
    const error = await errorOf([large]);
    assert.equal(error?.code, 'host-key-unchecked');
    assert.match(error?.message ?? '', /more than 67108864 bytes/);
  });
});
