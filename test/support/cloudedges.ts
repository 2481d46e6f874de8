/** More configurations of clouds for the table of cloudcases.ts: what is easily read otherwise. */
import { at, type Case, HOME, ONE } from './cloudcases.ts';

/** A cloud whose settings and `auth` are given. */
const cloud = (auth: string, settings = '') =>
  `clouds:\n  one:\n    ${settings}\n    auth: {auth_url: "https://k.example/v3", ${auth}}\n`;
const USER = 'username: u, user_domain_id: d';
const PASSWORD = `${USER}, password: p`;
const WRONG = 'openstacksdk finds out when it authenticates, with a TypeError or a refusal';

const SCALARS: readonly Case[] = [
  ...[
    ['08123456', '08123456'],
    ['1e3', '1e3'],
    ['y', 'y'],
    ['0123', '83'],
    ['12345678901234567890123456789012', '12345678901234567890123456789012'],
  ].map(
    ([written = '', password = '']): Case => ({
      what: `the password ${written}`,
      files: { 'work/clouds.yaml': cloud(`${USER}, password: ${written}`) },
      expected: { password },
    }),
  ),
  {
    what: 'names and regions that look like numbers',
    files: {
      'work/clouds.yaml': cloud(
        'username: 0089123, user_domain_id: d, password: p, project_id: 1234e5678',
        'region_name: 08',
      ),
    },
    expected: { username: '0089123', project: '1234e5678', region: '08' },
  },
  {
    what: 'a number that is read otherwise than it is written',
    files: { 'work/clouds.yaml': cloud(`${USER}, password: 0123`) },
    expected: { password: '83' },
    warnings: [/^password is read as a number.*quote it$/],
  },
  {
    what: 'a date as a password',
    files: { 'work/clouds.yaml': cloud(`${USER}, password: 2021-01-01`) },
    error: ['openstack-config', /password.*it is a date.*quote it/],
    differs: WRONG,
  },
  {
    what: 'a boolean as a password',
    files: { 'work/clouds.yaml': cloud(`${USER}, password: no`) },
    error: ['openstack-config', /password.*true or false.*quote it/],
    differs: WRONG,
  },
  {
    what: 'Norway as a region',
    files: { 'work/clouds.yaml': cloud(PASSWORD, 'region_name: no') },
    error: ['openstack-config', /a region .* is false.*quotes/],
  },
  {
    what: 'a tag of Ansible',
    files: { 'work/clouds.yaml': cloud(`${USER}, password: !vault abc`) },
    error: ['openstack-config', /clouds\.yaml:\d+:\d+: the tag !vault/],
  },
  {
    what: 'JSON with tabs in a YAML file',
    files: { 'work/clouds.yaml': '{"clouds":\n\t{"one": {}}}' },
    error: ['openstack-config', /clouds\.yaml:2:1: .*tab/],
  },
  {
    what: 'JSON with tabs',
    files: {
      'work/clouds.json':
        '{"clouds":\n\t{"one":\t{"auth": {"auth_url": "https://k.example/v3", "username": 1e3, "user_domain_id": "d", "password": 12345678901234567890123456789012}}}}',
    },
    expected: { username: '1000.0', password: '12345678901234567890123456789012' },
  },
  {
    what: 'one anchor, used 150 times',
    files: {
      'work/clouds.yaml': `x: &x {interface: internal}\nclouds:\n  one:\n    <<: *x\n    ${at('k.example').split('\n')[2]?.trim()}\n${Array.from({ length: 150 }, (_, i) => `  c${i}: *x\n`).join('')}`,
    },
    cloud: 'one',
    expected: { interface: 'internal' },
  },
];

const FILES: readonly Case[] = [
  {
    what: 'an empty clouds.yaml',
    files: { 'work/clouds.yaml': '' },
    error: ['openstack-cloud', /there are no clouds in .*work\/clouds\.yaml/],
  },
  {
    what: 'a clouds.yaml without clouds, and a name',
    files: { 'work/clouds.yaml': 'clouds:\n' },
    cloud: 'one',
    error: ['openstack-cloud', /no cloud "one" in .*clouds\.yaml.*it has no clouds/],
  },
  {
    what: 'an empty auth in secure.yaml',
    files: { 'work/clouds.yaml': ONE, [`${HOME}/secure.yaml`]: 'clouds: {one: {auth: }}' },
    error: ['openstack-config', /secure\.yaml: "auth:" of the cloud "one" is empty/],
  },
  {
    what: 'an empty cloud in secure.yaml',
    files: { 'work/clouds.yaml': ONE, 'work/secure.yaml': 'clouds: {one: }' },
    error: ['openstack-config', /secure\.yaml: the cloud "one" has no settings/],
  },
  {
    what: 'an empty auth in clouds.yaml',
    files: { 'work/clouds.yaml': 'clouds: {one: {auth: }}' },
    error: ['openstack-config', /clouds\.yaml: "auth:" of the cloud "one" is empty/],
  },
];

