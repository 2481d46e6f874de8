/** What the choice of a transport rests on, looked up in real files. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gatherFacts } from '../../../src/link/facts.ts';
import { wireString } from '../../../src/ssh/keys/wire.ts';
import { makeKey } from '../../support/loopback-sshd.ts';
import { authenticationSettings, hostKeySettings, testSettings } from '../../support/settings.ts';

const SK = 'sk-ssh-ed25519@openssh.com';
const AUTO = { transport: 'auto', sshCommand: undefined } as const;

let directory: string;
const path = (name: string): string => join(directory, name);

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-facts-'));
  await makeKey(path('plain'), 'ed25519');
  await makeKey(path('hidden'), 'rsa', ['-m', 'PEM', '-N', 'correct horse']);
  rmSync(path('hidden.pub'));
  const blob = Buffer.concat([
    wireString(Buffer.from(SK)),
    wireString(Buffer.alloc(32, 7)),
    wireString(Buffer.from('ssh:')),
  ]);
  writeFileSync(path('sk'), `${SK} ${blob.toString('base64')}\n`);
});
after(() => rmSync(directory, { recursive: true, force: true }));

describe('gatherFacts', () => {
  const settings = (names: readonly string[]) =>
    testSettings({
      hostName: 'jump',
      port: 2222,
      authentication: authenticationSettings(names.map(path), { identitiesOnly: true }),
    });

  it('types of all keys, including those that only ssh can use and those that a passphrase hides', async () => {
    const { identityTypes } = await gatherFacts(
      AUTO,
      settings(['plain', 'sk', 'hidden']),
      undefined,
    );
    assert.deepEqual(identityTypes, ['ssh-ed25519', SK, undefined]);
  });

  it('no types if a key file can not be used or the transport is given by name', async () => {
    assert.deepEqual((await gatherFacts(AUTO, settings(['absent']), undefined)).identityTypes, []);
    const asked = { ...AUTO, transport: 'ssh2' } as const;
    assert.deepEqual((await gatherFacts(asked, settings(['sk']), undefined)).identityTypes, []);
  });

  it('a host that only a certificate authority speaks for, also as a hop', async () => {
    const key = readFileSync(path('plain.pub'), 'utf8');
    const authority = `@cert-authority [jump]:2222 ${key}`;
    const known = async (lines: string, alias?: string): Promise<boolean> => {
      writeFileSync(path('known_hosts'), lines);
      const hop = testSettings({
        hostName: 'jump',
        port: 2222,
        hostKeys: hostKeySettings({ userFiles: [path('known_hosts')], alias }),
        authentication: authenticationSettings([], { methods: ['password'] }),
      });
      const whole = testSettings({
        hostName: 'behind',
        port: 22,
        authentication: authenticationSettings([], { methods: ['password'] }),
        proxy: { kind: 'jump', hops: [hop] },
      });
      const [own, asHop] = [
        await gatherFacts(AUTO, hop, undefined),
        await gatherFacts(AUTO, whole, undefined),
      ];
      assert.equal(own.hostOnlyByAuthority, asHop.hostOnlyByAuthority);
      return own.hostOnlyByAuthority;
    };
    assert.equal(await known(authority), true);
    assert.equal(await known(`${authority}[jump]:2222 ${key}`), false);
    assert.equal(await known(authority, 'elsewhere'), false);
    assert.equal(await known(''), false);
  });

  it('whether there is an ssh', async () => {
    const given = { ...AUTO, sshCommand: ['/my/ssh'] } as const;
    const facts = await gatherFacts(given, settings([]), 'jumphost-refused');
    assert.ok(facts.opensshInstalled && facts.customCommand);
    assert.equal(facts.embeddedFailure, 'jumphost-refused');
  });
});
