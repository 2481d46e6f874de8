/**
 * Evaluates an ssh_config for one host if ssh isn't installed. As in readconf.c, lines are read
 * from top to bottom, Host and Match sections that don't match are skipped, and the first value of
 * a keyword wins. Identity and certificate files add up. After an Include, the lines still belong
 * to the section that contains it. `Match final` causes a second pass, in which Host is compared
 * with the HostName found in the first.
 *
 * Not evaluated here, and listed in one warning: `Match exec`, `Match localnetwork`, `canonical`,
 * `version`, `command`, `sessiontype` (such sections don't match), CanonicalizeHostname, Includes
 * with tokens or variables, unknown keywords.
 */

import { UsageError } from '../../errors/errors.ts';
import { matchPatterns } from '../patterns.ts';
import { assembleAlgorithms } from './algorithms.ts';
import type { ConfigFile, ConfigLine, ConfigPart } from './files.ts';
import { isSshKeyword } from './keywords.ts';
import { type Directive, type KeywordValues, parseDirective } from './syntax.ts';
import { expandHostName } from './tokens.ts';

export interface Evaluation {
  /** -o, the user's files, the system's, in this order. */
  readonly parts: readonly ConfigPart[];
  /** As the user named the host. */
  readonly name: string;
  /** Given outside ssh_config. */
  readonly user: string | undefined;
  readonly port: number | undefined;
  /** -J in ssh's form, or `none`. */
  readonly jump: string | undefined;
  /** Throws UsageError if the current user has no name on this machine. */
  readonly localUser: () => string;
}

export interface Evaluated {
  readonly values: KeywordValues;
  /** The parts that could not be evaluated, one phrase each. */
  readonly unevaluated: readonly string[];
}

/** Throws UsageError for malformed lines. */
export function evaluateConfig(evaluation: Evaluation): Evaluated {
  const pass = new ConfigPass(evaluation);
  pass.run(evaluation.name, false);
  if (pass.wantsFinal) pass.run(pass.hostName, true);
  return { values: pass.finish(), unevaluated: [...pass.unevaluated] };
}

const OLD_NAMES: Readonly<Record<string, string>> = {
  challengeresponseauthentication: 'kbdinteractiveauthentication',
  skeyauthentication: 'kbdinteractiveauthentication',
  tisauthentication: 'kbdinteractiveauthentication',
  dsaauthentication: 'pubkeyauthentication',
  identityfile2: 'identityfile',
  keepalive: 'tcpkeepalive',
  pubkeyacceptedkeytypes: 'pubkeyacceptedalgorithms',
  smartcarddevice: 'pkcs11provider',
};
const COMMANDS = new Set(['proxycommand', 'knownhostscommand', 'localcommand', 'remotecommand']);
const CUMULATIVE = new Set(['identityfile', 'certificatefile']);
const PATH_LISTS = new Set(['userknownhostsfile', 'globalknownhostsfile']);
const UNEVALUATED_CRITERIA = new Set([
  'exec',
  'localnetwork',
  'canonical',
  'version',
  'command',
  'sessiontype',
]);

class ConfigPass {
  wantsFinal = false;
  readonly unevaluated = new Set<string>();
  readonly #values = new Map<string, string[]>();
  readonly #evaluation: Evaluation;
  /** The name that Host patterns are compared with. */
  #host = '';
  #final = false;

  constructor(evaluation: Evaluation) {
    this.#evaluation = evaluation;
    const { user, port, jump } = evaluation;
    if (user !== undefined) this.#values.set('user', [user]);
    if (port !== undefined) this.#values.set('port', [String(port)]);
    if (jump !== undefined) this.#values.set('proxyjump', [jump]);
  }

  get hostName(): string {
    const { name } = this.#evaluation;
    const configured = this.#values.get('hostname')?.[0];
    // The name that the user gave is not expanded: it may contain the % of an IPv6 zone.
    return (configured === undefined ? name : expandHostName(configured, name)).toLowerCase();
  }

  run(host: string, final: boolean): void {
    this.#host = host;
    this.#final = final;
    for (const part of this.#evaluation.parts) {
      if (typeof part !== 'string') {
        this.#read(part, true);
        continue;
      }
      for (const line of part.split('\n')) {
        const directive = parseDirective(line, '-o');
        if (directive !== undefined) this.#set(directive, '-o');
      }
    }
  }

