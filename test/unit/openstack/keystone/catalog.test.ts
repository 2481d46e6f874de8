import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createSecureContext } from 'node:tls';
import fc from 'fast-check';
import { ConnectError } from '../../../../src/flow/connector.ts';
import { type Observer, silentObserver } from '../../../../src/observe/observer.ts';
import {
  CatalogCache,
  cacheDirectory,
  MAX_CATALOG_AGE_S,
} from '../../../../src/openstack/keystone/cache.ts';
import {
  type CatalogEndpoint,
  configuredEndpoints,
  parseCatalog,
  selectEndpoints,
} from '../../../../src/openstack/keystone/catalog.ts';
import { HttpClient } from '../../../../src/openstack/keystone/http.ts';
import {
  findVersionLinks,
  MAX_VERSION_DOCUMENTS,
} from '../../../../src/openstack/keystone/versionlinks.ts';
import { parseVersions } from '../../../../src/openstack/keystone/versions.ts';
import {
  admissionLines,
  formatReport,
  permitOpenLine,
} from '../../../../src/openstack/report/report.ts';
import type { Cloud } from '../../../../src/openstack/settings/cloud.ts';
import { Secret } from '../../../../src/openstack/settings/secret.ts';
import { officialType } from '../../../../src/openstack/settings/servicetypes.ts';
import {
  cloudTargets,
  MAX_CLOUD_TARGETS,
  rulesOf,
} from '../../../../src/openstack/targets/rules.ts';
import {
  type CloudTargetsOptions,
  findCloudTargets,
  formatAge,
} from '../../../../src/openstack/targets/targets.ts';

const CLOUD: Cloud = {
  name: 'one',
  source: 'clouds.yaml',
  authUrl: new URL('https://keystone.example:5000/v3'),
  authType: 'token',
  authentication: () => ({
    method: { kind: 'token', token: new Secret('t') },
    scope: { kind: 'none' },
  }),
  region: 'A',
  interfaces: ['public'],
  tls: { caFile: undefined, verify: true, certFile: undefined, keyFile: undefined },
  services: new Map(),
  warnings: [],
};

function entry(
  type: string,
  region: string,
  which: CatalogEndpoint['interface'],
  url: string,
): CatalogEndpoint {
  return { type, name: type, interface: which, regions: [region], url };
}

const CATALOG = [
  entry('compute', 'A', 'public', 'https://nova.a.example/'),
  entry('compute', 'A', 'internal', 'https://nova.internal/'),
  entry('compute', 'B', 'public', 'https://nova.b.example/'),
  entry('volumev2', 'A', 'public', 'https://cinder.a.example/v2'),
  entry('volumev3', 'A', 'public', 'https://cinder.a.example/v3'),
];

const urlsOf = (cloud: Cloud, catalog = CATALOG) =>
  selectEndpoints(cloud, catalog).map(({ type, url }) => `${type} ${url.href}`);
const IDENTITY = 'identity https://keystone.example:5000/v3';

