/**
 * `npm run boundaries`: prints which folders of src/ import which, and fails when that differs from
 * MAY_IMPORT, or when folders import each other in a circle.
 *
 * MAY_IMPORT must match exactly: an import that isn't listed is an error, and so is an entry that
 * is no longer used. docs/architecture.md shows the same table, and test/unit/architecture.test.ts
 * compares the two.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const SRC = join(ROOT, 'src');
const ARCHITECTURE = join(ROOT, 'docs/architecture.md');

/** Folders that every folder may import. They themselves import only `errors`. */
export const VALUES: readonly string[] = ['base', 'errors', 'net', 'observe'];

/**
 * What each folder may import beyond VALUES, from the bottom to the top. An entry doesn't include
 * subfolders. `main` is src/main.ts.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  base: [],
  net: [],
  observe: [],
  native: [],
  policy: [],
  flow: ['policy'],
  capture: ['flow'],
  'capture/tun': ['capture', 'flow', 'native'],
  'capture/namespace': ['capture', 'capture/tun', 'flow', 'policy'],
  'capture/forward': ['capture', 'flow'],
  'capture/proxy': ['capture', 'flow', 'native'],
  dns: [],
  'dns/wire': [],
  'dns/upstream': ['dns/wire'],
  'dns/server': ['dns', 'dns/upstream', 'dns/wire', 'flow'],
  connect: ['flow', 'policy'],
  system: ['native'],
  'system/programs': ['native', 'system'],
  'system/resolver': ['system', 'system/programs'],
  'system/helper': ['native', 'system/programs', 'system/resolver'],
  'system/launcher': ['native', 'system', 'system/helper', 'system/programs'],
  'system/watch': ['native'],
  'system/routing': ['native'],
  'system/doctor': [
    'native',
    'system/helper',
    'system/launcher',
    'system/programs',
    'system/resolver',
  ],
  'system/privileged': [
    'native',
    'system',
    'system/helper',
    'system/launcher',
    'system/programs',
    'system/resolver',
  ],
  'system/service': ['native', 'system/launcher'],
  ssh: ['flow', 'ssh/keys', 'system'],
  'ssh/keys': [],
  'ssh/identities': ['ssh', 'ssh/keys', 'system'],
  'ssh/hostkeys': ['ssh', 'ssh/keys'],
  'ssh/config': ['ssh', 'ssh/identities', 'ssh/keys', 'system'],
  'ssh/dial': ['native', 'ssh'],
  'ssh/openssh': ['flow', 'native', 'ssh', 'ssh/dial', 'ssh/hostkeys', 'ssh/keys', 'system'],
  'ssh/embedded/ssh2': ['native'],
  'ssh/embedded/auth': ['ssh', 'ssh/embedded/ssh2', 'ssh/identities', 'ssh/keys'],
  'ssh/embedded/channels': ['flow', 'ssh', 'ssh/dial', 'ssh/embedded/ssh2'],
  'ssh/embedded/handshake': [
    'flow',
    'ssh',
    'ssh/dial',
    'ssh/embedded/auth',
    'ssh/embedded/channels',
    'ssh/embedded/ssh2',
    'ssh/hostkeys',
  ],
  link: [
    'flow',
    'policy',
    'ssh',
    'ssh/config',
    'ssh/dial',
    'ssh/embedded/auth',
    'ssh/embedded/handshake',
    'ssh/hostkeys',
    'ssh/identities',
    'ssh/openssh',
    'system',
    'system/watch',
  ],
  control: ['native', 'ssh', 'system'],
  metrics: ['config', 'flow', 'link'],
  jumphost: [],
  'jumphost/kubernetes': ['jumphost'],
  yaml: [],
  config: ['dns', 'jumphost', 'jumphost/kubernetes', 'ssh', 'ssh/config', 'ssh/keys', 'system'],
  'config/profiles': ['config', 'system', 'yaml'],
  'openstack/settings': ['yaml'],
  'openstack/keystone': ['flow', 'openstack/settings'],
  'openstack/targets': ['config', 'flow', 'openstack/keystone', 'openstack/settings', 'system'],
  'openstack/report': ['config', 'flow', 'openstack/settings', 'openstack/targets'],
  cli: [
    'config',
    'config/profiles',
    'control',
    'ssh',
    'system',
    'system/doctor',
    'system/programs',
    'system/resolver',
  ],
  'cli/display': ['cli', 'cli/watch', 'control', 'ssh'],
  'cli/watch': ['cli', 'control', 'system'],
  'cli/completion': [
    'cli',
    'config',
    'config/profiles',
    'control',
    'native',
    'openstack/settings',
    'ssh/config',
    'system',
  ],
  record: ['capture/tun', 'flow', 'native'],
  doctor: ['connect', 'dns/upstream', 'dns/wire', 'flow', 'policy', 'ssh', 'system/doctor'],
  embed: ['config', 'flow', 'ssh'],
  session: [
    'capture/forward',
    'capture/namespace',
    'capture/proxy',
    'capture/tun',
    'config',
    'connect',
    'control',
    'dns',
    'dns/server',
    'dns/upstream',
    'doctor',
    'embed',
    'flow',
    'jumphost',
    'jumphost/kubernetes',
    'link',
    'metrics',
    'native',
    'openstack/report',
    'openstack/targets',
    'policy',
    'record',
    'ssh',
    'ssh/dial',
    'ssh/identities',
    'system',
    'system/doctor',
    'system/helper',
    'system/launcher',
    'system/privileged',
    'system/programs',
    'system/resolver',
    'system/routing',
    'system/service',
  ],
  entry: [
    'cli',
    'cli/display',
    'cli/watch',
    'config',
    'control',
    'native',
    'session',
    'ssh',
    'system',
    'system/launcher',
    'system/privileged',
    'system/service',
  ],
  library: ['embed', 'flow', 'session'],
  main: ['cli', 'entry'],
};

export interface Module {
  /** Relative to src/, with forward slashes. */
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  /** The project's files relative to src/; packages and node: modules by name. */
  readonly imports: readonly string[];
}

