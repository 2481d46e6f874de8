/**
 * The configuration of one host from the ssh_config files, as keywords and values. If ssh is
 * installed, this is ssh's answer, otherwise our own evaluation in the same form. One source serves
 * the jump host and all hops; `close` removes the files that it has written.
 */
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { UsageError } from '../../errors/errors.ts';
import { hasKerberosTickets } from '../../system/kerberos.ts';
import type { Remote } from '../options.ts';
import { DEFAULT_KEEPALIVE } from '../options.ts';
import { formatJump } from '../remote.ts';
import { defaultAlgorithms } from './algorithms.ts';
import { type Evaluation, evaluateConfig, type Written } from './evaluate.ts';
import {
  type ConfigFile,
  type ConfigLine,
  type ConfigPart,
  type Ending,
  loadConfig,
  type WrittenConfig,
  writeConfig,
} from './files.ts';

import { FORWARD_KEYWORDS, INERT_KEYWORDS, presentName } from './keywords.ts';
import { queryConfig, queryIncludes } from './query.ts';
import { type Directive, type KeywordValues, parseDirective, quoteArgument } from './syntax.ts';
import { expandPath, expandSocketPath, type TokenValues } from './tokens.ts';
import { Keywords, localUser, readTokens } from './values.ts';

/** The machine on which the configuration is read. */
export interface Machine {
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where the system's ssh_config is. */
  readonly systemDirectory: string;
  readonly sshProgram: string;
  readonly signal: AbortSignal | undefined;
}

/** ssh expands these before it prints them, so its answer must not be expanded again. */
const PRINTED_EXPANDED = ['userknownhostsfile', 'identityagent', 'localforward', 'dynamicforward'];
/** What is said about one host. */
export interface HostConfig {
  readonly values: KeywordValues;
  /** By keyword: where the user has set it. */
  readonly written: ReadonlyMap<string, Written>;
}

const GSSAPI = 'gssapiauthentication';
/** Compiled into ssh. */
const GLOBAL_KNOWN_HOSTS =
  'GlobalKnownHostsFile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2';

export class ConfigSource {
  readonly machine: Machine;
  readonly #parts: readonly ConfigPart[];
  readonly #copy: WrittenConfig;
  #defaults: Promise<KeywordValues> | undefined;

  /** `file`: -F. Throws UsageError for files that can't be read. */
  static async open(file: string | undefined, machine: Machine): Promise<ConfigSource> {
    const { user, system } = await loadConfig({ file, ...machine });
    const kept =
      has(system, GSSAPI) && !(await hasKerberosTickets(machine.environment))
        ? withoutKeyword(system, GSSAPI)
        : system;
    const parts = [user, kept].filter(isPart);
    const copy = await writeConfig(parts, [
      `ServerAliveInterval ${DEFAULT_KEEPALIVE}`,
      ...movedKnownHosts(machine),
    ]);
    return new ConfigSource(machine, parts, copy);
  }

  private constructor(machine: Machine, parts: readonly ConfigPart[], copy: WrittenConfig) {
    this.machine = machine;
    this.#parts = parts;
    this.#copy = copy;
  }

  close(): Promise<void> {
    return this.#copy.remove();
  }

  /**
   * `via`: -J; empty: no ProxyJump, whatever the files say. `sshOptions`: lines that come before
   * those of the files. Throws what queryConfig and evaluateConfig throw.
   */
  async valuesFor(
    { host, port, user }: Remote,
    via: readonly Remote[] | undefined,
    sshOptions: readonly string[],
  ): Promise<HostConfig> {
    const jump = via === undefined ? undefined : formatJump(via);
    const args = queryArguments({ host, port, user }, jump, sshOptions);
    const answer = await this.#query(args, host, [...sshOptions, ...this.#parts]);
    const evaluation = {
      parts: [...sshOptions, ...this.#parts],
      defaults: [userKnownHosts(this.machine), GLOBAL_KNOWN_HOSTS],
      name: host,
      user,
      port,
      jump,
      localUser: () => localUser(this.machine.environment),
    };
    if (answer !== undefined) {
      const written = places(answer, evaluation);
      requireText(answer, written);
      return { values: answer, written };
    }
    const { values, written } = evaluateConfig(evaluation);
    requireText(values, written);
    const tokens = readTokens({ host }, new Keywords(values), this.machine);
    const expanded = new Map(values);
    for (const keyword of PRINTED_EXPANDED) {
      const texts = values.get(keyword)?.map((text) => expandPrinted(keyword, text, tokens));
      if (texts !== undefined) expanded.set(keyword, texts);
    }
    return { values: expanded, written };
  }

  /**
   * ssh's answer, with our defaults where the user has set nothing. undefined: there is no ssh. If
   * only ssh can tell how often it reads the files, it is asked for that first.
   */
  async #query(
    args: readonly string[],
    host: string,
    parts: readonly ConfigPart[],
  ): Promise<KeywordValues | undefined> {
    const { paths } = this.#copy;
    const ask = (ending: Ending) => this.#querySsh(['-F', paths[ending], ...args], host);
    const ending = endingFor(parts);
    if (ending !== undefined) return ask(ending);
    const answer = await ask('plain');
    if (answer === undefined) return undefined;
    return ask(isReadAgain(answer) ? 'final-defaults' : 'defaults');
  }

