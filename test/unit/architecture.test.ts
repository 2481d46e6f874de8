/** Holds the rules of docs/architecture.md: which folder imports which, and who may do what. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  circles,
  folderGraph,
  isDocumented,
  loadModules,
  violations,
} from '../../scripts/boundaries.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

const modules = loadModules();
const graph = folderGraph(modules);
const inside = (path: string, ...folders: string[]) =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`));

/** Only these folders and files may import these packages. */
const PACKAGES: readonly { what: string; pattern: RegExp; only: string[] }[] = [
  { what: 'ssh2', pattern: /^ssh2(\/|$)/, only: ['ssh/embedded'] },
  { what: 'socks', pattern: /^socks$/, only: ['ssh/openssh'] },
  { what: 'dns-packet', pattern: /^dns-packet$/, only: ['dns'] },
  { what: 'yaml', pattern: /^yaml$/, only: ['openstack/settings', 'yaml'] },
  { what: 'commander', pattern: /^commander$/, only: ['cli'] },
  {
    what: 'child_process',
    pattern: /^(node:)?child_process$/,
    only: [
      'system',
      'ssh/openssh',
      'ssh/dial',
      'ssh/config/query.ts',
      'ssh/hostkeys/knownhostscommand.ts',
    ],
  },
];

describe('architecture', () => {
  it('finds the modules', () => {
    assert.ok(modules.length > 20);
    assert.ok(modules.some((module) => module.path === 'session/connect.ts'));
  });

  it('folders import what the table allows, and nothing in it is out of use', () => {
    assert.deepEqual(violations(graph), []);
  });

  it('finds an import that the table lacks, an entry without use, and a folder that it does not know', () => {
    const module = (path: string, ...imports: string[]) => ({
      path,
      folder: path.slice(0, path.lastIndexOf('/')),
      text: '',
      imports,
    });
    const found = violations(
      folderGraph([module('a/x.ts', 'b/y.ts', 'net/z.ts'), module('b/y.ts'), module('c/z.ts')]),
      { a: [], b: ['a'] },
    );
    assert.deepEqual(found, [
      'a must not import b: a/x.ts imports b/y.ts',
      'b no longer imports a: take it out',
      'c: not in the table of folders',
    ]);
    const circle = folderGraph([
      module('a/p/x.ts', 'b/y.ts'),
      module('b/y.ts', 'a/q/z.ts'),
      module('a/q/z.ts'),
    ]);
    assert.deepEqual(circles(circle), ['a -> b -> a']);
  });

  it('docs/architecture.md shows the table', () => {
    assert.ok(isDocumented(), 'npm run boundaries prints it');
  });

  it('has no circle of folders, at any depth', () => {
    assert.deepEqual(circles(graph), []);
  });

  it('has no circle of files', () => {
    const files = new Map(
      modules.map((module) => [module.path, module.imports.filter((name) => name.endsWith('.ts'))]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      assert.ok(!trail.includes(path), `circle: ${[...trail, path].join(' -> ')}`);
      if (done.has(path)) return;
      for (const next of files.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of files.keys()) visit(path, []);
  });

  for (const { what, pattern, only } of PACKAGES) {
    it(`only ${only.join(', ')} import ${what}`, () => {
      const importers = modules.filter(({ imports }) => imports.some((name) => pattern.test(name)));
      assert.ok(importers.length > 0);
      assert.deepEqual(
        importers.map(({ path }) => path).filter((path) => !inside(path, ...only)),
        [],
      );
    });
  }

  it('only library.ts loads ssh2: elsewhere there are types', () => {
    for (const { path, text } of modules) {
      const loads = /import (?!type )[^;]*'ssh2|require\('ssh2/.test(text);
      assert.equal(loads, path === 'ssh/embedded/ssh2/library.ts', path);
    }
  });

  it('only entry/ and cli/ end the process or write to the console', () => {
    for (const { path, text } of modules) {
      if (!inside(path, 'entry', 'cli'))
        assert.ok(!/\bprocess\.exit\s*\(|\bconsole\s*\./.test(text), path);
    }
  });

  it('only native/ loads the addon', () => {
    for (const { path, text } of modules) {
      if (path !== 'native/files.ts') assert.ok(!text.includes('tunnel.node'), path);
      const requires = ['native/addon.ts', 'ssh/embedded/ssh2/library.ts'];
      if (!requires.includes(path)) assert.ok(!text.includes('createRequire'), path);
    }
  });

  it('the packet stack of capture/tun does no input or output of its own', () => {
    const pure =
      /^capture\/tun\/(frame|writer|endpoint|tcpflow|sendside|receiveside|tuple|timers|timestamps|timewait|initialnumbers|checksum|addresses|counters|flowhost|patience)\.ts$/;
    const files = modules.filter(({ path }) => pure.test(path));
    assert.equal(files.length, 16);
    for (const { path, imports } of files) {
      const wrong = imports.filter(
        (name) =>
          inside(name, 'native') || (name.startsWith('node:') && !/^node:(crypto|os)$/.test(name)),
      );
      assert.deepEqual(wrong, [], path);
    }
  });

  it('only session/ constructs the parts', () => {
    for (const { path, text } of modules) {
      if (inside(path, 'session', 'connect')) continue;
      // The capture of a namespace is a TUN capture and a relay for UDP.
      const capture = inside(path, 'capture/namespace')
        ? 'NamespaceCapture'
        : 'TunCapture|NamespaceCapture';
      const link = inside(path, 'link') ? '' : '|dialSsh2|dialOpenssh';
      assert.ok(
        !new RegExp(
          `\\bnew (${capture}|ProxyCapture|Flows|DirectConnector)\\b|\\b(startHelper|startLauncher${link})\\(\\{`,
        ).test(text),
        path,
      );
    }
  });

  it('has no barrel and no utils', () => {
    for (const { path } of modules)
      assert.ok(!/(^|\/)(index|utils|helpers|common)\.ts$/.test(path), path);
  });

  it('has no file of more than 500 lines', () => {
    for (const { path, text } of modules) assert.ok(text.split('\n').length <= 501, path);
    for (const path of readdirSync(join(ROOT, 'native'), { recursive: true, encoding: 'utf8' })) {
      if (/\.[ch]$/.test(path)) {
        assert.ok(readFileSync(join(ROOT, 'native', path), 'utf8').split('\n').length <= 501, path);
      }
    }
  });
});
