/**
 * The options of the allow-list. The file of --allow says what may be opened, one rule a line;
 * everything else is refused (policy/allowlist.ts).
 *
 *   203.0.113.0/24:443      # a prefix or an address, with ports
 *   api.example.com:443     # a name, as clients send it to a proxy or ask the resolver for it
 *   *.example.com:443,8774  # all names below one
 *
 * Without ports a rule stands for all of them. A file without rules refuses everything.
 */
import { UsageError } from '../errors/errors.ts';
import { readTargetsFile } from './argsfile.ts';
import type { AllowOptions, AllowRules } from './configuration.ts';
import { separateNames } from './proxyoptions.ts';
import { parseExclusion } from './target.ts';

/** A longer list is no list of what a run needs. */
export const MAX_ALLOW_RULES = 10_000;

/** As commander hands them over. */
export interface AllowOptionTexts {
  readonly allow?: string;
  readonly dryRun?: boolean;
  readonly dryRunTo?: string;
}

/** Throws UsageError, with file and line. */
export function readAllowOptions({
  allow,
  dryRun = false,
  dryRunTo,
}: AllowOptionTexts): AllowOptions {
  if (dryRunTo === '')
    throw new UsageError('--dry-run-to: the name of the file is empty', {
      hint: 'write a name; an empty one often is a variable of the shell that is not set',
    });
  return {
    rules: allow === undefined ? undefined : readAllowFile(allow),
    dryRun: dryRun || dryRunTo !== undefined,
    dryRunTo,
  };
}

function readAllowFile(file: string): AllowRules {
  const entries = readTargetsFile(file, '--allow');
  if (entries.length > MAX_ALLOW_RULES) {
    throw new UsageError(
      `--allow: ${file} has ${entries.length} rules, at most ${MAX_ALLOW_RULES} are read`,
      {
        hint: 'use prefixes, or names below a domain (*.example.com)',
      },
    );
  }
  const { addresses, names } = separateNames(entries);
  const prefixes = addresses.map(({ text, place }) => parseExclusion(text, place).target);
  return { prefixes, names };
}
