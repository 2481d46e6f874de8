/**
 * The user-data as text. That it makes a jump host of a machine is shown in
 * test/netns/jumphost-cloudinit.test.ts.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../../../src/errors/errors.ts';
import {
  cloudInitWarnings,
  EC2_USER_DATA_BYTES,
  MAX_USER_DATA_BYTES,
  renderCloudInit,
} from '../../../src/jumphost/cloudinit.ts';
import { SETUP_DIRECTORY, SETUP_SCRIPT } from '../../../src/jumphost/cloudinitscript.ts';
import { KEYS_COMMAND_PATH } from '../../../src/jumphost/keyscommand.ts';
import { PAM_PATH } from '../../../src/jumphost/pam.ts';
import type { JumpHostPlan } from '../../../src/jumphost/plan.ts';
import { wireString } from '../../../src/ssh/keys/wire.ts';
import { cloudInitSchema, readUserData, userDataUnreadable } from '../../support/cloudinit.ts';
import { assertGolden } from '../../support/golden.ts';
import { planOf } from '../../support/jumphostplan.ts';

const GUIDE = fileURLToPath(new URL('../../../../docs/provision.md', import.meta.url));

/** The same each time, as golden files need it. */
function publicKeyLine(comment: string): string {
  const blob = [
    wireString('ssh-ed25519'),
    wireString(createHash('sha256').update(comment).digest()),
  ];
  return `ssh-ed25519 ${Buffer.concat(blob).toString('base64')} ${comment}`;
}

const LIST = ['api.example.com:443', '10.0.0.5:*', '[2001:db8::5]:8774'];
const KEYS = [publicKeyLine('alice'), publicKeyLine('bob')];
const KEYS_URL = { kind: 'url', url: 'https://keys.example.com/authorized_keys' } as const;
const PRIVATE_KEY = {
  kind: 'ed25519',
  privateKey:
    '-----BEGIN OPENSSH PRIVATE KEY-----\nnone: of a test\n-----END OPENSSH PRIVATE KEY-----\n',
  publicKey: publicKeyLine('host').split(' ').slice(0, 2).join(' '),
  fingerprint: 'SHA256:of-a-test',
  certificate: undefined,
} as const;
const CA = publicKeyLine('authority').split(' ').slice(0, 2).join(' ');
const CERTIFICATE = {
  line: 'ssh-ed25519-cert-v01@openssh.com AAAAofatest',
  principals: ['jump.example.com', '192.0.2.1'],
  until: new Date('2030-01-01T00:00:00Z'),
} as const;
const unknown = { address: undefined, hostKey: undefined, hostCa: undefined };

const CASES: Readonly<Record<string, Partial<Omit<JumpHostPlan, 'permitted'>>>> = {
  default: {},
  mfa: { mfa: 'google-authenticator' },
  'mfa-oath': { mfa: 'oath' },
  'keys-from': {
    keys: [],
    keysFrom: [KEYS_URL, { kind: 'command', command: '/usr/bin/list-keys' }],
  },
  'behind-proxy': { behindProxy: true },
  'openssh-8.4': { version: [8, 4] },
  'openssh-10.0': { version: [10, 0] },
  'user-port-address': {
    user: 'gate',
    port: 2222,
    from: ['192.0.2.0/24'],
    cloudInit: { ...unknown, address: 'jump.example.com' },
  },
  'host-key': {
    port: 2222,
    cloudInit: { address: '2001:db8::22', hostKey: PRIVATE_KEY, hostCa: undefined },
  },
  'host-certificate': {
    cloudInit: {
      address: 'jump.example.com',
      hostKey: { ...PRIVATE_KEY, certificate: CERTIFICATE },
      hostCa: CA,
    },
  },
  'host-ca': { cloudInit: { ...unknown, hostCa: CA } },
};

const render = (changes: Partial<Omit<JumpHostPlan, 'permitted'>>, list = LIST) => {
  const [file, ...others] = renderCloudInit(planOf(list, { keys: KEYS, ...changes }));
  assert.deepEqual(others, []);
  return file ?? assert.fail('no file');
};