describe('the service catalog', () => {
  it('is read as it comes, without what cannot be used', () => {
    const { endpoints, unusable } = parseCatalog([
      {
        type: 'volumev3',
        name: 'cinder\u001b[31m',
        endpoints: [
          {
            interface: 'publicURL',
            region_id: 'A',
            region: 'a',
            url: 'https://u:p@c.example:8776/v3/P?x#y',
          },
          { interface: 'private', url: 'https://c.example' },
          { interface: 'public', url: 'ftp://c.example' },
          { interface: 'public', url: null },
          7,
        ],
      },
      { endpoints: [{ interface: 'public', url: 'https://no.type' }] },
      null,
    ]);
    assert.deepEqual(endpoints, [
      {
        type: 'volumev3',
        name: 'cinder',
        interface: 'public',
        regions: ['A', 'a'],
        url: 'https://c.example:8776/v3/P',
      },
    ]);
    assert.equal(unusable, 5);
  });

  it('of any shape breaks nothing', () => {
    const json = fc.jsonValue();
    fc.assert(fc.property(json, (value) => parseCatalog(value).endpoints.length >= 0));
    const base = new URL('http://x.example');
    fc.assert(fc.property(json, (value) => parseVersions(JSON.stringify(value), base).length >= 0));
    fc.assert(
      fc.property(
        fc.string(),
        (text) => parseVersions(text, base).length === 0 || text.includes('id'),
      ),
    );
  });

  it('gives the endpoints of the region and interface, of each name of a service', () => {
    assert.deepEqual(urlsOf(CLOUD), [
      IDENTITY,
      'compute https://nova.a.example/',
      'volumev2 https://cinder.a.example/v2',
      'volumev3 https://cinder.a.example/v3',
    ]);
  });

  it('of any region where none is chosen, by region or region_id', () => {
    assert.equal(urlsOf({ ...CLOUD, region: undefined }).length, 5);
    const both = [
      { ...entry('compute', 'id', 'public', 'https://n.example/'), regions: ['id', 'A'] },
    ];
    assert.equal(urlsOf(CLOUD, both).length, 2);
  });

  it('takes the first interface that a service has', () => {
    const urls = urlsOf({ ...CLOUD, interfaces: ['internal', 'public'] });
    assert.ok(
      urls.includes('compute https://nova.internal/') &&
        urls.includes('volumev3 https://cinder.a.example/v3'),
    );
  });

  it("follows a service's own settings, whatever name it has in the catalog", () => {
    const services = new Map([
      ['block-storage', { endpoint: new URL('https://override.example/') }],
      ['compute', { region: 'B' }],
    ]);
    assert.deepEqual(urlsOf({ ...CLOUD, services }), [
      IDENTITY,
      'compute https://nova.b.example/',
      'block-storage https://override.example/',
    ]);
    assert.deepEqual(
      configuredEndpoints({ ...CLOUD, services }).map(({ origin }) => origin),
      ['auth_url', 'override'],
    );
  });

  it('knows the names of services', () => {
    assert.equal(officialType('volumev2'), 'block-storage');
    assert.equal(officialType('block_storage'), 'block-storage');
    assert.equal(officialType('container_infra'), 'container-infrastructure-management');
    assert.equal(officialType('application_deployment'), 'application-deployment');
    assert.equal(officialType('unheard-of'), 'unheard-of');
    assert.equal(officialType('share'), 'shared-file-system');
  });
});

describe('version documents', () => {
  const base = new URL('https://x.example/');
  const version = {
    id: 'v3.1',
    links: [
      { rel: 'self', href: '/v3/' },
      { rel: 'describedby', href: 'https://docs.example' },
    ],
  };
  for (const document of [
    { versions: [version] },
    { versions: { values: [version] } },
    { version },
    version,
  ]) {
    it(`in the form ${JSON.stringify(document).slice(0, 24)}...`, () => {
      const [found] = parseVersions(JSON.stringify(document), base);
      assert.equal(found?.id, 'v3.1');
      assert.deepEqual(
        found?.links.map(({ href }) => href),
        ['https://x.example/v3/'],
      );
    });
  }
});

describe('links of version documents', () => {
  it('are asked for up to a limit, and the log says so', async () => {
    const counted: [string, number | undefined][] = [];
    const logged: string[] = [];
    const observer: Observer = {
      log: (_, text) => logged.push(text),
      count: (name, n) => counted.push([name, n]),
    };
    const http = new HttpClient({
      connect: () => Promise.reject(new ConnectError('refused', 'no')),
      tls: { context: createSecureContext(), verify: true },
      observer: silentObserver,
    });
    const endpoints = Array.from({ length: MAX_VERSION_DOCUMENTS + 3 }, (_, i) =>
      selectEndpoints(CLOUD, [entry('t', 'A', 'public', `http://h${i}.example/`)]).slice(1),
    ).flat();
    assert.deepEqual(await findVersionLinks(endpoints, http, observer), []);
    assert.deepEqual(counted, [['tunnel_openstack_versions_left_out_total', 3]]);
    assert.equal(
      logged.filter((text) => text.startsWith('no versions at')).length,
      MAX_VERSION_DOCUMENTS,
    );
    assert.match(logged[0] ?? '', /of 67 version documents only 64/);
  });
});