const SHAPES: readonly Case[] = [
  ...['RegionOne', '{A: {interface: internal}}'].map(
    (regions): Case => ({
      what: `regions that are no list: ${regions}`,
      files: { 'work/clouds.yaml': cloud(PASSWORD, `regions: ${regions}`) },
      error: ['openstack-config', /has "regions" that are no list.*region_name: NAME/],
      differs: 'openstacksdk takes the first letter, or the first name without its settings',
    }),
  ),
  {
    what: 'a profile that is written out',
    files: { 'work/clouds.yaml': `clouds: {one: {profile: {a: b}, auth: {${PASSWORD}}}}` },
    error: ['openstack-config', /the profile of the cloud "one" is a mapping.*clouds-public/],
  },
  {
    what: 'a profile of a file, with a status',
    files: {
      'work/clouds.yaml': `clouds: {one: {profile: mine, auth: {${PASSWORD}}}}`,
      'work/clouds-public.yaml':
        'public-clouds: {mine: {status: shutdown, auth: {auth_url: "https://k.example/v3"}}}',
    },
    expected: { authUrl: 'https://k.example/v3' },
  },
  {
    what: 'JSON with a byte-order mark',
    files: { 'work/clouds.json': '\ufeff{"clouds": {}}' },
    error: ['openstack-config', /clouds\.json.*malformed JSON: it begins with a byte-order mark/],
  },
  {
    what: 'JSON with a comma too many',
    files: { 'work/clouds.json': '{"clouds": {"one": {},}}' },
    error: ['openstack-config', /malformed JSON: .*no comma before a bracket/],
  },
  {
    what: 'OS_CLIENT_CONFIG_FILE with a ~ that nobody has expanded',
    files: { 'home/c.yaml': ONE },
    env: { OS_CLIENT_CONFIG_FILE: '~/c.yaml' },
    error: ['openstack-cloud', /OS_CLIENT_CONFIG_FILE names "~\/c\.yaml".*write the full path/],
  },
  {
    what: "cacert in another user's home",
    files: { 'work/clouds.yaml': cloud(PASSWORD, 'cacert: ~root/ca.pem') },
    error: ['openstack-config', /cacert of the cloud "one": .*write the full path/],
    differs: 'openstacksdk expands it',
  },
  {
    what: 'a key in both mappings of one <<',
    files: {
      'work/clouds.yaml': `a: &a {password: pa}\nb: &b {password: pb}\nclouds:\n  one:\n    auth:\n      <<: [*a, *b]\n      auth_url: https://k.example/v3\n      username: u\n      user_domain_id: d\n`,
    },
    expected: { password: 'pa' },
    differs: 'PyYAML 6.0.4 takes the last of them, other versions and YAML itself the first',
  },
];

const VARIABLES: readonly Case[] = [
  {
    what: 'OS_VENDOR does not make a cloud',
    files: { 'work/clouds.yaml': ONE },
    env: { OS_VENDOR: 'acme', OS_NAME: 'linux' },
    expected: { name: 'one', password: 'p' },
    differs: 'openstacksdk takes every OS_* variable for a cloud, which then has no auth_url',
  },
  {
    what: 'OS_VENDOR alone',
    files: {},
    env: { OS_VENDOR: 'acme' },
    error: ['openstack-cloud', /there is no clouds\.yaml/],
  },
  {
    what: 'a login without OS_AUTH_URL',
    files: {},
    env: { OS_USERNAME: 'u', OS_PASSWORD: 'p' },
    error: ['openstack-cloud', /OS_USERNAME, OS_PASSWORD are set, but OS_AUTH_URL is not/],
  },
  {
    what: 'OS_PASSWORD beside a cloud without password',
    files: { 'work/clouds.yaml': cloud(USER) },
    env: { OS_PASSWORD: 'ep' },
    cloud: 'one',
    expected: { name: 'one', username: 'u', password: 'ep' },
    differs: 'the library ignores it, the command and Terraform take it',
  },
  {
    what: 'other variables for what a cloud lacks, but not for what it has otherwise',
    files: { 'work/clouds.yaml': cloud('username: u, password: p, project_name: pr') },
    env: {
      OS_CLOUD: 'one',
      OS_USER_DOMAIN_NAME: 'ED',
      OS_PROJECT_DOMAIN_NAME: 'ED',
      OS_PROJECT_ID: 'epr',
      OS_USER_ID: 'eu',
    },
    expected: { username: 'u', userDomain: 'ED', project: 'pr' },
    warnings: [/^OS_PROJECT_ID is set, but not used/],
    differs: 'the library ignores them',
  },
  {
    what: 'OS_AUTH_TYPE beside a cloud without any login',
    files: { 'work/clouds.yaml': 'clouds: {one: {auth: {auth_url: "https://k.example/v3"}}}' },
    env: {
      OS_CLOUD: 'one',
      OS_AUTH_TYPE: 'v3applicationcredential',
      OS_APPLICATION_CREDENTIAL_ID: '0123',
      OS_APPLICATION_CREDENTIAL_SECRET: 's',
    },
    expected: { authType: 'v3applicationcredential', credential: '0123' },
    differs: 'the library ignores it',
  },
  {
    what: '--os-region beside OS_REGION_NAME and a cloud of variables',
    files: {},
    env: {
      OS_AUTH_URL: 'https://env.example/v3',
      OS_USERNAME: 'u',
      OS_PASSWORD: 'p',
      OS_USER_DOMAIN_ID: 'd',
      OS_REGION_NAME: 'ER',
    },
    region: 'other',
    expected: { region: 'other' },
    differs: 'the command takes it, the library refuses it',
  },
];