describe('the user-data of cloud-init', () => {
  for (const [name, changes] of Object.entries(CASES)) {
    it(`${name} is rendered as in test/golden/jumphost/cloud-init/${name}`, () => {
      assertGolden(`jumphost/cloud-init/${name}`, render(changes).text);
    });

    it(`${name} is for EC2's limit, too, and its comment as wide as others`, () => {
      const { text } = render(changes);
      assert.ok(Buffer.byteLength(text) <= EC2_USER_DATA_BYTES, `${Buffer.byteLength(text)} bytes`);
      const [head = ''] = text.split('\nssh_pwauth');
      const wide = head.split('\n').filter((line) => line.length > 100);
      // A line that is copied stays whole.
      assert.deepEqual(
        wide.filter((line) => !/ssh-ed25519 AAAA| --host-key SHA256/.test(line)),
        [],
      );
    });
  }

  it('is for its owner alone when a private key is in it', () => {
    assert.equal(render({}).mode, 0o644);
    assert.equal(render(CASES['host-key'] ?? {}).mode, 0o600);
    assert.match(render(CASES['host-key'] ?? {}).text, /^# A PRIVATE KEY IS IN THIS FILE/m);
  });

  it('has the known_hosts line as ssh looks it up', () => {
    const text = (name: string) => render(CASES[name] ?? {}).text;
    assert.ok(text('host-key').includes(`#   [2001:db8::22]:2222 ${PRIVATE_KEY.publicKey}\n`));
    assert.ok(text('host-certificate').includes(`#   @cert-authority jump.example.com ${CA}\n`));
    assert.ok(text('host-ca').includes(`#   @cert-authority ADDRESS ${CA}\n`));
    assert.ok(text('user-port-address').includes('#     [jump.example.com]:2222 ssh-ed25519 AAAA'));
  });

  it('is refused for an sshd that ignores Match in its drop-in', () => {
    assert.throws(() => render({ version: [8, 3] }), /for OpenSSH 8\.4 and later, not for 8\.3/);
  });

  it('has at most what Nova takes as base64, or is refused with what to do', () => {
    assert.equal(Math.ceil(MAX_USER_DATA_BYTES / 3) * 4, 65_532);
    const many = Array.from({ length: 1000 }, (_, i) => `10.0.${i >> 8}.${i & 255}:443`);
    const refused = (hint: RegExp) => (error: unknown) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, /no cloud takes more than 49149$/);
      assert.match(error.hint ?? '', hint);
      return true;
    };
    assert.throws(() => render({}, many), refused(/list fewer destinations/));
    const keys = Array.from({ length: 600 }, (_, i) => publicKeyLine(`user ${i}`));
    assert.throws(() => render({ keys }), refused(/--keys-from/));
  });

  it('says what docs/provision.md explains', () => {
    const [, table = ''] = readFileSync(GUIDE, 'utf8').split('| the console says |');
    const rows = table.split('\n').filter((line) => line.startsWith('| '));
    const said = rows.flatMap((row) =>
      [...(row.split(' | ')[0] ?? '').matchAll(/`(.*?)`/g)].flatMap(([, text = '']) =>
        text.split(/ ?\.\.\.|OpenSSH_/).filter((part) => part !== ''),
      ),
    );
    assert.ok(said.length > 6, `${said.length}`);
    const { text } = render({ mfa: 'oath', keysFrom: [KEYS_URL] });
    for (const part of said) assert.ok(text.includes(part), part);
  });

  it('warns of a private key, and of what EC2 does not take', () => {
    const warnings = (changes: Partial<Omit<JumpHostPlan, 'permitted'>>) => {
      const plan = planOf(LIST, changes);
      return cloudInitWarnings(plan, [render(changes)]);
    };
    assert.deepEqual(warnings({}), []);
    assert.match(warnings(CASES['host-key'] ?? {}).join(), /^--host-private-key: .* metadata/);
    const keys = Array.from({ length: 120 }, (_, i) => publicKeyLine(`user ${i}`));
    assert.match(warnings({ keys }).join(), /^the user-data has \d+ bytes: .*EC2 only 16384.*gzip/);
  });
});

