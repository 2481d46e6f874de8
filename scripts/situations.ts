/** What the soaks share: situations by name, a table of results, and the exit status. */
import type { Finding } from '../test/support/load.ts';

/**
 * Runs the situations that the command line names, or all. Prints the table and exits: with 1 when
 * a bound was missed, with 2 when a situation doesn't exist.
 */
export async function runSituations<Situation>(
  situations: Readonly<Record<string, Situation>>,
  run: (situation: Situation) => Promise<readonly Finding[]>,
): Promise<never> {
  const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(situations);
  const lines = ['| what | value | bound | kept |', '|---|---|---|---|'];
  for (const name of names) {
    const situation = situations[name];
    if (situation === undefined) {
      process.stderr.write(
        `no such situation: ${name} (there are ${Object.keys(situations).join(', ')})\n`,
      );
      process.exit(2);
    }
    for (const { what, value, bound, kept } of await run(situation)) {
      lines.push(`| ${what} | ${value} | ${bound} | ${kept ? 'yes' : 'NO'} |`);
      if (!kept) process.exitCode = 1;
    }
  }
  process.stdout.write(`${lines.join('\n')}\n`);
  process.exit();
}
