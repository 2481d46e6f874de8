import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { readCatalogFile } from '../../../../src/openstack/keystone/catalogfile.ts';
import { MAX_ANSWER_BYTES } from '../../../../src/openstack/keystone/http.ts';

/** What real programs have written; the README beside them says which. */
const CATALOGS = fileURLToPath(new URL('../../../../../test/support/catalogs/', import.meta.url));

describe('a catalog in a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-catalogfile-'));
  after(() => rmSync(directory, { recursive: true }));

  function written(content: string | Buffer): string {
    const file = join(directory, 'catalog.json');
    writeFileSync(file, content);
    return file;
  }

  function refusal(file: string): string {
    try {
      readCatalogFile(file);
    } catch (error) {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'openstack-config');
      return `${error.message.replace(file, 'FILE')} | ${error.hint}`;
    }
    assert.fail('it is read');
  }

  const linesOf = (file: string) =>
    readCatalogFile(file).endpoints.map(
      ({ type, name, interface: which, regions, url }) =>
        `${type} ${name} ${which} ${regions.join(',')} ${url}`,
    );

  it('is the same in each form that programs write', () => {
    const expected = [
      'identity keystone public RegionOne https://keystone.cloud.example/v3',
      'identity keystone internal RegionOne https://keystone.cloud.example/v3',
      'compute nova public RegionOne https://nova.cloud.example/v2.1',
      'compute nova internal RegionTwo http://nova.internal.example:8000/v2.1',
      'image glance public RegionOne https://glance.cloud.example:9292/',
      'image glance internal RegionTwo http://glance.internal.example:8000/',
      'network neutron public RegionOne https://neutron.cloud.example:9696/',
      'network neutron internal RegionTwo http://neutron.internal.example:8000/',
    ];
    for (const name of ['client.json', 'client-text.json', 'keystone.json']) {
      const lines = linesOf(join(CATALOGS, name));
      assert.deepEqual(lines.slice(0, expected.length), expected, name);
      const [first = '', second = '', ...more] = lines.slice(expected.length);
      assert.match(
        first,
        /^volumev3 cinder public RegionOne https:\/\/cinder\.cloud\.example:8776\/v3\//,
      );
      assert.match(second, /^volumev3 cinder internal RegionTwo/);
      assert.deepEqual(more, []);
    }
    const answer: unknown = JSON.parse(readFileSync(join(CATALOGS, 'keystone.json'), 'utf8'));
    const token = written(JSON.stringify({ token: { user: { name: 'u' }, ...Object(answer) } }));
    assert.deepEqual(linesOf(token), linesOf(join(CATALOGS, 'keystone.json')));
  });

  it('may have endpoints without a region, and what is not used is counted', () => {
    const endpoints =
      '<none>\n  public: http://a.example\nR\n  odd: http://b.example\n  admin: c\n';
    const { unusable, ...rest } = readCatalogFile(
      written(JSON.stringify([{ Name: 'a', Type: 't', Endpoints: endpoints }])),
    );
    assert.equal(unusable, 2);
    assert.deepEqual(
      rest.endpoints.map(({ regions, url }) => [regions, url]),
      [[[], 'http://a.example/']],
    );
  });

  it('is refused in one line where it is none', () => {
    const hint = '| write one with: openstack catalog list -f json >FILE';
    const table = '+------+------+\n| Name | Type |\n';
    assert.equal(refusal(written(table)), `--os-catalog-file: FILE is not JSON ${hint}`);
    assert.equal(refusal(written('')), `--os-catalog-file: FILE is not JSON ${hint}`);
    const none = `--os-catalog-file: FILE has no endpoint of a service in it ${hint}`;
    for (const text of ['null', '{}', '[]', '7', '{"catalog":{}}', '[{"Type":"t","Endpoints":""}]'])
      assert.equal(refusal(written(text)), none, text);
    assert.equal(
      refusal(join(directory, 'missing')),
      "--os-catalog-file: FILE can't be read: there is no such file | check the path and its permissions",
    );
    assert.match(refusal(directory), /can't be read: it is a directory/);
  });

  it('is read up to a limit, also from what has no size', () => {
    const large = `--os-catalog-file: FILE is larger than ${MAX_ANSWER_BYTES >> 20} MiB`;
    const file = written(Buffer.alloc(MAX_ANSWER_BYTES + 1, ' '));
    assert.ok(refusal(file).startsWith(large));
    assert.ok(refusal('/dev/zero').startsWith(large));
    assert.match(refusal(written(Buffer.alloc(MAX_ANSWER_BYTES, ' '))), /is not JSON/);
  });

  it('of any shape breaks nothing', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.array(
            fc.record({ Type: fc.string(), Endpoints: fc.oneof(fc.string(), fc.jsonValue()) }),
          ),
        ),
        (value) => {
          try {
            readCatalogFile(written(JSON.stringify(value)));
          } catch (error) {
            assert.ok(error instanceof TunnelError, String(error));
          }
        },
      ),
    );
  });
});
