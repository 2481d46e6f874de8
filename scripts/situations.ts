/** What the soaks have in common: situations by name, a table of what was found, and the status. */
import type { Finding } from '../test/support/load.ts';

/**
 * Runs those that the command line names, or all, each on a load of its own. Prints the table, and
 * ends the process: with 1 when a bound was missed, with 2 when there is no such situation.
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
