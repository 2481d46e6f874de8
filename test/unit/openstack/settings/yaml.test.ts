/**
 * clouds.yaml as the real clients read it: a table of configurations, each with what is expected of
 * it. Where openstacksdk is installed, it reads the same files, and must come to the same.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { TunnelError } from '../../../../src/errors/errors.ts';
import type { Cloud } from '../../../../src/openstack/settings/cloud.ts';
import { loadCloud } from '../../../../src/openstack/settings/load.ts';
import { Secret } from '../../../../src/openstack/settings/secret.ts';
import {
  at,
  CASES as BASIC_CASES,
  type Case,
  HOME,
  ONE,
  type Seen,
} from '../../../support/cloudcases.ts';
import { EDGES } from '../../../support/cloudedges.ts';

const ORACLE = fileURLToPath(
  new URL('../../../../../test/support/clouds_oracle.py', import.meta.url),
);
const CASES: readonly Case[] = [...BASIC_CASES, ...EDGES];
const PYTHON = '/usr/bin/python3';

const temporary = mkdtempSync(join(tmpdir(), 'tunnel-clouds-'));
after(() => rmSync(temporary, { recursive: true, force: true }));

interface Prepared {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
}

function prepare({ files, env = {} }: Case, index: number): Prepared {
  const root = join(temporary, String(index));
  for (const name of ['work', 'home', 'other', 'xdg'])
    mkdirSync(join(root, name), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const filled = Object.entries(env).map(([name, value]) => [name, value.replace('$T', root)]);
  return { directory: root, env: { HOME: join(root, 'home'), ...Object.fromEntries(filled) } };
}

const prepared = CASES.map(prepare);

function load(index: number): Cloud {
  const { directory, env } = prepared[index] ?? { directory: '', env: {} };
  const { cloud, region } = CASES[index] ?? {};
  return loadCloud(
    { cloud, region },
    {
      env,
      directory: join(directory, 'work'),
      home: join(directory, 'home'),
      site: join(directory, 'site'),
    },
  );
}

function seen(cloud: Cloud): Seen {
  const { method, scope } = cloud.authentication();
  const compute = cloud.services.get('compute');
  const project = scope.kind === 'project' ? (scope.project.name ?? scope.project.id) : undefined;
  const user = method.kind === 'password' ? method.user : undefined;
  const found = {
    name: cloud.name,
    authUrl: cloud.authUrl?.href,
    authType: cloud.authType,
    region: cloud.region,
    interface: cloud.interfaces[0],
    verify: cloud.tls.verify && (cloud.tls.caFile ?? true),
    username: user?.name,
    password:
      method.kind !== 'password'
        ? undefined
        : method.password instanceof Secret
          ? method.password.reveal()
          : 'asked',
    token: method.kind === 'token' ? method.token.reveal() : undefined,
    credential: method.kind === 'application-credential' ? method.id : undefined,
    project,
    userDomain: user?.domainName ?? user?.domainId,
    volume: cloud.services.get('block-storage')?.endpoint?.href,
    computeInterface: compute?.interfaces?.[0] ?? cloud.interfaces[0],
    computeRegion: compute?.region ?? cloud.region,
  };
  return JSON.parse(JSON.stringify(found)) as Seen;
}

describe('clouds.yaml', () => {
  for (const [index, { what, expected, error, warnings = [] }] of CASES.entries()) {
    it(what, () => {
      if (error !== undefined) {
        const [code, text] = error;
        const matches = (failure: unknown) =>
          failure instanceof TunnelError &&
          failure.code === code &&
          text.test(`${failure.message}\n${failure.hint}`.replaceAll('\n', ' '));
        assert.throws(() => seen(load(index)), matches);
        return;
      }
      const cloud = load(index);
      const found = seen(cloud);
      const root = prepared[index]?.directory ?? '';
      for (const [key, value] of Object.entries(expected ?? {})) {
        const wanted = typeof value === 'string' ? value.replace('$T', root) : value;
        assert.equal(normal(found[key as keyof Seen]), normal(wanted), key);
      }
      for (const warning of warnings) {
        assert.ok(
          cloud.warnings.some((text) => warning.test(text)),
          `${warning}: ${cloud.warnings.join('\n')}`,
        );
      }
    });
  }

  it('says nothing where nothing is to be said', () => {
    assert.deepEqual(load(0).warnings, []);
  });

  it('passes over a file that it may not read, as openstacksdk does, but says so', {
    skip: process.getuid?.() === 0 && 'root may read everything',
  }, () => {
    const { directory, env } = prepare(
      { what: '', files: { 'work/clouds.yaml': ONE, [`${HOME}/clouds.yaml`]: at('home.example') } },
      CASES.length,
    );
    chmodSync(join(directory, 'work/clouds.yaml'), 0);
    const cloud = loadCloud(
      {},
      { env, directory: join(directory, 'work'), home: join(directory, 'home') },
    );
    assert.equal(cloud.authUrl?.hostname, 'home.example');
    assert.match(cloud.warnings.join(), /can't be read/);
  });

  for (const value of [
    '*hunter2',
    '!hunter2 x',
    '"hunter2',
    '@hunter2',
    '`hunter2',
    '[hunter2',
    'x" hunter2: "y',
  ]) {
    it(`quotes nothing of a file that can't be read: ${value}`, () => {
      const files = { 'work/clouds.yaml': `clouds: {one: {auth: {password: ${value}}}}\n` };
      const { directory, env } = prepare({ what: '', files }, CASES.length + 1);
      assert.throws(
        () =>
          loadCloud({}, { env, directory: join(directory, 'work'), home: join(directory, 'home') }),
        (error) =>
          error instanceof TunnelError && !inspect(error, { depth: 9 }).includes('hunter2'),
      );
    });
  }

  it('takes no other bytes for those of a password', () => {
    const { directory, env } = prepare({ what: '', files: {} }, CASES.length + 2);
    const bytes = Buffer.from(ONE.replace('password: p', 'password: pässword'), 'latin1');
    writeFileSync(join(directory, 'work/clouds.yaml'), bytes);
    assert.throws(
      () =>
        loadCloud({}, { env, directory: join(directory, 'work'), home: join(directory, 'home') }),
      { code: 'openstack-config', message: /clouds\.yaml is not text in UTF-8/ },
    );
  });

  it('shows no secret by accident', () => {
    const { method } = load(0).authentication();
    for (const text of [
      inspect(method, { depth: 9 }),
      JSON.stringify(method),
      `${Object.values(method).join()}`,
    ]) {
      assert.doesNotMatch(text, /"p"|'p'|\bp\b/);
      assert.match(text, /\(secret\)/);
    }
  });
});

/** What openstacksdk 4.4 makes of a token in `auth`, with keystoneauth1 5.10. */
const LOST_TOKEN = 'None';