describe('targets of a cloud', () => {
  const address = (url: string, type = 't', linked = false) => ({
    url: new URL(url),
    type,
    linked,
  });

  it('are each host and port once, by name and by address', () => {
    const targets = cloudTargets(
      [
        address('https://A.example/', 'one'),
        address('https://a.example:443/x', 'two', true),
        address('http://[2001:db8:0::1]:5000', 'three'),
        address('https://linked.example', 'four', true),
      ],
      assert.fail,
    );
    assert.deepEqual(targets, [
      { host: 'a.example', port: 443, services: ['one', 'two'], linked: false },
      { host: '2001:db8::1', port: 5000, services: ['three'], linked: false },
      { host: 'linked.example', port: 443, services: ['four'], linked: true },
    ]);
    const { targets: addresses, nameTargets } = rulesOf(targets);
    assert.deepEqual(
      addresses.map(({ prefix, ports, text }) => [prefix.length, ports[0]?.first, text]),
      [[128, 5000, '[2001:db8::1]:5000']],
    );
    assert.deepEqual(
      nameTargets.map(({ pattern, text }) => [pattern.name, pattern.below, text]),
      [
        ['a.example', false, 'a.example:443'],
        ['linked.example', false, 'linked.example:443'],
      ],
    );
    assert.equal(
      permitOpenLine(targets),
      'PermitOpen a.example:443 [2001:db8::1]:5000 linked.example:443',
    );
  });

  it("leave out what would be the jump host's own, and say so", () => {
    const warnings: string[] = [];
    const urls = [
      'http://127.0.0.1:8774',
      'http://localhost',
      'http://[::1]',
      'http://169.254.169.254',
      'http://x:0',
    ];
    const targets = cloudTargets(
      urls.map((url) => address(url)),
      (text) => warnings.push(text),
    );
    assert.deepEqual(targets, []);
    assert.equal(warnings.length, urls.length);
  });

  it('give sshd a line that it takes, also where there are none', () => {
    assert.equal(permitOpenLine([]), 'PermitOpen none');
  });

  it('are limited in number', () => {
    const warnings: string[] = [];
    const many = Array.from({ length: MAX_CLOUD_TARGETS + 5 }, (_, i) =>
      address(`https://h${i}.example`),
    );
    assert.equal(cloudTargets(many, (text) => warnings.push(text)).length, MAX_CLOUD_TARGETS);
    assert.equal(warnings.length, 1);
  });

  it('are reported with what to ask the administrators for', () => {
    const target = { host: 'a.example', port: 443, services: ['compute'], linked: false };
    const report = {
      cloud: CLOUD,
      found: {
        endpoints: configuredEndpoints(CLOUD),
        targets: [target],
        age: 7200,
        warnings: ['careful'],
      },
      targets: [
        {
          ...target,
          probe: { outcome: 'prohibited', why: 'administratively prohibited' } as const,
        },
      ],
      linkedOnly: [],
      sources: ['192.0.2.7', '2001:db8::7'],
    };
    assert.deepEqual(admissionLines(report), [
      'openstack security group rule create --ingress --protocol tcp --dst-port 443 --remote-ip 192.0.2.7/32 GROUP',
      'openstack loadbalancer listener set --allowed-cidr 192.0.2.7/32 LISTENER',
      'openstack security group rule create --ingress --ethertype IPv6 --protocol tcp --dst-port 443 --remote-ip 2001:db8::7/128 GROUP',
      'openstack loadbalancer listener set --allowed-cidr 2001:db8::7/128 LISTENER',
    ]);
    const table = formatReport(report, 'table');
    assert.match(table, /catalog 2 h old/);
    assert.match(table, /permitopen="a\.example:443"/);
    assert.match(table, /sshd compares PermitOpen as text/);
    assert.match(table, /- careful/);
    const json = JSON.parse(formatReport(report, 'json'));
    assert.deepEqual(json.targets[0], {
      target: 'a.example:443',
      services: ['compute'],
      linked: false,
      permitted: false,
      outcome: 'prohibited',
      why: 'administratively prohibited',
    });
  });
});

