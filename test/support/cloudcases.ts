/**
 * Configurations of clouds, and how clients read them: the table of
 * unit/openstack/cloudsyaml.test.ts.
 */

/** The settings that both report; undefined and null are the same. */
export interface Seen {
  readonly name?: string;
  readonly authUrl?: string;
  readonly authType?: string;
  readonly region?: string;
  readonly interface?: string;
  readonly verify?: boolean | string;
  readonly username?: string;
  readonly password?: string;
  readonly token?: string;
  readonly credential?: string;
  readonly project?: string;
  readonly userDomain?: string;
  readonly volume?: string;
  readonly computeInterface?: string;
  readonly computeRegion?: string;
}

export interface Case {
  readonly what: string;
  /**
   * `work/`, `home/` and `xdg/` are the working directory, HOME and XDG_CONFIG_HOME (if it is set).
   */
  readonly files: Readonly<Record<string, string>>;
  /** `$T` stands for the directory that contains them. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cloud?: string;
  readonly region?: string;
  /** Only a part of it is compared. */
  readonly expected?: Seen;
  /** The code, and a part of the message or hint. */
  readonly error?: readonly [code: string, text: RegExp];
  /** Each must occur in the warnings. */
  readonly warnings?: readonly RegExp[];
  /** Why openstacksdk isn't compared. */
  readonly differs?: string;
}

const AUTH = `auth: {auth_url: "https://keystone.example:5000/v3", username: u, password: p, project_name: pr, user_domain_name: D, project_domain_name: D}`;
export const ONE = `clouds:\n  one: {${AUTH}}\n`;
export const at = (host: string) =>
  `clouds:\n  one:\n    ${AUTH.replace('keystone.example', host)}\n`;
export const HOME = 'home/.config/openstack';

