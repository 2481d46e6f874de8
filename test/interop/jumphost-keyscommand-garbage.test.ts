/** What the script of keys-command makes of answers that are no list of keys: nothing. */
import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { lists, printed, publicKeyLine, scriptOf, startSource } from '../support/keyscript.ts';

const ALICE = publicKeyLine('alice@laptop');
const BOB = publicKeyLine('bob');
const STRANGER = publicKeyLine('mallory');

const first = await startSource();
after(() => first.close());
beforeEach(() => lists(first, ALICE));

describe('the script of keys-command, with garbage from its source', () => {
  const NO_KEY = /no line that is a public key/;
  const table: readonly (readonly [
    what: string,
    body: string | Buffer,
    log: RegExp,
    status?: number,
    headers?: Record<string, string>,
  ])[] = [
    ['a page', '<!DOCTYPE html>\n<html><body>Sign in</body></html>\n', NO_KEY],
    ['JSON', JSON.stringify({ keys: [BOB] }), NO_KEY],
    ['an error page with a key in it', BOB, /HTTP status 500/, 500],
    ['a redirection', BOB, /HTTP status 302/, 302, { location: '/login' }],
    ['no content', '', /HTTP status 204/, 204],
    ['zeros behind a key', `${BOB}\n\0\0\0`, /no text/],
    [
      'random octets',
      Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 151) & 255)),
      /no text/,
    ],
    ['a private key beside', `${BOB}\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n`, /private key/],
    ['more than 1 MiB', `${BOB}\n`.repeat(15_000), /larger than 1048576 bytes/],
    ['options before a key', `command="/bin/sh" ${BOB}\n`, NO_KEY],
    ['no-op options before a key', `pty ${BOB}\n`, NO_KEY],
    ['an authority', `cert-authority ${BOB}\n`, NO_KEY],
    ['a key cut short', `${BOB.slice(0, 60)}\n`, NO_KEY],
    ['a type that is another', BOB.replace('ssh-ed25519', 'ssh-rsa'), NO_KEY],
    ['something within the base64', BOB.replace(/AAAAI/, 'AA";I'), NO_KEY],
    ['a type of its own', 'ssh-dss AAAAB3NzaC1kc3MAAACBAKq6 bob\n', NO_KEY],
  ];
  for (const [what, body, log, status = 200, headers = {}] of table) {
    it(`${what}: the cache stays as it is, and the log says why`, async (t) => {
      const script = scriptOf(t, first);
      await script.login(ALICE);
      const before = script.cached();
      first.answer = (_, response) => response.writeHead(status, headers).end(body);
      script.age(20);
      assert.equal(await script.login(BOB), '');
      assert.deepEqual(script.cached(), before);
      assert.match(script.log(), log);
      assert.equal(await script.login(ALICE), printed(ALICE));
    });
  }

  it('an answer that is cut off: the cache stays as it is', async (t) => {
    const script = scriptOf(t, first);
    await script.login(ALICE);
    script.age(20);
    first.answer = (_, response) => {
      response.writeHead(200, { 'content-length': 10_000 });
      response.write(`${BOB}\n`, () => response.destroy());
    };
    assert.equal(await script.login(BOB), '');
    assert.deepEqual(script.cached(), [ALICE]);
    assert.match(script.log(), /it does not answer/);
  });

  it('among keys: only the keys are taken, and the log says that there was more', async (t) => {
    lists(
      first,
      '\ufeff# with a mark',
      `  ${ALICE}\r`,
      `command="/bin/sh" ${STRANGER}`,
      `${BOB} \x1b[2J'"$(id)\`id\``.replace('\x1b', 'é'),
      'sign in first',
    );
    const script = scriptOf(t, first);
    await script.run('--refresh');
    assert.deepEqual(script.cached(), [ALICE, `${BOB} ??[2J'"$(id)\`id\``]);
    assert.match(script.log(), /lines that are no public keys are left out/);
    assert.equal(await script.login(STRANGER), '');
  });

  it('writes what a source says into one line, whatever escapes are in it', async (t) => {
    const script = scriptOf(
      t,
      String.raw`/usr/bin/printf %s 'no\nAccepted publickey\033[2J\c' >&2; exit 1`,
    );
    const { stderr } = await script.run('--refresh');
    assert.match(
      stderr,
      /^[^\n]*: it does not answer: no\\nAccepted publickey\\033\[2J\\c; [^\n]*\n$/,
    );
  });

  it('nothing at all, with status 200: a list without keys, which the log mentions', async (t) => {
    const script = scriptOf(t, first);
    await script.login(ALICE);
    first.answer = (_, response) => response.end();
    script.age(20);
    assert.equal(await script.login(ALICE), '');
    assert.match(script.log(), /it has no keys at all/);
  });
});
