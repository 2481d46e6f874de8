import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { NotationError } from '../../../../src/net/notation.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';

/** Real keys, and what ssh-keygen says about them. */
const directory = mkdtempSync(join(tmpdir(), 'tunnel-pin-'));
after(() => rmSync(directory, { recursive: true }));
const keygen = (...args: readonly string[]): string =>
  execFileSync('ssh-keygen', args, { encoding: 'utf8' });
const file = join(directory, 'key');
keygen('-q', '-t', 'ed25519', '-N', '', '-C', 'root@jump (new) host', '-f', file);
const publicLine = readFileSync(`${file}.pub`, 'utf8').trim();
const listed = keygen('-l', '-f', `${file}.pub`).trim();
const [, print = ''] = /(SHA256:\S+)/.exec(listed) ?? [];
const [type = '', blob = ''] = publicLine.split(' ');

function hashedLine(name: string): string {
  const known = join(directory, 'known');
  writeFileSync(known, `${name} ${type} ${blob}\n`);
  copyFileSync(known, `${known}.old`);
  execFileSync('ssh-keygen', ['-q', '-H', '-f', known], { stdio: 'ignore' });
  return readFileSync(known, 'utf8').trim();
}

describe('parseHostKeyPin', () => {
  const fingerprints: readonly (readonly [what: string, text: string])[] = [
    ['a fingerprint', print],
    ['a padded one', `${print}=`],
    ['the line of ssh-keygen -l', listed],
    ['the same with spaces around it', `  ${listed}\n`],
    ['a line of ssh-keygen -l about known_hosts', `256 ${print} [jump]:2222 (ED25519)`],
    ['a line without a comment', `2048 ${print} no comment (RSA)`],
    ["a key as this program's messages name it", `ssh-ed25519 ${print}`],
    ["ssh's own words", `ED25519 key fingerprint is ${print}.`],
  ];
  for (const [what, text] of fingerprints)
    it(`reads ${what}`, () =>
      assert.deepEqual(parseHostKeyPin(text), { fingerprint: print, key: undefined }));

  const keys: readonly (readonly [what: string, text: () => string])[] = [
    ['a .pub line', () => publicLine],
    ['the key alone', () => `${type} ${blob}`],
    ['what ssh-keyscan prints', () => `# jump:22 SSH-2.0-OpenSSH_10.0p2\njump ${type} ${blob}\n`],
    ['a line of known_hosts', () => `jump,192.0.2.1 ${type} ${blob}`],
    ['one with a port', () => `[jump.example.com]:2222 ${type} ${blob} a comment`],
    ['one with an IPv6 address', () => `[2001:db8::1]:2222\t${type} ${blob}`],
    ['a hashed one', () => hashedLine('[jump]:2222')],
  ];
  for (const [what, text] of keys)
    it(`reads ${what}`, () => {
      const pin = parseHostKeyPin(text());
      assert.equal(pin.fingerprint, print);
      assert.equal(pin.key?.type, type);
      assert.equal(pin.key?.blob.toString('base64'), blob);
    });

  const refused: readonly (readonly [text: string, message: RegExp, hint: RegExp])[] = [
    [`@cert-authority *.example ${type} ${blob}`, /an authority/, /into ~\/.ssh\/known_hosts/],
    [`@revoked jump ${type} ${blob}`, /nobody may trust/, /new key/],
    [`@other jump ${type} ${blob}`, /neither/, /ssh-keygen -l/],
    [`${publicLine}\n${publicLine}`, /more than one line/, /once for each key/],
    [`256 MD5:${'ab:'.repeat(15)}ab a (RSA)`, /MD5/, /ssh-keygen -l/],
    [`${'ab:'.repeat(15)}ab`, /MD5/, /ssh-keygen -l/],
    [`256 SHA512:${'A'.repeat(86)} a (RSA)`, /-E sha256/, /ssh-keygen -l/],
    [`jump ssh-rsa ${blob}`, /neither/, /ssh-keygen -l/],
    [`256 ${print.slice(0, -1)} a (RSA)`, /neither/, /ssh-keygen -l/],
    [`${print} ${print}`, /neither/, /ssh-keygen -l/],
    ['jump', /neither/, /ssh-keygen -l/],
  ];
  for (const [text, message, hint] of refused)
    it(`refuses ${JSON.stringify(text.slice(0, 30))}`, () =>
      assert.throws(
        () => parseHostKeyPin(text),
        (error) => {
          assert.ok(error instanceof NotationError);
          assert.match(error.message, message);
          assert.match(error.hint ?? '', hint);
          return true;
        },
      ));
});
