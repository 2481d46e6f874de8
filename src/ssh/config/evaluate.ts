/**
 * Evaluates an ssh_config for one host if ssh isn't installed. As in readconf.c, lines are read
 * from top to bottom, Host and Match sections that don't match are skipped, and the first value of
 * a keyword wins. Identity and certificate files and forwards add up. After an Include, the lines
 * still belong to the section that contains it. Lines that ssh refuses are errors, also in sections
 * that don't apply.
 *
 * This is what most files need, and no second ssh. What only ssh can evaluate is refused by name,
 * never passed over, since it may lead to another host, user or key (docs/decisions/0013):
 *
 * | refused                                                  | unless                           |
 * |----------------------------------------------------------|----------------------------------|
 * | `Match final`                                            |                                  |
 * | `Match exec`, `localnetwork`, `version`, `command`,      | another criterion doesn't match, |
 * | `sessiontype`                                            | or the section changes nothing   |
 * | an Include with tokens, variables, or an unknown ~user   | its section doesn't apply        |
 * | CanonicalizeHostname, CanonicalizePermittedCNAMEs        | it is off for this host          |
 * | tokens in User, quoted keywords, `'` and `\` in Match    |                                  |
 */

import { UsageError } from '../../errors/errors.ts';
import { numericAddress } from '../numerichost.ts';
import { matchPatterns } from '../patterns.ts';
import { assembleAlgorithms } from './algorithms.ts';
import type { ConfigFile, ConfigLine, ConfigPart } from './files.ts';
import {
  FORWARD_KEYWORDS,
  INERT_KEYWORDS,
  isFileKeyword,
  isRetired,
  presentName,
} from './keywords.ts';
import {
  checkValue,
  isNoValue,
  isPathList,
  isWholeLine,
  jumpText,
  portOf,
  wholeLine,
} from './keywordvalues.ts';
import { type Directive, delimitedWords, type KeywordValues, parseDirective } from './syntax.ts';
import { expandHostName } from './tokens.ts';

export interface Evaluation {
  /** -o, the user's files, the system's, in this order. */
  readonly parts: readonly ConfigPart[];
  /** Lines for what is set nowhere else. */
  readonly defaults: readonly string[];
  /** As the user named the host. */
  readonly name: string;
  /** Given outside ssh_config. */
  readonly user: string | undefined;
  readonly port: number | undefined;
  /** -J in ssh's form, or `none`. */
  readonly jump: string | undefined;
  /** Throws UsageError if the current user has no name on this machine. */
  readonly localUser: () => string;
  /**
   * ssh has evaluated the files, and only places are wanted: nothing that isn't evaluated here is
   * an error.
   */
  readonly lenient?: boolean;
}

/** Where the value of a keyword comes from. */
export interface Written {
  /** `FILE:LINE`, or `-o` with the option. */
  readonly place: string;
  /** As it was written, without quotes. */
  readonly text: string;
}

export interface Evaluated {
  readonly values: KeywordValues;
  /** By keyword; those that the user has set. */
  readonly written: ReadonlyMap<string, Written>;
  /** Whether something was passed over, which only happens with `lenient`. */
  readonly isComplete: boolean;
}

/** Throws UsageError for malformed lines, and for what only ssh can evaluate. */
export function evaluateConfig(evaluation: Evaluation): Evaluated {
  const pass = new ConfigPass(evaluation);
  pass.run();
  const values = pass.finish();
  return { values, written: pass.written, isComplete: pass.isComplete };
}

const CUMULATIVE = new Set(['identityfile', 'certificatefile', ...FORWARD_KEYWORDS]);
const INERT = new Set(INERT_KEYWORDS);
const ONLY_SSHS_CRITERIA = new Set(['exec', 'localnetwork', 'version', 'command', 'sessiontype']);

/** An object names what decides whether the section applies, which only ssh can say. */
type Applies = 'yes' | 'no' | { readonly decidedBy: string; readonly place: string };

function valuesOf(keyword: string, directive: Directive): readonly string[] {
  if (keyword === 'proxyjump') return [jumpText(directive)];
  if (isWholeLine(keyword)) return [wholeLine(directive)];
  if (keyword === 'port') return [String(portOf(directive.args[0] ?? '') ?? directive.args[0])];
  return isPathList(keyword) ? directive.args : [directive.args.join(' ')];
}

class ConfigPass {
  isComplete = true;
  readonly written = new Map<string, Written>();
  readonly #values = new Map<string, string[]>();
  readonly #evaluation: Evaluation;

