/** Holds the import rules of docs/architecture.md. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SRC = join(ROOT, 'src');

interface Module {
  /** Relative to src/, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** Project files relative to src/, packages and node: modules by name. */
  readonly imports: readonly string[];
}

function load(): Module[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => {
      const text = readFileSync(join(SRC, path), 'utf8');
      const specifiers = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
        (match) => match[1] ?? '',
      );
      const imports = specifiers.map((name) =>
        name.startsWith('.') ? relative(SRC, join(SRC, dirname(path), name)) : name,
      );
      return { path, text, imports };
    });
}

const modules = load();
const inside = (path: string, ...folders: string[]) =>
  folders.some((folder) => path === folder || path.startsWith(`${folder}/`));

/** From these places, these must not be imported. */
const FORBIDDEN: readonly { from: string[]; to: string[]; why: string }[] = [
  { from: ['net'], to: ['*'], why: 'net/ is pure vocabulary and imports nothing of the project' },
  { from: ['capture'], to: ['transport'], why: 'a capture must work with any transport' },
  { from: ['transport'], to: ['capture'], why: 'a transport must work with any capture' },
  {
    from: ['flow'],
    to: [
      'capture/tun',
      'capture/namespace.ts',
      'capture/proxy.ts',
      'capture/socks.ts',
      'capture/http.ts',
      'transport/ssh2',
      'transport/openssh',
      'transport/direct.ts',
    ],
    why: 'flow/ knows the interfaces only',
  },
  { from: ['dns'], to: ['transport'], why: 'the query function is injected' },
  {
    from: ['system'],
    to: ['capture', 'flow', 'transport', 'dns'],
    why: 'host changes know nothing of traffic',
  },
  {
    from: ['policy'],
    to: ['capture', 'flow', 'transport', 'system', 'cli', 'dns'],
    why: 'the policy is pure',
  },
  {
    from: ['capture', 'flow', 'transport', 'system', 'policy', 'config', 'dns', 'observe'],
    to: ['run.ts', 'run', 'main.ts', 'cli'],
    why: 'parts are composed from above',
  },
];

describe('architecture', () => {
  it('finds the modules', () => {
    assert.ok(modules.length > 20);
    assert.ok(modules.some((module) => module.path === 'run.ts'));
  });

  for (const { from, to, why } of FORBIDDEN) {
    it(`${from.join(', ')} do not import ${to.join(', ')}: ${why}`, () => {
      for (const module of modules.filter(({ path }) => inside(path, ...from))) {
        const wrong = module.imports.filter((name) => {
          if (!name.endsWith('.ts')) return false;
          return to.includes('*') ? !inside(name, ...from) : inside(name, ...to);
        });
        assert.deepEqual(wrong, [], module.path);
      }
    });
  }

  it('only transport/ssh2 imports ssh2', () => {
    for (const { path, imports } of modules) {
      if (!inside(path, 'transport/ssh2')) assert.ok(!imports.some((name) => /^ssh2(\/|$)/.test(name)), path);
    }
  });

  it('only its library.ts loads it: elsewhere there are types', () => {
    for (const { path, text } of modules) {
      const loads = /import (?!type )[^;]*'ssh2|require\('ssh2/.test(text);
      assert.equal(loads, path === 'transport/ssh2/library.ts', path);
    }
  });

  it('only transport/openssh imports socks', () => {
    for (const { path, imports } of modules) {
      if (!inside(path, 'transport/openssh')) assert.ok(!imports.includes('socks'), path);
    }
  });

  it('only system/, transport/openssh and capture/namespace.ts start processes', () => {
    for (const { path, imports } of modules) {
      if (inside(path, 'system', 'transport/openssh', 'capture/namespace.ts')) continue;
      assert.ok(!imports.some((name) => /^(node:)?child_process$/.test(name)), path);
    }
  });

  it('only main.ts and cli/ end the process or write to the console', () => {
    for (const { path, text } of modules) {
      if (!inside(path, 'main.ts', 'cli')) assert.ok(!/\bprocess\.exit\s*\(|\bconsole\s*\./.test(text), path);
    }
  });

  it('only native.ts loads the addon', () => {
    for (const { path, text } of modules) {
      if (path !== 'native.ts') assert.ok(!text.includes('tunnel.node'), path);
      const requires = ['native.ts', 'transport/ssh2/library.ts'];
      if (!requires.includes(path)) assert.ok(!text.includes('createRequire'), path);
    }
  });

  it('the packet stack of capture/tun does no input or output of its own', () => {
    const pure =
      /^capture\/tun\/(frame|writer|endpoint|tcpflow|sendside|receiveside|tuple|timers|timestamps|timewait|numbers|checksum|addresses|counters|flowhost|patience)\.ts$/;
    const files = modules.filter(({ path }) => pure.test(path));
    assert.equal(files.length, 16);
    for (const { path, imports } of files) {
      const wrong = imports.filter(
        (name) => name === 'native.ts' || (name.startsWith('node:') && !/^node:(crypto|os)$/.test(name)),
      );
      assert.deepEqual(wrong, [], path);
    }
  });

  it('only run.ts and run/ construct the parts', () => {
    for (const { path, text } of modules) {
      if (inside(path, 'run.ts', 'run')) continue;
      // The capture of a namespace is a TUN capture and a relay for UDP.
      const capture = path === 'capture/namespace.ts' ? 'NamespaceCapture' : 'TunCapture|NamespaceCapture';
      assert.ok(
        !new RegExp(
          `\\bnew (${capture}|ProxyCapture|Flows|DirectConnector)\\b|\\b(startHelper|startLauncher|dialSsh2|dialOpenssh)\\(\\{`,
        ).test(text),
        path,
      );
    }
  });

  it('has no import cycles', () => {
    const graph = new Map(
      modules.map((module) => [module.path, module.imports.filter((name) => name.endsWith('.ts'))]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      assert.ok(!trail.includes(path), `cycle: ${[...trail, path].join(' -> ')}`);
      if (done.has(path)) return;
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
  });

  it('has no barrel and no utils', () => {
    for (const { path } of modules) assert.ok(!/(^|\/)(index|utils|helpers|common)\.ts$/.test(path), path);
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