/** All modules below `root`. */
export function loadModules(root = SRC): Module[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .sort()
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      const specifiers = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
        (match) => match[1] ?? '',
      );
      const imports = specifiers.map((name) =>
        name.startsWith('.') ? relative(root, join(root, dirname(path), name)) : name,
      );
      return { path, folder: folderOf(path), text, imports };
    });
}

/** A file directly in src/ counts as a folder, named without the ending. */
function folderOf(path: string): string {
  return path.includes('/') ? dirname(path) : path.replace(/\.ts$/, '');
}

/** Maps each folder to the folders that it imports, with the imports themselves. */
export type FolderGraph = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

export function folderGraph(modules: readonly Module[]): FolderGraph {
  const graph = new Map<string, Map<string, string[]>>();
  for (const { path, folder, imports } of modules) {
    const edges = graph.get(folder) ?? new Map<string, string[]>();
    graph.set(folder, edges);
    for (const imported of imports.filter((name) => name.endsWith('.ts'))) {
      const to = folderOf(imported);
      if (to !== folder) edges.set(to, [...(edges.get(to) ?? []), `${path} imports ${imported}`]);
    }
  }
  return graph;
}

/** One sentence for each difference between the graph and what is allowed. */
export function violations(graph: FolderGraph, mayImport = MAY_IMPORT): string[] {
  const found: string[] = [];
  for (const [folder, edges] of graph) {
    const allowed = mayImport[folder];
    if (allowed === undefined) {
      found.push(`${folder}: not in the table of folders`);
      continue;
    }
    const values = VALUES.includes(folder) ? ['errors'] : VALUES;
    for (const [to, why] of edges) {
      if (!values.includes(to) && !allowed.includes(to))
        found.push(`${folder} must not import ${to}: ${why.join(', ')}`);
    }
    for (const to of allowed)
      if (!edges.has(to)) found.push(`${folder} no longer imports ${to}: take it out`);
  }
  for (const folder of Object.keys(mayImport)) {
    if (!graph.has(folder)) found.push(`${folder}: in the table, but there is no such folder`);
  }
  return found;
}

/**
 * Circles of folders, each as `a -> b -> a`: between the folders themselves, and at every depth
 * between their names cut to that depth (at depth 1 all of `ssh/` is one folder).
 */
export function circles(graph: FolderGraph): string[] {
  const deepest = Math.max(...[...graph.keys()].map((folder) => folder.split('/').length));
  const found = new Set<string>();
  for (let depth = 1; depth <= deepest + 1; depth += 1) {
    const shorten = (folder: string) => folder.split('/').slice(0, depth).join('/');
    const edges = new Map<string, Set<string>>();
    for (const [from, tos] of graph) {
      const name = shorten(from);
      const of = edges.get(name) ?? new Set();
      edges.set(name, of);
      for (const to of tos.keys()) if (shorten(to) !== name) of.add(shorten(to));
    }
    for (const circle of circlesOf(edges)) found.add(circle);
  }
  return [...found];
}

function circlesOf(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): void => {
    const start = trail.indexOf(name);
    if (start !== -1) found.push([...trail.slice(start), name].join(' -> '));
    if (start !== -1 || done.has(name)) return;
    for (const next of edges.get(name) ?? []) visit(next, [...trail, name]);
    done.add(name);
  };
  for (const name of edges.keys()) visit(name, []);
  return found;
}

/** The table in docs/architecture.md. */
export function matrixTable(mayImport = MAY_IMPORT): string {
  const rows = Object.entries(mayImport).map(
    ([folder, to]) => `| \`${folder}\` | ${to.map((name) => `\`${name}\``).join(' ') || '-'} |`,
  );
  return ['| folder | may import, besides the values |', '|---|---|', ...rows].join('\n');
}

/** Whether docs/architecture.md shows the current table. */
export function isDocumented(): boolean {
  return readFileSync(ARCHITECTURE, 'utf8').includes(matrixTable());
}

function main(): void {
  const graph = folderGraph(loadModules());
  for (const folder of Object.keys(MAY_IMPORT)) {
    const to = [...(graph.get(folder)?.keys() ?? [])].sort();
    process.stdout.write(`${folder} -> ${to.join(' ') || '-'}\n`);
  }
  const wrong = [...violations(graph), ...circles(graph).map((circle) => `circle: ${circle}`)];
  if (!isDocumented()) wrong.push(`docs/architecture.md should have this table:\n${matrixTable()}`);
  for (const what of wrong) process.stderr.write(`boundaries: ${what}\n`);
  if (wrong.length === 0)
    process.stdout.write(`${graph.size} folders, no circle, as in the table\n`);
  else process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