  /** The answer of the same ssh without any configuration. */
  defaults(): Promise<KeywordValues> {
    this.#defaults ??= this.#querySsh(['-F', 'none'], 'localhost').then(
      (values) => values ?? defaultAlgorithms(),
    );
    return this.#defaults;
  }

  #querySsh(args: readonly string[], host: string): Promise<KeywordValues | undefined> {
    const { sshProgram: program, environment, signal } = this.machine;
    const { originalNames } = this.#copy;
    return queryConfig({ program, args, host, environment, originalNames, signal });
  }
}

/**
 * Values in another encoding than UTF-8 have been read wrongly: they would be another user or file.
 * Comments, and what has no effect, may have any. Throws UsageError.
 */
function requireText(values: KeywordValues, written: HostConfig['written']): void {
  for (const [keyword, texts] of values) {
    if (INERT_KEYWORDS.includes(keyword) || !texts.some((text) => text.includes('\ufffd')))
      continue;
    const place = written.get(keyword)?.place ?? 'ssh_config';
    throw new UsageError(`${place}: the value of ${keyword} is not UTF-8`, {
      hint: 'save the file as UTF-8',
    });
  }
}

function expandPrinted(keyword: string, text: string, tokens: TokenValues): string {
  if (!FORWARD_KEYWORDS.includes(keyword)) return expandPath(text, tokens, keyword);
  // ssh expands the paths of sockets only.
  return text.includes('/') ? expandSocketPath(text, tokens, keyword) : text;
}

function queryArguments(
  { port, user }: Omit<Remote, 'text'>,
  jump: string | undefined,
  sshOptions: readonly string[],
): string[] {
  return [
    ...(port === undefined ? [] : ['-p', String(port)]),
    ...(user === undefined ? [] : ['-l', user]),
    ...(jump === undefined ? [] : ['-J', jump]),
    ...sshOptions.flatMap((option) => ['-o', option]),
  ];
}

export interface ConfigCopy extends Omit<WrittenConfig, 'paths'> {
  /** For -F. */
  readonly path: string;
}

/** What an ssh that connects with a copy must not see, and for which host it does. */
export interface CopyOptions {
  /** Keywords, in lower case. */
  readonly without: readonly string[];
  readonly remote: Omit<Remote, 'text'>;
  /** -J; empty: none. undefined: as the files say. */
  readonly via: readonly Remote[] | undefined;
  readonly sshOptions: readonly string[];
}

/** A copy of the files, without our defaults, for the system's ssh to connect with. */
export async function copyConfig(
  file: string | undefined,
  machine: Machine,
  options: CopyOptions,
): Promise<ConfigCopy> {
  const { without } = options;
  const found = await loadConfig({ file, ...machine });
  const leaves = [found.user, found.system]
    .filter(isPart)
    .some((part) => [...linesOfFile(part)].some(isLeftToSsh));
  const included =
    leaves && without.length > 0 ? await askIncluded(file, machine, options) : undefined;
  const { user, system } =
    included === undefined ? found : await loadConfig({ file, ...machine, included });
  const parts = [user, system]
    .filter(isPart)
    .map((part) => withoutKeywords(part, without, included ?? new Map()));
  const { paths, ...copy } = await writeConfig(parts, movedKnownHosts(machine));
  return { ...copy, path: paths[endingFor(parts) ?? 'defaults'] };
}

/** Which files ssh reads at the Include lines that are left to it, by `FILE:LINE`. */
async function askIncluded(
  file: string | undefined,
  machine: Machine,
  { without, ...asked }: CopyOptions,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const whole = await copyConfig(file, machine, { ...asked, without: [] });
  const { remote, via, sshOptions } = asked;
  const jump = via === undefined ? undefined : formatJump(via);
  const args = ['-F', whole.path, ...queryArguments(remote, jump, sshOptions)];
  try {
    const { sshProgram: program, environment, signal } = machine;
    const { originalNames } = whole;
    const included = await queryIncludes({
      ...{ program, args, host: remote.host },
      ...{ environment, originalNames, signal },
    });
    // At the other lines it reads the copies.
    const directory = `${dirname(whole.path)}/`;
    return new Map(
      [...included].filter(([, paths]) => paths.every((path) => !path.startsWith(directory))),
    );
  } finally {
    await whole.remove();
  }
}

function isLeftToSsh({ directive, includes }: PlacedLine): boolean {
  return directive.keyword === 'include' && includes === undefined;
}

