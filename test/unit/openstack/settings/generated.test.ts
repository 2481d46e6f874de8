/**
 * Generated clouds, as this program reads them and as openstacksdk and the openstack command do:
 * settings, and the request for a token. What may differ has a name here and in docs/openstack.md.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { authenticationBody } from '../../../../src/openstack/keystone/keystone.ts';
import { loadCloud } from '../../../../src/openstack/settings/load.ts';
import { type GeneratedCase, generatedClouds } from '../../../support/generatedclouds.ts';

const PYTHON = '/usr/bin/python3';
const ORACLE = fileURLToPath(
  new URL('../../../../../test/support/clouds_oracle.py', import.meta.url),
);
const CLOUDS = 500;
/** Each starts the whole command. */
const COMMANDS = 100;
const SEED = 18;

const temporary = mkdtempSync(join(tmpdir(), 'tunnel-generated-'));
after(() => rmSync(temporary, { recursive: true, force: true }));

function prepare({ files, env }: GeneratedCase, index: number): [string, Record<string, string>] {
  const root = join(temporary, String(index));
  for (const name of ['work', 'home']) mkdirSync(join(root, name), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return [root, { HOME: join(root, 'home'), ...env }];
}

type Answer = Readonly<Record<string, unknown>> & { readonly error?: string };

async function own(
  entry: GeneratedCase,
  root: string,
  env: Record<string, string>,
): Promise<Answer> {
  try {
    const { cloud, region } = entry;
    const home = join(root, 'home');
    const found = loadCloud(
      { cloud, region },
      { env, directory: join(root, 'work'), home, site: join(root, 'site') },
    );
    const compute = found.services.get('compute');
    const endpoint = found.withoutKeystone?.endpoint?.href;
    return {
      name: found.name,
      authUrl: found.authUrl?.href,
      authType: found.authType,
      region: found.region || undefined,
      interface: found.interfaces[0],
      verify: found.tls.verify && (found.tls.caFile ?? true),
      volume:
        found.services.get('block-storage')?.endpoint?.href ??
        (found.authType === 'none' ? endpoint : undefined),
      computeInterface: compute?.interfaces?.[0] ?? found.interfaces[0],
      computeRegion: compute?.region ?? found.region,
      endpoint,
      body:
        found.withoutKeystone === undefined
          ? await authenticationBody(found.authentication(), async () => 'asked')
          : undefined,
    };
  } catch (error) {
    if (error instanceof TunnelError) return { error: `${error.message}; ${error.hint}` };
    throw error;
  }
}

/** Why this program refuses what the other reads. */
const STRICTER: readonly (readonly [name: string, ours: RegExp])[] = [
  ['a placeholder without a value', /stands for a setting that the cloud doesn't have/],
  ['a boolean as a secret or user', /without quotes it is true or false/],
  ['a list as text', /it is a list or a mapping/],
  ['a user or secret that is missing', /^the cloud "one" has no \w+, which/],
  ['a name without its domain', /without the domain that it belongs to/],
  ['system_scope beside another scope', /has a system_scope beside a project, domain or trust/],
];

/** Why this program reads what the other refuses. */
const MORE_LENIENT: readonly (readonly [name: string, theirs: RegExp])[] = [
  [
    'settings that the type of authentication does not have',
    /unexpected keyword argument|^AssertionError: $/,
  ],
  [
    'the domain of the scope, or the default one',
    /OptionError: You have provided a (?:user|project_)name/,
  ],
  ['--os-region beside OS_REGION_NAME', /Region B is not a valid region name for cloud envvars/],
];

/** What both read, but not in the same way, by the file, and by what they make of it. */
const OTHERWISE: readonly (readonly [name: string, key: string, file: RegExp, theirs?: RegExp])[] =
  [
    ['a token in auth, which some versions lose', 'body', /token/, /"token":\{"id":"None"\}/],
    [
      'empty values are not set',
      'body',
      /(?:project|tenant|domain)[-_](?:id|name): (?:null|~|"")\n/,
    ],
    [
      'the domain of the scope, or the default one',
      'body',
      /^(?![\s\S]*(?:project|tenant)[-_](?:id|name):)[\s\S]* domain[-_](?:id|name):/,
    ],
    ['an application credential has its own scope', 'body', /v3applicationcredential/],
    // The command has no `default_domain_id`, and its own default domain.
    ['default_domain_id, default_domain_name', 'body', /default[-_]domain[-_](?:id|name)/],
  ];

function difference(ours: Answer, theirs: Answer, file: string): string | undefined {
  if (ours.error !== undefined && theirs.error !== undefined) return undefined;
  if (ours.error !== undefined) {
    const { error } = ours;
    return STRICTER.some(([, text]) => text.test(error)) ? undefined : `refused: ${error}`;
  }
  if (theirs.error !== undefined) {
    const { error } = theirs;
    return MORE_LENIENT.some(([, text]) => text.test(error)) ? undefined : `not refused: ${error}`;
  }
  const keys = Object.keys(ours).filter(
    (key) =>
      !alike(ours[key], theirs[key]) &&
      !OTHERWISE.some(
        ([, which, text, made]) =>
          which === key && text.test(file) && (made?.test(JSON.stringify(theirs[key])) ?? true),
      ),
  );
  if (keys.length === 0) return undefined;
  return keys
    .map((key) => `${key}: ${JSON.stringify(ours[key])} and ${JSON.stringify(theirs[key])}`)
    .join('; ');
}

function alike(ours: unknown, theirs: unknown): boolean {
  try {
    assert.deepEqual(plain(ours), plain(theirs));
    return true;
  } catch {
    return false;
  }
}

function plain(value: unknown): unknown {
  if (typeof value === 'string' && URL.canParse(value)) return new URL(value).href;
  return value === undefined || value === null ? null : JSON.parse(JSON.stringify(value));
}

const hasModule = (name: string): boolean =>
  spawnSync(PYTHON, ['-c', `import ${name}`]).status === 0;

for (const [title, module, command] of [
  ['openstacksdk', 'openstack', false],
  ['the openstack command', 'openstackclient.shell', true],
] as const) {
  const skip = !hasModule(module) && `this test lacks python3-openstackclient (${module})`;
  describe(`clouds, beside ${title}`, { skip }, () => {
    const count = command ? COMMANDS : CLOUDS;
    it(`mean the same to both, ${count} of them`, async () => {
      const cases = generatedClouds(count, SEED);
      const prepared = cases.map(prepare);
      const input = cases.map(({ cloud, region }, i) => {
        const [root, env] = prepared[i] ?? ['', {}];
        const names = { cloud: cloud ?? null, region: region ?? null };
        return { directory: join(root, 'work'), env, ...names, command };
      });
      const { stdout, stderr } = spawnSync(PYTHON, [ORACLE], {
        input: JSON.stringify(input),
        encoding: 'utf8',
        maxBuffer: 64 << 20,
      });
      assert.notEqual(stdout, '', stderr);
      const answers = JSON.parse(stdout) as readonly Answer[];
      const differences: string[] = [];
      for (const [i, entry] of cases.entries()) {
        const [root, env] = prepared[i] ?? ['', {}];
        const ours = await own(entry, root, env);
        // The command doesn't say which cloud it has chosen by itself.
        const theirs = { ...answers[i], ...(command && { name: ours['name'] }) };
        const [one = ''] = (entry.files['work/clouds.yaml'] ?? '').split('\n  two:\n');
        const file = ours['name'] === 'one' ? one : '';
        const found = difference(ours, theirs, file);
        if (found !== undefined) differences.push(`${JSON.stringify(entry)}: ${found}`);
      }
      assert.deepEqual(differences, []);
      const read = answers.filter(({ error }) => error === undefined);
      assert.ok(read.length > count / 3, `${title} reads only ${read.length}`);
    });
  });
}
