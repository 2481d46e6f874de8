/**
 * How main.cjs loads run.cjs, both of them bundles (bundle.ts): as Node's require() does, but with
 * what V8 has made of it before, if that lies beside it. That saves most of the time that V8 takes
 * to compile some megabytes.
 *
 *   run.cjs.cache    a line about the run.cjs that it was made of: size, and time of last change
 *                    (stat(2): ctime, which nobody can set)
 *                    what V8 has made of it
 *
 * * It is made when the program is built or installed, and never by the program itself: it counts
 * as a part of the program, so it must have the same owner, and nobody else may write to it. V8
 * refuses what another version of it has made, or one with other options. Without it, run.cjs is
 * compiled.
 */
import { closeSync, fstatSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

const WRITABLE_BY_OTHERS = 0o022n;

interface ReadFile {
  readonly octets: Buffer;
  readonly owner: bigint;
  readonly mode: bigint;
  /** Which one it is, of all that have been at this place. */
  readonly identity: string;
}

export function read(path: string): ReadFile {
  const fd = openSync(path, 'r');
  try {
    const { uid, mode, size, ctimeNs } = fstatSync(fd, { bigint: true });
    return { octets: readFileSync(fd), owner: uid, mode, identity: `${size} ${ctimeNs}\n` };
  } finally {
    closeSync(fd);
  }
}

/** What V8 has made of the bundle that was read; undefined: nothing that may be used. */
export function cacheOf(path: string, { owner, identity }: ReadFile): Buffer | undefined {
  let cache: ReadFile;
  try {
    cache = read(`${path}.cache`);
  } catch {
    return undefined; // none was made
  }
  if (cache.owner !== owner || (cache.mode & WRITABLE_BY_OTHERS) !== 0n) return undefined;
  if (cache.octets.toString('latin1', 0, identity.length) !== identity) return undefined;
  return cache.octets.subarray(identity.length);
}

/** The bundle is in ASCII: as such it takes V8 half of the time that other text takes. */
function compile(path: string, source: ReadFile, cachedData: Buffer | undefined): Script {
  const text = Module.wrap(source.octets.toString('latin1'));
  return new Script(text, { filename: path, ...(cachedData === undefined ? {} : { cachedData }) });
}

function evaluate(path: string, script: Script): Record<string, unknown> {
  const module = { exports: {} };
  const wrapped: (...given: unknown[]) => void = script.runInThisContext();
  wrapped.call(module.exports, module.exports, createRequire(path), module, path, dirname(path));
  return module.exports;
}

/** Returns what the bundle at this absolute path exports. */
export function load(path: string): Record<string, unknown> {
  const source = read(path);
  return evaluate(path, compile(path, source, cacheOf(path, source)));
}

/**
 * Makes the cache of a bundle, by evaluating it: what its modules call then is compiled as well.
 * Node must have the options with which the program runs.
 */
export function precompile(path: string): void {
  const source = read(path);
  const script = compile(path, source, undefined);
  evaluate(path, script);
  const temporary = `${path}.cache-${process.pid}`;
  const octets = Buffer.concat([Buffer.from(source.identity), script.createCachedData()]);
  writeFileSync(temporary, octets, { mode: 0o644, flag: 'wx' });
  renameSync(temporary, `${path}.cache`);
}
