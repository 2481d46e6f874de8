/**
 * Evaluates an ssh_config for one host if ssh isn't installed. As in readconf.c, lines are read
 * from top to bottom, Host and Match sections that don't match are skipped, and the first value of
 * a keyword wins. Identity and certificate files add up. After an Include, the lines still belong
 * to the section that contains it. `Match final` causes a second pass, in which Host is compared
 * with the HostName found in the first.
 *
 * Not evaluated here: `Match exec`, `localnetwork`, `canonical`, `version`, `command` and
 * `sessiontype`, CanonicalizeHostname, Includes with tokens or variables. What they hold must not
 * be passed over if it forbids something (trust.ts):
 *
 * | not evaluated                      | what is done                                          |
 * |------------------------------------|-------------------------------------------------------|
 * | a section with such a setting      | UsageError                                            |
 * | CanonicalizeHostname, if a section | UsageError: the section may be for the canonical name |
 * | that doesn't match has one         |                                                       |
 * | an Include                         | UsageError: it may hold anything                      |
 * | any other                          | it doesn't apply, and is listed in one warning        |
 *
 * Unknown keywords are errors, as in ssh, and so are wrong values of those in trust.ts.
 */

import { UsageError } from '../../errors/errors.ts';
import { quoted } from '../../net/notation.ts';
import { numericAddress } from '../numerichost.ts';
import { matchPatterns } from '../patterns.ts';
import { assembleAlgorithms } from './algorithms.ts';
import type { ConfigFile, ConfigLine, ConfigPart } from './files.ts';
import { isFileKeyword } from './keywords.ts';
import { type Directive, type KeywordValues, parseDirective } from './syntax.ts';
import { expandHostName } from './tokens.ts';
import { isValue, mayForbid, takesOneWord } from './trust.ts';

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
  /** The parts that could not be evaluated, one phrase each. */
  readonly unevaluated: readonly string[];
}

/** Throws UsageError for malformed lines. */
export function evaluateConfig(evaluation: Evaluation): Evaluated {
  const pass = new ConfigPass(evaluation);
  pass.run(evaluation.name, false);
  if (pass.wantsFinal) pass.run(pass.hostName, true);
  return { values: pass.finish(), written: pass.written, unevaluated: [...pass.unevaluated] };
}

const OLD_NAMES: Readonly<Record<string, string>> = {
  challengeresponseauthentication: 'kbdinteractiveauthentication',
  skeyauthentication: 'kbdinteractiveauthentication',
  tisauthentication: 'kbdinteractiveauthentication',
  dsaauthentication: 'pubkeyauthentication',
  identityfile2: 'identityfile',
  hostbasedkeytypes: 'hostbasedacceptedalgorithms',
  keepalive: 'tcpkeepalive',
  pubkeyacceptedkeytypes: 'pubkeyacceptedalgorithms',
  rsaminsize: 'requiredrsasize',
  smartcarddevice: 'pkcs11provider',
};

/**
 * The name that is used in this program, in lower case. Fedora's RSAMinSize became RequiredRSASize.
 */
export function presentName(keyword: string): string {
  return OLD_NAMES[keyword] ?? keyword;
}
const COMMANDS = new Set(['proxycommand', 'knownhostscommand', 'localcommand', 'remotecommand']);
const CUMULATIVE = new Set(['identityfile', 'certificatefile']);
const PATH_LISTS = new Set(['userknownhostsfile', 'globalknownhostsfile', 'revokedhostkeys']);
const UNEVALUATED_CRITERIA = new Set(['exec', 'localnetwork', 'version', 'command', 'sessiontype']);

/** Whether a section applies to the host. `maybe`: only ssh can say. */
type Applies = 'yes' | 'no' | 'maybe';

interface Section {
  readonly applies: Applies;
  /** For `maybe`: what decides. */
  readonly phrase: string | undefined;
}

