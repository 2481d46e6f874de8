/** Prints or saves the list of rules that `--dry-run` has learned. */
import { writeFileSync } from 'node:fs';
import type { AllowOptions } from '../config/configuration.ts';
import { systemCodeOf } from '../errors/reason.ts';
import type { Observer } from '../observe/observer.ts';

/**
 * For RunOptions. `print` gets the list without --dry-run-to, and also when the file can't be
 * written: the user may not be able to repeat the run.
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