  finish(): KeywordValues {
    this.#values.set('hostname', [this.hostName]);
    for (const [keyword, [list = '']] of this.#values) {
      const assembled = assembleAlgorithms(keyword, list);
      if (assembled !== undefined) this.#values.set(keyword, [assembled]);
    }
    if (/^(yes|always)$/i.test(this.#values.get('canonicalizehostname')?.[0] ?? ''))
      this.unevaluated.add('CanonicalizeHostname');
    return this.#values;
  }

  #read(file: ConfigFile, outer: boolean): void {
    let active = outer;
    for (const line of file.lines) {
      const { directive } = line;
      if (directive === undefined) continue;
      const place = `${file.path}:${line.number}`;
      if (directive.keyword === 'host') {
        active = matchPatterns(directive.args, this.#host) && outer;
      } else if (directive.keyword === 'match') {
        active = this.#matches(directive, place, outer) && outer;
      } else if (directive.keyword === 'include') {
        if (active) this.#include(line, place);
      } else if (active) {
        this.#set(directive, place);
      }
    }
  }

  #include({ includes }: ConfigLine, place: string): void {
    if (includes === undefined) this.unevaluated.add(`the Include at ${place}`);
    for (const file of includes ?? []) this.#read(file, true);
  }

  #set({ keyword: written, args, rest }: Directive, place: string): void {
    const keyword = OLD_NAMES[written] ?? written;
    const values = COMMANDS.has(keyword)
      ? [rest]
      : PATH_LISTS.has(keyword)
        ? [...args]
        : args.join(' ');
    const [first = ''] = values;
    if (first === '')
      throw new UsageError(`${place}: ${written} has no value`, {
        hint: 'a line is "Keyword value"',
      });
    const ignored = (this.#values.get('ignoreunknown')?.[0] ?? '').toLowerCase().split(/[ ,]+/);
    if (!isSshKeyword(keyword) && !matchPatterns(ignored, written))
      this.unevaluated.add(`the keyword ${written} at ${place}`);
    const known = this.#values.get(keyword);
    if (CUMULATIVE.has(keyword)) {
      const [file = ''] = args;
      if (known?.includes(file) !== true) this.#values.set(keyword, [...(known ?? []), file]);
      return;
    }
    if (known !== undefined || this.#isOverridden(keyword)) return;
    this.#values.set(keyword, typeof values === 'string' ? [values] : values);
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
  #matches({ args }: Directive, place: string, outer: boolean): boolean {
    const words = args.flatMap((arg) => splitCriterion(arg));
    let matches = true;
    for (let index = 0; index < words.length; index += 1) {
      const written = (words[index] ?? '').toLowerCase();
      const negated = written.startsWith('!');
      const criterion = negated ? written.slice(1) : written;
      if (criterion === 'all') continue;
      if (criterion === 'final') {
        if (!negated) this.wantsFinal = true;
        if (this.#final === negated) matches = false;
        continue;
      }
      if (criterion !== 'canonical') index += 1;
      if (UNEVALUATED_CRITERIA.has(criterion)) {
        if (outer && matches && criterion !== 'canonical')
          this.unevaluated.add(`"Match ${criterion}" at ${place}`);
        if (criterion !== 'canonical' || !negated) matches = false;
        continue;
      }
      const subject = this.#subject(criterion, place);
      const patterns = words[index];
      if (patterns === undefined || patterns === '')
        throw new UsageError(`${place}: Match ${criterion} has no pattern`, {
          hint: `write it as in: Match ${criterion} NAME`,
        });
      const list = (criterion.endsWith('host') ? patterns.toLowerCase() : patterns).split(',');
      if (matchPatterns(list, subject) === negated) matches = false;
    }
    return matches;
  }

  #subject(criterion: string, place: string): string {
    const { name, localUser } = this.#evaluation;
    switch (criterion) {
      case 'host':
        return this.hostName;
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

function splitCriterion(arg: string): string[] {
  const equals = /^(!?[a-z]+)=(.*)$/is.exec(arg);
  return equals === null ? [arg] : [equals[1] ?? '', equals[2] ?? ''];
}