describe('the user-data of cloud-init, read by its own reader', {
  skip: userDataUnreadable(),
}, () => {
  it('is what its schema takes, each case', { skip: cloudInitSchema.unavailable }, async () => {
    for (const [name, changes] of Object.entries(CASES))
      assert.match(await cloudInitSchema.check(render(changes).text), /Valid/, name);
  });

  it('and a mistake is none', { skip: cloudInitSchema.unavailable }, async () => {
    const text = render({}).text.replace('ssh_deletekeys: true', 'ssh_deletekeys: maybe');
    assert.doesNotMatch(await cloudInitSchema.check(text), /Valid/);
  });

  it('has the files with their modes, and runs one script', () => {
    const { write_files, runcmd, ssh_pwauth, ssh_genkeytypes } = readUserData(
      render({ mfa: 'oath', keysFrom: [KEYS_URL] }).text,
    );
    assert.deepEqual(
      write_files.map(({ path, permissions }) => [path, permissions]),
      [
        [`${SETUP_DIRECTORY}/10-tunnel.conf`, '0600'],
        [PAM_PATH, '0644'],
        [KEYS_COMMAND_PATH, '0755'],
        [`${SETUP_DIRECTORY}/11-tunnel-machine.conf`, '0600'],
        [`${SETUP_DIRECTORY}/key-options`, '0600'],
        [`${SETUP_DIRECTORY}/keys`, '0600'],
        [SETUP_SCRIPT, '0700'],
      ],
    );
    assert.deepEqual(runcmd, [['sh', SETUP_SCRIPT]]);
    assert.equal(ssh_pwauth, false);
    assert.deepEqual(ssh_genkeytypes, ['ed25519']);
  });

  it('gives a private key to the machine as it is, and makes no other', () => {
    const { ssh_keys, ssh_genkeytypes } = readUserData(
      render(CASES['host-certificate'] ?? {}).text,
    );
    assert.deepEqual(ssh_keys, {
      ed25519_private: PRIVATE_KEY.privateKey,
      ed25519_public: PRIVATE_KEY.publicKey,
      ed25519_certificate: CERTIFICATE.line,
    });
    assert.equal(ssh_genkeytypes, undefined);
  });

  it('keeps what users write, whatever it means in YAML, sh or a template', () => {
    const [key = ''] = KEYS[0]?.split(' alice') ?? [];
    const odd = `a: "b" 'c' # d {{ e }} \${f} $(g) \`h\` \\ | > & * ! % @ - ? [ ] , 漢字 🔑 \u2028`;
    const { write_files } = readUserData(
      render({
        keys: [`${key} ${odd}`],
        keysFrom: [{ kind: 'command', command: `/bin/echo ${odd}` }],
      }).text,
    );
    const content = (path: string) => write_files.find((file) => file.path === path)?.content ?? '';
    assert.equal(content(`${SETUP_DIRECTORY}/keys`), `${key} ${odd}\n`);
    const word = odd.replaceAll("'", "'\\''");
    assert.ok(content(KEYS_COMMAND_PATH).includes(`ask_command '/bin/echo ${word}' ;;`));
  });

  const shellcheck = spawnSync('shellcheck', ['--version']).status === 0;
  it('has scripts that sh reads and shellcheck takes', {
    skip: shellcheck ? false : 'shellcheck is not installed',
  }, () => {
    for (const [name, changes] of Object.entries(CASES)) {
      for (const { content } of readUserData(render(changes).text).write_files) {
        if (!content.startsWith('#!/bin/sh\n')) continue;
        const { status, stderr } = spawnSync('sh', ['-n'], { input: content, encoding: 'utf8' });
        assert.equal(status, 0, `${name}: ${stderr}`);
        // The comments that tell shellcheck what is meant stay away from the machine.
        const { stdout } = spawnSync('shellcheck', ['-S', 'warning', '-e', 'SC2086,SC3045', '-'], {
          input: content,
          encoding: 'utf8',
        });
        assert.equal(stdout, '', name);
      }
    }
  });
});
