/** What users write: on the command line, in clouds.yaml; and what a cloud answers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseExclusion, parseTarget } from '../../../src/config/target.ts';
import { canonicalAddress } from '../../../src/net/address.ts';
import { canonicalName, parseNamePattern } from '../../../src/net/name.ts';
import { parsePorts } from '../../../src/net/ports.ts';
import { parsePrefix } from '../../../src/net/prefix.ts';
import { parseCatalog } from '../../../src/openstack/keystone/catalog.ts';
import { parseJson } from '../../../src/openstack/keystone/json.ts';
import { parseVersions } from '../../../src/openstack/keystone/versions.ts';
import { loadCloud } from '../../../src/openstack/settings/load.ts';
import type { FuzzTarget } from '../engine.ts';
import { refusable, text } from '../text.ts';

const PLACE = { kind: 'argument', name: 'fuzz' } as const;

const notations: FuzzTarget = {
  name: 'notations',
  seeds: [
    '10.0.0.0/8:443,8000-8100',
    '2001:db8::/32',
    '*.corp.example:443',
    'api.example.com',
    '[::1]:22',
    '10/8',
  ],
  words: ['::', '/', ':', '-', '*.', 'xn--', 'ffff:', '255', '0x', 'ü'],
  maxBytes: 300,
  run(input) {
    const written = text(input);
    for (const parse of [
      canonicalAddress,
      canonicalName,
      parseNamePattern,
      parsePorts,
      parsePrefix,
    ])
      refusable(() => parse(written));
    refusable(() => parseTarget(written, PLACE));
    refusable(() => parseExclusion(written, PLACE));
  },
};

const directory = mkdtempSync(join(tmpdir(), 'tunnel-fuzz-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const clouds: FuzzTarget = {
  name: 'clouds-yaml',
  seeds: [
    `clouds:
  a: &a
    auth: {auth_url: "https://cloud.example:5000/v3", username: u, password: 'p', project_name: x}
    regions: [one, {name: two, values: {identity_api_version: 3}}]
    verify: no
  b:
    <<: *a
    region_name: 08
`,
    'clouds: {a: {auth: {token: t, auth_url: http://10.0.0.1/}, auth_type: v3token, interface: admin}}',
  ],
  words: [
    '\n  ',
    '&a',
    '*a',
    '<<: ',
    '!!binary ',
    '!!timestamp ',
    '? ',
    '- ',
    '[',
    '{',
    '|\n',
    '2021-01-01',
    'auth:',
  ],
  maxBytes: 2_000,
  run(input) {
    writeFileSync(join(directory, 'clouds.yaml'), input);
    const around = {
      env: {},
      directory,
      home: join(directory, 'home'),
      site: join(directory, 'site'),
    };
    for (const cloud of ['a', 'b']) refusable(() => loadCloud({ cloud }, around));
  },
};

const catalog: FuzzTarget = {
  name: 'catalog',
  seeds: [
    JSON.stringify([
      {
        type: 'compute',
        name: 'nova',
        endpoints: [
          {
            interface: 'public',
            region: 'one',
            region_id: 'one',
            url: 'https://10.0.0.1:8774/v2.1',
          },
        ],
      },
    ]),
    JSON.stringify({
      versions: {
        values: [{ id: 'v3.14', links: [{ rel: 'self', href: 'https://10.0.0.1/v3/' }] }],
      },
    }),
  ],
  words: ['"url":', 'http://[', '%00', 'null', '{}', '[]', '1e999'],
  maxBytes: 3_000,
  run(input) {
    refusable(() => parseCatalog(parseJson(text(input))));
    parseVersions(text(input), new URL('https://cloud.example/'));
  },
};

export const FILE_TARGETS: readonly FuzzTarget[] = [notations, clouds, catalog];