  constructor(evaluation: Evaluation) {
    this.#evaluation = evaluation;
    const { user, port, jump } = evaluation;
    if (user !== undefined) this.#values.set('user', [user]);
    if (port !== undefined) this.#values.set('port', [String(port)]);
    if (jump !== undefined) this.#values.set('proxyjump', [jump]);
  }

  run(): void {
    for (const part of this.#evaluation.parts) {
      if (typeof part !== 'string') this.#read(part, 'yes');
      else this.#readLines(part);
    }
  }

  finish(): KeywordValues {
    for (const name of ['CanonicalizeHostname', 'CanonicalizePermittedCNAMEs']) {
      const written = this.written.get(name.toLowerCase());
      if (written !== undefined && !/^(no|false|none)$/i.test(written.text))
        this.#leaveToSsh(name, written.place);
    }
    const attempts = this.written.get('connectionattempts');
    if (attempts !== undefined && Number(attempts.text) === 0)
      throw new UsageError(`${attempts.place}: ConnectionAttempts is 0`, {
        hint: 'ssh takes 1 or more; leave it out, since it has no effect here',
      });
    for (const lines of this.#evaluation.defaults) this.#readLines(lines, false);
    const hostName = this.#hostName.toLowerCase();
    this.#values.set('hostname', [numericAddress(hostName) ?? hostName]);
    const alias = this.#values.get('hostkeyalias')?.[0];
    if (alias !== undefined) this.#values.set('hostkeyalias', [alias.toLowerCase()]);
    for (const [keyword, [list = '']] of this.#values) {
      const assembled = assembleAlgorithms(keyword, list);
      if (assembled !== undefined) this.#values.set(keyword, [assembled]);
    }
    return this.#values;
  }

  get #hostName(): string {
    const { name } = this.#evaluation;
    const configured = this.#values.get('hostname')?.[0];
    // The name that the user gave is not expanded: it may contain the % of an IPv6 zone.
    return configured === undefined ? name : expandHostName(configured, name);
  }

  /** `decides`: the end of the sentence. Throws UsageError. */
  #leaveToSsh(what: string, place: string, decides = ''): void {
    this.isComplete = false;
    if (this.#evaluation.lenient === true) return;
    throw new UsageError(`${place}: without ssh on this machine, ${what} can't be used${decides}`, {
      hint: `install OpenSSH (Debian: apt-get install openssh-client) to use ${what}, or name another file with -F`,
    });
  }