/** Whether ssh reads the files twice, as far as they tell. undefined: only ssh knows. */
function endingFor(parts: readonly ConfigPart[]): Ending | undefined {
  let canBeReadAgain = false;
  for (const { directive, includes } of linesOf(parts)) {
    const { keyword, args } = directive;
    // ssh reads each Match line, also in sections that don't apply.
    if (keyword === 'match' && args.some((arg) => /^!?final$/i.test(arg))) return 'final-defaults';
    canBeReadAgain ||= READ_AGAIN.includes(keyword) && !/^(no|false|none)$/i.test(args[0] ?? '');
    canBeReadAgain ||= keyword === 'include' && includes === undefined;
  }
  return canBeReadAgain ? undefined : 'defaults';
}

const READ_AGAIN = ['canonicalizehostname', 'canonicalizepermittedcnames'];

function isReadAgain(answer: KeywordValues): boolean {
  return !/^(no|false)$/i.test(answer.get('canonicalizehostname')?.[0] ?? 'no');
}

/**
 * ssh doesn't say where a value was set. A keyword in a section that only ssh can evaluate gets the
 * place of the first line with that keyword.
 */
function places(answer: KeywordValues, evaluation: Evaluation): ReadonlyMap<string, Written> {
  const lines = new Map<string, Written>();
  for (const { directive, place } of linesOf(evaluation.parts)) {
    const keyword = presentName(directive.keyword);
    if (!lines.has(keyword)) lines.set(keyword, { place, text: directive.args.join(' ') });
  }
  try {
    const { written, values, isComplete } = evaluateConfig({ ...evaluation, lenient: true });
    if (isComplete) return written;
    const others = [...lines].filter(
      ([keyword]) => comparable(answer.get(keyword)) !== comparable(values.get(keyword)),
    );
    return new Map([...written, ...others]);
  } catch (error) {
    // Something that only a newer ssh understands.
    if (error instanceof UsageError) return lines;
    throw error;
  }
}

/** ssh prints some flags as `true` and `false`. */
function comparable(values: readonly string[] | undefined): string | undefined {
  return values
    ?.join()
    .toLowerCase()
    .replace(/^true$/, 'yes')
    .replace(/^false$/, 'no');
}

interface PlacedLine {
  readonly directive: Directive;
  readonly includes: ConfigLine['includes'];
  readonly place: string;
}

/** All lines, in whatever section, in order. */
function* linesOf(parts: readonly ConfigPart[]): Generator<PlacedLine> {
  for (const part of parts) {
    if (typeof part !== 'string') {
      yield* linesOfFile(part);
      continue;
    }
    for (const line of part.split('\n')) {
      const directive = parseDirective(line, '-o');
      if (directive !== undefined) yield { directive, includes: undefined, place: `-o ${line}` };
    }
  }
}

function* linesOfFile({ path, lines }: ConfigFile): Generator<PlacedLine> {
  for (const { directive, number, includes } of lines) {
    if (directive !== undefined) yield { directive, includes, place: `${path}:${number}` };
    for (const file of includes ?? []) yield* linesOfFile(file);
  }
}

function has(file: ConfigFile | undefined, keyword: string): boolean {
  return (
    file !== undefined && [...linesOfFile(file)].some((it) => it.directive.keyword === keyword)
  );
}

/** The file without the lines of a keyword, for which it has empty lines. */
function withoutKeyword(file: ConfigFile | undefined, keyword: string): ConfigFile | undefined {
  return file === undefined ? undefined : withoutKeywords(file, [keyword], new Map());
}

/**
 * The same for several. `asked`: the Includes that ssh has expanded, by `FILE:LINE`. They stay as
 * they are written if nothing is left out of them, since ssh may expand them otherwise for a hop.
 */
function withoutKeywords(
  file: ConfigFile,
  keywords: readonly string[],
  asked: ReadonlyMap<string, readonly string[]>,
): ConfigFile {
  const lines = file.lines.map((line): ConfigLine => {
    const { directive, number } = line;
    if (directive !== undefined && keywords.includes(directive.keyword))
      return { ...line, text: '', directive: undefined };
    const includes = line.includes?.map((it) => withoutKeywords(it, keywords, asked));
    const hasAny = (it: ConfigFile) => keywords.some((keyword) => has(it, keyword));
    const asWritten = asked.has(`${file.path}:${number}`) && !(line.includes ?? []).some(hasAny);
    return { ...line, includes: asWritten ? undefined : includes };
  });
  return { path: file.path, lines };
}

function isPart(part: ConfigFile | undefined): part is ConfigFile {
  return part !== undefined;
}

/**
 * The known_hosts files in $HOME, if ssh would look in another home directory. Otherwise they are
 * not named, because naming them turns off UpdateHostKeys.
 */
function movedKnownHosts(machine: Machine): string[] {
  try {
    if (userInfo().homedir === machine.home) return [];
  } catch {
    // No passwd entry: ssh would not even start.
  }
  return [userKnownHosts(machine)];
}

function userKnownHosts({ home }: Machine): string {
  const files = ['known_hosts', 'known_hosts2'].map((name) =>
    quoteArgument(join(home, '.ssh', name).replaceAll('%', '%%')),
  );
  return `UserKnownHostsFile ${files.join(' ')}`;
}