export const CASES: readonly Case[] = [
  {
    what: 'one cloud needs no name',
    files: { [`${HOME}/clouds.yaml`]: ONE },
    expected: {
      name: 'one',
      authUrl: 'https://keystone.example:5000/v3',
      authType: 'password',
      interface: 'public',
      verify: true,
      username: 'u',
      password: 'p',
      project: 'pr',
      userDomain: 'D',
    },
  },
  {
    what: 'the working directory comes before the home directory',
    files: { 'work/clouds.yaml': at('work.example'), [`${HOME}/clouds.yaml`]: at('home.example') },
    expected: { authUrl: 'https://work.example:5000/v3' },
  },
  {
    what: 'variables beside a cloud of a file do not count',
    files: { 'work/clouds.yaml': at('work.example') },
    env: { OS_CLOUD: 'one', OS_PASSWORD: 'ep', OS_AUTH_TYPE: 'v3token' },
    expected: { authType: 'password', password: 'p' },
    warnings: [
      /^OS_AUTH_TYPE, OS_PASSWORD are set, but not used for the cloud "one".*this program doesn't$/,
    ],
  },
  {
    what: 'XDG_CONFIG_HOME comes before ~/.config',
    files: {
      'xdg/openstack/clouds.yaml': at('xdg.example'),
      [`${HOME}/clouds.yaml`]: at('home.example'),
    },
    env: { XDG_CONFIG_HOME: '$T/xdg' },
    expected: { authUrl: 'https://xdg.example:5000/v3' },
    warnings: [/Terraform looks only in/],
  },
  {
    what: '~/.config is looked at although XDG_CONFIG_HOME is elsewhere',
    files: { [`${HOME}/clouds.yaml`]: at('home.example') },
    env: { XDG_CONFIG_HOME: '$T/xdg' },
    expected: { authUrl: 'https://home.example:5000/v3' },
  },
  {
    what: 'OS_CLIENT_CONFIG_FILE comes before all',
    files: { 'other/my.yaml': at('other.example'), 'work/clouds.yaml': at('work.example') },
    env: { OS_CLIENT_CONFIG_FILE: '$T/other/my.yaml' },
    expected: { authUrl: 'https://other.example:5000/v3' },
  },
  {
    what: 'OS_CLIENT_CONFIG_FILE may name nothing',
    files: { 'work/clouds.yaml': at('work.example') },
    env: { OS_CLIENT_CONFIG_FILE: '$T/other/my.yaml' },
    expected: { authUrl: 'https://work.example:5000/v3' },
    warnings: [/isn't there.*gophercloud 2 fails/],
  },
  {
    what: '.yaml comes before .yml and .json, also in JSON',
    files: { 'work/clouds.yml': at('yml.example'), 'work/clouds.json': '{}' },
    expected: { authUrl: 'https://yml.example:5000/v3' },
    warnings: [/read only clouds\.yaml/],
  },
  {
    what: 'JSON',
    files: {
      'work/clouds.json': JSON.stringify({
        clouds: {
          j: {
            auth: {
              auth_url: 'https://j.example/v3',
              username: 'u',
              password: 'p',
              user_domain_id: 'd',
            },
          },
        },
      }),
    },
    expected: { name: 'j', authUrl: 'https://j.example/v3', userDomain: 'd' },
  },
  {
    what: 'secure.yaml is found by itself and merged',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {auth: {auth_url: "https://k.example", username: u, user_domain_id: d}}}',
      [`${HOME}/secure.yaml`]: 'clouds: {one: {auth: {password: from-secure}}}',
    },
    expected: { password: 'from-secure', username: 'u' },
    warnings: [/reads secure\.yaml only in the directory of/],
  },
  {
    what: 'OS_CLIENT_SECURE_FILE',
    files: {
      'work/clouds.yaml': ONE,
      'work/secure.yaml': 'clouds: {one: {auth: {password: beside}}}',
      'other/s.yaml': 'clouds: {one: {auth: {password: named}}}',
    },
    env: { OS_CLIENT_SECURE_FILE: '$T/other/s.yaml' },
    expected: { password: 'named' },
    warnings: [/OS_CLIENT_SECURE_FILE, which programs in Go/],
  },
  {
    what: 'a profile of clouds-public.yaml lies under the cloud',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {profile: vendor, auth: {username: u, password: p, user_domain_id: mine}}}',
      'work/clouds-public.yaml':
        'public-clouds: {vendor: {region_name: V, interface: internal, auth: {auth_url: "https://v.example/v3", user_domain_id: theirs}}}',
    },
    expected: {
      authUrl: 'https://v.example/v3',
      region: 'V',
      interface: 'internal',
      userDomain: 'mine',
    },
  },
  {
    what: 'OS_CLOUD chooses, a name that is asked for chooses before it',
    files: { 'work/clouds.yaml': `${ONE}  two: {${AUTH}}\n  three: {${AUTH}}\n` },
    env: { OS_CLOUD: 'two' },
    cloud: 'three',
    expected: { name: 'three' },
  },
  {
    what: 'OS_CLOUD',
    files: { 'work/clouds.yaml': `${ONE}  two: {${AUTH}}\n` },
    env: { OS_CLOUD: 'two' },
    expected: { name: 'two' },
  },
  {
    what: 'OS_* variables are a cloud, and the one that is meant',
    files: { 'work/clouds.yaml': ONE },
    env: {
      OS_AUTH_URL: 'https://env.example/v3',
      OS_USERNAME: 'eu',
      OS_PASSWORD: 'ep',
      OS_PROJECT_NAME: 'epr',
      OS_USER_DOMAIN_NAME: 'ED',
      OS_PROJECT_DOMAIN_NAME: 'ED',
      OS_REGION_NAME: 'ER',
      OS_INTERFACE: 'internal',
      OS_CACERT: '/ca.pem',
    },
    expected: {
      name: 'envvars',
      authUrl: 'https://env.example/v3',
      username: 'eu',
      password: 'ep',
      project: 'epr',
      userDomain: 'ED',
      region: 'ER',
      interface: 'internal',
      verify: '/ca.pem',
    },
  },
  {
    what: 'OS_CLOUD_NAME renames it; OS_ENDPOINT_TYPE and OS_TENANT_NAME are what they were called',
    files: {},
    env: {
      OS_CLOUD_NAME: 'rc',
      OS_AUTH_URL: 'https://env.example/v3',
      OS_USERNAME: 'u',
      OS_PASSWORD: 'p',
      OS_USER_DOMAIN_ID: 'default',
      OS_TENANT_NAME: 'old',
      OS_PROJECT_DOMAIN_ID: 'default',
      OS_ENDPOINT_TYPE: 'internalURL',
    },
    expected: { name: 'rc', project: 'old' },
    differs: 'openstacksdk keeps the suffix URL until it looks into the catalog',
  },
  {
    what: 'OS_INSECURE',
    files: {},
    env: {
      OS_AUTH_URL: 'https://e.example/v3',
      OS_USERNAME: 'u',
      OS_PASSWORD: 'p',
      OS_USER_DOMAIN_ID: 'default',
      OS_INSECURE: 'True',
    },
    expected: { verify: false },
    warnings: [/not verified/],
  },
  {
    what: 'selectors alone describe no cloud',
    files: { 'work/clouds.yaml': ONE },
    env: { OS_REGION_NAME: 'R' },
    expected: { name: 'one', region: 'R' },
    differs:
      'the library ignores OS_REGION_NAME here, the command line clients and Terraform use it',
  },
  {
    what: 'the first of several regions, with its values',
    files: {
      'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    regions:\n    - name: A\n      values: {interface: internal, auth: {project_name: in-a}}\n    - B\n`,
    },
    expected: { region: 'A', interface: 'internal', project: 'in-a', username: 'u' },
    warnings: [/set region_name/],
  },
  {
    what: 'a region that is asked for',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    regions: [A, B]\n` },
    region: 'B',
    expected: { region: 'B' },
  },
  {
    what: 'regions separated by commas',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    region_name: A,B\n` },
    expected: { region: 'A' },
  },
  {
    what: 'a region that the cloud does not have',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    regions: [A, B]\n` },
    region: 'b',
    error: ['openstack-region', /"A", "B"/],
  },
  {
    what: 'endpoint_type wins over interface',
    files: {
      'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    interface: public\n    endpoint_type: internal\n`,
    },
    expected: { interface: 'internal' },
  },
  {
    what: 'dashes for underscores',
    files: {
      'work/clouds.yaml':
        'clouds:\n  one:\n    region-name: R\n    auth: {auth_url: "https://k.example", username: u, password: p, project-name: dashed, user-domain-name: D, project-domain-name: D}\n',
    },
    expected: { project: 'dashed', userDomain: 'D' },
    differs: 'openstacksdk looks for the region before it has replaced the dashes',
  },
  {
    what: 'settings of auth may stand beside it',
    files: {
      'work/clouds.yaml':
        'clouds:\n  one: {auth: {auth_url: "https://k.example", username: inside}, username: outside, password: p, user_domain_id: d}\n',
    },
    expected: { username: 'inside', password: 'p' },
  },
  {
    what: 'numbers are text, and yes is a boolean',
    files: {
      'work/clouds.yaml':
        'clouds:\n  one:\n    verify: no\n    auth: {auth_url: "https://k.example", username: u, password: p, user_domain_id: d, project_id: 4711}\n',
    },
    expected: { verify: false, project: '4711' },
  },
  {
    what: 'cacert',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    cacert: ~/ca.pem\n` },
    expected: { verify: '$T/home/ca.pem' },
  },
  {
    what: 'verify: false wins over cacert',
    files: {
      'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    cacert: /ca.pem\n    verify: false\n`,
    },
    expected: { verify: false },
    warnings: [/although it has a cacert/],
  },
  {
    what: 'merge keys and anchors',
    files: {
      'work/clouds.yaml': `x: &base\n  interface: internal\n  ${AUTH}\nclouds:\n  one:\n    <<: *base\n    region_name: R\n`,
    },
    expected: { interface: 'internal', region: 'R', username: 'u' },
  },
  {
    what: 'an override counts for all names of its service',
    files: {
      'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    volumev3_endpoint_override: https://v.example/v3\n    compute_interface: internal\n    compute_region_name: C\n`,
    },
    expected: { volume: 'https://v.example/v3', computeInterface: 'internal', computeRegion: 'C' },
    warnings: [/endpoint_overrides in its provider block/],
  },
  {
    what: 'auth_url with a placeholder',
    files: {
      'work/clouds.yaml': `clouds:\n  one:\n    region_name: r1\n    ${AUTH.replace('keystone.example', 'id.{region_name}.example')}\n`,
    },
    expected: { authUrl: 'https://id.r1.example:5000/v3' },
    warnings: [/take for part of the address/],
  },
  {
    what: 'a token',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {auth_type: v3token, auth: {auth_url: "https://k.example/v3", token: t, project_id: p}}}',
    },
    expected: { authType: 'v3token', token: 't', project: 'p' },
  },
  {
    what: 'an application credential',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {auth_type: v3applicationcredential, auth: {auth_url: "https://k.example/v3", application_credential_id: id, application_credential_secret: s}}}',
    },
    expected: { authType: 'v3applicationcredential', credential: 'id' },
  },
  {
    what: 'a domain that stands for both',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {auth: {auth_url: "https://k.example/v3", username: u, password: p, project_name: pr, domain_name: Both}}}',
    },
    expected: { userDomain: 'Both' },
  },
  {
    what: 'malformed YAML',
    files: { 'work/clouds.yaml': 'clouds:\n  one:\n    auth: {username: "u\n' },
    error: ['openstack-config', /clouds\.yaml:\d+:\d+: malformed YAML/],
  },
  {
    what: 'a setting that only looks like a service',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    ${AUTH}\n    uplink_interface: eth0\n` },
    expected: { interface: 'public' },
    warnings: [/uplink_interface.*"eth0" is not an interface.*not used/],
  },
  {
    what: 'malformed JSON',
    files: { 'work/clouds.json': '{\n"clouds": {"one": hunter2}\n}' },
    error: ['openstack-config', /clouds\.json:2: malformed JSON/],
  },
  {
    what: 'no mapping',
    files: { 'work/clouds.yaml': '- one\n' },
    error: ['openstack-config', /is not a mapping, but a list/],
  },
  {
    what: 'a missing cloud',
    files: { 'work/clouds.yaml': `${ONE}  two: {${AUTH}}\n` },
    cloud: 'three',
    error: ['openstack-cloud', /"one", "two"/],
  },
  {
    what: 'none of several clouds',
    files: { 'work/clouds.yaml': `${ONE}  two: {${AUTH}}\n` },
    error: ['openstack-cloud', /none of 2 clouds is chosen/],
    differs: 'openstacksdk goes on without any and fails later',
  },
  {
    what: 'no configuration at all',
    files: {},
    error: ['openstack-cloud', /there is no clouds\.yaml/],
  },
  {
    what: 'a cloud that is called as the variables are',
    files: { 'work/clouds.yaml': `clouds:\n  envvars: {${AUTH}}\n` },
    error: ['openstack-config', /rename the cloud/],
  },
  {
    what: 'a cloud without auth_url',
    files: {
      'work/clouds.yaml': 'clouds: {one: {auth: {username: u, password: p, user_domain_id: d}}}',
    },
    error: ['openstack-auth-url', /has no auth_url/],
  },
  {
    what: 'a cloud without password',
    files: {
      'work/clouds.yaml':
        'clouds: {one: {auth: {auth_url: "https://k.example", username: u, user_domain_id: d}}}',
    },
    expected: { username: 'u', userDomain: 'd' },
  },
  {
    what: 'an unknown kind of authentication',
    files: { 'work/clouds.yaml': `clouds:\n  one:\n    auth_type: v3oidcpassword\n    ${AUTH}\n` },
    error: ['openstack-auth-type', /--os-catalog off/],
    differs: 'openstacksdk knows more of them',
  },
  {
    what: 'an auth_url that is none',
    files: {
      'work/clouds.yaml': ONE.replace('https://keystone.example:5000/v3', 'keystone.example:5000'),
    },
    error: ['openstack-config', /write it as https:/],
    differs: 'openstacksdk finds out when it connects',
  },
  {
    what: 'YAML that stands for gigabytes',
    files: {
      'work/clouds.yaml': `${Array.from({ length: 30 }, (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1}, *a${i - 1}, *a${i - 1}`}]`).join('\n')}\n`,
    },
    error: ['openstack-config', /alias/i],
    differs: 'PyYAML shares what an alias stands for',
  },
];