class ConfigPass {
  wantsFinal = false;
  readonly unevaluated = new Set<string>();
  readonly written = new Map<string, Written>();
  /** Settings that forbid something, in sections that don't match. */
  readonly #skipped: string[] = [];
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
        this.#read(part, 'yes');
        continue;
      }
      for (const line of part.split('\n')) {
        const directive = parseDirective(line, '-o');
        if (directive !== undefined) this.#set(directive, `-o ${line}`);
      }
    }
  }

  finish(): KeywordValues {
    this.#values.set('hostname', [numericAddress(this.hostName) ?? this.hostName]);
    for (const [keyword, [list = '']] of this.#values) {
      const assembled = assembleAlgorithms(keyword, list);
      if (assembled !== undefined) this.#values.set(keyword, [assembled]);
    }
    if (/^(yes|always)$/i.test(this.#values.get('canonicalizehostname')?.[0] ?? ''))
      this.#unevaluated('CanonicalizeHostname', this.#skipped[0]);
    return this.#values;
  }

  /** `forbids`: a setting that it may concern, and where that is. Throws UsageError. */
  #unevaluated(phrase: string, forbids: string | undefined): void {
    if (forbids === undefined || this.#evaluation.lenient === true) {
      this.unevaluated.add(phrase);
      return;
    }
    throw new UsageError(
      `there is no ssh here, and only ssh can evaluate ${phrase}, which decides about ${forbids}`,
      {
        hint: 'install OpenSSH (Debian: apt-get install openssh-client), write the setting where it always applies, or name another file with -F',
      },
    );
  }

  #read(file: ConfigFile, outer: Applies): void {
    let section: Section = { applies: outer, phrase: undefined };
    for (const line of file.lines) {
      const { directive } = line;
      if (directive === undefined) continue;
      const place = `${file.path}:${line.number}`;
      this.#checkKeyword(directive, place);
      if (directive.keyword === 'host') {
        section = {
          applies: matchPatterns(directive.args, this.#host) ? outer : 'no',
          phrase: undefined,
        };
      } else if (directive.keyword === 'match') {
        section = this.#matches(directive, place, outer);
      } else if (directive.keyword === 'include') {
        this.#include(line, place, section);
      } else if (section.applies === 'yes') {
        this.#set(directive, place);
      } else if (mayForbid(presentName(directive.keyword), directive.args)) {
        const what = `${directive.keyword} at ${place}`;
        if (section.applies === 'maybe')
          this.#unevaluated(section.phrase ?? 'the section around it', what);
        this.#skipped.push(what);
      }
    }
  }

  /** What a section that doesn't apply includes is read for the settings that forbid something. */
  #include({ includes }: ConfigLine, place: string, { applies }: Section): void {
    if (includes === undefined && applies !== 'no')
      this.#unevaluated(`the Include at ${place}`, 'what the file has');
    for (const file of includes ?? []) this.#read(file, applies);
  }

  /** Also in sections that don't apply, as in ssh. Throws UsageError. */
  #checkKeyword({ keyword }: Directive, place: string): void {
    if (this.#evaluation.lenient === true) return;
    const ignored = (this.#values.get('ignoreunknown')?.[0] ?? '').toLowerCase().split(/[ ,]+/);
    if (isFileKeyword(keyword) || matchPatterns(ignored, keyword)) return;
    throw new UsageError(`${place}: ${keyword} is not a keyword of ssh_config`, {
      hint: `correct it, or have it ignored with a line before it: IgnoreUnknown ${keyword}`,
    });
  }

  #set({ keyword: written, args, rest }: Directive, place: string): void {
    const keyword = presentName(written);
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
    if (this.#evaluation.lenient !== true) {
      if (takesOneWord(keyword) && args.length > 1)
        throw new UsageError(`${place}: ${written} has more than one value`, {
          hint: 'write a list without spaces, as in: a,b,c',
        });
      if (!isValue(keyword, args.join(' ')))
        throw new UsageError(`${place}: ${written} has no value ${quoted(args.join(' '))}`, {
          hint: '"man ssh_config" lists its values',
        });
      if (keyword === 'refuseconnection')
        throw new UsageError(`${place}: RefuseConnection: ${rest}`, {
          hint: 'ssh_config forbids this connection',
        });
    }
    const known = this.#values.get(keyword);
    if (CUMULATIVE.has(keyword)) {
      const [file = ''] = args;
      if (known?.includes(file) !== true) this.#values.set(keyword, [...(known ?? []), file]);
      return;
    }
    if (known !== undefined || this.#isOverridden(keyword)) return;
    this.written.set(keyword, { place, text: args.join(' ') });
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
  #matches({ args }: Directive, place: string, outer: Applies): Section {
    const words = args.flatMap((arg) => splitCriterion(arg));
    let matches = true;
    let phrase: string | undefined;
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
      if (criterion === 'canonical') {
        if (!negated) matches = false;
        continue;
      }
      index += 1;
      if (UNEVALUATED_CRITERIA.has(criterion)) {
        phrase ??= `"Match ${criterion}" at ${place}`;
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
    if (!matches || outer === 'no') return { applies: 'no', phrase: undefined };
    if (phrase === undefined) return { applies: outer, phrase };
    this.unevaluated.add(phrase);
    return { applies: 'maybe', phrase };
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
