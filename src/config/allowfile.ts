/**
 * The file of --allow: what may be opened through the jump host, one rule a line; everything else is refused.
 *
 *   203.0.113.0/24:443      # a prefix or an address, with ports
 *   api.example.com:443     # a name, as clients send it to a proxy or ask the resolver for it
 *   *.example.com:443,8774  # all names below one
 *
 * Without ports a rule stands for all of them. A file without rules refuses everything.
 */
import { UsageError } from '../errors.ts';
import type { NamePattern } from '../net/name.ts';
import { endsInNumber, parseNamePattern } from '../net/name.ts';
import { type PortRange, parsePorts } from '../net/ports.ts';
import type { Prefix } from '../net/prefix.ts';
import { readTargetsFile } from './argsfile.ts';
import { parseExclusion } from './target.ts';
import { type Place, readAt } from './usage.ts';

/** A longer list is no list of what a run needs. */
export const MAX_ALLOW_RULES = 10_000;

interface Limited {
  readonly ports: readonly PortRange[];
  /** As the user wrote it. */
  readonly text: string;
}

export interface AllowRules {
  readonly prefixes: readonly (Limited & { readonly prefix: Prefix })[];
  readonly names: readonly (Limited & { readonly pattern: NamePattern })[];
}

export interface AllowOptionTexts {
  readonly allow?: string;
  readonly dryRun?: boolean;
}

export interface AllowOptions {
  /** --allow; undefined: no list, everything is permitted. */
  readonly rules: AllowRules | undefined;
  /** --dry-run: nothing is refused for want of a rule; at the end the rules that would have been needed are printed. */
  readonly dryRun: boolean;
}

/** Throws UsageError, with file and line. */
export function readAllowOptions({ allow, dryRun = false }: AllowOptionTexts): AllowOptions {
  return { rules: allow === undefined ? undefined : readAllowFile(allow), dryRun };
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
  const names = entries.filter(({ text }) => isName(text));
  const prefixes = entries.filter(({ text }) => !isName(text));
  return {
    names: names.map(({ text, place }) => readName(text, place)),
    prefixes: prefixes.map(({ text, place }) => {
      const { prefix, ports } = parseExclusion(text, place).target;
      return { prefix, ports, text };
    }),
  };
}

/** Anything that isn't written as an address, so that a malformed name is reported as such. */
function isName(text: string): boolean {
  const [, host = ''] = /^([^:/[\]]+)(?::[^:]*)?$/.exec(text) ?? [];
  return /[^0-9.]/.test(host) && !endsInNumber(host);
}

function readName(text: string, place: Place): AllowRules['names'][number] {
  return readAt(place, text, () => {
    const [host = '', ports] = text.split(':');
    return { pattern: parseNamePattern(host), ports: ports === undefined ? [] : parsePorts(ports), text };
  });
}
