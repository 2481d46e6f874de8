/**
 * The bill of materials of the package in CycloneDX 1.5, on standard output: `npm run sbom`.
 *
 * npm makes it. What npm puts in of the moment is replaced, so that a commit always has the same
 * one: the name of the directory, a random number, the time. npm doesn't read the licences of
 * packages in the older notation; they are added.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Component {
  readonly 'bom-ref': string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly properties: readonly { readonly name: string; readonly value: string }[];
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses?: readonly { readonly license: { readonly id: string } }[];
}

export interface Bom {
  readonly bomFormat: 'CycloneDX';
  readonly specVersion: string;
  readonly serialNumber?: string;
  readonly metadata: { readonly timestamp?: string; readonly component: Component };
  readonly components: readonly Component[];
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  /** The older notation. */
  readonly licenses?: readonly { readonly type: string }[];
}

/** The SPDX identifier of an installed package's licence. Throws if it names none. */
export function licenceOf(manifest: Manifest): string {
  const licence = manifest.license ?? manifest.licenses?.[0]?.type;
  if (licence === undefined) throw new Error(`${manifest.name} names no licence`);
  return licence;
}

/** What is installed at a path of the lock file, such as `node_modules/ssh2`. */
export function manifestAt(path: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8'));
}

/** Why no bill can be made here: Debian's own npm, for one, is too old to know it. */
export function billMissing(): string | undefined {
  const version = execFileSync('npm', ['--version'], { cwd: ROOT, encoding: 'utf8' }).trim();
  return Number.parseInt(version, 10) < 10
    ? `needs npm 10 or newer, this is ${version}`
    : undefined;
}

/** What the package brings when it is installed, without the tools of its development. */
export function billOfMaterials(): Bom {
  const missing = billMissing();
  if (missing !== undefined) throw new Error(`the bill of materials ${missing}`);
  const text = execFileSync('npm', ['sbom', '--omit=dev', '--sbom-format=cyclonedx'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  const { metadata, components, ...bom }: Bom = JSON.parse(text);
  const { timestamp: _, component, ...rest } = metadata;
  const licensed = components.map((one) => ({
    ...one,
    licenses: one.licenses ?? [{ license: { id: licenceOf(manifestAt(pathOf(one))) } }],
  }));
  const made = {
    ...bom,
    metadata: { ...rest, component: { ...component, name: manifestAt('.').name } },
    components: licensed,
  };
  delete made.serialNumber;
  return { ...made, serialNumber: `urn:uuid:${uuidOf(JSON.stringify(made))}` };
}

function pathOf({ name, properties }: Component): string {
  const path = properties.find((one) => one.name === 'cdx:npm:package:path')?.value;
  return path ?? `node_modules/${name}`;
}

/** A UUID that follows from the content (RFC 9562 §5.8, version 8). */
function uuidOf(content: string): string {
  const bytes = createHash('sha256').update(content).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  process.stdout.write(`${JSON.stringify(billOfMaterials(), undefined, 2)}\n`);
