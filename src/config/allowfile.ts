/**
 * The options of the allow-list. The file of --allow says what may be opened, one rule per line,
 * and so does each --allow-rule. Everything else is refused (policy/allowlist.ts).
 *
 *   203.0.113.0/24:443      # a prefix or an address, with ports
 *   api.example.com:443     # a name, as clients send it to a proxy or ask the resolver for it
 *   *.example.com:443,8774  # all names below one
 *
 * A rule without ports permits all ports. A file without rules refuses everything.
 */
import { UsageError } from '../errors/errors.ts';
import { fileName, formatPlace } from '../net/place.ts';
import { type Entry, readTargetsFile } from './argsfile.ts';
import type { AllowOptions, AllowRules } from './configuration.ts';
import {
  asText,
  type Given,
  type GivenOptions,
  once,
  readOptions,
  repeated,
  toggle,
  writtenFile,
} from './option.ts';
import { parseExclusion, placed, separateNames } from './target.ts';

/** A longer list can't be a list of what a run needs. */
export const MAX_ALLOW_RULES = 10_000;

export const ALLOW_OPTIONS = {
  heading: 'Allow-list:',
  options: {
    allow: once(
      '--allow <file>',
      'open only what a rule in this file permits, one TARGET per line',
      asText,
    ),
    allowRule: repeated(
      '--allow-rule <target>',
      'open only what such a rule permits, or one of --allow (repeatable)',
      (text, place): Entry => ({ text, place }),
    ),
    dryRun: toggle(
      '--dry-run',
      'refuse nothing because a rule is missing; at the end print the rules that were needed',
    ),
    dryRunTo: once(
      '--dry-run-to <file>',
      'the same, but write the rules to this file',
      writtenFile('--dry-run prints them'),
    ),
  },
} as const;

/** Throws UsageError, with file and line. */
export function readAllowOptions(given: GivenOptions): AllowOptions {
  const { allow, allowRule, dryRun, dryRunTo } = readOptions(ALLOW_OPTIONS, given);
  const written = allowRule.map(({ value }) => value);
  const listed =
    allow === undefined && written.length === 0 ? undefined : readRules(allow, written);
  return {
    rules: listed,
    dryRun: dryRun !== undefined || dryRunTo !== undefined,
    dryRunTo: dryRunTo?.value,
  };
}

function readRules(file: Given<string> | undefined, written: readonly Entry[]): AllowRules {
  const read = file === undefined ? [] : readTargetsFile(file.value, file.place);
  const entries = [...read, ...written];
  if (entries.length > MAX_ALLOW_RULES) {
    const what =
      file === undefined
        ? '--allow-rule gives'
        : `${formatPlace(file.place)}: ${fileName(file.value)} has`;
    throw new UsageError(`${what} ${entries.length} rules, at most ${MAX_ALLOW_RULES} are read`, {
      hint: 'use prefixes, or names below a domain (*.example.com)',
    });
  }
  const { addresses, names } = separateNames(entries);
  const prefixes = addresses.map(({ text, place }) =>
    placed(parseExclusion(text, place).target, place),
  );
  return { prefixes, names };
}
