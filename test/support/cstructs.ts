/**
 * The constants, sizes, offsets and whole messages that the compiler gets from a protocol header's
 * C structs.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NATIVE = fileURLToPath(new URL('../../../native', import.meta.url));

/**
 * Compiles and runs `body` and returns, by name, what it prints with these macros:
 *
 *   SIZE(name)             `name.size`   of struct PREFIX_name
 *   AT(name, field, as)    `name.as`     the offset of a field of it
 *   VALUE(CONSTANT)        `CONSTANT`
 *   HEX(name, variable)    `name`        its bytes; HEADER(type, variable) is what its header
 *                                        begins with
 */
export function printedByC(
  header: string,
  prefix: string,
  body: string,
): Readonly<Record<string, number | string>> {
  const upper = prefix.toUpperCase();
  const program = `
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "${header}"

#define SIZE(name) printf("\\"%s.size\\":%zu,", #name, sizeof(struct ${prefix}_##name))
#define AT(name, field, as) printf("\\"%s.%s\\":%zu,", #name, as, offsetof(struct ${prefix}_##name, field))
#define VALUE(name) printf("\\"%s\\":%lu,", #name, (unsigned long)(name))
#define HEX(name, value) do { printf("\\"%s\\":\\"", name); \\
    for (size_t i = 0; i < sizeof value; i++) printf("%02x", ((const unsigned char *)&value)[i]); printf("\\","); } while (0)
#define HEADER(kind, message) {${upper}_MAGIC, ${upper}_VERSION, kind, sizeof message}

int main(void) {
  printf("{");
${body}
  printf("\\"end\\":0}");
  return 0;
}
`;
  const directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  try {
    const binary = join(directory, 'layout');
    const flags = [
      '-std=c11',
      '-Wall',
      '-Wextra',
      '-Werror',
      `-I${NATIVE}`,
      '-x',
      'c',
      '-',
      '-o',
      binary,
    ];
    const compiled = spawnSync('cc', flags, { input: program, encoding: 'utf8' });
    assert.equal(compiled.status, 0, compiled.stderr);
    return JSON.parse(spawnSync(binary, { encoding: 'utf8' }).stdout) as Record<
      string,
      number | string
    >;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
