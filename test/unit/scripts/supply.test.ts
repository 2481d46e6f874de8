/** What the package is made of; test/interop/packed.test.ts makes it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { billMissing, billOfMaterials, licenceOf, manifestAt } from '../../../scripts/sbom.ts';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}
const lock: { packages: Readonly<Record<string, Locked>> } = JSON.parse(read('package-lock.json'));
const locked = Object.entries(lock.packages).filter(([path]) => path !== '');
const shipped = locked.filter(([, { dev }]) => dev !== true);
const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 13);

describe('the packages that this one needs', () => {
  it('have exact versions, and digests in the lock file', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'));
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
      assert.match(String(version), /^\d+\.\d+\.\d+$/, name);
    for (const [path, { integrity }] of locked) assert.match(integrity ?? '', /^sha512-/, path);
  });

  it('are those of docs/dependencies.md, with their licences', () => {
    const rows = read('docs/dependencies.md').matchAll(/^\| ([^|]+) \| (\d[^|]*) \| ([^|]+) \|/gm);
    const documented = [...rows].map(([, name, version, licence]) => [name, version, licence]);
    const installed = shipped.map(([path, { version }]) => [
      nameOf(path),
      version,
      licenceOf(manifestAt(path)),
    ]);
    assert.deepEqual(documented.toSorted(), installed.toSorted());
  });

  it('run no install script that docs/dependencies.md does not name', () => {
    const documented = read('docs/dependencies.md').matchAll(/^\| ([^|]+) \| `([^|]+)` \|/gm);
    const scripts = shipped
      .filter(([, { hasInstallScript }]) => hasInstallScript === true)
      .map(([path]) => [nameOf(path), installScript(path)]);
    assert.deepEqual(
      [...documented].map(([, name, script]) => [name, script]).toSorted(),
      scripts.toSorted(),
    );
    // npm runs them at the installation.
    const { scripts: own } = JSON.parse(read('package.json'));
    for (const name of ['preinstall', 'install', 'postinstall']) assert.ok(!(name in own), name);
  });
});

function installScript(path: string): string | undefined {
  const { scripts }: { scripts?: Readonly<Record<string, string>> } = JSON.parse(
    read(join(path, 'package.json')),
  );
  return scripts?.['install'];
}

describe('the bill of materials', { skip: billMissing() ?? false }, () => {
  it('has each package with its version, licence and digest', () => {
    const bom = billOfMaterials();
    assert.equal(bom.bomFormat, 'CycloneDX');
    assert.equal(bom.metadata.component.name, 'tunnel-vpn');
    const listed = bom.components.map(({ name, version, licenses, hashes }) => ({
      name,
      version,
      licence: licenses?.[0]?.license.id,
      integrity: hashes?.map(({ content }) => Buffer.from(content, 'hex').toString('base64')),
    }));
    const wanted = shipped.map(([path, { version, integrity }]) => ({
      name: nameOf(path),
      version,
      licence: licenceOf(manifestAt(path)),
      integrity: [integrity?.replace(/^sha512-/, '')],
    }));
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    assert.deepEqual(listed.toSorted(byName), wanted.toSorted(byName));
  });

  it('is the same when it is made again', () => {
    assert.deepEqual(billOfMaterials(), billOfMaterials());
  });
});
