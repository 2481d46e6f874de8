/**
 * Safespring: an instance as the jump host, whose network the cloud's load balancers admit to the
 * APIs (docs/jump-hosts.md). A real sshd, with a second factor; the API is api1.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { API1, JUMPHOST4, PRIVATE4 } from '../support/addresses.ts';
import { Lab, labUnavailable } from '../support/lab.ts';
import { oneTimeCode, SECRET_FILE } from '../support/onetimecode.ts';
import type { SshdOptions } from '../support/sshd.ts';
import {
  answering,
  assertForwardsOnly,
  assertReached,
  assertSessionsShow,
  CHANNELS_LOGGED,
  fetchBy,
  WAYS,
} from '../support/systems.ts';

/** The line of Safespring's article about jump hosts. */
const ARTICLE = 'sshuttle -r <username>@<instance ip> <range you want to forward>';
const USER = 'ubuntu';
const PASSWORD = 'correct horse';
const MODULE = ['/lib', '/usr/lib', '/usr/lib64']
  .flatMap((root) => [`${root}/security`, `${root}/x86_64-linux-gnu/security`])
  .concat('/usr/lib/aarch64-linux-gnu/security')
  .map((directory) => join(directory, 'pam_google_authenticator.so'))
  .find((file) => existsSync(file));
/** `auth_url` resolves to one address; ranges may be as wide as one likes. */
const RANGES = {
  "the auth_url's address alone": API1,
  'a wide range': PRIVATE4,
  everything: '0/0',
};

/** What somebody types who has read the article: its line, with the other program's name. */
function articleLine(range: string): { args: string[]; targets: string[] } {
  const [program, ...words] = ARTICLE.replace('<username>', USER)
    .replace('<instance ip>', JUMPHOST4)
    .replace('<range you want to forward>', range)
    .split(' ');
  assert.equal(program, 'sshuttle');
  return { args: words.slice(0, -1), targets: words.slice(-1) };
}

interface Factor {
  readonly what: string;
  readonly missing: string | false;
  readonly sshd: (lab: Lab) => SshdOptions;
  readonly answer: () => string;
  readonly accepted: RegExp;
}

const FACTORS: readonly Factor[] = [
  {
    what: 'a code after the key',
    missing: MODULE === undefined && 'package libpam-google-authenticator is not installed',
    sshd(lab) {
      const secrets = join(lab.directory, 'secrets');
      mkdirSync(secrets, { mode: 0o700 });
      writeFileSync(join(secrets, USER), SECRET_FILE, { mode: 0o600 });
      const pam = [
        `auth required ${MODULE} user=root secret=${secrets}/\${USER}`,
        'account required pam_permit.so',
        'session required pam_permit.so',
        '',
      ].join('\n');
      return {
        pam,
        users: [{ name: USER }],
        config: ['AuthenticationMethods publickey,keyboard-interactive'],
      };
    },
    answer: () => oneTimeCode(),
    accepted: /Partial publickey for ubuntu[\s\S]*Accepted keyboard-interactive\/pam for ubuntu/,
  },
  {
    what: 'a password after the key',
    missing: false,
    sshd: () => ({
      users: [{ name: USER, password: PASSWORD }],
      config: ['AuthenticationMethods publickey,password'],
    }),
    answer: () => PASSWORD,
    accepted: /Partial publickey for ubuntu[\s\S]*Accepted password for ubuntu/,
  },
];

describe('Safespring: a jump host of the cloud, by the line of the article', {
  skip: labUnavailable('curl', 'openssl', 'tcpdump'),
  timeout: 180_000,
}, () => {
  for (const { what, missing, sshd, answer, accepted } of FACTORS)
    describe(what, { skip: missing }, () => {
      let lab: Lab;
      before(async () => {
        lab = await Lab.create();
        await lab.sshd.restart({ ...sshd(lab), logLevel: CHANNELS_LOGGED });
      });
      after(() => lab?.close());

      for (const way of WAYS)
        for (const [which, range] of Object.entries(RANGES))
          it(`${way}, ${which}: the API sees the jump host, the network here sees nothing`, async () => {
            const offset = lab.sshd.log().length;
            const packets = await lab.client.capture('uplink', `host ${API1}`);
            const run = { ...articleLine(range), env: answering(lab, answer()) };
            const fetched = await fetchBy(way, lab, run);
            assertReached(fetched, lab.sshd.log().slice(offset));
            assert.deepEqual(await packets.stop(), []);
            assert.match(lab.sshd.log().slice(offset), accepted);
            assertForwardsOnly(lab.sshd.log().slice(offset));
          });

      it('a wrong answer is a refused login, and is asked for only as often as the server likes', async () => {
        const env = answering(lab, '000000');
        const { status, told } = await fetchBy('exec', lab, { ...articleLine(API1), env });
        assert.equal(status, 125, told);
        assert.match(told, /\[auth-failed\]/);
      });
    });

  it('a session would be noticed', async () => {
    const lab = await Lab.create({ sshd: { logLevel: CHANNELS_LOGGED } });
    try {
      await assertSessionsShow(lab, []);
    } finally {
      await lab.close();
    }
  });
});
