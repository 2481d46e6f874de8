/**
 * The packet engine's C tests (test/native, test/fuzz), built under AddressSanitizer and UBSan and run one by one.
 * A failing random test prints the variable and the seed that repeat it.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const NATIVE = fileURLToPath(new URL('../../../native', import.meta.url));
const BINARIES = fileURLToPath(new URL('../../native-test', import.meta.url));
const FUZZ_SECONDS = 20;
const FUZZ_MEMORY_MB = 1024;

/** Both outputs together; fails with them when the program doesn't end with 0. */
function run(command: string, args: readonly string[], seconds: number, cwd?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { timeout: seconds * 1000, killSignal: 'SIGKILL', maxBuffer: 1 << 24, cwd } as const;
    execFile(command, args, options, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`;
      if (error === null) resolve(output);
      else reject(new assert.AssertionError({ message: `${error.message}\n${output}` }));
    });
  });
}

before(() => run('make', ['-s', '-C', NATIVE, 'test-binaries'], 120));

for (const name of ['packet_test', 'flow_test', 'answer_test', 'limit_test', 'model_test', 'datagram_test']) {
  test(name, async () => {
    assert.match(await run(join(BINARIES, name), [], 60), /^ok /m);
  });
}

test(`fuzzing for ${FUZZ_SECONDS} s`, async (t) => {
  const fuzzer = join(BINARIES, 'nat_fuzz');
  if (!existsSync(fuzzer)) {
    t.diagnostic('no clang with libFuzzer here: random programs instead of coverage-guided ones');
    assert.match(await run(`${fuzzer}_standalone`, [String(FUZZ_SECONDS)], FUZZ_SECONDS + 20), /^ok \d+/m);
    return;
  }
  // A finding is also written to a file; the report below has it in Base64.
  const directory = await mkdtemp(join(tmpdir(), 'nat-fuzz-'));
  try {
    const limits = [
      `-max_total_time=${FUZZ_SECONDS}`,
      `-rss_limit_mb=${FUZZ_MEMORY_MB}`,
      '-max_len=2048',
      '-timeout=10',
    ];
    const output = await run(fuzzer, [...limits, '-print_final_stats=1'], FUZZ_SECONDS + 20, directory);
    const programs = Number(/number_of_executed_units: (\d+)/.exec(output)?.[1]);
    assert.ok(programs > 1000, `only ${programs} programs were run\n${output}`);
    t.diagnostic(`libFuzzer ran ${programs} programs`);
  } finally {
    await rm(directory, { recursive: true });
  }
});
