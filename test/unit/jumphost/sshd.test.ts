/**
 * The drop-in as text. That sshd takes it, and does what it says, is shown in
 * test/netns/jumphost.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { JumpHostPlan } from '../../../src/jumphost/plan.ts';
import { renderSshd } from '../../../src/jumphost/sshd.ts';
import { NEWEST_SSHD, OLDEST_SSHD } from '../../../src/jumphost/versions.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const GOLDEN = join(ROOT, 'test/golden/jumphost/sshd');
const PLAN: JumpHostPlan = {
  user: 'tunnel',
  port: 22,
  version: [9, 2],
  permitted: [
    { host: 'api.example.com', port: 443 },
    { host: '10.0.0.5', port: '*' },
    { host: '2001:db8::5', port: 8774 },
  ],
  keys: [],
  mfa: undefined,
  from: [],
  behindProxy: false,
  keysFrom: [],
  cloudInit: { address: undefined, hostKey: undefined, hostCa: undefined },
  terraform: { network: undefined, floatingPool: undefined, privateNetwork: undefined },
};
const CASES: Readonly<Record<string, Partial<JumpHostPlan>>> = {
  default: {},
  mfa: { mfa: 'google-authenticator' },
  'behind-proxy': { behindProxy: true },
  'behind-proxy-10.0': { behindProxy: true, version: [10, 0] },
  'openssh-8.2': { version: [8, 2] },
  'openssh-9.8': { version: [9, 8] },
  'openssh-10.0': { version: [10, 0] },
  'openssh-10.2': { version: [10, 2] },
  'keys-from': { keysFrom: [{ kind: 'url', url: 'https://keys.example.com/authorized_keys' }] },
  'user-port': { user: 'gate', port: 2222 },
};

const render = (changes: Partial<JumpHostPlan>): string => {
  // What comes with it has tests of its own: pam.test.ts, keyscommand.test.ts.
  const [file] = renderSshd({ ...PLAN, ...changes });
  assert.ok(file !== undefined);
  return file.text;
};
/** Every keyword of any version and option. */
const all = (): string[] => {
  const texts = Object.values(CASES).map(render);
  const keywords = texts.flatMap((text) => [...text.matchAll(/^ *([A-Z]\w+) /gm)]);
  return [...new Set(keywords.map(([, keyword = '']) => keyword))].sort();
};

describe('the drop-in for sshd', () => {
  for (const [name, changes] of Object.entries(CASES)) {
    it(`${name} is rendered as in test/golden/jumphost/sshd/${name}.conf`, () => {
      const path = join(GOLDEN, `${name}.conf`);
      const text = render(changes);
      if (process.env['UPDATE_GOLDEN'] === '1') {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
      }
      assert.equal(text, readFileSync(path, 'utf8'));
    });
  }

  it('has each keyword once in each part, since sshd takes the first', () => {
    for (const [name, changes] of Object.entries(CASES)) {
      for (const part of render(changes).split(/^Match .*$/m)) {
        const keywords = [...part.matchAll(/^ *([A-Z]\w+) /gm)].map(([, keyword]) => keyword);
        assert.deepEqual(keywords, [...new Set(keywords)], name);
      }
    }
  });

  it('leaves penalties to nobody behind a proxy: sshd 9.8 has them unless told not to', () => {
    const behind = (version: JumpHostPlan['version']) => render({ behindProxy: true, version });
    assert.match(behind(NEWEST_SSHD), /^PerSourcePenalties no$/m);
    assert.match(behind(NEWEST_SSHD), /^PerSourceMaxStartups none$/m);
    assert.match(behind([9, 7]), /^# OpenSSH 9\.8 and later punish addresses/m);
    assert.doesNotMatch(behind(OLDEST_SSHD), /^PerSource/m);
  });

  it('limits logins by address only where sshd forgets them again, and after an upgrade', () => {
    for (const version of [
      [9, 2],
      [9, 7],
      [9, 8],
      [10, 0],
    ] as const)
      assert.doesNotMatch(render({ version }), /PerSourceMaxStartups|PerSourceNetBlockSize/);
    assert.match(render({ version: [10, 1] }), /^PerSourceMaxStartups 20$/m);
  });

  it('denies once more in the last Match of versions that ignore one in included files', () => {
    const ending = (version: JumpHostPlan['version']) =>
      render({ version }).split(/^Match all$/m)[1];
    assert.match(ending([8, 3]) ?? '', /^ {4}AllowTcpForwarding no$/m);
    assert.match(
      render({ version: [8, 3] }),
      /cat 10-tunnel\.conf .*>\/etc\/ssh\/sshd_config\.with-tunnel$/m,
    );
    assert.equal(ending([8, 4]), '\n');
    assert.match(render({ version: [8, 4] }), /^# {3}install .*sshd_config\.d\/10-tunnel\.conf$/m);
  });

  it('is explained keyword by keyword in docs/hardening.md, and nothing else is', () => {
    const page = readFileSync(join(ROOT, 'docs/hardening.md'), 'utf8');
    const explained = [...page.matchAll(/^\| `([A-Z]\w+)[ `]/gm)].map(
      ([, keyword = '']) => keyword,
    );
    assert.deepEqual([...new Set(explained)].sort(), all());
  });

  it('explains what it costs: each row has a reason and a price', () => {
    const page = readFileSync(join(ROOT, 'docs/hardening.md'), 'utf8');
    const rows = page.split('\n').filter((line) => /^\| `[A-Z]/.test(line));
    for (const row of rows) {
      const cells = row.split(/(?<!\\)\|/).map((cell) => cell.trim());
      assert.equal(cells.length, 5, row);
      assert.ok(
        cells.slice(1, 4).every((cell) => cell !== ''),
        row,
      );
    }
  });
});