function normal(value: unknown): unknown {
  return typeof value === 'string' && URL.canParse(value) ? new URL(value).href : value;
}

const missing = spawnSync(PYTHON, ['-c', 'import openstack'], { encoding: 'utf8' });
const noOracle = missing.status !== 0 && 'this test lacks python3-openstacksdk';

describe('clouds.yaml, beside openstacksdk', { skip: noOracle }, () => {
  it('means the same to both', () => {
    const compared = CASES.flatMap((entry, index) =>
      entry.differs === undefined ? [{ entry, index }] : [],
    );
    const input = compared.map(({ entry, index }) => ({
      directory: join(prepared[index]?.directory ?? '', 'work'),
      env: prepared[index]?.env,
      cloud: entry.cloud ?? null,
      region: entry.region ?? null,
    }));
    const { stdout, stderr } = spawnSync(PYTHON, [ORACLE], {
      input: JSON.stringify(input),
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.notEqual(stdout, '', stderr);
    const answers = JSON.parse(stdout) as readonly (Record<string, unknown> & { error?: string })[];
    assert.equal(answers.length, compared.length);
    for (const [i, { entry, index }] of compared.entries()) {
      // Requests and endpoints are compared in generated.test.ts.
      const { body, endpoint, ...answer } = answers[i] ?? {};
      if (entry.error !== undefined) {
        assert.ok(answer.error !== undefined, `${entry.what}: openstacksdk finds nothing wrong`);
        continue;
      }
      assert.equal(answer.error, undefined, entry.what);
      const own = seen(load(index));
      for (const [key, value] of Object.entries(answer)) {
        if (key === 'token' && value === LOST_TOKEN) continue;
        assert.equal(
          normal(own[key as keyof Seen]),
          normal(value ?? undefined),
          `${entry.what}: ${key}`,
        );
      }
    }
  });
});