const PROFILES: readonly Case[] = [
  {
    what: 'a profile of openstacksdk',
    files: {
      'work/clouds.yaml': `clouds: {one: {profile: elastx, auth: {${PASSWORD}}}}`,
    },
    expected: { authUrl: 'https://ops.elastx.cloud:5000/v3', region: 'se-sto' },
    warnings: [/^the profile "elastx" is built in, but programs in Go/],
  },
  {
    what: 'a profile of openstacksdk with regions and a placeholder',
    files: { 'work/clouds.yaml': `clouds: {one: {profile: otc, auth: {${PASSWORD}}}}` },
    region: 'eu-nl',
    expected: { authUrl: 'https://iam.eu-nl.otc.t-systems.com/v3', region: 'eu-nl' },
  },
  {
    what: 'a profile that would have to be fetched',
    files: { 'work/clouds.yaml': `clouds: {one: {profile: vexxhost, auth: {${PASSWORD}}}}` },
    error: [
      'openstack-config',
      /fetched from https:\/\/vexxhost\.com.*well-known\/openstack\/api.*clouds-public\.yaml/,
    ],
    differs: 'openstacksdk fetches it',
  },
  {
    what: 'a profile of a cloud that is gone',
    files: { 'work/clouds.yaml': `clouds: {one: {profile: ibmcloud, auth: {${PASSWORD}}}}` },
    error: ['openstack-config', /no longer exists/],
    differs: 'the openstacksdk of some systems still has it',
  },
  {
    what: 'a profile that nobody knows',
    files: { 'work/clouds.yaml': `clouds: {one: {profile: acme, auth: {${PASSWORD}}}}` },
    error: ['openstack-auth-url', /no auth_url.*clouds-public\.yaml/],
    differs: WRONG,
  },
];

const OTHERS: readonly Case[] = [
  {
    what: 'version 3 without a domain',
    files: {
      'work/clouds.yaml': cloud('username: u, password: p', 'identity_api_version: 3'),
    },
    expected: { userDomain: 'default' },
    differs: 'only the command has this default',
  },
  {
    what: 'verify as a file',
    files: { 'work/clouds.yaml': cloud(PASSWORD, 'verify: /etc/ca.pem') },
    expected: { verify: '/etc/ca.pem' },
    warnings: [/^verify is the path of a file/],
  },
  {
    what: 'cacert wins over a file of verify',
    files: {
      'work/clouds.yaml': cloud(PASSWORD, 'verify: /etc/ca.pem\n    cacert: /etc/b.pem'),
    },
    expected: { verify: '/etc/b.pem' },
  },
  {
    what: 'a type without Keystone, and no endpoint',
    files: { 'work/clouds.yaml': 'clouds: {one: {auth_type: none}}' },
    error: ['openstack-auth-url', /has no endpoint, which none needs/],
    differs: WRONG,
  },
  {
    what: 'a region with other settings than its values',
    files: {
      'work/clouds.yaml': cloud(PASSWORD, 'regions: [{name: A, interface: internal}]'),
    },
    error: ['openstack-config', /with other settings/],
  },
];

export const EDGES = [...SCALARS, ...FILES, ...SHAPES, ...VARIABLES, ...PROFILES, ...OTHERS];
