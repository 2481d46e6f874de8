/** How the native parts are built, read from their files with readelf(1). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { HELPER_PATH } from '../../../src/native/addon.ts';

const DIRECTORY = dirname(HELPER_PATH);
const PROGRAMS = [
  'tunnel-helper',
  'tunnel-launcher',
  'tunnel-launch',
  'tunnel-hostpin',
  'tunnel-guard',
  'tunnel-askpass',
] as const;
const missing = spawnSync('readelf', ['--version']).status === 0 ? false : 'no readelf';

function readelf(file: string, ...options: readonly string[]): string {
  const { status, stdout } = spawnSync('readelf', ['-W', ...options, join(DIRECTORY, file)], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  assert.equal(status, 0, file);
  return stdout;
}

/** What the compiler was called with, which it notes in the debugging information. */
function compilerOf(file: string): string {
  return readelf(file, '--debug-dump=info', '--dwarf-depth=1')
    .split('\n')
    .filter((line) => line.includes('DW_AT_producer'))
    .join('\n');
}

describe('hardening of the native parts', { skip: missing }, () => {
  for (const file of [...PROGRAMS, 'tunnel.node']) {
    it(`${file}: symbols are bound at the start, and their table is read-only`, () => {
      const dynamic = readelf(file, '-d');
      assert.match(dynamic, /\(FLAGS\).*BIND_NOW/);
      assert.match(dynamic, /\(FLAGS_1\).*\bNOW\b/);
      assert.doesNotMatch(dynamic, /TEXTREL|RPATH|RUNPATH/);
      assert.match(readelf(file, '-l'), /GNU_RELRO/);
    });

    it(`${file}: no memory is writable and executable`, () => {
      const segments = readelf(file, '-l').split('\n');
      const stack = segments.find((line) => line.includes('GNU_STACK'));
      assert.match(stack ?? '', / RW /);
      for (const line of segments.filter((segment) => /^ +LOAD/.test(segment)))
        assert.doesNotMatch(line, /WE/);
    });

    it(`${file}: it can lie anywhere in memory`, () => {
      assert.match(readelf(file, '-h'), /Type: +DYN/);
      if (file !== 'tunnel.node') assert.match(readelf(file, '-d'), /\(FLAGS_1\).*\bPIE\b/);
    });

    it(`${file}: the stack is guarded, and so are indirect jumps`, () => {
      const producers = compilerOf(file).split('\n');
      if (!/GNU C/.test(producers[0] ?? '')) return; // Others don't note their options.
      for (const line of producers) {
        assert.match(line, /-fstack-protector-strong/);
        assert.match(line, /-fstack-clash-protection/);
        if (process.arch === 'x64') assert.match(line, /-fcf-protection/);
        if (process.arch === 'arm64') assert.match(line, /-mbranch-protection/);
      }
    });
  }

  for (const file of ['tunnel-helper', 'tunnel-launcher', 'tunnel-guard']) {
    it(`${file}: copies are checked`, () => {
      const imported = readelf(file, '--dyn-syms');
      // musl has no such functions.
      if (!/GLIBC/.test(imported)) return;
      assert.match(imported, /__\w+_chk\b/);
      assert.match(imported, /__stack_chk_fail/);
    });
  }
});