describe('the cache of catalogs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-catalog-'));
  after(() => rmSync(directory, { recursive: true, force: true }));
  let time = 1_000_000_000_000;
  const cache = new CatalogCache({ directory, now: () => time });
  const file = () => join(directory, readdirSync(directory)[0] ?? '');

  it('lies where the user keeps caches', () => {
    assert.equal(cacheDirectory({}, '/home/u'), '/home/u/.cache/tunnel/openstack');
    assert.equal(cacheDirectory({ XDG_CACHE_HOME: '/c' }, '/home/u'), '/c/tunnel/openstack');
  });

  it('gives back what it was given, with its age, up to the maximal one', () => {
    assert.equal(cache.read(CLOUD), undefined);
    const links = [{ type: 'compute', url: new URL('https://l.example/') }];
    cache.write(CLOUD, CATALOG, links);
    time += 5000;
    assert.deepEqual(cache.read(CLOUD), { endpoints: CATALOG, links, age: 5 });
    time += (MAX_CATALOG_AGE_S - 5) * 1000;
    assert.notEqual(cache.read(CLOUD), undefined);
    time += 1;
    assert.equal(cache.read(CLOUD), undefined);
    time -= 2 * MAX_CATALOG_AGE_S * 1000;
    assert.equal(cache.read(CLOUD), undefined, 'from the future');
    time += (MAX_CATALOG_AGE_S + 10) * 1000;
  });

  it('is said to be the kept one where it lacks what is looked for', async () => {
    const run: CloudTargetsOptions = {
      cloud: { ...CLOUD, region: 'C' },
      catalog: 'auto',
      findLinks: false,
      connect: () => Promise.reject(new Error('nobody is to be asked')),
      cacheDirectory: directory,
      env: {},
      observer: silentObserver,
      now: () => time + 3 * 3600 * 1000,
    };
    await assert.rejects(findCloudTargets(run), {
      code: 'openstack-catalog',
      hint: /its regions are: "A", "B"; this catalog is 3 h old, --os-catalog refresh fetches a new one$/,
    });
  });

  it('counts whatever its age where nobody is asked, and is missed by name', async () => {
    const run = (options: Partial<CloudTargetsOptions>) =>
      findCloudTargets({
        cloud: CLOUD,
        catalog: 'cached',
        findLinks: false,
        connect: () => Promise.reject(new Error('nobody is to be asked')),
        cacheDirectory: directory,
        env: {},
        observer: silentObserver,
        now: () => time,
        ...options,
      });
    const older = time + 100 * MAX_CATALOG_AGE_S * 1000;
    assert.notEqual((await run({ now: () => older })).targets.length, 0);
    assert.notEqual((await run({ findLinks: true })).targets.length, 0);
    const hint = /tunnel openstack --os-cloud two.*--os-catalog off or --os-catalog-file/;
    await assert.rejects(run({ cloud: { ...CLOUD, name: 'two' } }), {
      code: 'openstack-catalog',
      message: /^no catalog of the cloud "two" is cached/,
      hint,
    });
    new CatalogCache({ directory, now: () => time }).write(
      { ...CLOUD, name: 'two' },
      CATALOG,
      undefined,
    );
    await assert.rejects(run({ cloud: { ...CLOUD, name: 'two' }, findLinks: true }), {
      message: /^no catalog with links of version documents of the cloud "two" is cached/,
      hint,
    });
    rmSync(join(directory, readdirSync(directory).find((name) => name.startsWith('two')) ?? ''));
  });

  it('is for one cloud, one user and one project', () => {
    assert.notEqual(cache.read(CLOUD), undefined);
    assert.equal(cache.read({ ...CLOUD, name: 'two' }), undefined);
    assert.equal(cache.read({ ...CLOUD, authUrl: new URL('https://other.example') }), undefined);
    const authentication: Cloud['authentication'] = () => ({
      ...CLOUD.authentication(),
      scope: { kind: 'project', project: { id: 'p' } },
    });
    assert.equal(cache.read({ ...CLOUD, authentication }), undefined);
    const tls = { ...CLOUD.tls, verify: false };
    assert.equal(cache.read({ ...CLOUD, tls }), undefined, 'unverified');
  });

  it('believes no file that others can write, and none that is damaged', () => {
    chmodSync(file(), 0o666);
    assert.equal(cache.read(CLOUD), undefined);
    chmodSync(file(), 0o600);
    assert.notEqual(cache.read(CLOUD), undefined);
    for (const text of [
      '',
      '{',
      '[]',
      '{"format":1}',
      `{"format":1,"fetched":${time},"endpoints":[{"url":"x"}]}`,
    ]) {
      writeFileSync(file(), text);
      assert.equal(cache.read(CLOUD), undefined, text);
    }
  });

  it('says ages as people do', () => {
    assert.deepEqual([0.2, 119, 120, 3600, 7199, 7200].map(formatAge), [
      '0 s',
      '119 s',
      '2 min',
      '60 min',
      '120 min',
      '2 h',
    ]);
  });
});
