/**
 * The allow-list on the command line, for `connect`, `exec` and `proxy`: its options, and what
 * becomes of a list that was learned.
 */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { AllowOptions } from '../config/configuration.ts';
import { systemCodeOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';
import { once } from './connect.ts';

export function addAllowOptions(command: Command): void {
  command
    .option(
      '--allow <file>',
      'open only what a rule in this file permits, one TARGET a line',
      once('--allow'),
    )
    .option(
      '--dry-run',
      'refuse nothing for want of a rule, and print the rules that were needed at the end',
    )
    .option(
      '--dry-run-to <file>',
      'the same, and write them to this file instead',
      once('--dry-run-to'),
    );
}

/**
 * For RunOptions. `print`: where the list goes without --dry-run-to, and when the file can't be
 * written: the run may not be repeated for it.
 */
export function learnedList(
  { dryRunTo }: AllowOptions,
  print: (text: string) => void,
  observer: Observer,
): (list: string) => void {
  return (list) => {
    if (dryRunTo === undefined) {
      print(list);
      return;
    }
    try {
      writeFileSync(dryRunTo, list);
    } catch (error) {
      const reason = systemCodeOf(error);
      observer.log(
        'error',
        `--dry-run-to: ${dryRunTo} can't be written: ${reason}; the list is printed instead`,
      );
      print(list);
    }
  };
}