  #readLines(lines: string, note = true): void {
    for (const line of lines.split('\n')) {
      const directive = parseDirective(line, '-o');
      if (directive !== undefined) this.#set(directive, note ? `-o ${line}` : undefined, 'yes');
    }
  }

  #read(file: ConfigFile, outer: Applies): void {
    let section = outer;
    for (const line of file.lines) {
      const { directive } = line;
      if (directive === undefined) continue;
      const place = `${file.path}:${line.number}`;
      if (directive.isQuoted) this.#leaveToSsh('a keyword in quotes', place);
      if (directive.keyword === 'host') {
        this.#refuseEmpty(directive, place);
        section = matchPatterns(directive.args, this.#evaluation.name) ? outer : 'no';
      } else if (directive.keyword === 'match') section = this.#matches(directive, place, outer);
      else if (directive.keyword === 'include') this.#include(line, place, section);
      else this.#set(directive, place, section);
    }
  }

  #refuseEmpty({ keyword, args }: Directive, place: string): void {
    if (!args.includes('')) return;
    throw new UsageError(`${place}: ${keyword} has an empty value`, {
      hint: 'leave the quotes out',
    });
  }

  #include({ includes }: ConfigLine, place: string, section: Applies): void {
    if (includes === undefined && section !== 'no')
      this.#leaveToSsh('Include with a token, a variable or this ~user', place);
    for (const file of includes ?? []) this.#read(file, section);
  }

  /** Also in sections that don't apply, as in ssh. Throws UsageError. */
  #check(directive: Directive, keyword: string, place: string): void {
    const ignored = (this.#values.get('ignoreunknown')?.[0] ?? '').toLowerCase().split(',');
    if (!isFileKeyword(directive.keyword) && !matchPatterns(ignored, directive.keyword))
      throw new UsageError(`${place}: ${directive.keyword} is not a keyword of ssh_config`, {
        hint: `correct it, or have it ignored with a line before it: IgnoreUnknown ${directive.keyword}`,
      });
    checkValue(keyword, directive, place);
  }

  /** `place`: undefined for a default. */
  #set(directive: Directive, place: string | undefined, section: Applies): void {
    const keyword = presentName(directive.keyword);
    const { args, rest } = directive;
    if (this.#evaluation.lenient !== true) {
      this.#check(directive, keyword, place ?? 'default');
      if (!isFileKeyword(directive.keyword)) return; // ignored, because of IgnoreUnknown
    }
    if (section === 'no' || isRetired(keyword) || isNoValue(keyword, args[0] ?? '')) return;
    const values = valuesOf(keyword, directive);
    const known = this.#values.get(keyword) ?? [];
    const isNew = CUMULATIVE.has(keyword)
      ? !known.includes(values[0] ?? '')
      : known.length === 0 && !this.#isOverridden(keyword);
    if (!isNew) return;
    if (section !== 'yes') {
      const decides = `, and it decides about ${directive.keyword} at ${place}`;
      if (!INERT.has(keyword)) this.#leaveToSsh(section.decidedBy, section.place, decides);
      return;
    }
    if (keyword === 'refuseconnection' && this.#evaluation.lenient !== true)
      throw new UsageError(`${place}: RefuseConnection: ${rest}`, {
        hint: 'ssh_config forbids this connection',
      });
    if (keyword === 'user' && /%|\$\{/.test(values[0] ?? ''))
      this.#leaveToSsh('tokens in User', place ?? '');
    if (place !== undefined && known.length === 0)
      this.written.set(keyword, { place, text: args.join(' ') });
    this.#values.set(keyword, CUMULATIVE.has(keyword) ? [...known, ...values] : [...values]);
  }

  /**
   * Of ProxyJump and ProxyCommand, the first one in the files wins. This is also true for
   * `ProxyCommand none`, but not for `ProxyJump none`.
   */
  #isOverridden(keyword: string): boolean {
    if (keyword === 'proxyjump') return this.#values.has('proxycommand');
    if (keyword !== 'proxycommand') return false;
    return (this.#values.get('proxyjump')?.[0] ?? 'none').toLowerCase() !== 'none';
  }

  /** Each criterion is `keyword value`, `keyword=value` or a lone `keyword`. All must match. */
  #matches({ rest }: Directive, place: string, outer: Applies): Applies {
    const words = delimitedWords(rest, place);
    let matches = true;
    let decidedBy: string | undefined;
    let criteria = 0;
    for (let index = 0; index < words.length; index += 1) {
      const written = words[index] ?? '';
      if (written.startsWith('#')) break;
      const negated = written.startsWith('!');
      const criterion = (negated ? written.slice(1) : written).toLowerCase();
      if (criterion === 'all') {
        const after = words[index + 1] ?? '#';
        // ssh takes one other criterion before it.
        if (criteria > 1 || (after !== '' && !after.startsWith('#')))
          throw new UsageError(`${place}: Match all has other criteria beside it`, {
            hint: 'leave "all" out',
          });
        if (negated) matches = false;
        break;
      }
      criteria += 1;
      if (criterion === 'final') {
        this.#leaveToSsh('Match final', place);
        matches = false;
        continue;
      }
      if (criterion === 'canonical') {
        if (!negated) matches = false;
        continue;
      }
      index += 1;
      const patterns = words[index] ?? '';
      if (patterns === '' || patterns.startsWith('#'))
        throw new UsageError(`${place}: Match ${criterion} has no pattern`, {
          hint: `write it as in: Match ${criterion} NAME`,
        });
      if (ONLY_SSHS_CRITERIA.has(criterion)) decidedBy ??= `Match ${criterion}`;
      else if (this.#matchesCriterion(criterion, patterns, place) === negated) matches = false;
    }
    if (!matches || outer === 'no') return 'no';
    return decidedBy === undefined || outer !== 'yes' ? outer : { decidedBy, place };
  }

  #matchesCriterion(criterion: string, patterns: string, place: string): boolean {
    if (/['\\]/.test(patterns)) this.#leaveToSsh("' and \\ in Match", place);
    const subject = this.#subject(criterion, place);
    return criterion.endsWith('host')
      ? matchPatterns(patterns.toLowerCase().split(','), subject.toLowerCase())
      : matchPatterns(patterns.split(','), subject);
  }

  #subject(criterion: string, place: string): string {
    const { name, localUser } = this.#evaluation;
    switch (criterion) {
      case 'host':
        return this.#hostName;
      case 'originalhost':
        return name;
      case 'user':
        return this.#values.get('user')?.[0] ?? localUser();
      case 'localuser':
        return localUser();
      case 'tagged':
        return this.#values.get('tag')?.[0] ?? '';
      default:
        throw new UsageError(
          `${place}: Match has an unknown criterion ${JSON.stringify(criterion)}`,
          {
            hint: 'the known ones are all, canonical, final, exec, host, originalhost, user, localuser and tagged',
          },
        );
    }
  }
}
